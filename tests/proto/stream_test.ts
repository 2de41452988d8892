import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isTunicError, TunicError } from "../../src/base/errors.ts";
import { decodeWith } from "../../src/bytes/codec.ts";
import { utf8 } from "../../src/bytes/text.ts";
import type { Stream } from "../../src/proto/stream.ts";
import { CellCommand } from "../../src/wire/cell.ts";
import { DestroyReason } from "../../src/wire/create_cells.ts";
import { RELAY_DATA_LEN, RelayCommand } from "../../src/wire/relay_cell.ts";
import { END, EndReason } from "../../src/wire/stream_messages.ts";
import { CircuitWorld, Log, patterned } from "../support/scripted_relay.ts";

async function opened(world: CircuitWorld): Promise<{ stream: Stream; id: number; log: Log }> {
  const { stream, id } = await world.open();
  const log = new Log();
  stream.handlers = log.handlers;
  return { stream, id, log };
}

async function one(): Promise<{ world: CircuitWorld; stream: Stream; id: number; log: Log }> {
  const world = await CircuitWorld.built(3);
  return { world, ...await opened(world) };
}

const streamSendmes = (world: CircuitWorld, id: number) =>
  world.peer.all(RelayCommand.SENDME).filter(({ streamId }) => streamId === id).length;
const code = (world: CircuitWorld) => world.circuit.closed?.code;
const dataCells = (world: CircuitWorld) => world.peer.all(RelayCommand.DATA).length;
const ends = (world: CircuitWorld) =>
  world.peer.all(RelayCommand.END).map(({ streamId, data }) => [streamId, decodeWith(END, data).reason]);
const reason = new TunicError("Cannot go on: test", { kind: "closed", code: "test" });

describe("data to the user", () => {
  test("comes in order and whole, one array for neighbouring cells", async () => {
    const { world, id, log } = await one();
    const data = patterned(20 * RELAY_DATA_LEN + 77);
    const cells: Uint8Array[] = [];
    for (let at = 0; at < data.length; at += RELAY_DATA_LEN) {
      cells.push(world.peer.data(id, data.subarray(at, at + RELAY_DATA_LEN)));
    }
    world.batch(...cells);
    assert.equal(log.chunks.length, 1);
    assert.deepEqual(log.data, data);
  });

  test("of streams in any mixture and cells of any length comes to the right one", async () => {
    const world = await CircuitWorld.built(2);
    const streams = [await opened(world), await opened(world), await opened(world)];
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(2), fc.integer({ min: 0, max: RELAY_DATA_LEN })), { minLength: 1, maxLength: 32 }),
        (cells) => {
          const expected = ["", "", ""];
          for (const { log } of streams) log.chunks.length = 0;
          world.batch(...cells.map(([which, length], i) => {
            const data = patterned(length, i * 1000);
            expected[which] += String(data);
            if (expected[which] !== "" && length > 0) expected[which] += ",";
            return world.peer.data(streams[which]!.id, data);
          }));
          for (const [which, { log }] of streams.entries()) {
            assert.equal(log.data.length === 0 ? "" : `${log.data},`, expected[which]);
          }
        },
      ),
    );
  });

  test("that comes before anybody listens waits", async () => {
    const world = await CircuitWorld.built(3);
    const { stream, id } = await world.open();
    world.batch(world.peer.data(id, utf8("one ")), world.peer.data(id, utf8("two")));
    world.batch(world.peer.end(id, EndReason.DONE));
    const log = new Log();
    stream.handlers = log.handlers;
    assert.deepEqual(log.data, utf8("one two"));
    assert.deepEqual(log.events, ["end", "close"]);
    assert.equal(log.error, undefined);
  });

  test("right behind CONNECTED is not lost", async () => {
    const world = await CircuitWorld.built(3);
    const opening = world.circuit.openStream("example.com", 80, 0);
    const { streamId } = world.peer.last(RelayCommand.BEGIN);
    world.batch(
      world.peer.connected(streamId),
      world.peer.data(streamId, utf8("banner")),
      world.peer.end(streamId, EndReason.DONE),
    );
    const stream = await opening;
    const log = new Log();
    stream.handlers = log.handlers;
    assert.deepEqual(log.data, utf8("banner"));
    assert.deepEqual(log.events, ["end", "close"]);
  });

  test("may be handed to other handlers in the middle", async () => {
    const { world, stream, id, log } = await one();
    world.batch(world.peer.data(id, utf8("first")));
    const second = new Log();
    stream.handlers = second.handlers;
    world.batch(world.peer.data(id, utf8("second")), world.peer.end(id, EndReason.DONE));
    assert.deepEqual([log.data, log.events], [utf8("first"), []]);
    assert.deepEqual([second.data, second.events], [utf8("second"), ["end", "close"]]);
  });

  test("in cells without any counts in the windows and says nothing", async () => {
    const { world, id, log } = await one();
    for (let i = 0; i < 100; i++) world.batch(world.peer.data(id, new Uint8Array(0)));
    assert.equal(log.chunks.length, 0);
    assert.equal(streamSendmes(world, id), 2);
    assert.equal(streamSendmes(world, 0), 1);
  });
});

