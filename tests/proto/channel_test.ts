import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isTunicError, TunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { utf8 } from "../../src/bytes/text.ts";
import { Channel } from "../../src/proto/channel.ts";
import type { Circuit } from "../../src/proto/circuit.ts";
import { fastHandshake } from "../../src/proto/circuit_handshake.ts";
import type { Stream } from "../../src/proto/stream.ts";
import { mockRuntime } from "../../src/runtime/mock.ts";
import type { TlsSocket } from "../../src/runtime/ports.ts";
import { CELL_LEN, CellCommand, cellCommandName, fixedCell, variableCell } from "../../src/wire/cell.ts";
import { DestroyReason } from "../../src/wire/create_cells.ts";
import { RELAY_DATA_LEN, RelayCommand } from "../../src/wire/relay_cell.ts";
import { EndReason } from "../../src/wire/stream_messages.ts";
import { FakeDuplex } from "../support/fake_duplex.ts";
import { Log, patterned, RELAYS, type ScriptedCircuit, ScriptedLink } from "../support/scripted_relay.ts";
import { SeededRandom } from "../support/seeded_random.ts";

const IDLE_MS = 60_000;

class FakeTls extends FakeDuplex implements TlsSocket {
  readonly peerCertificate = new Uint8Array(0);
  readonly remote = { host: "192.0.2.1", port: 9001 };
  readonly local = { host: "127.0.0.1", port: 1 };
  /** Lengths of what was written. */
  readonly writes: number[] = [];
  receive: (bytes: Uint8Array) => void = () => {};

  override write(bytes: Uint8Array): boolean {
    if (this.ended || this.closed) return true;
    this.writes.push(bytes.length);
    this.receive(bytes);
    if (this.blocked) this.queued += bytes.length;
    return !this.blocked;
  }
}

class ChannelWorld {
  readonly runtime = mockRuntime(5);
  readonly socket = new FakeTls();
  readonly link: ScriptedLink;
  readonly channel: Channel;
  readonly closed: (TunicError | undefined)[] = [];
  #outbox: Uint8Array[] = [];

