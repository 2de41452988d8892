/**
 * A SOCKS port: accepts local programs, reads their request, has a backend open a stream, and then only carries
 * bytes.
 *
 * Nothing is resolved here and no connection is made but through the backend. A connection is in one of three
 * phases: handshake, waiting for the backend, open; while it waits, what the program sends already is kept, within
 * a bound, and goes out first.
 */
import { type Duplex, type DuplexHandlers, pump } from "../base/duplex.ts";
import { TunicError } from "../base/errors.ts";
import { logger } from "../base/log.ts";
import { toHex, utf8 } from "../bytes/text.ts";
import { sha256 } from "../crypto/digest.ts";
import type { StreamBackend } from "../client/backend.ts";
import type { Address, Clock, Listener, Network, Socket, Timer, Timers } from "../runtime/ports.ts";
import type { RandomSource } from "../runtime/random.ts";
import { SocksHandshake, type SocksRequest } from "../wire/socks.ts";
import { encodeSocksReply, SocksReply, socksReplyFor } from "../wire/socks_reply.ts";

export interface SocksListenerOptions {
  readonly network: Network;
  readonly timers: Timers;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly backend: StreamBackend;
  readonly address: Address;
  /** How long a request may wait for its stream or answer: torrc's SocksTimeout. Default: 2 minutes. */
  readonly timeoutMs?: number;
  /** How long a program may take to say what it wants. Default: 2 minutes. */
  readonly handshakeTimeoutMs?: number;
  /** Connections over this number are closed at once. Default: 4096. */
  readonly maxConnections?: number;
  /** Bytes that a program may send ahead of the answer before it is told to wait. Default: 64 KiB. */
  readonly maxEarlyBytes?: number;
  /** How long a program may keep its end open after the stream has closed. Default: 10 seconds. */
  readonly lingerMs?: number;
  /** torrc's flag ExtendedErrors: reply codes for onion services. Default: off. */
  readonly extendedErrors?: boolean;
  /** Streams with different SOCKS user names and passwords never share a circuit. Default: on. */
  readonly isolateSocksAuth?: boolean;
  /** Streams of programs on different addresses never share a circuit. Default: on. */
  readonly isolateClientAddress?: boolean;
  /** torrc's flag PreferSOCKSNoAuth. Default: off. */
  readonly preferNoAuth?: boolean;
}

export interface SocksListener {
  /** With the real port where port 0 was asked for. */
  readonly address: Address;
  readonly connections: number;
  /** Stops listening and ends the connections it accepted. */
  close(): Promise<void>;
}

type Settings = Required<SocksListenerOptions>;

const DEFAULTS = {
  timeoutMs: 120_000,
  handshakeTimeoutMs: 120_000,
  maxConnections: 4096,
  maxEarlyBytes: 64 * 1024,
  lingerMs: 10_000,
  extendedErrors: false,
  isolateSocksAuth: true,
  isolateClientAddress: true,
  preferNoAuth: false,
} satisfies Partial<SocksListenerOptions>;

/** Warnings of one sort come no more often than this. */
const WARNING_INTERVAL_MS = 60_000;

const log = logger("socks");

/** Throws `listen`. */
export async function listenSocks(options: SocksListenerOptions): Promise<SocksListener> {
  const port = new SocksPort({ ...DEFAULTS, ...options });
  await port.open();
  return port;
}

class SocksPort implements SocksListener {
  readonly settings: Settings;
  /** Mixed into every isolation key: keys of two listeners never meet, and do not give away what went into them. */
  readonly #salt: Uint8Array;
  readonly #connections = new Set<SocksConnection>();
  readonly #lastWarning = new Map<string, number>();
  #listener: Listener | undefined;

  constructor(settings: Settings) {
    this.settings = settings;
    this.#salt = settings.random.random(32);
  }

  get address(): Address {
    return this.#listener!.address;
  }

  get connections(): number {
    return this.#connections.size;
  }

