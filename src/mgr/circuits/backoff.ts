/** Pauses between failed attempts: doubling, with random spread, so that clients do not move in step. */
import { randomFraction, type RandomSource } from "../../runtime/random.ts";

export interface BackoffLimits {
  readonly firstMs: number;
  readonly longestMs: number;
  /** Failures in a row that cost no pause. */
  readonly free: number;
}

export class Backoff {
  readonly #random: RandomSource;
  readonly #limits: BackoffLimits;
  #failures = 0;

  constructor(random: RandomSource, limits: BackoffLimits) {
    this.#random = random;
    this.#limits = limits;
  }

  get failures(): number {
    return this.#failures;
  }

  succeeded(): void {
    this.#failures = 0;
  }

  /** Counts a failure; answers how long to wait before the next attempt. */
  failed(): number {
    const counted = ++this.#failures - this.#limits.free;
    if (counted <= 0) return 0;
    const ceiling = Math.min(this.#limits.longestMs, this.#limits.firstMs * 2 ** Math.min(counted - 1, 30));
    return ceiling * (0.5 + randomFraction(this.#random) / 2);
  }
}