  constructor(rest: Uint8Array = new Uint8Array(0)) {
    this.link = new ScriptedLink(RELAYS, (bytes) => this.#outbox.push(bytes));
    this.socket.receive = (bytes) => this.link.receive(bytes);
    this.channel = new Channel({
      isInitiator: true,
      runtime: this.runtime,
      socket: this.socket,
      link: {
        linkVersion: 5,
        rsaId: new Uint8Array(20),
        ed25519Id: new Uint8Array(32),
        clockSkewMs: undefined,
        authenticated: false,
        ownAddress: undefined,
        rest,
      },
      idleTimeoutMs: IDLE_MS,
    });
    this.channel.events.on("closed", (error) => this.closed.push(error));
  }

  /** What the script has said, as bytes. */
  said(): Uint8Array {
    const bytes = concat(...this.#outbox);
    this.#outbox = [];
    return bytes;
  }

  /** Bytes from the relay. */
  feed(bytes: Uint8Array): void {
    this.socket.handlers.data(bytes);
  }

  /** Lets cells go out and answers come in until nothing moves. */
  async run(): Promise<void> {
    do {
      await this.runtime.time.settle();
      const bytes = this.said();
      if (bytes.length > 0) this.feed(bytes);
      else return;
    } while (true);
  }

  /** A circuit of one hop, without public keys, for they take long. */
  async circuit(): Promise<{ circuit: Circuit; peer: ScriptedCircuit }> {
    const circuit = this.channel.newCircuit(1000);
    const creating = circuit.create(fastHandshake(this.runtime));
    await this.run();
    await creating;
    return { circuit, peer: this.link.circuits.get(circuit.circId)! };
  }

  async stream(circuit: Circuit, peer: ScriptedCircuit): Promise<{ stream: Stream; id: number; log: Log }> {
    const opening = circuit.openStream("example.com", 80, 0);
    await this.runtime.time.settle();
    const id = peer.last(RelayCommand.BEGIN).streamId;
    peer.say(peer.connected(id));
    await this.run();
    const stream = await opening;
    const log = new Log();
    stream.handlers = log.handlers;
    return { stream, id, log };
  }

  async open(): Promise<{ circuit: Circuit; peer: ScriptedCircuit; stream: Stream; id: number; log: Log }> {
    const { circuit, peer } = await this.circuit();
    return { circuit, peer, ...await this.stream(circuit, peer) };
  }
}

const reason = new TunicError("Cannot go on: test", { kind: "closed", code: "test" });
const cell = (command: number, circId = 0, body: Uint8Array = new Uint8Array(0)) => fixedCell(circId, command, body);
const padding = () => concat(variableCell(0, CellCommand.VPADDING, patterned(10)), cell(CellCommand.PADDING));

describe("cells from the relay", () => {
  test("are the same at every split of the bytes", async () => {
    const world = new ChannelWorld();
    const { peer, id, log } = await world.open();
    const total = 2 * CELL_LEN + padding().length;
    for (let split = 0; split <= total; split++) {
      peer.say(peer.data(id, patterned(split % 499)));
      const first = world.said();
      peer.say(peer.data(id, utf8(`split at ${split}`)));
      const bytes = concat(first, padding(), world.said());
      assert.equal(bytes.length, total);
      log.chunks.length = 0;
      world.feed(bytes.subarray(0, split));
      world.feed(bytes.subarray(split));
      assert.deepEqual(log.data, concat(patterned(split % 499), utf8(`split at ${split}`)));
      if (split % 100 === 0) await world.run();
    }
    assert.equal(world.channel.closed, false);
  });

  test("are the same however the bytes are chopped up", async () => {
    /** Two circuits and three streams, all they do, and how the first circuit ends. */
    async function play(sizes: readonly number[]): Promise<unknown> {
      const world = new ChannelWorld();
      const [a, b] = [await world.open(), await world.open()];
      const c = await world.stream(a.circuit, a.peer);
      for (let i = 0; i < 60; i++) {
        a.peer.say(a.peer.data(a.id, patterned(300, i)), a.peer.data(c.id, patterned(i, i)));
        b.peer.say(b.peer.data(b.id, patterned(498, i)));
        if (i === 20) b.peer.say(b.peer.payload(0, RelayCommand.DROP, 0));
        if (i === 40) a.peer.say(a.peer.end(c.id, EndReason.DONE));
        if (i === 40) break;
      }
      a.peer.cell(CellCommand.DESTROY, Uint8Array.of(DestroyReason.FINISHED));
      b.peer.say(b.peer.data(b.id, utf8("end")));
      const bytes = concat(padding(), world.said(), padding());
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const size = sizes[i % sizes.length]!;
        world.feed(bytes.subarray(at, at + size).slice());
        at += size;
      }
      return {
        logs: [a, b, c].map(({ log }) => [String(log.data), log.events, log.error?.code]),
        closed: [a.circuit.closed?.code, b.circuit.closed],
        channel: world.channel.closed,
      };
    }
    const whole = await play([1e9]);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 20 }), async (sizes) => {
        assert.deepEqual(await play(sizes), whole);
      }),
      { numRuns: 25 },
    );
    assert.deepEqual(await play([1]), whole);
  });

  test("behind the link handshake, in the same bytes, are taken", () => {
    assert.equal(new ChannelWorld(concat(padding(), cell(CellCommand.PADDING).subarray(0, 100))).channel.closed, false);
    const world = new ChannelWorld(concat(padding(), cell(CellCommand.NETINFO)));
    assert.equal(world.channel.closed, true);
    assert.throws(() => world.channel.newCircuit(1000), (error) => isTunicError(error, "protocol"));
  });

  const forbidden: number[] = Object.values(CellCommand).filter((command) =>
    ![
      CellCommand.PADDING,
      CellCommand.VPADDING,
      CellCommand.RELAY,
      CellCommand.DESTROY,
      CellCommand.CREATED2,
      CellCommand.CREATED_FAST,
    ].some((allowed) => allowed === command)
  );
  for (const command of forbidden) {
    test(`of ${cellCommandName(command)} close the channel`, async () => {
      const world = new ChannelWorld();
      const { circuit, log } = await world.open();
      const body = new Uint8Array(20);
      world.feed(
        command >= 128 || command === CellCommand.VERSIONS
          ? variableCell(0, command, body)
          : cell(command, circuit.circId, body),
      );
      assert.equal(world.channel.closed, true);
      assert.equal(world.closed.length, 1);
      assert.ok(isTunicError(world.closed[0], "protocol"));
      assert.ok(isTunicError(circuit.closed, "connection"));
      assert.deepEqual(log.events, ["close"]);
      assert.equal(world.socket.closed, true);
      assert.equal(world.runtime.time.pending, 0);
    });
  }

  test("longer than a client has a use for close the channel before they are there", () => {
    for (const command of [CellCommand.VPADDING, 200]) {
      const world = new ChannelWorld();
      const long = variableCell(0, command, new Uint8Array(4096));
      world.feed(long.subarray(0, 6));
      assert.equal(world.channel.closed, false);
      world.feed(long.subarray(6, 7));
      assert.ok(isTunicError(world.closed[0], "protocol"));
      assert.equal(world.closed[0].code, "cell-too-long");
    }
  });

  test("that mean nothing to a client are dropped", async () => {
    const world = new ChannelWorld();
    const { circuit, peer, id, log } = await world.open();
    const unknown = circuit.circId ^ 1;
    world.feed(concat(
      cell(77, circuit.circId, patterned(100)),
      variableCell(circuit.circId, 140, patterned(100)),
      variableCell(0, 255, new Uint8Array(0)),
      cell(CellCommand.RELAY, unknown, patterned(509)),
      cell(CellCommand.DESTROY, unknown),
      cell(CellCommand.CREATED2, unknown),
      cell(CellCommand.RELAY, 0),
      padding(),
    ));
    peer.say(peer.data(id, utf8("still here")));
    await world.run();
    assert.deepEqual(log.data, utf8("still here"));
    assert.equal(world.channel.closed, false);
  });

  test("of a circuit that break its rules close the circuit and not the channel", async () => {
    const world = new ChannelWorld();
    const [a, b] = [await world.open(), await world.open()];
    a.peer.say(new Uint8Array(509));
    a.peer.say(a.peer.data(a.id, utf8("behind")));
    b.peer.say(b.peer.data(b.id, utf8("fine")));
    await world.run();
    assert.ok(isTunicError(a.circuit.closed, "crypto"));
    assert.equal(a.peer.destroyed, DestroyReason.NONE);
    assert.equal(a.log.data.length, 0);
    assert.deepEqual(b.log.data, utf8("fine"));
    assert.equal(world.channel.circuitCount, 1);
  });

  test("before a DESTROY are delivered before it", async () => {
    const world = new ChannelWorld();
    const { circuit, peer, id, log } = await world.open();
    for (let i = 0; i < 40; i++) peer.say(peer.data(id, patterned(100, i * 100)));
    peer.cell(CellCommand.DESTROY, Uint8Array.of(DestroyReason.FINISHED));
    for (let i = 0; i < 40; i++) peer.say(peer.data(id, utf8("behind")));
    await world.run();
    assert.deepEqual(log.data, patterned(4000));
    assert.ok(isTunicError(circuit.closed, "circuit"));
    assert.equal(world.channel.circuitCount, 0);
  });
});

