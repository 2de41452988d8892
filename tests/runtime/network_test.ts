import assert from "node:assert/strict";
import net from "node:net";
import { after, describe, test } from "node:test";
import tls from "node:tls";
import { Deferred } from "../../src/base/deferred.ts";
import type { DuplexHandlers } from "../../src/base/duplex.ts";
import { type ErrorKind, isTunicError, TunicError } from "../../src/base/errors.ts";
import { concat, equal } from "../../src/bytes/bytes.ts";
import { toHex, utf8 } from "../../src/bytes/text.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import type { Address, Listener, Socket, TlsServerIdentity, TlsSocket } from "../../src/runtime/ports.ts";
import { patterned } from "../support/scripted_relay.ts";
import server from "../vectors/https_server.json" with { type: "json" };

const { network } = nodeRuntime;
const HERE = { host: "127.0.0.1", port: 0 };
const TIMEOUT_MS = 5000;
const isKind = (kind: ErrorKind, code?: string) => (error: unknown) =>
  isTunicError(error, kind) && (code === undefined || error.code === code);

/** Closed at the end of the file. */
const closers: (() => void)[] = [];
after(() => {
  for (const close of closers) close();
});

/** What one end of a connection gets; promises tell when. */
class End {
  readonly socket: Socket;
  readonly chunks: Uint8Array[] = [];
  readonly ended = new Deferred<void>();
  readonly closed = new Deferred<TunicError | undefined>();
  closes = 0;
  #waiting: { bytes: number; done: Deferred<void> } | undefined;
  #drained = new Deferred<void>();