describe("a paused stream", () => {
  test("takes 500 cells and gives no SENDME until it is resumed", async () => {
    const { world, stream, id, log } = await one();
    stream.pause();
    const data = patterned(500 * RELAY_DATA_LEN);
    for (let i = 0; i < 500; i++) {
      world.batch(world.peer.data(id, data.subarray(i * RELAY_DATA_LEN, (i + 1) * RELAY_DATA_LEN)));
    }
    assert.equal(log.chunks.length, 0);
    assert.equal(streamSendmes(world, id), 0);
    assert.equal(streamSendmes(world, 0), 5, "the circuit's other streams go on");
    stream.resume();
    assert.deepEqual(log.data, data);
    assert.equal(streamSendmes(world, id), 10);
    for (let i = 0; i < 500; i++) world.batch(world.peer.data(id, utf8("more")));
    assert.equal(code(world), undefined);
  });

  test("that gets more than 500 cells closes the circuit", async () => {
    for (const size of [0, 1, RELAY_DATA_LEN]) {
      const { world, stream, id, log } = await one();
      stream.pause();
      for (let i = 0; i < 500; i++) world.batch(world.peer.data(id, patterned(size)));
      assert.equal(code(world), undefined);
      world.batch(world.peer.data(id, patterned(size)));
      assert.equal(code(world), "stream-window");
      assert.equal(world.peer.destroyed, DestroyReason.NONE);
      stream.resume();
      assert.equal(log.data.length, 500 * size, "what came in time is the user's");
      assert.equal(log.error, world.circuit.closed);
    }
  });

  test("keeps its data and not the batches that this came in", async () => {
    const { world, stream, id } = await one();
    const kept: Uint8Array[] = [];
    stream.handlers = { ...new Log().handlers, data: (bytes) => void kept.push(bytes) };
    stream.pause();
    for (let i = 0; i < 20; i++) {
      const data = world.peer.data(id, patterned(10));
      world.batch(data, ...Array.from({ length: 31 }, () => world.peer.payload(2, RelayCommand.DROP, 0)));
    }
    stream.resume();
    assert.equal(kept.length, 20);
    for (const bytes of kept) assert.equal(bytes.buffer.byteLength, 10);
  });

  test("stops in the middle of what has gathered when its user pauses again", async () => {
    const { world, stream, id, log } = await one();
    stream.pause();
    for (let i = 0; i < 60; i++) world.batch(world.peer.data(id, patterned(1, i)));
    log.onData = () => {
      if (log.chunks.length === 20) stream.pause();
    };
    stream.resume();
    assert.equal(log.chunks.length, 20);
    assert.equal(streamSendmes(world, id), 0);
    world.batch(world.peer.data(id, patterned(1, 60)));
    assert.equal(log.chunks.length, 20);
    stream.resume();
    assert.deepEqual(log.data, patterned(61));
    assert.equal(streamSendmes(world, id), 1);
  });

  test("whose user pauses and resumes in every call gets everything in order", async () => {
    const { world, stream, id, log } = await one();
    stream.pause();
    for (let i = 0; i < 500; i++) world.batch(world.peer.data(id, patterned(7, i * 7)));
    world.batch(world.peer.end(id, EndReason.DONE));
    log.onData = () => {
      stream.pause();
      stream.resume();
    };
    stream.resume();
    assert.deepEqual(log.data, patterned(3500));
    assert.deepEqual(log.events, ["end", "close"]);
  });

  test("whose far end has ended gives no SENDME for what its user takes late", async () => {
    const { world, stream, id, log } = await one();
    stream.pause();
    for (let i = 0; i < 120; i++) world.batch(world.peer.data(id, patterned(5, i * 5)));
    world.batch(world.peer.end(id, EndReason.DONE));
    stream.resume();
    assert.deepEqual(log.data, patterned(600));
    assert.equal(streamSendmes(world, id), 0);
  });

  test("is told of its end only behind its data", async () => {
    const { world, stream, id, log } = await one();
    stream.pause();
    world.batch(world.peer.data(id, utf8("last words")), world.peer.end(id, EndReason.CONNRESET));
    assert.deepEqual(log.events, []);
    assert.equal(world.circuit.streamCount, 0);
    stream.resume();
    assert.deepEqual(log.data, utf8("last words"));
    assert.deepEqual(log.events, ["close"]);
    assert.ok(isTunicError(log.error, "stream"));
    assert.equal(log.error.context.reason, "CONNRESET");
    assert.equal(streamSendmes(world, id), 0);
  });
});

