/**
 * A runtime for tests: time that moves only when told, files in memory, a seeded generator, a network of listeners
 * in memory.
 */
import { hkdfSync } from "node:crypto";
import { type DuplexHandlers, IGNORE } from "../base/duplex.ts";
import { TunicError } from "../base/errors.ts";
import { nodeCompression } from "./node_compression.ts";
import { nodeHttp } from "./node_http.ts";
import type {
  Address,
  Clock,
  FileLock,
  Files,
  KeyingMaterialExporter,
  Listener,
  Network,
  Runtime,
  Socket,
  Timer,
  Timers,
  TlsServerIdentity,
  TlsSocket,
} from "./ports.ts";

/** A clock and timers that stand still until {@link SimulatedTime.advance}. */
export class SimulatedTime implements Clock, Timers {
  #nowMs: number;
  readonly #startMs: number;
  #timers: { at: number; order: number; callback: () => void }[] = [];
  #order = 0;
  #soon: (() => void)[] = [];

  /** `startMs`: milliseconds since 1970. */
  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#nowMs = startMs;
    this.#startMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  monotonic(): number {
    return this.#nowMs - this.#startMs;
  }

  after(delayMs: number, callback: () => void): Timer {
    const timer = { at: this.#nowMs + Math.max(0, delayMs), order: this.#order++, callback };
    this.#timers.push(timer);
    return { cancel: () => void (this.#timers = this.#timers.filter((other) => other !== timer)) };
  }

  soon(callback: () => void): void {
    this.#soon.push(callback);
  }

  /** Timers that are waiting: none should be once everything is closed. */
  get pending(): number {
    return this.#timers.length;
  }

  /** Lets everything run that needs no time to pass: promises, and what was asked for "soon". */
  async settle(): Promise<void> {
    for (let quiet = 0; quiet < 3;) {
      await new Promise((resolve) => setImmediate(resolve));
      const soon = this.#soon;
      this.#soon = [];
      for (const callback of soon) callback();
      quiet = soon.length === 0 ? quiet + 1 : 0;
    }
  }

  /** Moves time on, running timers in their order. */
  async advance(ms: number): Promise<void> {
    const until = this.#nowMs + ms;
    await this.settle();
    for (;;) {
      let next: { at: number; order: number; callback: () => void } | undefined;
      for (const timer of this.#timers) {
        if (timer.at > until) continue;
        if (!next || timer.at < next.at || (timer.at === next.at && timer.order < next.order)) next = timer;
      }
      if (!next) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#nowMs = Math.max(this.#nowMs, next.at);
      next.callback();
      await this.settle();
    }
    this.#nowMs = until;
    await this.settle();
  }

  /** The machine's clock jumps without time passing. */
  jump(ms: number): void {
    this.#nowMs += ms;
  }
}

/** Files in memory. */
export class MemoryFiles implements Files {
  readonly contents = new Map<string, Uint8Array>();
  readonly #directories = new Set<string>();
  readonly #locks = new Set<string>();
  /** Set to make every write fail with it: a full disk, for example. */
  writeError: TunicError | undefined;

  read(path: string): Promise<Uint8Array | undefined> {
    return Promise.resolve(this.contents.get(path)?.slice());
  }

  writeAtomic(path: string, bytes: Uint8Array): Promise<void> {
    if (this.writeError) return Promise.reject(this.writeError);
    this.contents.set(path, bytes.slice());
    return Promise.resolve();
  }

  append(path: string, bytes: Uint8Array): Promise<void> {
    const old = this.contents.get(path) ?? new Uint8Array(0);
    const whole = new Uint8Array(old.length + bytes.length);
    whole.set(old);
    whole.set(bytes, old.length);
    return this.writeAtomic(path, whole);
  }

  remove(path: string): Promise<void> {
    this.contents.delete(path);
    return Promise.resolve();
  }

  list(directory: string): Promise<string[]> {
    const prefix = `${directory}/`;
    const names = [...this.contents.keys()].filter((path) => path.startsWith(prefix));
    return Promise.resolve(names.map((path) => path.slice(prefix.length)).filter((name) => !name.includes("/")));
  }

  makePrivateDirectory(path: string): Promise<void> {
    this.#directories.add(path);
    return Promise.resolve();
  }

  isDirectory(path: string): Promise<boolean> {
    return Promise.resolve(this.#directories.has(path));
  }

  lock(path: string): Promise<FileLock> {
    if (this.#locks.has(path)) {
      return Promise.reject(
        new TunicError(`Cannot use ${path}: it is locked`, { kind: "locked", code: "data-directory-in-use" }),
      );
    }
    this.#locks.add(path);
    return Promise.resolve({ release: () => Promise.resolve(void this.#locks.delete(path)) });
  }
}

/** One end of a connection in memory. What is written arrives in a later turn, as a socket's would. */
class MemorySocket implements Socket {
  handlers: DuplexHandlers = IGNORE;
  readonly remote: Address;
  readonly local: Address;
  readonly #time: Timers;
  #peer: MemorySocket | undefined;
  #incoming: (Uint8Array | "end")[] = [];
  #scheduled = false;
  #paused = false;
  #closed = false;
  #ended = false;
  queued = 0;

  constructor(time: Timers, local: Address, remote: Address) {
    this.#time = time;
    this.local = local;
    this.remote = remote;
  }

  static pair(time: Timers, a: Address, b: Address): [MemorySocket, MemorySocket] {
    const pair: [MemorySocket, MemorySocket] = [new MemorySocket(time, a, b), new MemorySocket(time, b, a)];
    pair[0].#peer = pair[1];
    pair[1].#peer = pair[0];
    return pair;
  }

  write(bytes: Uint8Array): boolean {
    if (this.#closed || this.#ended) return true;
    this.#peer!.#receive(bytes);
    return true;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  end(): void {
    if (this.#closed || this.#ended) return;
    this.#ended = true;
    this.#peer!.#receive("end");
  }

  destroy(error?: TunicError): void {
    this.#close(error);
    const peer = this.#peer!;
    peer.#receive("end");
    this.#time.soon(() => peer.#close(undefined));
  }

  #receive(what: Uint8Array | "end"): void {
    if (this.#closed) return;
    this.#incoming.push(what);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.#paused || this.#incoming.length === 0) return;
    this.#scheduled = true;
    this.#time.soon(() => {
      this.#scheduled = false;
      while (!this.#paused && !this.#closed) {
        const next = this.#incoming.shift();
        if (next === undefined) break;
        if (next === "end") this.handlers.end();
        else this.handlers.data(next);
      }
    });
  }

  #close(error: TunicError | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#incoming = [];
    this.handlers.close(error);
    this.handlers = IGNORE;
  }
}

/** Connections in memory between those who listen and those who connect. TLS has a certificate and no secrets. */
export class MemoryNetwork implements Network {
  readonly #time: Timers;
  readonly #listeners = new Map<string, (socket: Socket) => void>();
  readonly #certificates = new Map<string, Uint8Array>();
  readonly #sessions = new WeakMap<Socket, number>();
  /** Cleared to have a runtime whose TLS exports no keying material. */
  exportsKeyingMaterial = true;
  #nextPort = 40_000;

  constructor(time: Timers) {
    this.#time = time;
  }

  /** What TLS clients of `address` see as the peer's certificate. */
  setCertificate(address: Address, der: Uint8Array): void {
    this.#certificates.set(key(address), der);
  }

  connectTcp(address: Address): Promise<Socket> {
    const accept = this.#listeners.get(key(address));
    if (!accept) {
      return Promise.reject(
        new TunicError("Cannot connect: nobody listens", { kind: "connection", code: "refused", retry: "elsewhere" }),
      );
    }
    const [near, far] = MemorySocket.pair(this.#time, { host: "127.0.0.1", port: this.#nextPort++ }, address);
    this.#sessions.set(near, this.#nextPort).set(far, this.#nextPort);
    accept(far);
    return Promise.resolve(near);
  }

  async connectTls(address: Address): Promise<TlsSocket> {
    const socket = await this.connectTcp(address);
    return this.#tlsSocket(socket, this.#certificates.get(key(address)) ?? new Uint8Array(0));
  }

  listenTcp(address: Address, accept: (socket: Socket) => void): Promise<Listener> {
    const bound = address.port === 0 ? { ...address, port: this.#nextPort++ } : address;
    if (this.#listeners.has(key(bound))) {
      return Promise.reject(
        new TunicError("Cannot listen: the port is in use", { kind: "listen", code: "port-in-use" }),
      );
    }
    this.#listeners.set(key(bound), accept);
    return Promise.resolve({
      address: bound,
      close: () => Promise.resolve(void this.#listeners.delete(key(bound))),
    });
  }

  async listenTls(
    address: Address,
    identity: TlsServerIdentity,
    accept: (socket: TlsSocket) => void,
  ): Promise<Listener> {
    const listener = await this.listenTcp(address, (socket) => accept(this.#tlsSocket(socket, new Uint8Array(0))));
    this.setCertificate(listener.address, identity.certificate);
    return listener;
  }

  #tlsSocket(socket: Socket, peerCertificate: Uint8Array): TlsSocket {
    const session = `session ${this.#sessions.get(socket)}`;
    const exportKeyingMaterial: KeyingMaterialExporter = (length, label, context) =>
      new Uint8Array(hkdfSync("sha256", session, context, label, length));
    return Object.assign(socket, {
      peerCertificate,
      ...(this.exportsKeyingMaterial ? { exportKeyingMaterial } : {}),
    });
  }
}

export interface MockRuntime extends Runtime {
  readonly time: SimulatedTime;
  readonly files: MemoryFiles;
  readonly network: MemoryNetwork;
}

/** `seed`: equal seeds give equal random bytes. */
export function mockRuntime(seed = 1, startMs?: number): MockRuntime {
  const time = new SimulatedTime(startMs);
  return {
    time,
    clock: time,
    timers: time,
    files: new MemoryFiles(),
    network: new MemoryNetwork(time),
    http: nodeHttp,
    compression: nodeCompression,
    random: seededRandom(seed),
  };
}

/** Mulberry32: quick, repeatable, and nothing that a real runtime may use. */
function seededRandom(seed: number): (count: number) => Uint8Array {
  let state = seed >>> 0;
  return (count) => {
    const bytes = new Uint8Array(count);
    for (let i = 0; i < count; i++) {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = state;
      t = Math.imul(t ^ (t >>> 15), t | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      bytes[i] = (t ^ (t >>> 14)) >>> 24;
    }
    return bytes;
  };
}

function key(address: Address): string {
  return `${address.host}|${address.port}`;
}
