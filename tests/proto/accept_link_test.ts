import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Deferred } from "../../src/base/deferred.ts";
import { type ErrorKind, isTunicError, TunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { acceptLink, type AcceptLinkOptions } from "../../src/proto/accept_link.ts";
import { LinkHandshake, type LinkInfo } from "../../src/proto/link_handshake.ts";
import type { InboundLink } from "../../src/proto/link_responder.ts";
import { shakeHands } from "../../src/proto/shake_hands.ts";
import { mockRuntime } from "../../src/runtime/mock.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import type { Address, Runtime, TlsSocket } from "../../src/runtime/ports.ts";
import { generateRelayIdentity } from "../../src/testnet/relay_identity.ts";
import { CELL_LEN, CellCommand, fixedCell } from "../../src/wire/cell.ts";
import { versionsCell } from "./fake_responder.ts";

const TIMEOUT_MS = 10_000;
const now = nodeRuntime.clock.now();
const make = (nickname: string) => generateRelayIdentity({ nickname, now, random: nodeRuntime });
const [relay, initiator] = await Promise.all([make("relay"), make("initiator")]);
const isKind = (kind: ErrorKind, code?: string) => (error: unknown) =>
  isTunicError(error, kind) && (code === undefined || error.code === code);

interface Accepted {
  readonly socket: TlsSocket;
  readonly link: Promise<InboundLink>;
}

/** Listens as `relay`; `accepted` is the first connection. */
async function listen(runtime: Runtime, options: Partial<AcceptLinkOptions> = {}) {
  const accepted = new Deferred<Accepted>();
  const listener = await runtime.network.listenTls({ host: "127.0.0.1", port: 0 }, relay.tls, (socket) => {
    const all = { identity: relay.link, ownAddresses: ["127.0.0.1"], timeoutMs: TIMEOUT_MS, ...options };
    const link = acceptLink(runtime, socket, all);
    link.catch(() => {});
    accepted.resolve({ socket, link });
  });
  return { listener, accepted: accepted.promise };
}

async function connect(
  runtime: Runtime,
  to: Address,
  isRelay: boolean,
): Promise<{ socket: TlsSocket; link: LinkInfo }> {
  const socket = await runtime.network.connectTls(to, { timeoutMs: TIMEOUT_MS });
  const { exportKeyingMaterial } = socket;
  const handshake = new LinkHandshake({
    peerCertificate: socket.peerCertificate,
    expected: { rsaId: relay.rsaId, ed25519Id: relay.ed25519Id },
    now: () => runtime.clock.now(),
    peerAddress: to,
    authentication: isRelay && exportKeyingMaterial
      ? {
        identity: initiator.link,
        exportKeyingMaterial,
        random: (count) => runtime.random(count),
        ownAddresses: ["127.0.0.1"],
      }
      : undefined,
  });
  return { socket, link: await shakeHands(runtime, socket, handshake, { timeoutMs: TIMEOUT_MS }) };
}

/** The first `length` bytes of a link that was handed over. */
function first(socket: TlsSocket, rest: Uint8Array, length: number): Promise<Uint8Array> {
  const done = new Deferred<Uint8Array>();
  let got = rest;
  const take = (bytes: Uint8Array): void => {
    got = concat(got, bytes);
    if (got.length >= length) done.resolve(got);
  };
  socket.handlers = { data: take, drain() {}, end() {}, close: (error) => done.reject(error ?? new Error("closed")) };
  take(new Uint8Array(0));
  socket.resume();
  return done.promise;
}

describe("a link over real TLS", () => {
  for (const isRelay of [false, true]) {
    test(`opens for a ${isRelay ? "relay" : "client"}, and loses no byte at its beginning`, async () => {
      const { listener, accepted } = await listen(nodeRuntime);
      const near = await connect(nodeRuntime, listener.address, isRelay);
      const cell = fixedCell(0x80000001, CellCommand.CREATE_FAST, Uint8Array.of(1, 2, 3));
      near.socket.write(cell);
      const far = await accepted;
      const link = await far.link;
      far.socket.write(cell);
      assert.deepEqual(await first(far.socket, link.rest, CELL_LEN), cell);
      assert.deepEqual(await first(near.socket, near.link.rest, CELL_LEN), cell);
      const authenticates = isRelay && !("Deno" in globalThis);
      assert.equal(near.link.authenticated, authenticates);
      assert.deepEqual(link.peer?.rsaId, authenticates ? initiator.rsaId : undefined);
      assert.deepEqual(link.peer?.ed25519Id, authenticates ? initiator.ed25519Id : undefined);
      assert.deepEqual([near.link.ownAddress, link.ownAddress], ["127.0.0.1", "127.0.0.1"]);
      near.socket.destroy();
      far.socket.destroy();
      await listener.close();
    });
  }
});

describe("accepting a link", () => {
  const makeRuntime = () => mockRuntime(1, now);

  test("of a relay gives its identity, where TLS exports keying material", async () => {
    for (const exports of [true, false]) {
      const runtime = makeRuntime();
      runtime.network.exportsKeyingMaterial = exports;
      const { listener, accepted } = await listen(runtime);
      const connecting = connect(runtime, listener.address, true);
      await runtime.time.settle();
      assert.equal((await connecting).link.authenticated, exports);
      const { peer } = await (await accepted).link;
      assert.deepEqual(peer?.rsaId, exports ? initiator.rsaId : undefined);
      assert.equal(runtime.time.pending, 0);
    }
  });

  test("ends after its time limit, whatever came before", async () => {
    for (const bytes of [new Uint8Array(0), versionsCell(5).subarray(0, 3), versionsCell(5)]) {
      const runtime = makeRuntime();
      const { listener, accepted } = await listen(runtime);
      const socket = await runtime.network.connectTls(listener.address);
      const closed = new Deferred<void>();
      socket.handlers = { data() {}, drain() {}, end: () => socket.destroy(), close: () => closed.resolve() };
      socket.write(bytes);
      const { link } = await accepted;
      await runtime.time.advance(TIMEOUT_MS - 1);
      assert.equal(runtime.time.pending, 1);
      await runtime.time.advance(1);
      await assert.rejects(link, isKind("timeout", "handshake-timeout"));
      await runtime.time.settle();
      await closed.promise;
      assert.equal(runtime.time.pending, 0);
    }
  });

  test("fails when the initiator hangs up or talks nonsense, and hangs up itself", async () => {
    const acts: [ErrorKind, (socket: TlsSocket) => void][] = [
      ["connection", (socket) => socket.end()],
      ["connection", (socket) => socket.destroy()],
      ["protocol", (socket) => socket.write(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"))],
      [
        "protocol",
        (socket) => socket.write(concat(versionsCell(5), fixedCell(1, CellCommand.NETINFO, versionsCell(5)))),
      ],
    ];
    for (const [kind, act] of acts) {
      const runtime = makeRuntime();
      const { listener, accepted } = await listen(runtime);
      const socket = await runtime.network.connectTls(listener.address);
      const closed = new Deferred<void>();
      socket.handlers = { data() {}, drain() {}, end() {}, close: () => closed.resolve() };
      act(socket);
      await runtime.time.settle();
      await assert.rejects((await accepted).link, isKind(kind));
      await closed.promise;
      assert.equal(runtime.time.pending, 0);
    }
  });

  test("may be aborted before and in its midst", async () => {
    const reason = new TunicError("Cannot go on: the relay was killed", { kind: "closed", code: "test" });
    for (const early of [true, false]) {
      const runtime = makeRuntime();
      const controller = new AbortController();
      if (early) controller.abort(reason);
      const { listener, accepted } = await listen(runtime, { signal: controller.signal });
      const socket = await runtime.network.connectTls(listener.address);
      socket.handlers = { data() {}, drain() {}, end() {}, close() {} };
      socket.write(versionsCell(5));
      await runtime.time.settle();
      controller.abort(reason);
      await assert.rejects((await accepted).link, (error) => error === reason);
      assert.equal(runtime.time.pending, 0);
    }
  });
});
