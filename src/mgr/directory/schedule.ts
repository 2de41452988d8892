/** When documents are fetched: refreshed (dir-spec 5.1) and tried again (dir-spec 5.5). */
import { randomFraction, type RandomSource } from "../../runtime/random.ts";
import type { Lifetime } from "../../wire/netdoc/consensus.ts";

const SECOND_MS = 1_000;

/** Pauses between attempts: exponential with decorrelated jitter, so that clients do not move in step. */
export class RetrySchedule {
  readonly #random: RandomSource;
  readonly #baseDelayMs: number;
  readonly #longestDelayMs: number;
  #delayMs = 0;

  /** `longestDelayMs`: the cap, which C tor leaves open; with one, a client notices within it that a network is back. */
  constructor(random: RandomSource, baseDelayMs: number, longestDelayMs: number) {
    this.#random = random;
    this.#baseDelayMs = baseDelayMs;
    this.#longestDelayMs = longestDelayMs;
  }

  /** How long to wait from this attempt to the next. */
  next(): number {
    const lower = Math.max(SECOND_MS, this.#baseDelayMs);
    const upper = Math.max(lower + SECOND_MS, this.#delayMs * 3);
    const delayMs = Math.round(lower + randomFraction(this.#random) * (upper - lower));
    return this.#delayMs = Math.min(this.#longestDelayMs, delayMs);
  }

  reset(): void {
    this.#delayMs = 0;
  }
}

/**
 * When to replace a consensus, in ms since 1970: a random time from three quarters of an interval after it stopped
 * being fresh, when all caches have the next one, to seven eighths of the time left from there until it is invalid.
 */
export function refreshTime({ validAfter, freshUntil, validUntil }: Lifetime, random: RandomSource): number {
  const start = freshUntil + ((freshUntil - validAfter) * 3) / 4;
  // Where consensuses hardly outlive their successors, there is no such time, and any after `fresh-until` must do.
  const earliest = start < validUntil ? start : freshUntil;
  return Math.round(earliest + ((validUntil - earliest) * 7 * randomFraction(random)) / 8);
}
