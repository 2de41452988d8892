/** What a faulty connection does to bytes, to the millisecond: in simulated time, over sockets in memory. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isTunicError, type TunicError } from "../../mod.ts";
import { type MockRuntime, mockRuntime } from "../../src/runtime/mock.ts";
import type { Address, Socket } from "../../src/runtime/ports.ts";
import { LinkFaults, RelayFaults } from "../../src/testnet/faults/mod.ts";
import { FaultyNetwork } from "../../src/testnet/faults/faulty_network.ts";
import { CELL_LEN, CellCommand, fixedCell } from "../../src/wire/cell.ts";

const SERVER: Address = { host: "127.0.0.1", port: 9001 };
const CONNECT = { timeoutMs: 1000 };

/** One end of a connection, and what happened at it. */
class End {
  readonly socket: Socket;
  readonly arrived: { readonly at: number; readonly bytes: Uint8Array }[] = [];
  drains = 0;
  ends = 0;
  closes: (TunicError | undefined)[] = [];

  constructor(runtime: MockRuntime, socket: Socket) {
    this.socket = socket;
    socket.handlers = {
      data: (bytes) => void this.arrived.push({ at: runtime.time.monotonic(), bytes }),
      drain: () => void this.drains++,
      end: () => void this.ends++,
      close: (error) => void this.closes.push(error),
    };
  }

  get bytes(): number[] {
    return this.arrived.flatMap(({ bytes }) => [...bytes]);
  }

  get count(): number {
    return this.arrived.reduce((sum, { bytes }) => sum + bytes.length, 0);
  }
}

/** A relay with faults that is connected to a stranger, who has none. */
async function connection({ tls = false } = {}) {
  const runtime = mockRuntime();
  const faults = new RelayFaults(runtime.time, () => {});
  const link = new LinkFaults(runtime.time);
  const network = new FaultyNetwork({ runtime, faults, towards: () => ({ link }), onListening: () => {} });
  let far: End | undefined;
  runtime.network.setCertificate(SERVER, new Uint8Array(1));
  const accept = (socket: Socket): void => void (far = new End(runtime, socket));
  await runtime.network.listenTcp(SERVER, accept);
  const near = new End(
    runtime,
    await (tls ? network.connectTls(SERVER, CONNECT) : network.connectTcp(SERVER, CONNECT)),
  );
  return { runtime, time: runtime.time, network, faults, link, near, far: far! };
}