  async open(): Promise<void> {
    const { network, address } = this.settings;
    this.#listener = await network.listenTcp(address, (socket) => this.#accept(socket));
  }

  async close(): Promise<void> {
    const closed = this.#listener!.close();
    for (const connection of [...this.#connections]) connection.close();
    await closed;
  }

  remove(connection: SocksConnection): void {
    this.#connections.delete(connection);
  }

  warn(sort: string, message: string): void {
    const now = this.settings.clock.monotonic();
    if (now - (this.#lastWarning.get(sort) ?? -Infinity) < WARNING_INTERVAL_MS) return;
    this.#lastWarning.set(sort, now);
    log.warn(message);
  }

  isolationKey(request: SocksRequest, client: Address | undefined): string {
    const { isolateClientAddress, isolateSocksAuth } = this.settings;
    const auth = isolateSocksAuth ? request.auth?.reveal() : undefined;
    const parts = [
      utf8(isolateClientAddress ? client?.host ?? "" : ""),
      auth?.username ?? new Uint8Array(0),
      auth?.password ?? new Uint8Array(0),
    ];
    // Each part is hashed for itself, so that no two lists of parts run together.
    return toHex(sha256(this.#salt, ...parts.map((part) => sha256(part))));
  }

  #accept(socket: Socket): void {
    if (this.#connections.size >= this.settings.maxConnections) {
      this.warn("limit", `More than ${this.settings.maxConnections} connections to the SOCKS port: refusing more`);
      socket.destroy();
      return;
    }
    this.#connections.add(new SocksConnection(this, socket));
  }
}

class SocksConnection {
  readonly #port: SocksPort;
  readonly #socket: Socket;
  readonly #handshake: SocksHandshake;
  readonly #abort = new AbortController();
  #timer: Timer;
  #stream: Duplex | undefined;
  #requested = false;
  #early: Uint8Array[] = [];
  #earlyBytes = 0;
  #ended = false;
  #closed = false;

  constructor(port: SocksPort, socket: Socket) {
    const { settings } = port;
    this.#port = port;
    this.#socket = socket;
    this.#handshake = new SocksHandshake({ preferNoAuth: settings.preferNoAuth });
    this.#timer = settings.timers.after(settings.handshakeTimeoutMs, () => this.close());
    socket.handlers = {
      data: (bytes) => this.#requested ? this.#keepEarly(bytes) : this.#step(bytes),
      drain: () => {},
      end: () => this.#onEnd(),
      close: () => this.#onClose(),
    };
  }

  /** Ends everything at once. */
  close(): void {
    this.#stream?.destroy();
    this.#socket.destroy();
    this.#onClose();
  }

  #onClose(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer.cancel();
    if (!this.#stream) this.#abort.abort();
    this.#early = [];
    this.#port.remove(this);
  }

  #onEnd(): void {
    this.#ended = true;
    // With nothing said beyond the request, a program that ends has gone; with data, it may wait for the answer.
    if (this.#earlyBytes === 0) this.close();
  }

  #step(bytes: Uint8Array): void {
    const step = this.#handshake.step(bytes);
    if (step.send) this.#socket.write(step.send);
    if (step.state === "more") return;
    this.#requested = true;
    if (step.state === "refused") {
      this.#port.warn(step.error.code, step.error.message);
      return this.#finish();
    }
    if (step.rest.length > 0) this.#keepEarly(step.rest);
    this.#serve(step.request).catch((error: unknown) => {
      log.debug("SOCKS request failed: {message}", { message: error instanceof Error ? error.message : String(error) });
      if (this.#closed) return;
      this.#socket.write(
        encodeSocksReply(step.request.version, socksReplyFor(error, this.#port.settings.extendedErrors)),
      );
      this.#finish();
    });
  }

  #keepEarly(bytes: Uint8Array): void {
    this.#early.push(bytes);
    this.#earlyBytes += bytes.length;
    if (this.#earlyBytes >= this.#port.settings.maxEarlyBytes) this.#socket.pause();
  }

  /** No stream came of it: lets the reply out and closes. */
  #finish(): void {
    this.#socket.handlers = {
      data: () => {},
      drain: () => {},
      end: () => {},
      close: () => this.#onClose(),
    };
    this.#early = [];
    this.#socket.end();
    this.#socket.resume();
    this.#linger();
  }

  async #serve(request: SocksRequest): Promise<void> {
    const { settings } = this.#port;
    if (request.addressOnly && request.command !== "resolve-ptr") {
      this.#port.warn(
        "address",
        `A program gives its SOCKS ${request.version} requests as IP addresses. If it resolved names by itself, it ` +
          "told them to somebody outside Tor. Let it use SOCKS 4a, or SOCKS 5 with host names",
      );
    }
    this.#timer.cancel();
    this.#timer = settings.timers.after(settings.timeoutMs, () => {
      this.#abort.abort(
        new TunicError(`Cannot serve a SOCKS request: no answer within ${settings.timeoutMs} ms`, {
          kind: "timeout",
          code: "socks-timeout",
          retry: "later",
        }),
      );
    });
    const options = {
      isolation: this.#port.isolationKey(request, this.#socket.remote),
      signal: this.#abort.signal,
    };
    if (request.command !== "connect") {
      const answer = await this.#lookUp(request, options);
      if (this.#closed) return;
      this.#socket.write(encodeSocksReply(request.version, SocksReply.SUCCEEDED, answer));
      return this.#finish();
    }
    const stream = await settings.backend.openStream({ ...options, host: request.host, port: request.port });
    if (this.#closed) return stream.destroy();
    this.#carry(stream, request.version);
  }

  async #lookUp(request: SocksRequest, options: { isolation: string; signal: AbortSignal }): Promise<string> {
    const { backend } = this.#port.settings;
    let answer: string | undefined;
    if (request.command === "resolve-ptr") {
      // What an exit says is handed on only where it fits the reply and is printable.
      answer = (await backend.resolvePtr(request.host, options)).find((name) => /^[\x21-\x7e]{1,255}$/.test(name));
    } else {
      const answers = await backend.resolve(request.host, options);
      const ofType = (type: string) => answers.find((each) => each.type === type)?.value;
      answer = ofType("ipv4") ?? (request.version === 5 ? ofType("ipv6") : undefined);
    }
    if (answer !== undefined) return answer;
    throw new TunicError("Cannot resolve: the exit gave no answer that fits the request", {
      kind: "resolve",
      code: "no-answer",
    });
  }

  /** From here on nothing of this class is on the way of the data. */
  #carry(stream: Duplex, version: 4 | 5): void {
    this.#timer.cancel();
    this.#stream = stream;
    const socket = this.#socket;
    socket.write(encodeSocksReply(version, SocksReply.SUCCEEDED));
    pump(socket, stream, () => this.#onClose());
    // `pump` waits for the program to close as well; one that never does is not waited for without end.
    const handlers: DuplexHandlers = stream.handlers;
    stream.handlers = {
      ...handlers,
      close: (error) => {
        handlers.close(error);
        socket.resume();
        if (!this.#closed) this.#linger();
      },
    };
    let ready = true;
    for (const bytes of this.#early) ready = stream.write(bytes);
    this.#early = [];
    if (ready) socket.resume();
    else socket.pause();
    if (this.#ended) stream.end();
  }

  /** Closes the socket after a while, but not as long as the program is still taking what was sent to it. */
  #linger(): void {
    let before = this.#socket.queued;
    const { timers, lingerMs } = this.#port.settings;
    const look = (): void => {
      const { queued } = this.#socket;
      if (queued === 0 || queued >= before) return this.close();
      before = queued;
      this.#timer = timers.after(lingerMs, look);
    };
    this.#timer.cancel();
    this.#timer = timers.after(lingerMs, look);
  }
}
