import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isTunicError, type TunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { encodeWith } from "../../src/bytes/codec.ts";
import { CreateFastClient } from "../../src/crypto/create_fast.ts";
import { RELAY_KEYS_LENGTH, splitRelayKeys } from "../../src/crypto/kdf.ts";
import { acceptCircuit } from "../../src/proto/accept_circuit.ts";
import { CellQueue } from "../../src/proto/cell_queue.ts";
import { Channel } from "../../src/proto/channel.ts";
import { RelayLayer } from "../../src/proto/relay_layer.ts";
import { mockRuntime } from "../../src/runtime/mock.ts";
import type { TlsSocket } from "../../src/runtime/ports.ts";
import { CELL_LEN, cellCircId, CellCommand, cellCommand, fixedCell, PAYLOAD_LEN } from "../../src/wire/cell.ts";
import { EXTEND2 } from "../../src/wire/circuit_messages.ts";
import { CREATED2, DestroyReason } from "../../src/wire/create_cells.ts";
import { linkSpecifiersOf } from "../../src/wire/link_specifier.ts";
import { RelayCommand, writeRelayPayload } from "../../src/wire/relay_cell.ts";
import { FakeDuplex } from "../support/fake_duplex.ts";
import { ScriptedExit } from "../support/relay_chain.ts";
import { patterned, RELAYS } from "../support/scripted_relay.ts";
import { SeededRandom } from "../support/seeded_random.ts";

class FakeTls extends FakeDuplex implements TlsSocket {
  readonly peerCertificate = new Uint8Array(0);
  readonly remote = undefined;
  readonly local = undefined;
}

/** Cells that were written to a socket. */
function cells(socket: FakeTls): { circId: number; command: number; payload: Uint8Array }[] {
  const bytes = socket.written;
  return Array.from({ length: bytes.length / CELL_LEN }, (_, i) => ({
    circId: cellCircId(bytes, i * CELL_LEN),
    command: cellCommand(bytes, i * CELL_LEN),
    payload: bytes.slice(i * CELL_LEN + 5, (i + 1) * CELL_LEN),
  }));
}

/** A relay with a channel from a client and one to the next relay; both far ends are the test. */
class RelayWorld {
  readonly runtime = mockRuntime(3);
  readonly random = new SeededRandom(8);
  readonly client = new FakeTls();
  readonly next = new FakeTls();
  readonly fromClient = this.#channel(this.client, false);
  readonly toNext = this.#channel(this.next, true);
  closed: TunicError | undefined;

  constructor() {
    this.fromClient.events.on("closed", (error) => this.closed = error);
  }

  #channel(socket: FakeTls, isInitiator: boolean): Channel<{ rest: Uint8Array }> {
    const services = {
      runtime: this.runtime,
      rsaId: RELAYS[0]!.target.rsaId,
      exit: new ScriptedExit(),
      connect: () => Promise.resolve(this.toNext),
    };
    const options = { services, onionKeys: () => [RELAYS[0]!.onionKey], peerId: undefined, circuitWindow: 1000 };
    return new Channel({
      runtime: this.runtime,
      socket,
      link: { rest: new Uint8Array(0) },
      isInitiator,
      idleTimeoutMs: 60_000,
      accept: (sink, circId, command, payload) => acceptCircuit(options, sink, circId, command, payload),
    });
  }

  async feed(socket: FakeTls, ...bytes: Uint8Array[]): Promise<void> {
    socket.handlers.data(concat(...bytes));
    await this.runtime.time.settle();
  }

  /** A client's circuit by CREATE_FAST; answers the client's layer. */
  async create(circId: number): Promise<RelayLayer> {
    const fast = CreateFastClient.start(this.random);
    await this.feed(this.client, fixedCell(circId, CellCommand.CREATE_FAST, fast.onionSkin));
    const created = cells(this.client).filter(({ command }) => command === CellCommand.CREATED_FAST);
    const answer = created.findLast((it) => it.circId === circId)!;
    const keys = fast.finish(answer.payload.slice(0, 40), RELAY_KEYS_LENGTH);
    return new RelayLayer(splitRelayKeys(keys), "client");
  }

  /** Extends it to the next relay, which agrees to anything; answers its number there. */
  async extend(circId: number, layer: RelayLayer): Promise<number> {
    const payload = new Uint8Array(PAYLOAD_LEN);
    const linkSpecifiers = linkSpecifiersOf(RELAYS[1]!.target);
    const data = encodeWith(EXTEND2, { linkSpecifiers, handshakeType: 2, handshake: patterned(84) });
    writeRelayPayload(payload, 0, RelayCommand.EXTEND2, 0, data);
    layer.sign(payload);
    await this.feed(this.client, fixedCell(circId, CellCommand.RELAY_EARLY, layer.encrypt(payload)));
    const asked = cells(this.next).filter(({ command }) => command === CellCommand.CREATE2).at(-1)!;
    await this.feed(this.next, fixedCell(asked.circId, CellCommand.CREATED2, encodeWith(CREATED2, patterned(64))));
    return asked.circId;
  }
}

