/** C tor as the judge of the responder's half of the link handshake: its client and its relay connect to ours. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { Deferred } from "../../src/base/deferred.ts";
import { equal } from "../../src/bytes/bytes.ts";
import { toBase64, toHexUpper } from "../../src/bytes/text.ts";
import { CreateFastClient } from "../../src/crypto/create_fast.ts";
import { acceptLink } from "../../src/proto/accept_link.ts";
import { LinkHandshake } from "../../src/proto/link_handshake.ts";
import type { InboundLink } from "../../src/proto/link_responder.ts";
import { shakeHands } from "../../src/proto/shake_hands.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import type { Listener, TlsSocket } from "../../src/runtime/ports.ts";
import { generateRelayIdentity, type RelayIdentity } from "../../src/testnet/relay_identity.ts";
import { CELL_LEN, CellCommand, cellCommand, cellCommandName, fixedCell } from "../../src/wire/cell.ts";
import { poll } from "../support/poll.ts";
import { endProcesses, freePorts, logTail, skipWithoutCTor, startTor } from "./ctor_process.ts";

const HERE = "127.0.0.1";
const TIMEOUT_MS = 20_000;
const exportsKeys = !("Deno" in globalThis);

/** A relay of ours that answers handshakes, and keeps what comes after the first that succeeds. */
class Responder implements AsyncDisposable {
  readonly identity: RelayIdentity;
  readonly opened = new Deferred<InboundLink>();
  /** The first cell on the open link. */
  readonly firstCell = new Deferred<Uint8Array>();
  readonly #sockets: TlsSocket[] = [];
  #listener: Listener | undefined;

  private constructor(identity: RelayIdentity) {
    this.identity = identity;
  }

  static async start(): Promise<Responder> {
    const options = { nickname: "judged", now: nodeRuntime.clock.now(), random: nodeRuntime };
    const responder = new Responder(await generateRelayIdentity(options));
    const { tls } = responder.identity;
    responder.#listener = await nodeRuntime.network.listenTls({ host: HERE, port: 0 }, tls, (socket) => {
      responder.#sockets.push(socket);
      void responder.#accept(socket);
    });
    return responder;
  }

  get port(): number {
    return this.#listener!.address.port;
  }

  /** Torrc lines that make C tor ask this relay for everything; nothing answers on the directory port. */
  get directoryLines(): string[] {
    const fingerprint = toHexUpper(this.identity.rsaId);
    return [
      `DirAuthority judged orport=${this.port} no-v2 v3ident=${fingerprint} ${HERE}:1 ${fingerprint}`,
      // Relays use an authority's directory port where there is one, and a fallback's where they are no caches.
      `FallbackDir ${HERE} orport=${this.port} id=${fingerprint}`,
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await this.#listener?.close();
  }

  async #accept(socket: TlsSocket): Promise<void> {
    try {
      const link = await acceptLink(nodeRuntime, socket, {
        identity: this.identity.link,
        ownAddresses: [HERE],
        timeoutMs: TIMEOUT_MS,
      });
      this.opened.resolve(link);
      let got = link.rest;
      const take = (bytes: Uint8Array): void => {
        got = Uint8Array.from([...got, ...bytes]);
        if (got.length >= CELL_LEN) this.firstCell.resolve(got.slice(0, CELL_LEN));
      };
      socket.handlers = { data: take, drain() {}, end: () => socket.destroy(), close() {} };
      take(new Uint8Array(0));
      socket.resume();
    } catch (error) {
      this.opened.reject(error as Error);
    }
  }
}

