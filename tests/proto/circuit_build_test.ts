import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ErrorKind, isTunicError, TunicError } from "../../src/base/errors.ts";
import { encodeWith } from "../../src/bytes/codec.ts";
import type { Circuit } from "../../src/proto/circuit.ts";
import { fastHandshake, ntorHandshake } from "../../src/proto/circuit_handshake.ts";
import { CellCommand, cellCommandName, PAYLOAD_LEN } from "../../src/wire/cell.ts";
import { EXTENDED2 } from "../../src/wire/circuit_messages.ts";
import { CREATED2, DESTROY, DestroyReason } from "../../src/wire/create_cells.ts";
import { RelayCommand } from "../../src/wire/relay_cell.ts";
import { CircuitWorld, RELAYS } from "../support/scripted_relay.ts";

const create = (world: CircuitWorld, signal?: AbortSignal) =>
  world.circuit.create(ntorHandshake(world.random, RELAYS[0]!.target), signal);
const extend = (world: CircuitWorld, signal?: AbortSignal) => {
  const { target } = RELAYS[world.circuit.hops]!;
  return world.circuit.extend(target, ntorHandshake(world.random, target), signal);
};

/** The circuit ended once, with this kind of error, and told its channel and its relay. */
function assertOver(world: CircuitWorld, kind: ErrorKind, code?: string): void {
  const { circuit } = world;
  assert.ok(isTunicError(circuit.closed, kind), String(circuit.closed));
  if (code !== undefined) assert.equal(circuit.closed.code, code);
  assert.equal(world.closed, circuit.closed);
  assert.equal(world.released, 1);
  assert.equal(circuit.streamCount, 0);
}

const isKind = (kind: ErrorKind) => (error: unknown) => isTunicError(error, kind);

describe("building a circuit", () => {
  test("of three hops: CREATE2, then EXTEND2 in RELAY_EARLY to the last hop", async () => {
    const world = await CircuitWorld.built(3);
    assert.equal(world.circuit.hops, 3);
    assert.equal(world.circuit.closed, undefined);
    assert.deepEqual(world.sent, [CellCommand.CREATE2, CellCommand.RELAY_EARLY, CellCommand.RELAY_EARLY]);
    assert.deepEqual(world.peer.heard.map(({ hop, command, streamId, early }) => [hop, command, streamId, early]), [
      [0, RelayCommand.EXTEND2, 0, true],
      [1, RelayCommand.EXTEND2, 0, true],
    ]);
  });

  test("of one hop with CREATE_FAST", async () => {
    const world = new CircuitWorld();
    const creating = world.circuit.create(fastHandshake(world.random));
    world.flush();
    await creating;
    assert.deepEqual(world.sent, [CellCommand.CREATE_FAST]);
    assert.equal(world.circuit.hops, 1);
    await assert.rejects(world.circuit.extend(RELAYS[1]!.target, fastHandshake(world.random)), RangeError);
  });

  test("of nine hops, and the ninth extension is refused", async () => {
    const world = await CircuitWorld.built(9);
    assert.equal(world.sent.filter((command) => command === CellCommand.RELAY_EARLY).length, 8);
    await assert.rejects(extend(world), isKind("protocol"));
    assertOver(world, "protocol", "relay-early-limit");
    assert.equal(world.sent.filter((command) => command === CellCommand.RELAY_EARLY).length, 8);
  });

  test("one hop at a time", async () => {
    const world = new CircuitWorld();
    const first = create(world);
    await assert.rejects(create(world), RangeError);
    world.flush();
    await first;
    assert.equal(world.circuit.hops, 1);
  });
});