const FIRST = 0x8000_0001;

describe("a channel that takes circuits", () => {
  for (
    const [name, circIds] of [
      ["without the initiator's bit", [1]],
      ["zero", [0]],
      ["that is in use", [FIRST, FIRST]],
    ] as const
  ) {
    test(`closes for a circuit number ${name}`, async () => {
      const world = new RelayWorld();
      const fast = CreateFastClient.start(world.random).onionSkin;
      await world.feed(world.client, ...circIds.map((circId) => fixedCell(circId, CellCommand.CREATE_FAST, fast)));
      assert.ok(isTunicError(world.closed, "protocol") && world.closed.code === "circuit-number");
    });
  }

  test("closes, as the initiator, for a number with the bit that is its own", async () => {
    const world = new RelayWorld();
    const fast = CreateFastClient.start(world.random).onionSkin;
    await world.feed(world.next, fixedCell(7, CellCommand.CREATE_FAST, fast));
    assert.equal(world.toNext.closed, false);
    assert.equal(world.toNext.circuitCount, 1);
    await world.feed(world.next, fixedCell(FIRST, CellCommand.CREATE_FAST, fast));
    assert.equal(world.toNext.closed, true);
  });

  test("takes a number again when its circuit is over", async () => {
    const world = new RelayWorld();
    await world.create(FIRST);
    await world.feed(world.client, fixedCell(FIRST, CellCommand.DESTROY, Uint8Array.of(0)));
    assert.equal(world.fromClient.circuitCount, 0);
    await world.create(FIRST);
    assert.equal(world.fromClient.circuitCount, 1);
    assert.equal(world.fromClient.closed, false);
  });

  test("drops cells for circuits that there are not, or no longer", async () => {
    const world = new RelayWorld();
    await world.create(FIRST);
    await world.feed(
      world.client,
      fixedCell(FIRST, CellCommand.DESTROY, Uint8Array.of(0)),
      ...[CellCommand.RELAY, CellCommand.RELAY_EARLY, CellCommand.DESTROY, CellCommand.CREATED2].flatMap((command) => [
        fixedCell(FIRST, command, patterned(PAYLOAD_LEN)),
        fixedCell(5, command, patterned(PAYLOAD_LEN)),
      ]),
    );
    assert.equal(world.fromClient.closed, false);
    assert.equal(cells(world.client).length, 1, "CREATED_FAST");
  });

  test("refuses the 8,193rd circuit, and extends no further ones", async () => {
    const world = new RelayWorld();
    const layer = await world.create(FIRST);
    const fast = CreateFastClient.start(world.random).onionSkin;
    const flood = Array.from({ length: 8_192 }, (_, i) => fixedCell(FIRST + 1 + i, CellCommand.CREATE_FAST, fast));
    await world.feed(world.client, ...flood);
    assert.equal(world.fromClient.circuitCount, 8_192);
    const refused = cells(world.client).filter(({ command }) => command === CellCommand.DESTROY);
    assert.deepEqual(refused.map(({ circId, payload }) => [circId, payload[0]]), [
      [FIRST + 8_192, DestroyReason.RESOURCELIMIT],
    ]);
    const idle = { onRelayPayloads() {}, onCell() {}, takeTurn: () => false, onOverfull() {}, onClosed() {} };
    for (let i = 0; i < 8_192; i++) world.toNext.register((circId) => ({ circId, ...idle }));
    assert.throws(
      () => world.toNext.register((circId) => ({ circId, ...idle })),
      (error) => isTunicError(error, "limit"),
    );
    await assert.rejects(world.extend(FIRST, layer));
    const last = cells(world.client).at(-1)!;
    assert.deepEqual([last.circId, last.command, last.payload[0]], [
      FIRST,
      CellCommand.DESTROY,
      DestroyReason.RESOURCELIMIT,
    ]);
  });
});

