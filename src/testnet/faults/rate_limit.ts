/** A bandwidth, shared by whoever reserves: a token bucket that is kept as the moment when it will be empty of debts. */

/** What may pass at once after a pause, in milliseconds of the bandwidth. */
const BURST_MS = 20;

export class RateLimit {
  readonly #bytesPerMs: number;
  #freeAt = -Infinity;

  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1000;
  }

  /** Takes room for `bytes` behind all that has been reserved; answers when they have passed, never before `now`. */
  reserve(now: number, bytes: number): number {
    this.#freeAt = Math.max(this.#freeAt, now - BURST_MS) + bytes / this.#bytesPerMs;
    return Math.max(now, this.#freeAt);
  }
}
