/**
 * One direction of a faulty connection: what waits for bandwidth, and behind that what is on its way, until its time
 * has come. Keeps the order, and bounds what is on its way; what waits is bounded by who pushes.
 */
import type { Runtime, Timer } from "../../runtime/ports.ts";
import type { ConnectionFaults } from "./connection_faults.ts";

/** What passes: bytes, then perhaps the end of this direction, then perhaps that of the connection. */
export type LaneItem = Uint8Array | "end" | "close";

export interface LaneOptions {
  readonly runtime: Pick<Runtime, "clock" | "timers">;
  readonly faults: ConnectionFaults;
  readonly direction: "in" | "out";
  /** Whether the receiver takes more; `run` is called when it does again. */
  readonly isReady: () => boolean;
  readonly deliver: (item: LaneItem) => void;
  /** Called after something has moved. */
  readonly moved: () => void;
}

/** On its way at one time: what a second of latency holds at 4 MiB/s. */
const MAX_FLYING_BYTES = 4 * 1024 * 1024;
/** With a limited bandwidth, what is sent at once. */
const LIMITED_PIECE_BYTES = 2048;
/** Timers are that exact. */
const TICK_MS = 1;

export class Lane {
  readonly #options: LaneOptions;
  #waiting: LaneItem[] = [];
  #waitingBytes = 0;
  /** With the moments when they have passed the limit; the latency comes on top, as it is when one looks. */
  #flying: { readonly item: LaneItem; sentAt: number }[] = [];
  #flyingBytes = 0;
  /** The last of these moments. */
  #sentAt = -Infinity;
  #timer: Timer | undefined;
  #running = false;

  constructor(options: LaneOptions) {
    this.#options = options;
  }

  /** Bytes that are not on their way yet. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0 && this.#flying.length === 0;
  }

  push(item: LaneItem): void {
    this.#waiting.push(item);
    this.#waitingBytes += lengthOf(item);
    this.run();
  }

  /** Moves what can be moved: after a fault was switched, and when the receiver can take more. */
  run(): void {
    if (this.#running) return;
    this.#running = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    try {
      if (this.#options.faults.isSilent) return;
      this.#send();
      this.#arrive();
      this.#arm();
    } finally {
      this.#running = false;
    }
    this.#options.moved();
  }

  /** Lets what waits for bandwidth go by the faults as they are now; to be followed by `run`. */
  forgetLimit(): void {
    this.#sentAt = -Infinity;
    const now = this.#options.runtime.clock.monotonic();
    for (const flying of this.#flying) flying.sentAt = Math.min(flying.sentAt, now);
  }

  drop(): void {
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#flying = [];
    this.#flyingBytes = 0;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #send(): void {
    const { runtime, faults, direction } = this.#options;
    const now = runtime.clock.monotonic();
    const { isLimited } = faults;
    while (this.#waiting.length > 0 && this.#sentAt <= now + TICK_MS && this.#flyingBytes < MAX_FLYING_BYTES) {
      const item = this.#take(isLimited ? LIMITED_PIECE_BYTES : Infinity);
      this.#sentAt = isLimited ? faults.reserve(direction, lengthOf(item)) : now;
      this.#flying.push({ item, sentAt: this.#sentAt });
      this.#flyingBytes += lengthOf(item);
    }
  }

  #take(maxBytes: number): LaneItem {
    const first = this.#waiting[0]!;
    if (typeof first === "string" || first.length <= maxBytes) {
      this.#waiting.shift();
      this.#waitingBytes -= lengthOf(first);
      return first;
    }
    this.#waiting[0] = first.subarray(maxBytes);
    this.#waitingBytes -= maxBytes;
    return first.subarray(0, maxBytes);
  }

  #arrive(): void {
    const { runtime, faults, isReady, deliver } = this.#options;
    const due = runtime.clock.monotonic() + TICK_MS - faults.latencyMs;
    while (this.#flying.length > 0 && this.#flying[0]!.sentAt <= due && isReady()) {
      const { item } = this.#flying.shift()!;
      this.#flyingBytes -= lengthOf(item);
      deliver(item);
    }
  }

  #arm(): void {
    const { faults, runtime, isReady } = this.#options;
    const moments: number[] = [];
    if (this.#flying.length > 0 && isReady()) moments.push(this.#flying[0]!.sentAt + faults.latencyMs);
    if (this.#waiting.length > 0 && this.#flyingBytes < MAX_FLYING_BYTES) moments.push(this.#sentAt);
    if (moments.length === 0) return;
    const delayMs = Math.max(0, Math.min(...moments) - runtime.clock.monotonic());
    this.#timer = runtime.timers.after(delayMs, () => this.run());
  }
}

function lengthOf(item: LaneItem): number {
  return typeof item === "string" ? 0 : item.length;
}