describe("an answer that is wrong closes the circuit and rejects at once", () => {
  const flip = (at: number) => (reply: Uint8Array) => {
    reply[at]! ^= 1;
    return reply;
  };
  const cases: [string, (reply: Uint8Array) => Uint8Array, ErrorKind][] = [
    ["a MAC that is wrong", flip(63), "crypto"],
    ["another Y", flip(0), "crypto"],
    ["a Y of zeros", (reply) => reply.fill(0, 0, 32), "crypto"],
    ["a reply too short", (reply) => reply.subarray(0, 63), "malformed"],
    ["a reply too long", (reply) => Uint8Array.of(...reply, 0), "malformed"],
    ["an empty reply", () => new Uint8Array(0), "malformed"],
  ];
  for (const [name, spoil, kind] of cases) {
    for (const hop of [0, 2]) {
      test(`${name}, at hop ${hop}`, async () => {
        const world = new CircuitWorld();
        await world.build(hop);
        world.peer.spoil = spoil;
        const adding = hop === 0 ? create(world) : extend(world);
        world.flush();
        await assert.rejects(adding, isKind(kind));
        assertOver(world, kind);
        assert.equal(world.circuit.hops, hop);
        assert.equal(world.peer.destroyed, DestroyReason.NONE);
      });
    }
  }

  test("a KH of CREATED_FAST that is wrong", async () => {
    const world = new CircuitWorld();
    world.peer.spoil = flip(39);
    const creating = world.circuit.create(fastHandshake(world.random));
    world.flush();
    await assert.rejects(creating, isKind("crypto"));
    assertOver(world, "crypto", "bad-create-fast-kh");
  });

  test("a CREATED2 whose length is a lie", async () => {
    const world = new CircuitWorld();
    world.peer.spoil = () => undefined;
    const creating = create(world);
    world.peer.cell(CellCommand.CREATED2, Uint8Array.of(0xff, 0xff, 1));
    world.flush();
    await assert.rejects(creating, isKind("malformed"));
    assertOver(world, "malformed");
  });

  test("an EXTENDED2 whose length is a lie", async () => {
    const world = await CircuitWorld.built(1);
    world.peer.spoil = () => undefined;
    const extending = extend(world);
    world.batch(world.peer.payload(0, RelayCommand.EXTENDED2, 0, Uint8Array.of(0, 9)));
    await assert.rejects(extending, isKind("malformed"));
    assertOver(world, "malformed");
  });

  test("DESTROY in its place gives its reason, with or without a DESTROY of ours", async () => {
    for (const [body, name] of [[Uint8Array.of(5), "RESOURCELIMIT"], [new Uint8Array(0), "NONE"]] as const) {
      const world = new CircuitWorld();
      world.peer.spoil = () => undefined;
      const creating = create(world);
      world.circuit.onCell(CellCommand.DESTROY, body);
      await assert.rejects(creating, isKind("circuit"));
      assertOver(world, "circuit", "destroy");
      assert.equal(world.circuit.closed!.context.reason, name);
      assert.deepEqual(world.sent, [CellCommand.CREATE2], "a relay that ended the circuit need not be told");
    }
  });

  test("TRUNCATED in its place gives its reason", async () => {
    const world = await CircuitWorld.built(2);
    world.peer.spoil = () => undefined;
    const extending = extend(world);
    world.batch(world.peer.truncated(0, DestroyReason.CONNECTFAILED));
    await assert.rejects(extending, isKind("circuit"));
    assertOver(world, "circuit", "truncated");
    assert.equal(world.circuit.closed!.context.reason, "CONNECTFAILED");
    assert.equal(world.peer.destroyed, DestroyReason.NONE);
  });

  test("DESTROY right behind CREATED2 closes the circuit before the hop is added", async () => {
    const world = new CircuitWorld();
    const creating = create(world);
    world.peer.cell(CellCommand.DESTROY, encodeWith(DESTROY, DestroyReason.FINISHED));
    world.flush();
    await assert.rejects(creating, isKind("circuit"));
    assert.equal(world.circuit.hops, 0);
    assertOver(world, "circuit");
  });
});

describe("a cell out of place closes the circuit", () => {
  const unasked = new Uint8Array(PAYLOAD_LEN);
  const cells: [string, (world: CircuitWorld) => void][] = [
    ["CREATED2", ({ circuit }) => circuit.onCell(CellCommand.CREATED2, unasked)],
    ["CREATED_FAST", ({ circuit }) => circuit.onCell(CellCommand.CREATED_FAST, unasked)],
    ["CREATE2", ({ circuit }) => circuit.onCell(CellCommand.CREATE2, unasked)],
    ["RELAY_EARLY", ({ circuit }) => circuit.onCell(CellCommand.RELAY_EARLY, unasked)],
  ];
  for (const [name, send] of cells) {
    test(`${name} before anything was asked`, () => {
      const world = new CircuitWorld();
      send(world);
      assertOver(world, "protocol");
      assert.deepEqual(world.sent, [], "the relay knows nothing of this circuit");
    });
    test(`${name} on a built circuit`, async () => {
      const world = await CircuitWorld.built(3);
      send(world);
      assertOver(world, "protocol");
      assert.equal(world.peer.destroyed, DestroyReason.NONE);
    });
  }

  test("CREATED2 twice", async () => {
    const world = new CircuitWorld();
    world.peer.spoil = (reply) => {
      world.peer.cell(CellCommand.CREATED2, encodeWith(CREATED2, reply));
      return reply;
    };
    const creating = create(world);
    world.flush();
    await assert.rejects(creating, isKind("protocol"));
    assertOver(world, "protocol", "unexpected-reply");
  });

  test("CREATED2 where CREATED_FAST was asked, and the other way round", async () => {
    for (const command of [CellCommand.CREATED2, CellCommand.CREATED_FAST]) {
      const world = new CircuitWorld();
      world.peer.spoil = () => undefined;
      const creating = command === CellCommand.CREATED2
        ? world.circuit.create(fastHandshake(world.random))
        : create(world);
      world.peer.cell(command, encodeWith(CREATED2, new Uint8Array(64)));
      world.flush();
      await assert.rejects(creating, isKind("protocol"), cellCommandName(command));
      assertOver(world, "protocol", "unexpected-reply");
    }
  });

  test("RELAY before CREATED2, and right behind it", async () => {
    for (const answered of [false, true]) {
      const world = new CircuitWorld();
      if (!answered) world.peer.spoil = () => undefined;
      const creating = create(world);
      world.peer.say(world.peer.payload(0, RelayCommand.DROP, 0));
      world.flush();
      await assert.rejects(creating, isKind("protocol"));
      assertOver(world, "protocol", "relay-too-early");
    }
  });

  test("EXTENDED2 that was not asked for, from another hop, twice, or for a stream", async () => {
    const reply = encodeWith(EXTENDED2, new Uint8Array(64));
    const unaskedWorld = await CircuitWorld.built(3);
    unaskedWorld.batch(unaskedWorld.peer.payload(2, RelayCommand.EXTENDED2, 0, reply));
    assertOver(unaskedWorld, "protocol", "unexpected-reply");

    for (const [hop, streamId, code] of [[0, 0, "unexpected-reply"], [1, 5, "stream-id"]] as const) {
      const world = await CircuitWorld.built(2);
      world.peer.spoil = () => undefined;
      const extending = extend(world);
      world.batch(world.peer.payload(hop, RelayCommand.EXTENDED2, streamId, reply));
      await assert.rejects(extending, isKind("protocol"));
      assertOver(world, "protocol", code);
    }

    const twice = await CircuitWorld.built(1);
    const extending = extend(twice);
    twice.peer.say(twice.peer.payload(0, RelayCommand.EXTENDED2, 0, reply));
    twice.flush();
    await assert.rejects(extending, isKind("protocol"));
    assertOver(twice, "protocol", "unexpected-reply");
  });
});