describe("a user who acts in the middle of what came together", () => {
  for (const cells of [2, 31, 32, 33, 64, 65, 100]) {
    test(`and destroys the circuit gets nothing of ${cells} cells behind`, async () => {
      const world = new ChannelWorld();
      const [a, b] = [await world.open(), await world.open()];
      a.log.onData = () => a.circuit.destroy(reason);
      for (let i = 0; i < cells; i++) {
        // Not neighbours of one stream, so that each is delivered by itself.
        a.peer.say(a.peer.data(a.id, utf8("x")), a.peer.payload(0, RelayCommand.DROP, 0));
        b.peer.say(b.peer.data(b.id, utf8("y")));
      }
      await world.run();
      assert.deepEqual(a.log.data, utf8("x"));
      assert.equal(b.log.data.length, cells);
      assert.equal(world.channel.circuitCount, 1);
      assert.equal(a.peer.destroyed, DestroyReason.NONE);
      const c = await world.open();
      c.peer.say(c.peer.data(c.id, utf8("z")));
      await world.run();
      assert.deepEqual(c.log.data, utf8("z"));
    });
  }

  test("and closes the channel gets nothing more", async () => {
    const world = new ChannelWorld();
    const [a, b] = [await world.open(), await world.open()];
    for (const { log } of [a, b]) log.onData = () => world.channel.close();
    for (let i = 0; i < 100; i++) {
      a.peer.say(a.peer.data(a.id, utf8("x")), a.peer.payload(0, RelayCommand.DROP, 0));
      b.peer.say(b.peer.data(b.id, utf8("x")));
    }
    world.feed(concat(world.said(), cell(CellCommand.NETINFO)));
    assert.equal(a.log.data.length + b.log.data.length, 1);
    assert.deepEqual(world.closed, [undefined]);
    for (const { circuit, log } of [a, b]) {
      assert.ok(isTunicError(circuit.closed, "connection"));
      assert.deepEqual(log.events, ["close"]);
    }
  });

  test("and opens and closes circuits in listeners for the channel's end", async () => {
    const world = new ChannelWorld();
    const { circuit } = await world.open();
    let thrown: unknown;
    circuit.events.on("closed", () => {
      world.channel.close();
      try {
        world.channel.newCircuit(1000);
      } catch (error) {
        thrown = error;
      }
    });
    world.socket.destroy();
    assert.ok(isTunicError(thrown, "connection"));
    assert.equal(world.closed.length, 1);
    assert.equal(world.channel.circuitCount, 0);
  });
});