class CTor implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "tunic-responder-"));
  readonly #pid: number;

  /** Offline but for `responder`: it is the only authority that this process knows. */
  constructor(responder: Responder, lines: readonly string[]) {
    this.#pid = startTor(this.directory, [
      "TestingTorNetwork 1",
      ...responder.directoryLines,
      `Log [handshake,or]debug file ${join(this.directory, "debug.log")}`,
      ...lines,
    ]);
  }

  get log(): string {
    try {
      return readFileSync(join(this.directory, "debug.log"), "utf8");
    } catch {
      return "";
    }
  }

  async within<T>(what: Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>();
    const timer = nodeRuntime.timers.after(
      TIMEOUT_MS,
      () => late.reject(new Error(`C tor did not:\n${logTail(this.directory)}\n${this.log.slice(-4000)}`)),
    );
    try {
      return await Promise.race([what, late.promise]);
    } finally {
      timer.cancel();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await endProcesses([this.#pid]);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

function relayLines(orPort: number): string[] {
  return [
    `ORPort ${HERE}:${orPort}`,
    `Address ${HERE}`,
    "SocksPort 0",
    "AssumeReachable 1",
    "PublishServerDescriptor 0",
    "DirCache 0",
    "Nickname ctor",
  ];
}

describe("C tor accepts our relay", { skip: skipWithoutCTor() }, () => {
  test("as a client, by both identities, and goes on to build a circuit", async () => {
    await using responder = await Responder.start();
    await using tor = new CTor(responder, ["ClientOnly 1", "SocksPort 0"]);
    const link = await tor.within(responder.opened.promise);
    assert.equal(link.linkVersion, 5);
    assert.equal(link.peer, undefined);
    assert.equal(link.clockSkewMs, undefined);
    assert.equal(link.ownAddress, HERE);
    const cell = await tor.within(responder.firstCell.promise);
    const command = cellCommand(cell, 0);
    // Before a circuit may come its wish for padding.
    const expected: number[] = [CellCommand.CREATE_FAST, CellCommand.PADDING_NEGOTIATE];
    assert.ok(expected.includes(command), cellCommandName(command));
    const ed25519Id = toBase64(responder.identity.ed25519Id);
    await poll("C tor's word on our identity", TIMEOUT_MS, () => tor.log.includes(ed25519Id) ? true : undefined);
    assert.doesNotMatch(tor.log, /\[warn\]|\[err\]/);
  });

  test("as a relay, which authenticates where our TLS exports keying material", async () => {
    await using responder = await Responder.start();
    const [orPort] = await freePorts(1);
    await using tor = new CTor(responder, relayLines(orPort!));
    const link = await tor.within(responder.opened.promise);
    assert.equal(link.linkVersion, 5);
    const words = readFileSync(join(tor.directory, "fingerprint"), "utf8").trim().split(" ");
    const edWords = readFileSync(join(tor.directory, "fingerprint-ed25519"), "utf8").trim().split(" ");
    if (exportsKeys) {
      assert.equal(toHexUpper(link.peer!.rsaId), words[1]);
      assert.equal(toBase64(link.peer!.ed25519Id), edWords[1]);
    } else {
      assert.equal(link.peer, undefined);
    }
    // A relay tells its time.
    assert.ok(Math.abs(link.clockSkewMs!) < 5000);
    assert.equal(cellCommand(await tor.within(responder.firstCell.promise), 0), CellCommand.CREATE_FAST);
  });

  test("as an initiator that authenticates, and answers its circuit", async () => {
    await using responder = await Responder.start();
    const [orPort] = await freePorts(1);
    await using tor = new CTor(responder, relayLines(orPort!));
    // C tor has its keys by then.
    await tor.within(responder.opened.promise);
    const fingerprint = readFileSync(join(tor.directory, "fingerprint"), "utf8").trim().split(" ")[1]!;
    const rsaId = Uint8Array.from(fingerprint.match(/../g)!, (digits) => parseInt(digits, 16));
    const peerAddress = { host: HERE, port: orPort! };
    const socket = await nodeRuntime.network.connectTls(peerAddress, { timeoutMs: TIMEOUT_MS });
    const { exportKeyingMaterial } = socket;
    const handshake = new LinkHandshake({
      peerCertificate: socket.peerCertificate,
      expected: { rsaId },
      now: () => nodeRuntime.clock.now(),
      peerAddress,
      authentication: exportKeyingMaterial && {
        identity: responder.identity.link,
        exportKeyingMaterial,
        random: (count) => nodeRuntime.random(count),
        ownAddresses: [HERE],
      },
    });
    const link = await shakeHands(nodeRuntime, socket, handshake, { timeoutMs: TIMEOUT_MS });
    assert.equal(link.authenticated, exportsKeys);
    const answered = new Deferred<Uint8Array>();
    let got = new Uint8Array(0);
    socket.handlers = {
      data(bytes) {
        got = Uint8Array.from([...got, ...bytes]);
        if (got.length >= CELL_LEN) answered.resolve(got);
      },
      drain() {},
      end: () => socket.destroy(),
      close: (error) => answered.reject(error ?? new Error("C tor hung up")),
    };
    const fast = CreateFastClient.start(nodeRuntime);
    socket.write(fixedCell(0x80000001, CellCommand.CREATE_FAST, fast.onionSkin));
    socket.resume();
    const cell = await tor.within(answered.promise);
    socket.destroy();
    assert.equal(cellCommandName(cellCommand(cell, 0)), "CREATED_FAST");
    assert.ok(equal(cell.subarray(0, 4), Uint8Array.of(0x80, 0, 0, 1)));
    assert.equal(fast.finish(cell.subarray(5, 45), 72).length, 72);
    if (exportsKeys) {
      const said = /Got an AUTHENTICATE cell on .*type 3: Looks good/;
      await poll("C tor's word on our signature", TIMEOUT_MS, () => said.test(tor.log) ? true : undefined);
    }
  });
});