describe("data from the user", () => {
  test("goes out in full cells, in order, behind the windows of stream and circuit", async () => {
    const { world, stream, id } = await one();
    const data = patterned(1200 * RELAY_DATA_LEN);
    for (let at = 0; at < data.length; at += 10_000) stream.write(data.subarray(at, at + 10_000));
    world.turns();
    assert.equal(dataCells(world), 500, "the stream's window");
    assert.equal(world.wantsTurn, false);
    let stream50 = 0;
    let circuit100 = 0;
    while (stream.queued > 0) {
      const before = dataCells(world);
      while ((stream50 + 1) * 50 <= before) stream50++, world.batch(world.peer.streamSendme(id));
      while ((circuit100 + 1) * 100 <= before) world.batch(world.peer.sendme(circuit100++));
      assert.equal(world.wantsTurn, true);
      world.turns();
      assert.ok(dataCells(world) > before, "a SENDME lets it go on");
      assert.ok(dataCells(world) <= stream50 * 50 + 500);
    }
    assert.deepEqual(world.peer.dataOf(id), data);
    assert.equal(code(world), undefined);
  });

  test("of several streams stops at the circuit's window", async () => {
    const world = await CircuitWorld.built(3, 200);
    const streams = [await opened(world), await opened(world), await opened(world)];
    for (const { stream } of streams) stream.write(patterned(300 * RELAY_DATA_LEN));
    world.turns();
    assert.equal(dataCells(world), 200);
    world.batch(world.peer.sendme(0));
    assert.equal(world.wantsTurn, true);
    world.turns();
    assert.equal(dataCells(world), 300);
  });

  test("of many streams goes out round robin", async () => {
    const world = await CircuitWorld.built(3);
    const streams = [];
    for (let i = 0; i < 7; i++) streams.push(await opened(world));
    for (const { stream } of streams) stream.write(patterned(40 * RELAY_DATA_LEN));
    world.turns();
    const order = world.peer.all(RelayCommand.DATA).map(({ streamId }) => streamId);
    for (let at = 0; at + 7 <= order.length - 7; at += 7) {
      assert.deepEqual(new Set(order.slice(at, at + 7)), new Set(streams.map(({ id }) => id)), `round at ${at}`);
    }
  });

  test("asks for a pause at 64 KiB and tells when there is room, once", async () => {
    const { world, stream, id, log } = await one();
    assert.equal(stream.write(patterned(60_000)), true);
    assert.equal(stream.write(patterned(10_000)), false);
    assert.equal(stream.write(new Uint8Array(0)), false);
    assert.equal(stream.queued, 70_000);
    assert.equal(log.drains, 0);
    world.turns();
    assert.equal(log.drains, 1);
    assert.equal(stream.queued, 0);
    assert.equal(world.peer.dataOf(id).length, 70_000);
    stream.write(patterned(10));
    world.turns();
    assert.equal(log.drains, 1, "nobody waited");
  });

  test("written in the drain handler goes on until all is sent", async () => {
    const { world, stream, id } = await one();
    let left = 3;
    const log = new Log();
    stream.handlers = {
      ...log.handlers,
      drain: () => {
        if (left-- > 0) stream.write(patterned(65_536));
        else stream.end();
      },
    };
    stream.write(patterned(65_536));
    world.turns();
    assert.equal(dataCells(world), 500);
    assert.equal(stream.queued, 4 * 65_536 - world.peer.dataOf(id).length);
    world.batch(world.peer.streamSendme(id));
    world.turns();
    assert.equal(world.peer.dataOf(id).length, 4 * 65_536);
    assert.deepEqual(ends(world), [[id, EndReason.MISC]]);
  });

  test("queued when the user ends goes out before END", async () => {
    const { world, stream, id, log } = await one();
    stream.write(patterned(3000));
    stream.end();
    stream.write(utf8("too late"));
    stream.end();
    assert.deepEqual(ends(world), []);
    world.turns();
    assert.deepEqual(world.peer.dataOf(id), patterned(3000));
    assert.deepEqual(ends(world), [[id, EndReason.MISC]]);
    assert.equal(world.peer.heard.at(-1)!.command, RelayCommand.END);
    assert.deepEqual(log.events, ["close"]);
    assert.equal(log.error, undefined);
  });

  test("queued when the user destroys is dropped", async () => {
    const { world, stream, id, log } = await one();
    stream.write(patterned(3000));
    stream.destroy(reason);
    stream.destroy();
    world.turns();
    assert.equal(dataCells(world), 0);
    assert.deepEqual(ends(world), [[id, EndReason.MISC]]);
    assert.deepEqual(log.events, ["close"]);
    assert.equal(log.error, reason);
    assert.equal(stream.queued, 0);
  });

  test("written after the far end has ended is dropped", async () => {
    const { world, stream, id, log } = await one();
    stream.pause();
    world.batch(world.peer.data(id, utf8("x")), world.peer.end(id, EndReason.DONE));
    assert.equal(stream.write(patterned(100_000)), true);
    stream.end();
    world.turns();
    assert.equal(dataCells(world), 0);
    assert.deepEqual(ends(world), []);
    assert.deepEqual(log.events, ["close"]);
  });
});

