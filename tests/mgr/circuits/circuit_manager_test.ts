import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { isTunicError, TunicError } from "../../../src/base/errors.ts";
import { Emitter } from "../../../src/base/events.ts";
import type { ChannelManager } from "../../../src/mgr/channels.ts";
import { CircuitManager, type CircuitRequest, type ManagedCircuit } from "../../../src/mgr/circuits/mod.ts";
import { GuardManager } from "../../../src/mgr/guards/guard_manager.ts";
import { PathSelector } from "../../../src/mgr/paths.ts";
import type { NetDir } from "../../../src/netdir/net_dir.ts";
import type { CircuitEvents } from "../../../src/proto/circuit.ts";
import { mockRuntime } from "../../../src/runtime/mock.ts";
import { EXIT_FLAGS, GUARD_FLAGS, makeNetwork, relays } from "../../support/network.ts";

const MINUTE = 60_000;
/** What a request avoids that has not failed yet. */
const NOTHING = { circuits: new Set<ManagedCircuit>(), exits: [] };
const EXITS = relays(201, 10, { flags: EXIT_FLAGS, policy: "accept 80,443,9000-9999" });
const NETWORK = makeNetwork([...relays(1, 30, { flags: GUARD_FLAGS }), ...relays(101, 20), ...EXITS]);

/** A circuit that is built at once and carries as many streams as a test says. */
class FakeCircuit {
  readonly emitter = new Emitter<CircuitEvents>();
  readonly events = { on: this.emitter.on.bind(this.emitter) };
  hops = 0;
  streamCount = 0;
  closed: TunicError | undefined;
  readonly #failure: TunicError | undefined;

  constructor(failure: TunicError | undefined) {
    this.#failure = failure;
  }

  get isClosed(): boolean {
    return this.closed !== undefined;
  }

  create(): Promise<void> {
    return this.extend();
  }

  extend(): Promise<void> {
    if (this.#failure) {
      // Each circuit fails for itself.
      const { message, kind, code, retry } = this.#failure;
      return Promise.reject(new TunicError(message, { kind, code, retry }));
    }
    this.hops++;
    return Promise.resolve();
  }

  destroy(error: TunicError): void {
    if (this.closed) return;
    this.closed = error;
    this.emitter.emit("closed", error);
  }
}

class World {
  readonly runtime = mockRuntime(1, Date.UTC(2026, 0, 29, 12, 30));
  readonly circuits: CircuitManager;
  readonly built: FakeCircuit[] = [];
  /** What every hop fails with. */
  failure: TunicError | undefined;
  view: NetDir | undefined;

  constructor(view: NetDir | null = NETWORK) {
    const guards = new GuardManager(this.runtime, { version: "test" });
    const paths = new PathSelector(this.runtime, guards);
    const channels = {
      get: () =>
        Promise.resolve({
          newCircuit: () => {
            const circuit = new FakeCircuit(this.failure);
            this.built.push(circuit);
            return circuit;
          },
        }),
    };
    this.circuits = new CircuitManager({
      runtime: this.runtime,
      channels: channels as unknown as ChannelManager,
      paths,
      netdir: () => this.view,
      circuitBuildTimeoutMs: MINUTE,
      maxCircuitDirtinessMs: 10 * MINUTE,
      circuitsAvailableTimeoutMs: 30 * MINUTE,
      maxClientCircuitsPending: 32,
    });
    this.show = (netdir) => {
      this.view = netdir;
      paths.update(netdir);
      this.circuits.viewChanged();
    };
    if (view) this.show(view);
  }

  readonly show: (netdir: NetDir) => void;

  get open(): number {
    return this.built.filter(({ closed, hops }) => !closed && hops === 3).length;
  }

  /** A circuit for a stream to `port`, which is then open on it. */
  async stream(port: number, isolation: string): Promise<{ managed: ManagedCircuit; circuit: FakeCircuit }> {
    const { managed, circuit } = await this.get({ destination: { host: "example.org", port }, isolation });
    const fake = circuit as unknown as FakeCircuit;
    fake.streamCount++;
    return { managed, circuit: fake };
  }

  get(request: CircuitRequest) {
    return this.circuits.get(request, NOTHING, new AbortController().signal);
  }

  async pass(ms: number): Promise<void> {
    await this.runtime.time.advance(ms);
  }
}

