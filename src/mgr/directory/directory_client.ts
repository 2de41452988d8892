/**
 * Directory requests: GET over a BEGIN_DIR stream on a circuit of one hop (dir-spec 4, 6.1; tor-spec 6.2.1).
 *
 * One circuit per relay carries as many requests as come while it lives, side by side, and is closed when it has had
 * none for a while. It is made by ntor where the relay's onion key is known, else by CREATE_FAST.
 */
import { abortError, throwIfAborted, TunicError } from "../../base/errors.ts";
import { toHex } from "../../bytes/text.ts";
import type { Circuit } from "../../proto/circuit.ts";
import { fastHandshake, ntorHandshake } from "../../proto/circuit_handshake.ts";
import { httpGet } from "../../proto/http_get.ts";
import type { ChannelTarget } from "../../proto/target.ts";
import type { Encoding, Runtime, Timer } from "../../runtime/ports.ts";
import type { ChannelManager } from "../channels.ts";
import { deadline } from "./waiting.ts";

/** Whom to ask. */
export interface DirectoryServer {
  readonly target: ChannelTarget;
  /** Its onion key, 32 bytes, where known. */
  readonly ntorKey?: Uint8Array;
}

/** How far a request has come: its circuit is built, it was sent, bytes of the answer arrive. */
export type DirectoryStep = "circuit" | "sent" | "answering";

export interface DirectoryRequest {
  /** What is asked for, for messages: "the consensus". */
  readonly what: string;
  readonly path: string;
  /** Most bytes of the document, decompressed. */
  readonly maxBytes: number;
  /** Milliseconds since 1970: a document that is no newer is answered with 304. */
  readonly ifModifiedSince?: number;
  /** How long the whole may take, and how long nothing may come. */
  readonly timeoutMs: number;
  readonly stallTimeoutMs: number;
  readonly signal?: AbortSignal;
  readonly onStep?: (step: DirectoryStep) => void;
}

export interface DirectoryAnswer {
  readonly status: number;
  /** The document, decompressed; empty unless the status is 200. */
  readonly body: Uint8Array;
}

/** What the directory manager asks through: {@link DirectoryClient}, or a script in its tests. */
export interface DirectoryTransport {
  /** Any status is an answer. Throws where there is none, or where it is malformed or beyond its limits. */
  get(server: DirectoryServer, request: DirectoryRequest): Promise<DirectoryAnswer>;
  /** Ends requests under way, and closes every circuit. */
  close(): void;
}

export interface DirectoryClientOptions {
  readonly runtime: Runtime;
  readonly channels: ChannelManager;
  /** For CREATE after the channel stands; default 20 s. */
  readonly circuitTimeoutMs?: number;
  /** How long a circuit without requests is kept; default 5 s. */
  readonly idleTimeoutMs?: number;
}

const CIRCUIT_TIMEOUT_MS = 20_000;
const IDLE_TIMEOUT_MS = 5_000;
/** One-hop circuits use the default window: parameters of the consensus may not be known yet. */
const CIRCUIT_WINDOW = 1000;

/** A circuit, or one being built, and who uses it. */
interface Entry {
  readonly circuit: Promise<Circuit>;
  readonly abandon: AbortController;
  users: number;
  idle: Timer | undefined;
}

export class DirectoryClient implements DirectoryTransport {
  readonly #runtime: Runtime;
  readonly #options: DirectoryClientOptions;
  /** By RSA identity in hex. */
  readonly #entries = new Map<string, Entry>();
  readonly #shutdown = new AbortController();

  constructor(options: DirectoryClientOptions) {
    this.#options = options;
    this.#runtime = options.runtime;
  }

  /** Circuits that are open or being built. */
  get circuitCount(): number {
    return this.#entries.size;
  }