describe("a stream that we have ended", () => {
  test("takes what its window allows and drops it; its END frees its number", async () => {
    const { world, stream, id, log } = await one();
    stream.write(patterned(60 * RELAY_DATA_LEN));
    world.turns();
    stream.destroy();
    world.batch(world.peer.streamSendme(id));
    for (let i = 0; i < 500; i++) world.batch(world.peer.data(id, utf8("late")));
    assert.equal(code(world), undefined);
    assert.equal(log.data.length, 0);
    assert.equal(streamSendmes(world, id), 0);
    assert.equal(streamSendmes(world, 0), 5, "its cells count in the circuit's window");
    world.batch(world.peer.end(id, EndReason.DONE));
    assert.equal(code(world), undefined);
    world.batch(world.peer.end(id, EndReason.DONE));
    assert.equal(code(world), "unknown-stream");
  });

  test("that still gets more than its window allows closes the circuit", async () => {
    const { world, stream, id } = await one();
    for (let i = 0; i < 30; i++) world.batch(world.peer.data(id, utf8("in time")));
    stream.destroy();
    for (let i = 0; i < 470; i++) world.batch(world.peer.data(id, utf8("late")));
    assert.equal(code(world), undefined);
    world.batch(world.peer.data(id, utf8("too much")));
    assert.equal(code(world), "stream-window");
  });

  test("closes the circuit by a second CONNECTED, or a SENDME for what was not sent", async () => {
    for (const command of [RelayCommand.CONNECTED, RelayCommand.SENDME]) {
      const { world, stream, id } = await one();
      stream.destroy();
      world.batch(world.peer.payload(2, command, id));
      assert.ok(isTunicError(world.circuit.closed, "protocol"));
    }
  });

  test("keeps its number until its far end has ended it", async () => {
    const world = await CircuitWorld.built(1);
    const ids = new Set<number>();
    for (let i = 0; i < 2000; i++) {
      const { stream, id } = await world.open();
      assert.ok(!ids.has(id));
      ids.add(id);
      stream.destroy();
      world.peer.heard.length = 0;
    }
    assert.equal(world.circuit.streamCount, 0);
  });

  test("does not end another one that has its number by now", async () => {
    const world = await CircuitWorld.built(3);
    // Every number drawn is the same.
    world.random.random = (count) => new Uint8Array(count).fill(77);
    const first = await opened(world);
    first.stream.pause();
    world.batch(world.peer.data(first.id, utf8("x")), world.peer.end(first.id, EndReason.DONE));
    const second = await opened(world);
    assert.equal(second.id, first.id);
    first.stream.destroy();
    assert.deepEqual(ends(world), []);
    world.batch(world.peer.data(second.id, utf8("y")));
    assert.deepEqual(second.log.data, utf8("y"));
    assert.equal(code(world), undefined);
  });

  test("whose ENDs cross is over", async () => {
    const { world, stream, id, log } = await one();
    const theirs = world.peer.end(id, EndReason.DONE);
    stream.end();
    world.batch(theirs);
    assert.deepEqual(log.events, ["close"]);
    assert.deepEqual(ends(world), [[id, EndReason.MISC]]);
    assert.equal(code(world), undefined);
  });
});

