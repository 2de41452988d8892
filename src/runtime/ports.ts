/**
 * The seam between tunic and the machine: sockets, TLS, time, randomness, files.
 *
 * Everything above gets a {@link Runtime} passed in; only `app/`, `client/` (as a default) and tests choose one. The real
 * one stands on `node:` modules and serves Deno, Bun and Node; the mock has simulated time and a network in
 * memory. Sockets are callbacks rather than streams, because the hot path counts its allocations.
 */
import type { Duplex } from "../base/duplex.ts";

export interface Clock {
  /** Milliseconds since 1970, as the machine believes; may jump. */
  now(): number;
  /** Milliseconds since some fixed moment; never goes back. */
  monotonic(): number;
}

export interface Timer {
  cancel(): void;
}

export interface Timers {
  /** Runs `callback` once, `delayMs` from now, unless cancelled. */
  after(delayMs: number, callback: () => void): Timer;
  /** Runs `callback` in this turn of the event loop, after what is running and its promises. */
  soon(callback: () => void): void;
}

/** A TCP or TLS connection; its `write` answers false over a high-water mark of 64 KiB or so. */
export interface Socket extends Duplex {
  /** Peer's and own address; `undefined` for unix sockets. */
  readonly remote: Address | undefined;
  readonly local: Address | undefined;
}

export interface TlsSocket extends Socket {
  /** The certificate the peer presented, in DER, to the byte; empty where it presented none, as clients do. */
  readonly peerCertificate: Uint8Array;
  /** Absent where the runtime cannot give it: Deno's TLS does not. */
  readonly exportKeyingMaterial?: KeyingMaterialExporter;
}

/** `length` bytes that only the two ends of this TLS session can know (RFC 5705). */
export type KeyingMaterialExporter = (length: number, label: string, context: Uint8Array) => Uint8Array;

/** Who a TLS server says it is. */
export interface TlsServerIdentity {
  /** The private key as a PEM block, in PKCS #8. */
  readonly keyPem: string;
  /** In DER; the only certificate that clients are shown. */
  readonly certificate: Uint8Array;
}

export interface Address {
  /** An IPv4 or IPv6 address, without brackets. */
  readonly host: string;
  readonly port: number;
}

export interface ConnectOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

export interface Listener {
  /** With the real port where port 0 was asked for. */
  readonly address: Address;
  /** Stops accepting; connections that exist live on. */
  close(): Promise<void>;
}

export interface Network {
  /** Connects to an address (never a name); throws `connection` or `timeout`. */
  connectTcp(address: Address, options: ConnectOptions): Promise<Socket>;
  /** TCP, then TLS without any check of the certificate: the caller checks it by the link protocol. */
  connectTls(address: Address, options: ConnectOptions): Promise<TlsSocket>;
  /** Throws `listen`. */
  listenTcp(address: Address, accept: (socket: Socket) => void): Promise<Listener>;
  /** As `listenTcp`, with TLS; `accept` gets those who finished its handshake. No certificate is asked of clients. */
  listenTls(
    address: Address,
    identity: TlsServerIdentity,
    accept: (socket: TlsSocket) => void,
  ): Promise<Listener>;
}

/** One request as it goes over a connection that exists already. */
export interface HttpRequest {
  readonly method: string;
  /** Path and query, as they go into the first line. */
  readonly target: string;
  /** All of them, in their order; only those that frame the body are added. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Bytes go out with their length, a stream goes out in chunks. */
  readonly body?: Uint8Array | ReadableStream<Uint8Array>;
  /** TLS first: the server must prove to be `serverName` by a certificate of a known authority. */
  readonly tls?: {
    readonly serverName: string;
    /** Certificates in PEM that are trusted besides the runtime's. */
    readonly trust?: readonly string[];
  };
  /** How long TLS and the head of the answer may take together. */
  readonly headTimeoutMs: number;
  /** Aborts the exchange, the body of its answer included, with the signal's reason. */
  readonly signal?: AbortSignal;
}

export interface HttpResponse {
  readonly status: number;
  readonly statusText: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Decoded where it was gzip, deflate or br; pulls no faster than it is read; cancelling closes the connection. */
  readonly body: ReadableStream<Uint8Array>;
}

/** HTTP/1.1 over somebody else's bytes: opens no connection and resolves no name. */
export interface HttpClient {
  /**
   * Sends one request and takes the connection with it: it closes after the answer. Rejects with `identity` for a
   * wrong certificate, `malformed`, `timeout`, `connection`, or the signal's reason.
   */
  exchange(connection: Duplex, request: HttpRequest): Promise<HttpResponse>;
}

export type Encoding = "identity" | "deflate" | "gzip" | "x-zstd";

export interface Compression {
  /** What this runtime can do, best first; "identity" last. */
  readonly encodings: readonly Encoding[];
  /** Throws `limit` before more than `maxBytes` come out in total, however many members the input has; `malformed` for bad input. */
  decompress(encoding: Encoding, bytes: Uint8Array, maxBytes: number): Promise<Uint8Array>;
  /** Throws `unsupported` for an encoding that is not among `encodings`. */
  compress(encoding: Encoding, bytes: Uint8Array): Promise<Uint8Array>;
}

/** A file's text or bytes do not exist: `undefined`, not an error. Other failures throw `storage`. */
export interface Files {
  read(path: string): Promise<Uint8Array | undefined>;
  /** To a temporary file of mode 0600, synced, renamed. */
  writeAtomic(path: string, bytes: Uint8Array): Promise<void>;
  /** Appends, creating with mode 0600. */
  append(path: string, bytes: Uint8Array): Promise<void>;
  remove(path: string): Promise<void>;
  list(directory: string): Promise<string[]>;
  /** With its parents, mode 0700; throws `storage` where it exists but others may write to it or we may not. */
  makePrivateDirectory(path: string): Promise<void>;
  /** Throws `locked` where another living process holds it. */
  lock(path: string): Promise<FileLock>;
  isDirectory(path: string): Promise<boolean>;
}

export interface FileLock {
  release(): Promise<void>;
}

export interface Runtime {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly network: Network;
  readonly http: HttpClient;
  readonly compression: Compression;
  readonly files: Files;
  /** `count` bytes from the system's generator. */
  random(count: number): Uint8Array;
}
