import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ErrorKind, isTunicError, TunicError } from "../../../src/base/errors.ts";
import { toHex } from "../../../src/bytes/text.ts";
import type { ManagedCircuit } from "../../../src/mgr/circuits/mod.ts";
import { CellCommand } from "../../../src/wire/cell.ts";
import {
  type Building,
  CircuitWorld,
  HOUR,
  type Listening,
  MINUTE,
  RelayNetwork,
  SECOND,
} from "../../support/relay_network.ts";

const isKind = (kind: ErrorKind, code?: string) => (error: unknown) =>
  isTunicError(error, kind) && (code === undefined || error.code === code);
const NOTHING = { circuits: new Set<ManagedCircuit>(), exits: [] };

function get(world: CircuitWorld, isolation = "", signal = new AbortController().signal, port = 443) {
  const request = { destination: { host: "example.com", port }, isolation };
  const got = world.circuits.get(request, NOTHING, signal);
  got.catch(() => {});
  return got;
}

function all(network: RelayNetwork, properties: { listening?: Listening; building?: Building }): void {
  for (const relay of network.relays) Object.assign(relay, properties);
}

describe("a circuit", () => {
  test("goes over a guard, a middle and an exit, none of them twice", async () => {
    const world = new CircuitWorld();
    await world.start();
    const { managed, circuit } = await world.settled(get(world));
    assert.equal(circuit.hops, 3);
    const roles = managed.path.hops.map(({ rsaId }) => RelayNetwork.relayOf(world.network.relays, rsaId).role);
    assert.equal(roles.at(-1), "exit");
    assert.equal(roles[0], "guard");
    assert.equal(new Set(managed.path.hops.map(({ rsaId }) => toHex(rsaId))).size, 3);
    await world.close();
  });

  test("has one isolation key, even where requests come in the same turn and nothing is ready", async () => {
    const world = new CircuitWorld();
    world.netdir = world.network.netdir;
    world.paths.update(world.netdir);
    const keys = ["a", "b", "c", "a", "d", "b", "e", "c"];
    const got = await world.settled(Promise.all(keys.map((key) => get(world, key))));
    for (const [i, { managed }] of got.entries()) {
      assert.equal(managed.isolation, keys[i]);
      for (const [j, other] of got.entries()) assert.equal(managed === other.managed, keys[i] === keys[j]);
    }
    assert.equal(new Set(got.map(({ circuit }) => circuit)).size, 5);
    await world.close();
  });

  test("is clean again when the request it was being built for gives up", async () => {
    const world = new CircuitWorld();
    all(world.network, { building: "ignores" });
    await world.start();
    assert.equal(world.circuits.snapshot.building, 2);
    const abort = new AbortController();
    const given = [get(world, "a", abort.signal), get(world, "a", abort.signal)];
    await world.time.settle();
    abort.abort();
    for (const one of given) await assert.rejects(one, isKind("aborted"));
    const others = [get(world, "b"), get(world, "c")];
    await world.time.settle();
    assert.equal(world.circuits.snapshot.building, 2);
    await world.close();
    for (const one of others) await assert.rejects(one, isKind("closed"));
  });

  test("keeps its key where one of two that wait for it gives up", async () => {
    const world = new CircuitWorld();
    const [first] = world.network.relays;
    all(world.network, { building: "ignores" });
    await world.start();
    const abort = new AbortController();
    const given = get(world, "a", abort.signal);
    const kept = get(world, "a");
    const others = [get(world, "b"), get(world, "c")];
    abort.abort();
    await assert.rejects(given, isKind("aborted"));
    await world.time.settle();
    assert.equal(world.circuits.snapshot.building, 3, `${first!.id}: a, b and c need one each`);
    await world.close();
    for (const one of [kept, ...others]) await assert.rejects(one, isKind("closed"));
  });

  test("that nobody uses is closed after CircuitsAvailableTimeout, and made anew only while it is predicted", async () => {
    const world = new CircuitWorld();
    const closedAt: number[] = [];
    world.circuits.events.on("circuit", ({ state }) => state === "closed" && closedAt.push(world.time.monotonic()));
    await world.start();
    await world.time.advance(29 * MINUTE);
    assert.deepEqual([closedAt.length, world.circuits.snapshot.clean], [0, 2]);
    await world.time.advance(2 * MINUTE);
    assert.deepEqual([closedAt.length, world.circuits.snapshot.clean], [2, 2]);
    await world.time.advance(HOUR + 5 * MINUTE);
    assert.deepEqual(world.circuits.snapshot, { building: 0, clean: 0, dirty: 0 });
    assert.equal(world.network.openLinks, 0, "channels without circuits are closed, too");
    await world.settled(get(world));
    await world.time.advance(2 * SECOND);
    assert.equal(world.circuits.snapshot.clean, 2, "what is asked for is predicted again");
    await world.close();
  });
});

