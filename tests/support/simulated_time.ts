/** A clock and timers that only a test moves. */
import type { Clock, Timer, Timers } from "../../src/runtime/ports.ts";

interface Entry {
  readonly at: number;
  readonly callback: () => void;
}

export class SimulatedTime {
  /** Wall-clock time at monotonic time 0. */
  #origin: number;
  #elapsed = 0;
  readonly #entries = new Set<Entry>();

  constructor(startMs = Date.parse("2026-01-29T12:30:00Z")) {
    this.#origin = startMs;
  }

  readonly clock: Clock = {
    now: () => this.#origin + this.#elapsed,
    monotonic: () => this.#elapsed,
  };

  readonly timers: Timers = {
    after: (delayMs, callback): Timer => {
      const entry = { at: this.#elapsed + Math.max(0, delayMs), callback };
      this.#entries.add(entry);
      return { cancel: () => void this.#entries.delete(entry) };
    },
    soon: (callback) => queueMicrotask(callback),
  };

  /** Timers that wait. */
  get waiting(): number {
    return this.#entries.size;
  }

  /** Lets `ms` pass, with the timers due in it, in order; promises get their turn after each. */
  async advance(ms: number): Promise<void> {
    const end = this.#elapsed + ms;
    for (;;) {
      let next: Entry | undefined;
      for (const entry of this.#entries) if (entry.at <= end && (!next || entry.at < next.at)) next = entry;
      if (!next) break;
      this.#entries.delete(next);
      this.#elapsed = Math.max(this.#elapsed, next.at);
      next.callback();
      await settle();
    }
    this.#elapsed = end;
    await settle();
  }

  /** Moves the wall clock alone, as somebody who sets it does. */
  setClock(ms: number): void {
    this.#origin = ms - this.#elapsed;
  }
}

/** Lets everything that only waits for promises go on. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}