describe("cells to the relay", () => {
  test("of one turn go out in one write", async () => {
    const world = new ChannelWorld();
    const { circuit } = await world.circuit();
    world.socket.writes.length = 0;
    for (let i = 0; i < 10; i++) void circuit.openStream("example.com", 80 + i, 0);
    assert.deepEqual(world.socket.writes, []);
    await world.runtime.time.settle();
    assert.deepEqual(world.socket.writes, [10 * CELL_LEN]);
  });

  test("have numbers with the highest bit set, all different", () => {
    const world = new ChannelWorld();
    const ids = new Set(Array.from({ length: 300 }, () => world.channel.newCircuit(1000).circId));
    assert.equal(ids.size, 300);
    for (const id of ids) assert.ok(id >= 0x8000_0000 && id <= 0xffff_ffff && Number.isInteger(id));
  });

  test("of circuits that upload take turns", async () => {
    const world = new ChannelWorld();
    const circuits = [await world.open(), await world.open(), await world.open()];
    world.link.cells.length = 0;
    for (const { stream } of circuits) stream.write(patterned(320 * RELAY_DATA_LEN));
    await world.runtime.time.settle();
    const order = world.link.cells.map(({ circId }) => circId);
    assert.ok(order.length > 900);
    const counts = new Map(circuits.map(({ circuit }) => [circuit.circId, 0]));
    for (const circId of order.slice(0, 900)) {
      counts.set(circId, counts.get(circId)! + 1);
      const sent = [...counts.values()];
      assert.ok(Math.max(...sent) - Math.min(...sent) <= 32, "nobody is more than a turn ahead");
    }
    for (const { peer, id } of circuits) assert.deepEqual(peer.dataOf(id), patterned(320 * RELAY_DATA_LEN));
  });

  test("wait while the socket is full, and then go out in rotation, DATA last", async () => {
    const world = new ChannelWorld();
    const { circuit, peer, stream, id } = await world.open();
    const other = await world.open();
    world.socket.blocked = true;
    for (const it of [stream, other.stream]) it.write(patterned(400 * RELAY_DATA_LEN));
    await world.runtime.time.settle();
    const queued = world.socket.queued;
    assert.ok(queued > 128 * 1024 && queued <= 128 * 1024 + 32 * CELL_LEN, String(queued));
    void circuit.openStream("example.org", 443, 0);
    await world.runtime.time.settle();
    assert.equal(world.socket.queued, queued);
    assert.equal(world.channel.queued, queued + CELL_LEN);
    const before = peer.heard.length;
    world.socket.unblock();
    await world.runtime.time.settle();
    assert.equal(peer.heard[before]!.command, RelayCommand.BEGIN);
    assert.deepEqual(peer.dataOf(id), patterned(400 * RELAY_DATA_LEN));
    assert.equal(stream.queued, 0);
    assert.equal(other.stream.queued, 0);
  });

  test("that a relay never takes close their circuit before they are too many", async () => {
    const world = new ChannelWorld();
    const { circuit, peer, id } = await world.open();
    const other = await world.open();
    const feed = async (cells: number): Promise<void> => {
      for (let i = 0; i < cells; i++) peer.say(peer.data(id, new Uint8Array(0)));
      world.feed(world.said());
      await world.runtime.time.settle();
    };
    world.socket.blocked = true;
    world.socket.queued = 128 * 1024;
    // One answer for the hundred and two for the fifties; the first of them fills the socket.
    await feed(100);
    assert.equal(world.socket.queued, 128 * 1024 + 3 * CELL_LEN);
    for (let i = 0; i < 83; i++) await feed(1000);
    assert.equal(world.channel.queued - world.socket.queued, 2490 * CELL_LEN);
    assert.equal(circuit.closed, undefined);
    await feed(400);
    assert.ok(isTunicError(circuit.closed, "limit"));
    assert.equal(world.channel.queued - world.socket.queued, CELL_LEN, "DESTROY is all that waits");
    assert.equal(other.circuit.closed, undefined);
    assert.equal(world.channel.closed, false);
    world.socket.unblock();
    await world.runtime.time.settle();
    assert.equal(peer.destroyed, DestroyReason.NONE);
  });

  test("close circuits with the most of them, then the channel, when all together are too many", async () => {
    const world = new ChannelWorld();
    const [busy, quiet] = [await world.circuit(), await world.circuit()];
    const payloads = (cells: number): Uint8Array => new Uint8Array(cells * 509);
    world.socket.blocked = true;
    world.socket.queued = 32 * 1024 * 1024 - 100 * CELL_LEN;
    world.channel.sendCell(0, CellCommand.PADDING, new Uint8Array(0));
    await world.runtime.time.settle();
    world.channel.sendPayloads(quiet.circuit.circId, CellCommand.RELAY, payloads(20));
    world.channel.sendPayloads(busy.circuit.circId, CellCommand.RELAY, payloads(79));
    await world.runtime.time.settle();
    assert.equal(busy.circuit.closed, undefined);
    world.channel.sendPayloads(busy.circuit.circId, CellCommand.RELAY, payloads(1));
    await world.runtime.time.settle();
    assert.ok(isTunicError(busy.circuit.closed, "limit"));
    assert.equal(quiet.circuit.closed, undefined);
    world.channel.sendPayloads(0, CellCommand.PADDING, payloads(100));
    await world.runtime.time.settle();
    assert.ok(isTunicError(world.closed[0], "limit"));
    assert.ok(isTunicError(quiet.circuit.closed, "connection"));
  });
});