describe("a connection with faults", () => {
  test("passes everything on at once while it has none", async () => {
    const { time, near, far } = await connection();
    assert.equal(near.socket.write(Uint8Array.of(1, 2)), true);
    far.socket.write(Uint8Array.of(3));
    far.socket.end();
    near.socket.end();
    await time.settle();
    assert.deepEqual([far.bytes, near.bytes, near.ends, far.ends], [[1, 2], [3], 1, 1]);
    near.socket.destroy();
    await time.settle();
    assert.deepEqual([near.closes, far.closes, time.pending], [[undefined], [undefined], 0]);
  });

  test("delays bytes of both directions by its latency and keeps their order, its end behind them", async () => {
    const { time, faults, near, far } = await connection();
    faults.latencyMs = 100;
    near.socket.write(Uint8Array.of(1));
    far.socket.write(Uint8Array.of(9));
    await time.advance(40);
    near.socket.write(Uint8Array.of(2));
    near.socket.end();
    await time.advance(50);
    assert.deepEqual([far.count, near.count], [0, 0]);
    await time.advance(20);
    assert.deepEqual([far.bytes, near.bytes, far.ends], [[1], [9], 0]);
    await time.advance(40);
    assert.deepEqual([far.bytes, far.ends, time.pending], [[1, 2], 1, 0]);
    assert.ok(
      far.arrived.every(({ at }, i) => Math.abs(at - [100, 140][i]!) <= 1),
      `${far.arrived.map(({ at }) => at)}`,
    );
  });

  test("adds up the latencies of relay and link", async () => {
    const { time, faults, link, near, far } = await connection({ tls: true });
    faults.latencyMs = 100;
    link.latencyMs = 50;
    near.socket.write(Uint8Array.of(1));
    await time.advance(145);
    assert.equal(far.count, 0);
    await time.advance(10);
    assert.equal(far.count, 1);
  });

  test("lets what is on its way arrive at once, in order, when it is healed", async () => {
    const { time, faults, near, far } = await connection();
    faults.latencyMs = 60_000;
    for (const byte of [1, 2, 3]) near.socket.write(Uint8Array.of(byte));
    await time.advance(1000);
    faults.clear();
    near.socket.write(Uint8Array.of(4));
    await time.settle();
    assert.deepEqual([far.bytes, time.pending], [[1, 2, 3, 4], 0]);
  });

  test("holds to its bandwidth, asks who writes too much to wait, and tells when there is room", async () => {
    const { time, faults, near, far } = await connection();
    faults.bytesPerSecond = 100_000;
    let accepted = 0;
    for (let i = 0; i < 40; i++) if (near.socket.write(new Uint8Array(5_000))) accepted++;
    assert.ok(accepted > 0 && accepted < 40, `${accepted} writes without back-pressure`);
    assert.ok(near.socket.queued > 64 * 1024);
    await time.advance(1000);
    assert.ok(Math.abs(far.count - 100_000) < 6_000, `${far.count} bytes in the first second`);
    assert.equal(near.drains, 0);
    await time.advance(1100);
    assert.deepEqual([far.count, near.socket.queued, time.pending], [200_000, 0, 0]);
    assert.equal(near.drains, 1);
  });

  test("shares its bandwidth among its connections, for each direction", async () => {
    const { runtime, time, network, faults, near, far } = await connection();
    const second = new End(runtime, await network.connectTcp(SERVER, CONNECT));
    faults.bytesPerSecond = 100_000;
    near.socket.write(new Uint8Array(100_000));
    second.socket.write(new Uint8Array(100_000));
    far.socket.write(new Uint8Array(50_000));
    await time.advance(1000);
    assert.ok(Math.abs(far.count - 50_000) < 5_000, `${far.count} bytes of the first`);
    assert.equal(near.count, 50_000);
  });

  test("reads no further while it may not pass on, and loses nothing by it", async () => {
    const { time, faults, near, far } = await connection();
    faults.silent = true;
    for (let i = 0; i < 100; i++) {
      far.socket.write(new Uint8Array(10_000));
      await time.settle();
    }
    assert.equal(near.count, 0);
    faults.silent = false;
    await time.settle();
    assert.equal(near.count, 1_000_000);
  });

  test("carries nothing while it is silent, and afterwards what it held back", async () => {
    const { time, faults, near, far } = await connection();
    faults.silent = true;
    near.socket.write(Uint8Array.of(1));
    far.socket.write(Uint8Array.of(9));
    await time.advance(3_600_000);
    assert.deepEqual([near.count, far.count, time.pending], [0, 0, 0]);
    faults.silent = false;
    await time.settle();
    assert.deepEqual([near.bytes, far.bytes], [[9], [1]]);
  });

  test("breaks after so many bytes, both directions counted, and leaves nothing", async () => {
    const { time, faults, near, far } = await connection();
    near.socket.write(new Uint8Array(1000));
    await time.settle();
    faults.resetAfterBytes = 700;
    far.socket.write(new Uint8Array(300));
    await time.settle();
    near.socket.write(new Uint8Array(CELL_LEN));
    await time.settle();
    assert.equal(far.count, 1000 + 400);
    assert.equal(near.closes.length, 1);
    assert.ok(isTunicError(near.closes[0], "connection") && near.closes[0].code === "reset");
    assert.equal(far.ends, 1);
    assert.equal(near.socket.write(new Uint8Array(5)), true);
    await time.advance(500);
    assert.deepEqual([far.count, far.closes.length, time.pending, faults.hits], [1400, 1, 0, 1]);
  });

  test("counts anew for resets once it was healed", async () => {
    const { time, faults, near, far } = await connection();
    for (let round = 0; round < 3; round++) {
      faults.resetAfterBytes = 700;
      near.socket.write(new Uint8Array(600));
      faults.clear();
    }
    await time.settle();
    assert.deepEqual([far.count, near.closes.length], [1800, 0]);
  });

  test("changes one byte of a cell's payload, and of no other", async () => {
    const { time, faults, near, far } = await connection({ tls: true });
    faults.corruptCells = 1;
    const cell = (command: number) => fixedCell(0x80000001, command, new Uint8Array(509));
    const versions = Uint8Array.of(0, 0, CellCommand.VERSIONS, 0, 2, 0, 4);
    const sent = [versions, cell(CellCommand.NETINFO), cell(CellCommand.RELAY), cell(CellCommand.DESTROY)];
    for (const bytes of sent) near.socket.write(bytes);
    await time.settle();
    const wrong = far.arrived.map(({ bytes }, i) => bytes.filter((byte, at) => byte !== sent[i]![at]).length);
    assert.deepEqual(wrong, [0, 0, 1, 0]);
    assert.deepEqual(far.arrived[2]!.bytes.subarray(0, 5), sent[2]!.subarray(0, 5));
    assert.equal(faults.hits, 1);
  });

  test("pauses: nothing is delivered until it is resumed, faults or none", async () => {
    const { time, faults, near, far } = await connection();
    faults.latencyMs = 10;
    near.socket.pause();
    far.socket.write(Uint8Array.of(1));
    await time.advance(100);
    near.socket.resume();
    await time.settle();
    near.socket.pause();
    faults.clear();
    far.socket.write(Uint8Array.of(2));
    await time.advance(100);
    assert.deepEqual(near.bytes, []);
    near.socket.resume();
    await time.advance(10);
    assert.deepEqual([near.bytes, time.pending], [[1, 2], 0]);
  });

  test("is closed at once when its user destroys it, whatever it still holds", async () => {
    for (const fault of [{ latencyMs: 5000 }, { silent: true }, { bytesPerSecond: 100 }]) {
      const { time, faults, near, far } = await connection();
      Object.assign(faults, fault);
      near.socket.write(new Uint8Array(5000));
      far.socket.write(new Uint8Array(5000));
      await time.settle();
      near.socket.destroy();
      await time.settle();
      assert.deepEqual([near.closes, near.count, time.pending], [[undefined], 0, 0], JSON.stringify(fault));
    }
  });

  test("delivers what came before an orderly end, then closes", async () => {
    const { time, faults, near, far } = await connection();
    faults.latencyMs = 100;
    far.socket.write(Uint8Array.of(1));
    await time.advance(10);
    far.socket.end();
    far.socket.destroy();
    await time.advance(50);
    assert.deepEqual([near.count, near.closes.length], [0, 0]);
    await time.advance(100);
    assert.deepEqual([near.bytes, near.closes, time.pending], [[1], [undefined], 0]);
  });

  test("is refused where it may not be opened, and hung up on where it may not be accepted", async () => {
    const { runtime, time, network, faults, link } = await connection({ tls: true });
    const refused = (error: unknown) => isTunicError(error, "connection") && error.code === "refused";
    faults.refuseToConnect = true;
    await assert.rejects(network.connectTls(SERVER, CONNECT), refused);
    await assert.rejects(network.connectTcp(SERVER, CONNECT), refused);
    faults.clear();
    link.refuse = true;
    await assert.rejects(network.connectTls(SERVER, CONNECT), refused);
    assert.deepEqual([faults.hits, link.hits], [2, 1]);

    faults.refuse = true;
    const accepted: Socket[] = [];
    const listener = await network.listenTcp({ ...SERVER, port: 0 }, (socket) => void accepted.push(socket));
    const hungUpOn = new End(runtime, await runtime.network.connectTcp(listener.address));
    await time.settle();
    assert.deepEqual([accepted.length, hungUpOn.closes.length, faults.hits], [0, 1, 3]);
    faults.refuse = false;
    await runtime.network.connectTcp(listener.address);
    assert.equal(accepted.length, 1);
  });
});