describe("a circuit", () => {
  test("is shared by streams with one isolation key, and by no others", async () => {
    const world = new World();
    const first = await world.stream(443, "alice");
    assert.equal((await world.stream(80, "alice")).managed, first.managed);
    const other = await world.stream(443, "bob");
    assert.notEqual(other.managed, first.managed);
    const lookup = await world.get({ destination: undefined, isolation: "carol" });
    assert.ok(![first.managed, other.managed].includes(lookup.managed));
    assert.equal((await world.stream(443, "bob")).managed, other.managed);
    world.circuits.close();
  });

  test("takes no streams that begin later than MaxCircuitDirtiness, and is closed after the last", async () => {
    const world = new World();
    const first = await world.stream(443, "");
    await world.pass(9 * MINUTE);
    assert.equal((await world.stream(443, "")).managed, first.managed);
    await world.pass(MINUTE);
    assert.notEqual((await world.stream(443, "")).managed, first.managed);
    assert.ok(!first.circuit.isClosed);
    first.circuit.streamCount = 0;
    await world.pass(2_000);
    assert.ok(first.circuit.isClosed);
    world.circuits.close();
  });

  test("is passed over by new streams once new circuits were asked for", async () => {
    const world = new World();
    const first = await world.stream(443, "");
    world.circuits.retireAll();
    assert.notEqual((await world.stream(443, "")).managed, first.managed);
    world.circuits.close();
  });
});

describe("a circuit manager", () => {
  test("keeps two circuits ready, and makes up for those that are used", async () => {
    const world = new World();
    await world.pass(0);
    assert.deepEqual(world.circuits.snapshot, { building: 0, clean: 2, dirty: 0 });
    await world.stream(443, "");
    await world.pass(2_000);
    assert.deepEqual(world.circuits.snapshot, { building: 0, clean: 2, dirty: 1 });
    world.circuits.close();
    assert.equal(world.open, 0);
    assert.equal(world.runtime.time.pending, 0);
  });

  test("has few circuits ready however many ports are asked for", async () => {
    const ports = Array.from({ length: 200 }, (_, i) => 9000 + i);
    const exits = ports.map((port, i) => ({ number: 301 + i, flags: EXIT_FLAGS, policy: `accept ${port}` }));
    const world = new World(makeNetwork([...relays(1, 30, { flags: GUARD_FLAGS }), ...relays(101, 20), ...exits]));
    for (const port of ports) (await world.stream(port, `${port}`)).circuit.streamCount = 0;
    await world.pass(5_000);
    const { building, clean } = world.circuits.snapshot;
    assert.ok(building + clean <= 14, `${building} and ${clean}`);
    world.circuits.close();
  });

  test("says at once that no exit accepts a port, and goes on with others as before", async () => {
    const world = new World();
    await world.pass(0);
    const refused = (error: unknown) => isTunicError(error, "no-path") && error.code === "no-exit";
    for (const host of ["example.org", "2001:db8::1"]) {
      const port = host.includes(":") ? 443 : 25;
      await assert.rejects(world.get({ destination: { host, port }, isolation: "" }), refused);
    }
    await world.pass(MINUTE);
    for (let i = 0; i < 5; i++) {
      await world.stream(443, `user ${i}`);
      await world.pass(1_000);
    }
    assert.equal(world.circuits.snapshot.clean, 2);
    world.circuits.close();
  });

  test("lets a request wait for the first view", async () => {
    const world = new World(null);
    const request = world.get({ destination: { host: "example.org", port: 443 }, isolation: "" });
    await world.pass(MINUTE);
    assert.equal(world.built.length, 0);
    world.show(NETWORK);
    assert.equal((await request).managed.state, "open");
    world.circuits.close();
  });

  test("tries other paths while building fails, ever more slowly, until the request is given up", async () => {
    const world = new World();
    world.failure = new TunicError("x", { kind: "circuit", code: "destroy", retry: "elsewhere" });
    const limit = new AbortController();
    const request = world.circuits.get(
      { destination: { host: "example.org", port: 443 }, isolation: "" },
      NOTHING,
      limit.signal,
    );
    const rejected = assert.rejects(request, (error) => isTunicError(error, "aborted"));
    for (let i = 0; i < 60; i++) await world.pass(1_000);
    const inFirstMinute = world.built.length;
    assert.ok(inFirstMinute >= 3 && inFirstMinute < 40, `${inFirstMinute}`);
    limit.abort();
    await rejected;
    world.failure = undefined;
    for (let i = 0; i < 60; i++) await world.pass(1_000);
    assert.equal(world.circuits.snapshot.clean, 2);
    world.circuits.close();
  });
});