describe("a relay whose next channel takes nothing", () => {
  test("closes circuits that send on regardless, keeps the others, and holds no more than may", async () => {
    const world = new RelayWorld();
    const circuits = [FIRST, FIRST + 1];
    const [greedy, modest] = [await world.create(circuits[0]!), await world.create(circuits[1]!)];
    const onwards = [await world.extend(circuits[0]!, greedy), await world.extend(circuits[1]!, modest)];
    world.next.blocked = true;
    world.next.queued = 128 * 1024;
    const send = (which: number, count: number): Promise<void> =>
      world.feed(
        world.client,
        ...Array(count).fill(fixedCell(circuits[which]!, CellCommand.RELAY, patterned(PAYLOAD_LEN))),
      );
    await send(0, 1);
    await send(1, 1_000);
    for (let i = 0; i < 25; i++) await send(0, 100);
    assert.equal(world.fromClient.circuitCount, 2);
    assert.equal(world.toNext.queued - world.next.queued, 3_500 * CELL_LEN);
    await send(0, 1);
    assert.equal(world.fromClient.circuitCount, 1);
    const destroyed = cells(world.client).filter(({ command }) => command === CellCommand.DESTROY);
    assert.deepEqual(destroyed.map(({ circId, payload }) => [circId, payload[0]]), [
      [FIRST, DestroyReason.RESOURCELIMIT],
    ]);
    assert.equal(world.toNext.queued - world.next.queued, 1_001 * CELL_LEN, "DESTROY is what is left of the greedy");
    world.next.unblock();
    await world.runtime.time.settle();
    const sent = cells(world.next);
    assert.equal(sent.filter((it) => it.circId === onwards[1] && it.command === CellCommand.RELAY).length, 1_000);
    assert.deepEqual(
      sent.filter(({ command }) => command === CellCommand.DESTROY).map(({ circId, payload }) => [circId, payload[0]]),
      [[onwards[0], DestroyReason.RESOURCELIMIT]],
    );
    assert.equal(world.toNext.closed, false);
  });

  test("keeps no more than 32 MiB in all, and closes those with the most", async () => {
    const world = new RelayWorld();
    const count = 30;
    const circIds = Array.from({ length: count }, (_, i) => FIRST + i);
    for (const circId of circIds) await world.extend(circId, await world.create(circId));
    world.next.blocked = true;
    world.next.queued = 128 * 1024;
    for (const circId of circIds) {
      const batch = concat(...Array(100).fill(fixedCell(circId, CellCommand.RELAY, patterned(PAYLOAD_LEN))));
      for (let i = 0; i < 24; i++) await world.feed(world.client, batch);
    }
    assert.ok(world.toNext.queued <= 32 * 1024 * 1024);
    assert.equal(world.toNext.closed, false);
    assert.ok(world.fromClient.circuitCount >= 26 && world.fromClient.circuitCount < count);
  });
});

describe("a queue of cells", () => {
  const payloads = (count: number, value: number): Uint8Array => new Uint8Array(count * PAYLOAD_LEN).fill(value);
  const taken = (queue: CellQueue, limit: number): string => {
    const bytes = queue.take(limit);
    return Array.from({ length: bytes.length / CELL_LEN }, (_, i) => {
      const at = i * CELL_LEN;
      assert.ok(bytes.subarray(at + 5, at + CELL_LEN).every((byte) => byte === bytes[at + 5]));
      return `${cellCircId(bytes, at)}:${cellCommand(bytes, at)}:${bytes[at + 5]}`;
    }).join(" ");
  };

  test("gives circuits turns and keeps the order of each", () => {
    const queue = new CellQueue();
    assert.equal(queue.push(1, 3, payloads(2, 10)), 2);
    assert.equal(queue.push(1, 4, payloads(1, 11)), 3);
    assert.equal(queue.push(2, 3, payloads(1, 20)), 1);
    assert.equal(queue.push(2, 3, payloads(1, 21)), 2);
    assert.equal(queue.cells, 5);
    assert.equal(taken(queue, 100), "1:3:10 1:3:10 2:3:20 1:4:11 2:3:21");
    assert.equal(queue.cells, 0);
    assert.equal(taken(queue, 100), "");
  });

  test("stops at the limit, in the middle of what was given at once", () => {
    const queue = new CellQueue();
    queue.push(1, 3, payloads(5, 10));
    queue.push(2, 3, payloads(2, 20));
    assert.equal(taken(queue, 3), "1:3:10 1:3:10 1:3:10");
    assert.deepEqual([queue.cellsOf(1), queue.cellsOf(2), queue.cells], [2, 2, 4]);
    assert.equal(taken(queue, 3), "2:3:20 2:3:20 1:3:10");
    assert.equal(taken(queue, 3), "1:3:10");
  });

  test("forgets a circuit's cells, or all", () => {
    const queue = new CellQueue();
    queue.push(1, 3, payloads(5, 10));
    queue.push(2, 3, payloads(2, 20));
    queue.drop(1);
    queue.drop(9);
    assert.deepEqual([queue.cellsOf(1), queue.cells], [0, 2]);
    queue.clear();
    assert.equal(taken(queue, 9), "");
  });
});