describe("building", () => {
  test("waits where there is no view that may be used, and goes on with the next", async () => {
    const world = new CircuitWorld();
    await world.start();
    await world.settled(Promise.all([get(world, "a"), get(world, "b")]));
    world.netdir = undefined;
    const waiting = get(world, "c");
    await world.time.advance(10 * MINUTE);
    assert.equal(world.circuits.snapshot.building, 0);
    await world.start();
    await world.settled(waiting);
    await world.close();
  });

  test("tells the guard manager of guards that fail, and takes others", async () => {
    const world = new CircuitWorld();
    const [first, second] = world.network.guards;
    for (const guard of world.network.guards) guard.listening = guard === first || guard === second ? "yes" : "refuses";
    await world.start();
    const request = get(world);
    await world.time.advance(MINUTE);
    const { managed } = await request;
    assert.ok([first!.id, second!.id].includes(toHex(managed.path.hops[0]!.rsaId)));
    await world.close();
  });

  test("loses no time where one guard that is gone fails many circuits at once", async () => {
    const world = new CircuitWorld();
    await world.start();
    const { managed, circuit } = await world.settled(get(world, "first"));
    const guard = world.network.relays.find(({ id }) => id === toHex(managed.path.hops[0]!.rsaId))!;
    guard.listening = "refuses";
    for (const { socket } of guard.links) socket.destroy();
    await world.time.advance(0);
    assert.ok(circuit.closed);
    const before = world.time.monotonic();
    await world.settled(Promise.all(Array.from({ length: 12 }, (_, i) => get(world, `${i}`))));
    assert.ok(world.time.monotonic() - before < SECOND / 4, `${world.time.monotonic() - before} ms`);
    await world.close();
  });

  test("blames the guard for what it does itself, and for nothing behind it", async () => {
    for (const role of ["guard", "middle", "exit"] as const) {
      for (const building of ["ignores", "destroys"] as const) {
        const world = new CircuitWorld();
        for (const relay of world.network.relays) if (relay.role === role) relay.building = building;
        await world.start();
        const abort = new AbortController();
        const request = get(world, "", abort.signal);
        await world.time.advance(61 * SECOND);
        const { filtered, usableFiltered } = world.guards.snapshot;
        const blamed = filtered - usableFiltered;
        // Where all have been tried, the guard manager begins from the start.
        if (role !== "guard") assert.equal(blamed, 0, `${role} ${building}`);
        else if (building === "ignores") assert.ok(blamed > 0);
        assert.equal(world.circuits.snapshot.clean + world.circuits.snapshot.dirty, 0);
        abort.abort();
        await assert.rejects(request, isKind("aborted"));
        await world.close();
      }
    }
  });

  test("takes no longer than it may, and says at the end of a request what failed", async () => {
    const world = new CircuitWorld();
    for (const relay of world.network.relays) if (relay.role === "middle") relay.building = "ignores";
    const errors: string[] = [];
    world.circuits.events.on("circuit", ({ error }) => error && errors.push(error.code));
    await world.start();
    const abort = new AbortController();
    const request = get(world, "", abort.signal);
    await world.time.advance(59 * SECOND);
    assert.deepEqual(errors, []);
    await world.time.advance(SECOND);
    assert.deepEqual(errors, ["circuit-build-timeout", "circuit-build-timeout"]);
    abort.abort(
      new TunicError("Cannot do it: no time", { kind: "timeout", code: "request-timeout", retry: "elsewhere" }),
    );
    await assert.rejects(
      request,
      (error) =>
        isKind("timeout", "request-timeout")(error) && /no time.*not complete within 60000/.test(String(error)),
    );
    await world.close();
  });

  test("does not storm a network that is down, and is quick when it is back", async () => {
    const world = new CircuitWorld();
    all(world.network, { listening: "refuses" });
    await world.start();
    const abort = new AbortController();
    const waiting = ["a", "b", "c"].map((key) => get(world, key, abort.signal));
    await world.time.advance(MINUTE);
    const inFirstMinute = world.network.attempts;
    assert.ok(inFirstMinute >= 6 && inFirstMinute <= 60, `${inFirstMinute}`);
    for (let i = 0; i < 180; i++) {
      // Impatient programs: each asks anew before the last one has given up.
      const impatient = get(world, `${i}`, abort.signal);
      impatient.catch(() => {});
      await world.time.advance(MINUTE);
    }
    const perHour = (world.network.attempts - inFirstMinute) / 3;
    assert.ok(perHour > 60 && perHour < 2000, `${perHour}`);
    all(world.network, { listening: "yes" });
    await world.time.advance(31 * SECOND);
    const got = await Promise.all(waiting);
    assert.equal(new Set(got.map(({ managed }) => managed)).size, 3);

    // What failed is forgotten: the next failure costs no pause.
    const before = world.time.monotonic();
    await world.settled(get(world, "z"));
    assert.ok(world.time.monotonic() - before < SECOND);
    await world.close();
  });

  test("is not done over and over where relays close what they have built", async () => {
    const world = new CircuitWorld();
    world.circuits.events.on("circuit", ({ state }) => {
      if (state !== "open") return;
      for (const circuit of world.network.circuits) {
        if (circuit.destroyed === undefined) circuit.cell(CellCommand.DESTROY, new Uint8Array([1]));
      }
    });
    await world.start();
    await world.time.advance(MINUTE);
    assert.ok(world.network.circuits.length <= 130, `${world.network.circuits.length}`);
    await world.close();
  });

  test("of more than MaxClientCircuitsPending at one time is put off", async () => {
    const world = new CircuitWorld(undefined, { maxClientCircuitsPending: 4 });
    for (const relay of world.network.relays) if (relay.role === "middle") relay.building = "ignores";
    await world.start();
    const waiting = Array.from({ length: 10 }, (_, i) => get(world, `${i}`));
    await world.time.settle();
    assert.equal(world.circuits.snapshot.building, 4);
    for (const relay of world.network.relays) relay.building = "yes";
    await world.time.advance(3 * MINUTE);
    const got = await Promise.all(waiting);
    assert.equal(new Set(got.map(({ managed }) => managed)).size, 10);
    await world.close();
  });

  test("makes circuits that wait for a better guard, which nobody uses before, and not many of them", async () => {
    const world = new CircuitWorld(new RelayNetwork({ guards: 8 }));
    const { guards, circuits, network, time } = world;
    world.netdir = network.netdir;
    world.paths.update(network.netdir);
    // Four guards are known to work; the three primary ones fail, the fourth is being tried.
    const confirmed = new Set<string>();
    while (confirmed.size < 4) {
      const one = guards.select({ purpose: "traffic" });
      if (confirmed.has(toHex(one.rsaId))) {
        one.onFailure();
        continue;
      }
      one.onSuccess();
      one.onClosed();
      confirmed.add(toHex(one.rsaId));
      guards.markAllMaybeReachable();
    }
    const before = new Set<string>();
    while (before.size < 3) {
      const one = guards.select({ purpose: "traffic" });
      before.add(toHex(one.rsaId));
      one.onFailure();
    }
    const next = guards.select({ purpose: "traffic" });
    assert.equal(next.state, "usable_if_no_better_guard");
    assert.ok(confirmed.has(toHex(next.rsaId)));
    for (const guard of network.guards) {
      guard.listening = before.has(guard.id) ? "refuses" : guard.id === toHex(next.rsaId) ? "silent" : "yes";
    }
    const request = get(world);
    let done = false;
    request.then(() => done = true, () => {});
    circuits.viewChanged();
    await time.advance(10 * SECOND);
    assert.ok(guards.snapshot.circuitsWaiting > 0);
    assert.equal(circuits.snapshot.clean + circuits.snapshot.dirty, 0);
    assert.equal(done, false);
    assert.ok(network.circuits.length <= 25, `${network.circuits.length} in ten seconds`);
    await time.advance(20 * SECOND);
    const { managed } = await request;
    assert.equal(before.has(toHex(managed.path.hops[0]!.rsaId)), false);
    await world.close();
  });
});

