import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { TunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { latin1, utf8 } from "../../src/bytes/text.ts";
import { TorConnection } from "../../src/client/byte_stream.ts";
import { FakeDuplex } from "../support/fake_duplex.ts";
import { settle } from "../support/simulated_time.ts";

function open(): { duplex: FakeDuplex; connection: TorConnection } {
  const duplex = new FakeDuplex();
  return { duplex, connection: new TorConnection(duplex) };
}

async function readAll(stream: ReadableStream<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = [];
  const reader = stream.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) parts.push(next.value);
  return latin1(concat(...parts));
}

const broken = new TunicError("Cannot x", { kind: "circuit", code: "destroyed" });

describe("a connection for users", () => {
  test("reads to the far end's end, and closes in order", async () => {
    const { duplex, connection } = open();
    duplex.handlers.data(utf8("ab"));
    duplex.handlers.data(utf8("c"));
    duplex.handlers.end();
    duplex.destroy();
    assert.equal(await readAll(connection.readable), "abc");
    await connection.closed;
  });

  test("tells the far end to wait while nobody reads", async () => {
    const { duplex, connection } = open();
    await settle();
    let sent = 0;
    while (!duplex.paused) {
      duplex.handlers.data(new Uint8Array(4096));
      sent += 4096;
    }
    assert.ok(sent >= 64 * 1024 && sent <= 128 * 1024, `${sent} bytes`);
    const reader = connection.readable.getReader();
    await reader.read();
    await settle();
    assert.ok(!duplex.paused);
  });

  test("writes copies, piece by piece, waiting for the far end", async () => {
    const { duplex, connection } = open();
    const writer = connection.writable.getWriter();
    await writer.ready;
    duplex.blocked = true;
    const bytes = new Uint8Array(100 * 1024).fill(1);
    let done = false;
    const written = writer.write(bytes).then(() => done = true);
    await settle();
    assert.ok(duplex.writtenBytes < bytes.length && !done);
    duplex.unblock();
    await written;
    assert.equal(duplex.writtenBytes, bytes.length);
    bytes.fill(2);
    assert.ok(duplex.written.every((byte) => byte === 1));
    await writer.close();
    assert.ok(duplex.ended && !duplex.closed);
  });

  test("fails everywhere with what broke the stream", async () => {
    const { duplex, connection } = open();
    const writer = connection.writable.getWriter();
    const reader = connection.readable.getReader();
    duplex.blocked = true;
    const written = writer.write(new Uint8Array(1));
    await settle();
    duplex.destroy(broken);
    await assert.rejects(written, broken);
    await assert.rejects(reader.read(), broken);
    await assert.rejects(connection.closed, broken);
    await assert.rejects(writer.write(new Uint8Array(1)), broken);
  });

  test("fails writes once the far end has closed", async () => {
    const { duplex, connection } = open();
    duplex.handlers.end();
    duplex.destroy();
    await assert.rejects(connection.writable.getWriter().write(new Uint8Array(1)), { kind: "closed" });
  });

  test("closes at once where nothing waits to go out, else after it", async () => {
    const idle = open();
    await idle.connection.close();
    assert.ok(idle.duplex.closed);
    const busy = open();
    busy.duplex.blocked = true;
    busy.duplex.write(new Uint8Array(9));
    let closed = false;
    const closing = busy.connection.close().then(() => closed = true);
    await settle();
    assert.ok(busy.duplex.ended && !busy.duplex.closed && !closed);
    busy.duplex.handlers.data(new Uint8Array(1));
    busy.duplex.destroy();
    await closing;
    assert.equal(await readAll(busy.connection.readable), "");
  });

  test("closes with its reader, with its writer's abort, and with its scope", async () => {
    const cancelled = open();
    await cancelled.connection.readable.cancel();
    assert.ok(cancelled.duplex.closed);
    const aborted = open();
    await aborted.connection.writable.abort();
    assert.ok(aborted.duplex.closed);
    const scoped = new FakeDuplex();
    {
      await using _connection = new TorConnection(scoped);
    }
    assert.ok(scoped.closed);
  });
});