describe("a user who acts in the middle of a batch", () => {
  test("and destroys the stream gets no more of it", async () => {
    const { world, stream, id, log } = await one();
    const other = await opened(world);
    log.onData = () => stream.destroy(reason);
    world.batch(
      world.peer.data(id, utf8("one")),
      world.peer.data(other.id, utf8("a")),
      world.peer.data(id, utf8("two")),
      world.peer.data(other.id, utf8("b")),
      world.peer.end(id, EndReason.DONE),
    );
    assert.deepEqual(log.data, utf8("one"));
    assert.deepEqual(log.events, ["close"]);
    assert.deepEqual(other.log.data, utf8("ab"));
    assert.equal(code(world), undefined);
  });

  test("and destroys another stream keeps that one's cells from it", async () => {
    const { world, id, log } = await one();
    const other = await opened(world);
    log.onData = () => other.stream.destroy();
    world.batch(world.peer.data(id, utf8("one")), world.peer.data(other.id, utf8("a")));
    assert.equal(other.log.data.length, 0);
    assert.deepEqual(other.log.events, ["close"]);
    assert.equal(code(world), undefined);
  });

  test("and destroys the circuit gets nothing more, nor does anybody else", async () => {
    const { world, id, log } = await one();
    const other = await opened(world);
    log.onData = () => world.circuit.destroy(reason);
    world.batch(
      world.peer.data(id, utf8("one")),
      world.peer.data(other.id, utf8("a")),
      world.peer.payload(0, RelayCommand.DROP, 0),
      world.peer.data(id, utf8("two")),
    );
    assert.deepEqual(log.data, utf8("one"));
    assert.equal(other.log.data.length, 0);
    assert.deepEqual([log.events, other.log.events], [["close"], ["close"]]);
    assert.equal(log.error, reason);
    assert.equal(world.sent.filter((command) => command === CellCommand.DESTROY).length, 1);
  });

  test("and opens another stream, writes, and ends this one", async () => {
    const { world, stream, id, log } = await one();
    let opening: Promise<Stream> | undefined;
    log.onData = () => {
      opening ??= world.circuit.openStream("example.org", 443, 0);
      stream.write(utf8("bye"));
      stream.end();
    };
    world.batch(world.peer.data(id, utf8("x")), world.peer.data(id, utf8("y")));
    world.turns();
    assert.deepEqual(world.peer.dataOf(id).subarray(0, 3), utf8("bye"));
    assert.deepEqual(ends(world), [[id, EndReason.MISC]]);
    world.batch(world.peer.connected(world.peer.last(RelayCommand.BEGIN).streamId));
    assert.equal((await opening!).closed, false);
  });

  test("and throws closes the circuit as a defect", async () => {
    const { world, id, log } = await one();
    log.onData = () => {
      throw new Error("a defect of the user's");
    };
    world.batch(world.peer.data(id, utf8("x")));
    assert.ok(isTunicError(world.circuit.closed, "internal"));
    assert.deepEqual(log.events, ["close"]);
  });

  test("and throws in the drain handler closes the circuit as a defect", async () => {
    const { world, stream } = await one();
    stream.handlers = {
      ...new Log().handlers,
      drain: () => {
        throw new Error("a defect of the user's");
      },
    };
    stream.write(patterned(70_000));
    world.turns();
    assert.ok(isTunicError(world.circuit.closed, "internal"));
  });

  test("and destroys the circuit in the drain handler", async () => {
    const { world, stream, log } = await one();
    const other = await opened(world);
    stream.handlers = { ...log.handlers, drain: () => world.circuit.destroy(reason) };
    stream.write(patterned(70_000));
    other.stream.write(patterned(70_000));
    other.stream.end();
    world.turns();
    assert.equal(world.circuit.closed, reason);
    assert.deepEqual([log.events, other.log.events], [["close"], ["close"]]);
  });
});

test("a user's handler for the end may destroy the stream", async () => {
  const { world, stream, id, log } = await one();
  stream.handlers = { ...log.handlers, end: () => stream.destroy() };
  world.batch(world.peer.end(id, EndReason.DONE));
  assert.deepEqual(log.events, ["close"]);
  assert.deepEqual(ends(world), []);
});