  async get(server: DirectoryServer, request: DirectoryRequest): Promise<DirectoryAnswer> {
    const { what, timeoutMs } = request;
    throwIfAborted(this.#shutdown.signal, `get ${what}`);
    const limit = deadline(this.#runtime.timers, timeoutMs, `get ${what}`, [request.signal, this.#shutdown.signal]);
    const key = toHex(server.target.rsaId);
    const entry = this.#acquire(key, server);
    try {
      const circuit = await unlessAborted(entry.circuit, limit.signal, `get ${what}`);
      request.onStep?.("circuit");
      return await this.#exchange(circuit, server, request, limit.signal);
    } finally {
      limit.cancel();
      this.#release(key, entry);
    }
  }

  close(): void {
    this.#shutdown.abort(closedError());
    for (const [key, entry] of [...this.#entries]) this.#close(key, entry);
  }

  async #exchange(
    circuit: Circuit,
    { target }: DirectoryServer,
    request: DirectoryRequest,
    signal: AbortSignal,
  ): Promise<DirectoryAnswer> {
    const { timers, compression } = this.#runtime;
    const { timeoutMs, stallTimeoutMs, maxBytes, ifModifiedSince } = request;
    const opening = deadline(timers, stallTimeoutMs, "open a directory stream", [signal]);
    const stream = await circuit.openDirectory(opening.signal).finally(() => opening.cancel());
    const headers: (readonly [string, string])[] = [["Accept-Encoding", compression.encodings.join(", ")]];
    if (ifModifiedSince !== undefined) headers.push(["If-Modified-Since", new Date(ifModifiedSince).toUTCString()]);
    let answering = false;
    const answer = httpGet(stream, {
      timers,
      path: request.path,
      host: hostOf(target),
      headers,
      // Compressed documents are no longer than what comes out of them, but for a few bytes of framing.
      maxBytes: maxBytes + 1024,
      timeoutMs,
      stallTimeoutMs,
      signal,
      onBytes: () => {
        if (!answering) request.onStep?.("answering");
        answering = true;
      },
    });
    request.onStep?.("sent");
    const { status, headers: fields, body } = await answer;
    if (status !== 200) return { status, body: new Uint8Array(0) };
    const encoding = encodingOf(fields.get("content-encoding"), compression.encodings);
    return { status, body: await compression.decompress(encoding, body, maxBytes) };
  }

  #acquire(key: string, server: DirectoryServer): Entry {
    let entry = this.#entries.get(key);
    if (!entry) {
      const abandon = new AbortController();
      entry = { circuit: this.#build(server, abandon.signal), abandon, users: 0, idle: undefined };
      this.#entries.set(key, entry);
      const made = entry;
      const forget = () => this.#close(key, made);
      made.circuit.then((circuit) => circuit.closed ? forget() : circuit.events.on("closed", forget), forget);
    }
    entry.users++;
    entry.idle?.cancel();
    entry.idle = undefined;
    return entry;
  }

  #release(key: string, entry: Entry): void {
    entry.users--;
    if (entry.users > 0 || this.#entries.get(key) !== entry) return;
    const idleMs = this.#options.idleTimeoutMs ?? IDLE_TIMEOUT_MS;
    entry.idle = this.#runtime.timers.after(idleMs, () => this.#close(key, entry));
  }

  async #build(server: DirectoryServer, abandoned: AbortSignal): Promise<Circuit> {
    const { target, ntorKey } = server;
    const channel = await this.#options.channels.get(target, abandoned);
    const circuit = channel.newCircuit(CIRCUIT_WINDOW);
    const timeoutMs = this.#options.circuitTimeoutMs ?? CIRCUIT_TIMEOUT_MS;
    const limit = deadline(this.#runtime.timers, timeoutMs, "create a directory circuit", [abandoned]);
    try {
      const handshake = ntorKey ? ntorHandshake(this.#runtime, { ...target, ntorKey }) : fastHandshake(this.#runtime);
      await circuit.create(handshake, limit.signal);
      return circuit;
    } finally {
      limit.cancel();
    }
  }

  /** Forgets the circuit, and closes it if it is still open; requests on it fail. */
  #close(key: string, entry: Entry): void {
    if (this.#entries.get(key) === entry) this.#entries.delete(key);
    entry.idle?.cancel();
    entry.abandon.abort(closedError());
    entry.circuit.then((circuit) => circuit.destroy(closedError()), () => {});
  }
}

function closedError(): TunicError {
  return new TunicError("Cannot go on with a directory circuit: it is not needed any more", {
    kind: "closed",
    code: "directory-circuit-closed",
  });
}

function hostOf({ addresses }: ChannelTarget): string | undefined {
  const address = addresses[0];
  return address && (address.host.includes(":") ? `[${address.host}]` : address.host) + `:${address.port}`;
}

function encodingOf(name: string | undefined, known: readonly Encoding[]): Encoding {
  const found = name === undefined || name === "" ? "identity" : name.toLowerCase() === "x-gzip" ? "gzip" : name;
  const encoding = known.find((each) => each === found.toLowerCase());
  if (encoding !== undefined) return encoding;
  throw new TunicError(
    `Cannot read a directory's answer: it is compressed in a way that was not asked for, expected one of ${known}`,
    { kind: "malformed", code: "unknown-content-encoding", retry: "elsewhere" },
  );
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(abortError(signal, what));
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
