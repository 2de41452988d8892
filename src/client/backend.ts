/** What listeners and `fetch` need of a client: streams and names, and nothing else. */
import type { Duplex } from "../base/duplex.ts";

export interface RequestOptions {
  /** Streams with different keys never share a circuit. */
  readonly isolation: string;
  readonly signal?: AbortSignal;
}

export interface StreamRequest extends RequestOptions {
  /** A name (resolved by the exit) or an address. */
  readonly host: string;
  readonly port: number;
}

/** One answer to a name: an address, or for RESOLVE_PTR a name, with the seconds it may be kept. */
export interface ResolvedAnswer {
  readonly type: "ipv4" | "ipv6" | "hostname";
  readonly value: string;
  readonly ttlSeconds: number;
}

export interface StreamBackend {
  /** Opens a stream through an exit; throws TunicError ("stream" with `context.reason`, "no-path", "timeout", …). */
  openStream(request: StreamRequest): Promise<Duplex>;
  /** Throws `resolve`. */
  resolve(name: string, options: RequestOptions): Promise<ResolvedAnswer[]>;
  /** The names of an address. */
  resolvePtr(address: string, options: RequestOptions): Promise<string[]>;
}
