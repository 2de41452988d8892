import assert from "node:assert/strict";
import net from "node:net";
import { describe, test } from "node:test";
import { toHex, utf8 } from "../../src/bytes/text.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { FakeDuplex } from "../support/fake_duplex.ts";
import { SimulatedTime } from "../support/simulated_time.ts";
import { failing, listen, never, reply5, request5, ScriptedBackend, SocksClient, toPort } from "./socks_support.ts";

/** Waits, without a limit of its own, until `condition` holds. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise<void>((resolve) => setImmediate(resolve));
}

function echoServer(): Promise<net.Server & { port: number }> {
  return new Promise((resolve) => {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => void socket.pipe(socket));
    server.listen(0, "127.0.0.1", () => {
      resolve(Object.assign(server, { port: (server.address() as net.AddressInfo).port }));
    });
  });
}

describe("SOCKS listener", () => {
  test("carries bytes both ways, and closes with the program", async () => {
    const server = await echoServer();
    const backend = new ScriptedBackend(toPort(server.port));
    const listener = await listen(backend);
    const client = new SocksClient(listener.address.port);
    client.send(request5("example.com", 7));
    assert.equal(await client.read(12), reply5(0));
    client.send("cafe");
    assert.equal(await client.read(2), "cafe");
    const { host, port } = backend.requests[0]!;
    assert.deepEqual({ host, port }, { host: "example.com", port: 7 });
    client.socket.end();
    assert.equal(await client.rest(), "");
    await until(() => listener.connections === 0);
    await listener.close();
    server.close();
  });

  test("keeps what a program sends ahead of the answer, in order", async () => {
    const server = await echoServer();
    let open = (): void => {};
    const opened = new Promise<void>((resolve) => open = resolve);
    const backend = new ScriptedBackend((request) => opened.then(() => toPort(server.port)(request)));
    const listener = await listen(backend);
    const client = new SocksClient(listener.address.port);
    client.send(request5("example.com") + "010203");
    await until(() => backend.requests.length === 1);
    client.send("0405");
    client.socket.end();
    open();
    assert.equal(await client.read(12), reply5(0));
    assert.equal(await client.rest(), "0102030405");
    await listener.close();
    server.close();
  });

  test("stops reading early data at its limit", async () => {
    const stream = new FakeDuplex();
    let open!: (stream: FakeDuplex) => void;
    const opened = new Promise<FakeDuplex>((resolve) => open = resolve);
    const backend = new ScriptedBackend(() => opened);
    const listener = await listen(backend, { maxEarlyBytes: 4096 });
    const client = new SocksClient(listener.address.port);
    client.send(request5("example.com"));
    const total = 32 * 1024 * 1024;
    client.socket.write(new Uint8Array(total));
    await until(() => backend.requests.length === 1);
    // The kernel takes some megabytes; the rest stays with the program.
    await nextTurns(200);
    assert.ok(client.socket.writableLength > 0, "the program was told to wait");
    open(stream);
    await until(() => stream.writtenBytes === total);
    await listener.close();
  });

  test("answers what became of a request", async () => {
    const cases: [Parameters<typeof failing>[0], number][] = [
      [{ context: { reason: "CONNECTREFUSED" } }, 5],
      [{ context: { reason: "EXITPOLICY" } }, 2],
      [{ kind: "resolve" }, 4],
      [{ kind: "timeout" }, 6],
      [{ kind: "no-path" }, 1],
    ];
    for (const [error, code] of cases) {
      const listener = await listen(new ScriptedBackend(failing(error)));
      const client = new SocksClient(listener.address.port);
      client.send(request5("example.com"));
      assert.equal(await client.rest(), reply5(code));
      client.socket.end();
      await until(() => listener.connections === 0);
      await listener.close();
    }
  });

  test("refuses .onion, .exit and private addresses before anything is asked of the network", async () => {
    const backend = new ScriptedBackend(never);
    const onion = "duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion";
    const cases: [string, boolean, number][] = [
      [onion, true, 0xf0],
      [`www.${onion}`, true, 0xf0],
      [onion.replace("duck", "luck"), true, 0xf6],
      ["facebookcorewwwi.onion", true, 0xf6],
      [onion, false, 1],
      ["www.example.com.relay.exit", true, 1],
      ["localhost", true, 1],
      ["printer.local", true, 1],
      ["10.1.2.3", true, 1],
      ["[::ffff:127.0.0.1]", true, 1],
    ];
    for (const [host, extendedErrors, code] of cases) {
      const listener = await listen(backend, { extendedErrors });
      const client = new SocksClient(listener.address.port);
      client.send(request5(host));
      assert.equal(await client.rest(), reply5(code), host);
      await listener.close();
    }
    assert.deepEqual(backend.requests, []);
  });

  test("resolves names and addresses", async () => {
    const backend = new ScriptedBackend(never);
    const v6 = { type: "ipv6", value: "2001:db8::1", ttlSeconds: 60 } as const;
    const v4 = { type: "ipv4", value: "1.2.3.4", ttlSeconds: 60 } as const;
    const listener = await listen(backend);
    const ask = (hex: string): Promise<string> => {
      const client = new SocksClient(listener.address.port);
      client.send(hex);
      return client.rest();
    };
    const resolve4 = "04f0000000000001" + "00" + toHex(utf8("example.com")) + "00";
    backend.answers = [v6, v4];
    assert.equal(await ask(request5("example.com", 0, "f0")), "0500" + "05000001010203040000");
    assert.equal(await ask(resolve4), "005a000001020304");
    backend.answers = [v6];
    assert.equal(await ask(request5("example.com", 0, "f0")), "0500" + "0500000420010db80000000000000000000000010000");
    assert.equal(await ask(resolve4), "005b000000000000");
    backend.answers = [];
    assert.equal(await ask(request5("example.com", 0, "f0")), reply5(4));
    backend.names = ["bad\nname", "one.one"];
    assert.equal(await ask(request5("1.1.1.1", 0, "f1")), "0500" + "0500000307" + toHex(utf8("one.one")) + "0000");
    assert.deepEqual([...new Set(backend.lookups)], ["example.com", "1.1.1.1"]);
    assert.deepEqual(backend.requests, []);
    await listener.close();
  });

  test("isolates by user name, password and listener, not by what is the same", async () => {
    const backend = new ScriptedBackend(failing({}));
    const listeners = [
      await listen(backend),
      await listen(backend),
      await listen(backend, { isolateSocksAuth: false }),
    ];
    const key = async (index: number, auth?: [string, string]): Promise<string> => {
      const client = new SocksClient(listeners[index]!.address.port);
      const text = (value: string) => value.length.toString(16).padStart(2, "0") + toHex(utf8(value));
      const request = request5("example.com");
      client.send(auth ? `05010201${text(auth[0])}${text(auth[1])}${request.slice(6)}` : request);
      await client.rest();
      return backend.requests.at(-1)!.isolation;
    };
    const keys = [await key(0), await key(0, ["ab", "c"]), await key(0, ["a", "bc"]), await key(0, ["a", "b"])];
    assert.equal(new Set(keys).size, 4);
    assert.equal(await key(0, ["ab", "c"]), keys[1]);
    assert.equal(await key(0, ["", ""]), keys[0]);
    assert.notEqual(await key(1), keys[0]);
    assert.equal(await key(2), await key(2, ["ab", "c"]));
    for (const each of keys) assert.match(each, /^[0-9a-f]{64}$/);
    for (const listener of listeners) await listener.close();
  });

  test("aborts the request of a program that goes away", async () => {
    const backend = new ScriptedBackend(never);
    const listener = await listen(backend);
    for (const leave of ["end", "destroy"] as const) {
      const client = new SocksClient(listener.address.port);
      client.send(request5("example.com"));
      const before = backend.requests.length;
      await until(() => backend.requests.length > before);
      client.socket[leave]();
      await until(() => backend.requests.at(-1)!.signal!.aborted && listener.connections === 0);
    }
    await listener.close();
  });

  test("destroys a stream that comes after its program has gone", async () => {
    const stream = new FakeDuplex();
    let open!: (stream: FakeDuplex) => void;
    const opened = new Promise<FakeDuplex>((resolve) => open = resolve);
    const backend = new ScriptedBackend(() => opened);
    const listener = await listen(backend);
    const client = new SocksClient(listener.address.port);
    client.send(request5("example.com"));
    await until(() => backend.requests.length === 1);
    client.socket.destroy();
    await until(() => listener.connections === 0);
    open(stream);
    await until(() => stream.closed);
    await listener.close();
  });

  test("gives up on silent programs and on slow requests", async () => {
    const time = new SimulatedTime();
    const backend = new ScriptedBackend(never);
    const listener = await listen(backend, { ...time, timeoutMs: 1000, handshakeTimeoutMs: 500 });
    const silent = new SocksClient(listener.address.port);
    silent.send("0501");
    await until(() => listener.connections === 1);
    await time.advance(500);
    assert.equal(await silent.rest(), "");
    const slow = new SocksClient(listener.address.port);
    slow.send(request5("example.com"));
    await until(() => backend.requests.length === 1);
    await time.advance(1000);
    assert.equal(await slow.rest(), reply5(6));
    await listener.close();
    assert.equal(time.waiting, 0);
  });

  test("does not wait for ever for a program that keeps its end open", async () => {
    const time = new SimulatedTime();
    const stream = new FakeDuplex();
    const listener = await listen(new ScriptedBackend(() => Promise.resolve(stream)), { ...time, lingerMs: 1000 });
    const client = new SocksClient(listener.address.port);
    client.send(request5("example.com"));
    assert.equal(await client.read(12), reply5(0));
    stream.handlers.data(utf8("bye"));
    stream.handlers.end();
    stream.destroy();
    assert.equal(await client.rest(), toHex(utf8("bye")));
    assert.equal(listener.connections, 1);
    await time.advance(1000);
    await until(() => listener.connections === 0);
    await listener.close();
    assert.equal(time.waiting, 0);
  });

  test("speaks to browsers, and refuses what is neither SOCKS nor HTTP", async () => {
    const listener = await listen(new ScriptedBackend(never));
    const browser = new SocksClient(listener.address.port);
    browser.send(toHex(utf8("GET http://example.com/ HTTP/1.1\r\n\r\n")));
    assert.match(Buffer.from(await browser.rest(), "hex").toString(), /^HTTP\/1\.0 501 This is a SOCKS proxy/);
    const other = new SocksClient(listener.address.port);
    other.send("160301");
    assert.equal(await other.rest(), "");
    await listener.close();
  });

  test("closes connections over the limit, and serves again when there is room", async () => {
    const listener = await listen(new ScriptedBackend(failing({})), { maxConnections: 1 });
    const first = new SocksClient(listener.address.port);
    await until(() => listener.connections === 1);
    const second = new SocksClient(listener.address.port);
    assert.equal(await second.rest(), "");
    first.socket.destroy();
    await until(() => listener.connections === 0);
    const third = new SocksClient(listener.address.port);
    third.send(request5("example.com"));
    assert.equal(await third.rest(), reply5(1));
    await listener.close();
  });

  test("tells a far end that sends faster than the program reads to wait", async () => {
    const stream = new FakeDuplex();
    const listener = await listen(new ScriptedBackend(() => Promise.resolve(stream)));
    const client = new SocksClient(listener.address.port);
    client.send(request5("example.com"));
    await client.read(12);
    client.socket.pause();
    let sent = 0;
    let received = 0;
    const feed = async (): Promise<void> => {
      // Until it stays paused for a while: what the kernel takes comes on top of the limit.
      for (let idle = 0; idle < 100; idle++) {
        if (!stream.paused) idle = 0;
        while (!stream.paused) {
          stream.handlers.data(new Uint8Array(16384));
          sent += 16384;
        }
        await nextTurns(1);
      }
    };
    await feed();
    assert.ok(sent < 64 * 1024 * 1024, `${sent} bytes were taken`);
    client.socket.removeAllListeners("data");
    client.socket.on("data", (bytes: Uint8Array) => void (received += bytes.length));
    client.socket.resume();
    await until(() => received === sent);
    await until(() => !stream.paused);
    await listener.close();
  });

  test("tells a program that sends faster than the far end takes to wait", async () => {
    const stream = new FakeDuplex();
    stream.blocked = true;
    const listener = await listen(new ScriptedBackend(() => Promise.resolve(stream)));
    const client = new SocksClient(listener.address.port);
    client.send(request5("example.com"));
    await client.read(12);
    const total = 32 * 1024 * 1024;
    client.socket.write(new Uint8Array(total));
    await until(() => stream.queued > 0);
    await nextTurns(200);
    assert.ok(stream.queued <= 256 * 1024, `${stream.queued} bytes are queued`);
    assert.ok(client.socket.writableLength > 0);
    stream.unblock();
    await until(() => stream.writtenBytes === total);
    await listener.close();
  });

  test("ends its connections when it is closed, and frees its port", async () => {
    const stream = new FakeDuplex();
    const backend = new ScriptedBackend((request) => request.port === 80 ? Promise.resolve(stream) : never(request));
    const listener = await listen(backend);
    const open = new SocksClient(listener.address.port);
    open.send(request5("example.com"));
    await open.read(12);
    const waiting = new SocksClient(listener.address.port);
    waiting.send(request5("example.com", 81));
    await until(() => backend.requests.length === 2);
    const { address } = listener;
    await listener.close();
    assert.equal(await open.rest() + await waiting.rest(), "0500");
    assert.ok(stream.closed && backend.requests[1]!.signal!.aborted);
    const again = await listen(backend, { address });
    await assert.rejects(listen(backend, { address }), { kind: "listen", code: "port-in-use" });
    await again.close();
  });
});

/** Lets sockets work for `count` turns of the event loop. */
async function nextTurns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise<void>((resolve) => nodeRuntime.timers.soon(resolve));
}