  constructor(socket: Socket, extra: Partial<DuplexHandlers> = {}) {
    this.socket = socket;
    socket.handlers = {
      data: (bytes) => {
        this.chunks.push(bytes);
        if (this.#waiting && this.length >= this.#waiting.bytes) this.#waiting.done.resolve();
      },
      drain: () => {
        this.#drained.resolve();
        this.#drained = new Deferred();
      },
      end: () => this.ended.resolve(),
      close: (error) => {
        this.closes++;
        this.closed.resolve(error);
      },
      ...extra,
    };
    closers.push(() => socket.destroy());
  }

  get length(): number {
    return this.chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  get data(): Uint8Array {
    return concat(...this.chunks);
  }

  async got(bytes: number): Promise<Uint8Array> {
    if (this.length < bytes) {
      this.#waiting = { bytes, done: new Deferred() };
      await this.#waiting.done.promise;
    }
    return this.data;
  }

  drained(): Promise<void> {
    return this.#drained.promise;
  }
}

async function listen(accept: (socket: Socket) => void): Promise<Listener> {
  const listener = await network.listenTcp(HERE, accept);
  closers.push(() => void listener.close());
  return listener;
}

async function pair(): Promise<{ near: End; far: End; listener: Listener }> {
  const accepted = new Deferred<End>();
  const listener = await listen((socket) => accepted.resolve(new End(socket)));
  const near = new End(await network.connectTcp(listener.address, { timeoutMs: TIMEOUT_MS }));
  return { near, far: await accepted.promise, listener };
}

/** A TLS server with the runtime's own means, as a relay would be one. */
async function tlsServer(onSocket: (socket: tls.TLSSocket) => void): Promise<Address> {
  const listening = new Deferred<void>();
  const it = tls.createServer({ key: server.key, cert: server.certificate }, (socket) => {
    closers.push(() => socket.destroy());
    socket.on("error", () => {});
    onSocket(socket);
  });
  it.listen(0, HERE.host, () => listening.resolve());
  closers.push(() => it.close());
  await listening.promise;
  return { host: HERE.host, port: (it.address() as net.AddressInfo).port };
}

const der = Uint8Array.from(atob(server.certificate.replace(/-----[A-Z ]+-----|\s/g, "")), (c) => c.charCodeAt(0));

describe("TLS", () => {
  test("shows the peer's certificate to the byte and carries data both ways", async () => {
    const address = await tlsServer((socket) => socket.on("data", (bytes) => socket.write(bytes)));
    const socket = await network.connectTls(address, { timeoutMs: TIMEOUT_MS });
    assert.deepEqual(new Uint8Array(socket.peerCertificate), der);
    assert.deepEqual(socket.remote, address);
    assert.equal(socket.local?.host, HERE.host);
    const end = new End(socket);
    const sent = patterned(300_000);
    for (let at = 0; at < sent.length; at += 5140) socket.write(sent.subarray(at, at + 5140));
    assert.ok(equal(await end.got(sent.length), sent));
    socket.destroy();
    assert.equal(await end.closed.promise, undefined);
    assert.equal(end.closes, 1);
  });

  test("that the peer ends is told, and closes", async () => {
    const address = await tlsServer((socket) => socket.end("bye"));
    const end = new End(await network.connectTls(address, { timeoutMs: TIMEOUT_MS }));
    await end.ended.promise;
    assert.deepEqual(new Uint8Array(end.data), utf8("bye"));
    end.socket.end();
    await end.closed.promise;
    assert.equal(end.closes, 1);
  });

  test("keeps its queue in `queued` while the peer does not read, and drains", async () => {
    const peer = new Deferred<tls.TLSSocket>();
    const address = await tlsServer((socket) => peer.resolve(socket));
    const end = new End(await network.connectTls(address, { timeoutMs: TIMEOUT_MS }));
    const reader = await peer.promise;
    reader.pause();
    const chunk = patterned(64 * 1024);
    let written = 0;
    // The kernel takes some; then it is all ours.
    while (end.socket.queued < 1024 * 1024 && written < 64 * 1024 * 1024) {
      end.socket.write(chunk);
      written += chunk.length;
      if (written % (1024 * 1024) === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(end.socket.write(chunk), false);
    assert.ok(end.socket.queued > 0 && end.socket.queued <= written + 2 * chunk.length);
    const drained = end.drained();
    let got = 0;
    reader.on("data", (bytes) => got += bytes.length);
    reader.resume();
    await drained;
    while (got < written + chunk.length) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(end.socket.queued, 0);
    assert.equal(got, written + chunk.length);
  });

  test("with a peer that is silent ends after the time limit", async () => {
    const listener = await listen((socket) => new End(socket));
    const connecting = network.connectTls(listener.address, { timeoutMs: 60 });
    await assert.rejects(connecting, isKind("timeout", "connect-timeout"));
  });

  test("with a peer that speaks no TLS, or hangs up, is a failed connection", async () => {
    const answers: ((socket: Socket) => void)[] = [
      (socket) => socket.write(utf8("SSH-2.0-OpenSSH_9.2\r\n")),
      (socket) => socket.end(),
      (socket) => socket.destroy(),
    ];
    for (const answer of answers) {
      const listener = await listen((socket) => {
        new End(socket);
        answer(socket);
      });
      await assert.rejects(network.connectTls(listener.address, { timeoutMs: TIMEOUT_MS }), isKind("connection"));
    }
  });

  test("is aborted before and while connecting, and tells the peer", async () => {
    const peer = new Deferred<End>();
    const listener = await listen((socket) => peer.resolve(new End(socket)));
    const options = { timeoutMs: TIMEOUT_MS };
    await assert.rejects(
      network.connectTls(listener.address, { ...options, signal: AbortSignal.abort() }),
      isKind("aborted"),
    );
    const controller = new AbortController();
    const connecting = network.connectTls(listener.address, { ...options, signal: controller.signal });
    const rejected = assert.rejects(connecting, isKind("aborted"));
    const end = await peer.promise;
    controller.abort();
    await rejected;
    await end.ended.promise;
  });
});

describe("a TLS listener", () => {
  const identity: TlsServerIdentity = { keyPem: server.key, certificate: der };
  const options = { timeoutMs: TIMEOUT_MS };

  async function tlsPair(): Promise<{ near: TlsSocket; far: TlsSocket; listener: Listener }> {
    const accepted = new Deferred<TlsSocket>();
    const listener = await network.listenTls(HERE, identity, (socket) => accepted.resolve(socket));
    closers.push(() => void listener.close());
    const near = await network.connectTls(listener.address, options);
    return { near, far: await accepted.promise, listener };
  }

  test("shows its certificate to the byte, asks for none, and knows both addresses", async () => {
    const { near, far, listener } = await tlsPair();
    assert.deepEqual(new Uint8Array(near.peerCertificate), der);
    assert.equal(far.peerCertificate.length, 0);
    assert.deepEqual(far.local, listener.address);
    assert.deepEqual(far.remote, near.local);
    near.destroy();
    far.destroy();
  });

  test("carries data both ways, ends and closes", async () => {
    const { near, far } = await tlsPair();
    const [client, relay] = [new End(near), new End(far)];
    const sent = patterned(300_000);
    near.write(sent.subarray(0, 1000));
    for (let at = 0; at < sent.length; at += 5140) far.write(sent.subarray(at, at + 5140));
    assert.ok(equal(await client.got(sent.length), sent));
    assert.ok(equal(await relay.got(1000), sent.subarray(0, 1000)));
    near.end();
    await relay.ended.promise;
    far.end();
    await Promise.all([client.closed.promise, relay.closed.promise]);
    assert.deepEqual([client.closes, relay.closes], [1, 1]);
  });

  test("tells when a client goes away in the middle", async () => {
    const { near, far } = await tlsPair();
    new End(near);
    const relay = new End(far);
    near.destroy();
    await Promise.race([relay.ended.promise, relay.closed.promise]);
    far.destroy();
    await relay.closed.promise;
    assert.equal(relay.closes, 1);
  });

  test("gives both ends the same keying material, where the runtime gives any", async () => {
    const [one, two] = [await tlsPair(), await tlsPair()];
    const isDeno = "Deno" in globalThis;
    for (const socket of [one.near, one.far, two.near, two.far]) {
      assert.equal(socket.exportKeyingMaterial === undefined, isDeno, "what each runtime gives has changed");
    }
    if (!isDeno) {
      const of = (socket: TlsSocket, label = "EXPORTER-test", context = Uint8Array.of(1), length = 32) =>
        toHex(socket.exportKeyingMaterial!(length, label, context));
      assert.equal(of(one.near).length, 64);
      assert.equal(of(one.near), of(one.far));
      assert.equal(of(two.near), of(two.far));
      const different = [of(one.near), of(two.near), of(one.near, "EXPORTER-other"), of(one.near, undefined, der)];
      assert.equal(new Set(different).size, different.length);
      assert.equal(of(one.near, undefined, undefined, 50).length, 100);
    }
    for (const socket of [one.near, one.far, two.near, two.far]) socket.destroy();
  });

  test("outlives clients that speak no TLS, and those that hang up in its midst", async () => {
    const accepted: TlsSocket[] = [];
    const good = new Deferred<void>();
    const listener = await network.listenTls(HERE, identity, (socket) => {
      accepted.push(socket);
      good.resolve();
    });
    for (const greeting of ["GET / HTTP/1.0\r\n\r\n", "\x16\x03\x01\x00\xff\x01", ""]) {
      const client = new End(await network.connectTcp(listener.address, options));
      client.socket.write(utf8(greeting));
      if (!greeting.startsWith("G")) client.socket.end();
      await Promise.race([client.ended.promise, client.closed.promise]);
      client.socket.destroy();
    }
    assert.equal(accepted.length, 0);
    const client = await network.connectTls(listener.address, options);
    await good.promise;
    client.destroy();
    accepted[0]!.destroy();
    await listener.close();
  });

  test("that is closed hangs up on those who have not finished TLS, and keeps the others", async () => {
    const { near, far, listener } = await tlsPair();
    const silent = new End(await network.connectTcp(listener.address, options));
    // Behind the silent one, so that the listener knows of that.
    (await network.connectTls(listener.address, options)).destroy();
    const closed = listener.close();
    await Promise.race([silent.ended.promise, silent.closed.promise]);
    silent.socket.destroy();
    await assert.rejects(network.connectTls(listener.address, options), isKind("connection"));
    const end = new End(far);
    near.write(utf8("still here"));
    await end.got(10);
    near.destroy();
    far.destroy();
    await closed;
  });

  test("on a port in use says so", async () => {
    const listener = await listen(() => {});
    await assert.rejects(network.listenTls(listener.address, identity, () => {}), isKind("listen", "port-in-use"));
  });
});

describe("TCP", () => {
  test("knows both addresses", async () => {
    const { near, far, listener } = await pair();
    assert.deepEqual(near.socket.remote, listener.address);
    assert.deepEqual(far.socket.remote, near.socket.local);
  });

  test("may be closed in one direction at a time", async () => {
    const { near, far } = await pair();
    near.socket.write(utf8("request"));
    near.socket.end();
    near.socket.write(utf8("dropped"));
    await far.ended.promise;
    assert.deepEqual(new Uint8Array(far.data), utf8("request"));
    const answer = patterned(500_000);
    far.socket.write(answer);
    assert.ok(equal(await near.got(answer.length), answer));
    assert.deepEqual([near.closes, far.closes], [0, 0]);
    far.socket.end();
    assert.deepEqual([await near.closed.promise, await far.closed.promise], [undefined, undefined]);
    assert.deepEqual([near.closes, far.closes], [1, 1]);
  });

  test("holds data back while paused, and the peer's queue grows instead", async () => {
    const { near, far } = await pair();
    far.socket.pause();
    const chunk = patterned(256 * 1024);
    let written = 0;
    while (near.socket.queued < 2 * 1024 * 1024 && written < 128 * 1024 * 1024) {
      near.socket.write(chunk);
      written += chunk.length;
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok(near.socket.queued >= 2 * 1024 * 1024, "it was never full");
    assert.ok(far.length <= 1024 * 1024, `${far.length} bytes came while paused`);
    const drained = near.drained();
    far.socket.resume();
    await drained;
    await far.got(written);
    assert.equal(far.length, written);
    assert.equal(near.socket.queued, 0);
  });

  test("gives the error it was destroyed with, and drops what is written afterwards", async () => {
    const { near, far } = await pair();
    const reason = new TunicError("Cannot go on: test", { kind: "closed", code: "test" });
    near.socket.destroy(reason);
    assert.equal(near.socket.write(utf8("late")), true);
    near.socket.destroy(new TunicError("Cannot go on: again", { kind: "closed", code: "other" }));
    assert.equal(await near.closed.promise, reason);
    await Promise.race([far.ended.promise, far.closed.promise]);
    assert.equal(near.closes, 1);
  });

  test("may change its handlers", async () => {
    const { near, far } = await pair();
    far.socket.write(utf8("one"));
    await near.got(3);
    const second = new End(near.socket);
    far.socket.write(utf8("two"));
    await second.got(3);
    assert.deepEqual(new Uint8Array(near.data), utf8("one"));
    far.socket.end();
    near.socket.end();
    await second.closed.promise;
    assert.equal(near.closes, 0);
  });

  test("to where nobody listens is refused", async () => {
    const listener = await network.listenTcp(HERE, () => {});
    await listener.close();
    for (const connect of [network.connectTcp, network.connectTls]) {
      await assert.rejects(connect(listener.address, { timeoutMs: TIMEOUT_MS }), isKind("connection", "refused"));
    }
  });

  test("to a name is refused without looking the name up", async () => {
    for (const host of ["localhost", "example.com", "", "127.0.0.1.", "[::1]", "0x7f000001", "127.1"]) {
      for (const connect of [network.connectTcp, network.connectTls]) {
        const connecting = connect({ host, port: 80 }, { timeoutMs: TIMEOUT_MS });
        await assert.rejects(connecting, isKind("argument", "name-not-address"), host);
      }
    }
  });
});

describe("a listener", () => {
  test("on a port in use says so", async () => {
    const listener = await listen(() => {});
    await assert.rejects(network.listenTcp(listener.address, () => {}), (error) => {
      assert.ok(isKind("listen", "port-in-use")(error));
      return (error as TunicError).message.includes(`127.0.0.1:${listener.address.port}`);
    });
  });

  test("on an address of somebody else says so", async () => {
    await assert.rejects(
      network.listenTcp({ host: "192.0.2.1", port: 0 }, () => {}),
      isKind("listen", "listen-failed"),
    );
  });

  test("that is closed takes no more connections, and keeps those it has", async () => {
    const { near, far, listener } = await pair();
    const closed = listener.close();
    await assert.rejects(network.connectTcp(listener.address, { timeoutMs: TIMEOUT_MS }), isKind("connection"));
    near.socket.write(utf8("still here"));
    await far.got(10);
    far.socket.destroy();
    near.socket.destroy();
    await closed;
    const again = await network.listenTcp(listener.address, () => {});
    await again.close();
  });
});

describe("timers", () => {
  test("run once, unless cancelled, and tell the time in one direction", async () => {
    const { timers, clock } = nodeRuntime;
    const events: string[] = [];
    const start = clock.monotonic();
    const done = new Deferred<void>();
    timers.after(0, () => events.push("cancelled")).cancel();
    timers.after(15, () => {
      events.push("after");
      done.resolve();
    });
    timers.soon(() => events.push("soon"));
    timers.after(2 ** 40, () => events.push("never")).cancel();
    await done.promise;
    assert.deepEqual(events, ["soon", "after"]);
    assert.ok(clock.monotonic() - start >= 10);
    assert.ok(Math.abs(clock.now() - Date.now()) < 1000);
  });
});
