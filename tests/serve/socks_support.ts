/** What the SOCKS tests share: a backend that a test scripts, and a client that speaks SOCKS byte by byte. */
import net from "node:net";
import type { Duplex } from "../../src/base/duplex.ts";
import { TunicError } from "../../src/base/errors.ts";
import { fromHex, toHex, utf8 } from "../../src/bytes/text.ts";
import type { RequestOptions, ResolvedAnswer, StreamBackend, StreamRequest } from "../../src/client/backend.ts";
import { checkDestination } from "../../src/client/destination.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { listenSocks, type SocksListener, type SocksListenerOptions } from "../../src/serve/socks_listener.ts";

/** Sends every stream to one local port, whatever name it asks for. */
export class ScriptedBackend implements StreamBackend {
  readonly requests: StreamRequest[] = [];
  readonly lookups: string[] = [];
  readonly #open: (request: StreamRequest) => Promise<Duplex>;
  answers: ResolvedAnswer[] = [];
  names: string[] = [];

  constructor(open: (request: StreamRequest) => Promise<Duplex>) {
    this.#open = open;
  }

  // deno-lint-ignore require-await
  async openStream(request: StreamRequest): Promise<Duplex> {
    checkDestination(request.host, { rejectInternalAddresses: true });
    this.requests.push(request);
    return this.#open(request);
  }

  resolve(name: string, _options: RequestOptions): Promise<ResolvedAnswer[]> {
    this.lookups.push(name);
    return Promise.resolve(this.answers);
  }

  resolvePtr(address: string, _options: RequestOptions): Promise<string[]> {
    this.lookups.push(address);
    return Promise.resolve(this.names);
  }
}

export function toPort(port: number): (request: StreamRequest) => Promise<Duplex> {
  return () => nodeRuntime.network.connectTcp({ host: "127.0.0.1", port }, { timeoutMs: 5000 });
}

/** Never answers, except to the signal. */
export function never(request: StreamRequest): Promise<Duplex> {
  return new Promise((_, reject) => request.signal!.addEventListener("abort", () => reject(request.signal!.reason)));
}

export function failing(error: Partial<ConstructorParameters<typeof TunicError>[1]>): () => Promise<Duplex> {
  return () => Promise.reject(new TunicError("Cannot x", { kind: "stream", code: "end", ...error }));
}

export function listen(backend: StreamBackend, options: Partial<SocksListenerOptions> = {}): Promise<SocksListener> {
  const { network, timers, clock } = nodeRuntime;
  const address = { host: "127.0.0.1", port: 0 };
  return listenSocks({ network, timers, clock, random: nodeRuntime, address, backend, ...options });
}

export class SocksClient {
  readonly socket: net.Socket;
  #received = new Uint8Array(0);
  #closed = false;
  #wake = (): void => {};

  constructor(port: number) {
    this.socket = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true });
    this.socket.on("data", (bytes: Uint8Array) => {
      this.#received = new Uint8Array([...this.#received, ...bytes]);
      this.#wake();
    });
    const closed = (): void => {
      this.#closed = true;
      this.#wake();
    };
    this.socket.on("end", closed);
    this.socket.on("close", closed);
    this.socket.on("error", closed);
  }

  send(hex: string): void {
    this.socket.write(fromHex(hex));
  }

  /** The next `count` bytes as hex; fewer where the far side ended before. */
  async read(count: number): Promise<string> {
    while (this.#received.length < count && !this.#closed) await new Promise<void>((wake) => this.#wake = wake);
    const bytes = this.#received.slice(0, count);
    this.#received = this.#received.slice(bytes.length);
    return toHex(bytes);
  }

  /** What else comes, up to the end. */
  rest(): Promise<string> {
    return this.read(Infinity);
  }
}

/** Greeting and request of SOCKS 5 without authentication, as hex. */
export function request5(host: string, port = 80, command = "01"): string {
  const name = utf8(host);
  const hex = (value: number, digits: number) => value.toString(16).padStart(digits, "0");
  return `05010005${command}0003${hex(name.length, 2)}${toHex(name)}${hex(port, 4)}`;
}

/** The answers to greeting and request. */
export function reply5(code: number): string {
  return `0500` + `05${code.toString(16).padStart(2, "0")}000100000000` + "0000";
}