describe("an abort", () => {
  const stages: [string, number, (world: CircuitWorld, signal: AbortSignal) => Promise<void>][] = [
    ["create", 0, create],
    ["extend", 2, extend],
  ];
  for (const [name, hops, action] of stages) {
    test(`during ${name} closes the circuit and says DESTROY`, async () => {
      const world = new CircuitWorld();
      await world.build(hops);
      world.peer.spoil = () => undefined;
      const controller = new AbortController();
      const pending = action(world, controller.signal);
      controller.abort();
      await assert.rejects(pending, isKind("aborted"));
      assertOver(world, "aborted");
      assert.equal(world.peer.destroyed, DestroyReason.NONE);
    });

    test(`before ${name} closes the circuit`, async () => {
      const world = new CircuitWorld();
      await world.build(hops);
      const sent = world.sent.length;
      await assert.rejects(action(world, AbortSignal.abort()), isKind("aborted"));
      assertOver(world, "aborted");
      assert.deepEqual(world.sent.slice(sent), hops === 0 ? [] : [CellCommand.DESTROY]);
    });

    test(`with a reason of ours during ${name} is that reason`, async () => {
      const world = new CircuitWorld();
      await world.build(hops);
      world.peer.spoil = () => undefined;
      const controller = new AbortController();
      const pending = action(world, controller.signal);
      const reason = new TunicError("Cannot go on: too slow", { kind: "timeout", code: "test" });
      controller.abort(reason);
      await assert.rejects(pending, (error) => error === reason);
    });

    test(`after ${name} has answered in the same turn closes the circuit`, async () => {
      const world = new CircuitWorld();
      await world.build(hops);
      const controller = new AbortController();
      const pending = action(world, controller.signal);
      world.flush();
      controller.abort();
      await assert.rejects(pending, isKind("aborted"));
      assertOver(world, "aborted");
    });

    test(`after ${name} is over does nothing`, async () => {
      const world = new CircuitWorld();
      await world.build(hops);
      const controller = new AbortController();
      const pending = action(world, controller.signal);
      world.flush();
      await pending;
      controller.abort();
      assert.equal(world.circuit.closed, undefined);
    });
  }
});

test("a closed circuit rejects whatever it is asked, with what closed it", async () => {
  const world = await CircuitWorld.built(3);
  const reason = new TunicError("Cannot go on: enough", { kind: "closed", code: "test" });
  world.circuit.destroy(reason);
  world.circuit.destroy(new TunicError("Cannot go on: again", { kind: "closed", code: "other" }));
  assert.deepEqual(world.sent.slice(3), [CellCommand.DESTROY]);
  const asks: ((circuit: Circuit) => Promise<unknown>)[] = [
    (circuit) => circuit.openStream("example.com", 80, 0),
    (circuit) => circuit.openDirectory(),
    (circuit) => circuit.resolve("example.com"),
    () => extend(world),
  ];
  for (const ask of asks) await assert.rejects(ask(world.circuit), (error) => error === reason);
  const sent = world.sent.length;
  world.batch(world.peer.payload(2, RelayCommand.DROP, 0));
  world.circuit.onCell(CellCommand.CREATED2, new Uint8Array(PAYLOAD_LEN));
  assert.equal(world.circuit.takeTurn(new Uint8Array(32 * PAYLOAD_LEN)), false);
  assert.equal(world.sent.length, sent);
  assert.equal(world.released, 1);
});
