/**
 * One channel per relay, shared by every circuit that begins there; opened when first needed, closed when idle.
 */
import { unlessAborted } from "../base/abort.ts";
import { throwIfAborted, TunicError } from "../base/errors.ts";
import { Emitter } from "../base/events.ts";
import { toHex } from "../bytes/text.ts";
import type { Channel } from "../proto/channel.ts";
import { openChannel, type OpenChannelOptions } from "../proto/open_channel.ts";
import type { ChannelTarget } from "../proto/target.ts";
import type { Runtime } from "../runtime/ports.ts";

export interface ChannelManagerOptions {
  readonly runtime: Runtime;
  /** For TCP, TLS and the link handshake together. */
  readonly connectTimeoutMs: number;
  /** A channel without circuits is closed after this long. */
  readonly idleTimeoutMs: number;
  readonly relay?: RelaySide;
}

/** What a relay adds to the channels it opens. */
export type RelaySide = Pick<OpenChannelOptions, "as" | "accept">;

export interface ChannelManagerEvents {
  connecting: void;
  connected: void;
  "handshake-done": void;
  failed: TunicError;
  /** A relay's clock and ours differ by this much (positive: we are ahead), as its NETINFO says. */
  "clock-skew": { readonly skewMs: number };
}

export class ChannelManager {
  readonly events: { on: Emitter<ChannelManagerEvents>["on"] };
  readonly #emitter = new Emitter<ChannelManagerEvents>();
  readonly #options: ChannelManagerOptions;
  /** By RSA identity in hex. */
  readonly #open = new Map<string, Channel>();
  readonly #opening = new Map<string, Promise<Channel>>();
  /** Ends attempts under way when the manager closes. */
  readonly #shutdown = new AbortController();

  constructor(options: ChannelManagerOptions) {
    this.#options = options;
    this.events = { on: (name, listener) => this.#emitter.on(name, listener) };
  }

  /** Number of open channels. */
  get size(): number {
    return this.#open.size;
  }

  /**
   * The channel to `target`, opened if there is none. An abort stops the waiting, not the attempt, which others
   * may share. Throws as `openChannel` does.
   */
  async get(target: ChannelTarget, signal?: AbortSignal): Promise<Channel> {
    throwIfAborted(signal, "open a channel");
    const key = toHex(target.rsaId);
    const open = this.#open.get(key);
    if (open && !open.closed) return requireIdentity(open, target);
    let opening = this.#opening.get(key);
    if (!opening) {
      opening = this.#connect(key, target).finally(() => this.#opening.delete(key));
      this.#opening.set(key, opening);
    }
    return requireIdentity(await unlessAborted(opening, signal, "open a channel"), target);
  }

  /** Closes every channel and ends attempts under way; the manager cannot be used again. */
  close(): void {
    this.#shutdown.abort(
      new TunicError("Cannot open a channel: the client is closing", { kind: "closed", code: "closed" }),
    );
    for (const channel of [...this.#open.values()]) channel.close();
    this.#open.clear();
    this.#emitter.clear();
  }

  async #connect(key: string, target: ChannelTarget): Promise<Channel> {
    const { runtime, connectTimeoutMs, idleTimeoutMs, relay } = this.#options;
    this.#emitter.emit("connecting", undefined);
    let channel: Channel;
    try {
      channel = await openChannel(runtime, target, {
        timeoutMs: connectTimeoutMs,
        idleTimeoutMs,
        ...relay,
        signal: this.#shutdown.signal,
        onProgress: (step) => this.#emitter.emit(step, undefined),
      });
    } catch (error) {
      if (error instanceof TunicError) this.#emitter.emit("failed", error);
      throw error;
    }
    if (this.#shutdown.signal.aborted) {
      channel.close();
      throw this.#shutdown.signal.reason;
    }
    // A relay may break the rules in the same breath as it finishes the handshake.
    if (channel.closed) return channel;
    this.#open.set(key, channel);
    channel.events.on("closed", () => {
      if (this.#open.get(key) === channel) this.#open.delete(key);
    });
    const { clockSkewMs } = channel.link;
    if (clockSkewMs !== undefined) this.#emitter.emit("clock-skew", { skewMs: clockSkewMs });
    return channel;
  }
}

/** A channel may have been opened when less of the relay's identity was known; what is known now must hold too. */
function requireIdentity(channel: Channel, target: ChannelTarget): Channel {
  const proven = channel.link.ed25519Id;
  if (!target.ed25519Id || toHex(proven) === toHex(target.ed25519Id)) return channel;
  throw new TunicError("Cannot open a channel: the relay has another Ed25519 identity than the directory says", {
    kind: "identity",
    code: "wrong-ed25519-identity",
    retry: "elsewhere",
  });
}