describe("a channel's end", () => {
  test("comes when it has had no circuit for the idle time, and not before", async () => {
    const world = new ChannelWorld();
    await world.runtime.time.advance(IDLE_MS - 1);
    const { circuit } = await world.circuit();
    assert.equal(world.runtime.time.pending, 0, "nothing waits while there is a circuit");
    await world.runtime.time.advance(10 * IDLE_MS);
    assert.equal(world.channel.closed, false);
    circuit.destroy(reason);
    await world.runtime.time.advance(IDLE_MS - 1);
    assert.equal(world.channel.closed, false);
    await world.runtime.time.advance(1);
    assert.equal(world.channel.closed, true);
    assert.deepEqual(world.closed, [undefined]);
    assert.equal(world.socket.ended, true);
    await world.runtime.time.advance(500);
    assert.equal(world.socket.closed, true);
    assert.equal(world.runtime.time.pending, 0);
  });

  test("that is orderly says DESTROY for circuits that were just destroyed", async () => {
    const world = new ChannelWorld();
    const circuits = [await world.circuit(), await world.circuit()];
    for (const { circuit } of circuits) circuit.destroy(reason);
    world.channel.close();
    assert.deepEqual(circuits.map(({ peer }) => peer.destroyed), [DestroyReason.NONE, DestroyReason.NONE]);
    assert.equal(world.socket.ended, true);
    assert.equal(world.socket.closed, false);
    world.socket.destroy();
    assert.equal(world.runtime.time.pending, 0);
    await world.runtime.time.settle();
    assert.deepEqual(world.closed, [undefined]);
  });

  test("that is orderly does not wait for a relay that takes nothing", async () => {
    const world = new ChannelWorld();
    const { stream, log } = await world.open();
    world.socket.blocked = true;
    stream.write(patterned(100_000));
    world.channel.close();
    world.channel.close();
    assert.deepEqual(log.events, ["close"]);
    await world.runtime.time.advance(500);
    assert.equal(world.socket.closed, true);
    assert.equal(world.runtime.time.pending, 0);
  });

  for (
    const [name, end] of [
      ["closes the connection", (world) => world.socket.handlers.end()],
      ["breaks the connection", (world) => world.socket.destroy(reason)],
    ] as [string, (world: ChannelWorld) => void][]
  ) {
    test(`when the relay ${name} reaches every circuit, stream and lookup`, async () => {
      const world = new ChannelWorld();
      const { circuit, log } = await world.open();
      const lookup = circuit.resolve("example.com");
      const building = world.channel.newCircuit(1000);
      const creating = building.create(fastHandshake(new SeededRandom(1)));
      end(world);
      assert.equal(world.channel.closed, true);
      for (const it of [circuit, building]) assert.ok(isTunicError(it.closed, "connection"));
      assert.deepEqual(log.events, ["close"]);
      await assert.rejects(lookup, (error) => error === circuit.closed);
      await assert.rejects(creating, (error) => error === building.closed);
      assert.equal(world.channel.circuitCount, 0);
      assert.equal(world.runtime.time.pending, 0);
      assert.throws(() => world.channel.newCircuit(1000), (error) => isTunicError(error, "connection", "closed"));
      await world.runtime.time.settle();
      assert.equal(world.closed.length, 1);
    });
  }

  test("in the middle of a cell leaves nothing", () => {
    const world = new ChannelWorld();
    world.feed(cell(CellCommand.PADDING).subarray(0, 300));
    world.socket.handlers.end();
    assert.equal(world.channel.closed, true);
    assert.equal(world.runtime.time.pending, 0);
  });
});