describe("a fault", () => {
  test("takes no value that makes no sense, and keeps the one it had", () => {
    const faults = new RelayFaults(mockRuntime().time, () => {
      throw new RangeError("no such relay");
    });
    const wrong: Partial<Record<keyof RelayFaults, unknown>>[] = [
      ...[-1, NaN, 60_001, Infinity].map((latencyMs) => ({ latencyMs })),
      ...[0, 99, -1, NaN, Infinity].map((bytesPerSecond) => ({ bytesPerSecond })),
      ...[-1, NaN].map((resetAfterBytes) => ({ resetAfterBytes })),
      ...[-0.1, 1.1, NaN].flatMap((probability) => [{ corruptCells: probability }, { corruptTls: probability }]),
      ...[NaN, Infinity].map((clockSkewMs) => ({ clockSkewMs })),
    ];
    for (const fault of wrong) {
      assert.throws(
        () => Object.assign(faults, fault),
        (error) => isTunicError(error, "argument"),
        Object.keys(fault)[0],
      );
    }
    assert.throws(() => faults.answersAs = "r99", RangeError);
    assert.deepEqual(
      [faults.latencyMs, faults.bytesPerSecond, faults.resetAfterBytes, faults.corruptCells, faults.answersAs],
      [0, undefined, undefined, 0, undefined],
    );
    assert.equal(faults.isActive, false);
  });
});