describe("giving up", () => {
  test("leaves nothing behind, in whatever moment a request does", async () => {
    for (let turns = 0; turns < 80; turns += 3) {
      const world = new CircuitWorld();
      world.netdir = world.network.netdir;
      world.paths.update(world.netdir);
      const abort = new AbortController();
      const request = get(world, "a", abort.signal);
      const outcome = request.then(() => "built", (error) => isTunicError(error) ? error.kind : "?");
      for (let i = 0; i < turns; i++) await (i % 4 === 3 ? new Promise((r) => setImmediate(r)) : Promise.resolve());
      abort.abort();
      await world.time.settle();
      assert.equal(await outcome, "aborted");
      assert.equal(world.circuits.snapshot.dirty, 0);
      await world.close();
    }
  });

  test("in a pause between attempts leaves no timer", async () => {
    const world = new CircuitWorld();
    all(world.network, { listening: "refuses" });
    world.netdir = world.network.netdir;
    world.paths.update(world.netdir);
    const abort = new AbortController();
    const request = get(world, "a", abort.signal);
    await world.time.advance(MINUTE);
    assert.equal(world.time.pending, 1);
    abort.abort();
    await assert.rejects(request, isKind("aborted"));
    assert.equal(world.time.pending, 0);
    await world.close();
  });

  test("is what everything does when the manager closes, whatever it waits for", async () => {
    const refuse = (world: CircuitWorld) => all(world.network, { listening: "refuses" });
    const hang = (world: CircuitWorld) => all(world.network, { building: "ignores" });
    const phases: [string, (world: CircuitWorld) => Promise<void> | void, number][] = [
      ["for a view", () => {}, 0],
      ["in a pause", (world) => (refuse(world), world.start()), MINUTE],
      ["for a circuit", (world) => (hang(world), world.start()), SECOND],
      ["for a channel", (world) => (all(world.network, { listening: "silent" }), world.start()), SECOND],
    ];
    for (const [phase, prepare, ms] of phases) {
      const world = new CircuitWorld();
      await prepare(world);
      const requests = ["a", "b", "c"].map((key) => get(world, key));
      await world.time.advance(ms);
      await world.close();
      for (const request of requests) await assert.rejects(request, isKind("closed"), phase);
      await assert.rejects(get(world), isKind("closed"), phase);
    }
  });

  test("is orderly in the turns in which circuits get built", async () => {
    for (let turns = 0; turns < 60; turns++) {
      const world = new CircuitWorld();
      world.netdir = world.network.netdir;
      world.paths.update(world.netdir);
      world.circuits.viewChanged();
      const request = get(world);
      const outcome = request.then(() => "built", (error) => isTunicError(error) ? error.kind : "?");
      for (let i = 0; i < turns; i++) await new Promise((r) => setImmediate(r));
      await world.close();
      assert.ok(["built", "closed"].includes(await outcome));
    }
  });
});
