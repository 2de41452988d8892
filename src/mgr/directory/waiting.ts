/** Time limits and interruptible pauses, on the runtime's timers. */
import { TunicError } from "../../base/errors.ts";
import type { Timer, Timers } from "../../runtime/ports.ts";

/** A signal that fires when time is up or one of `signals` does; `cancel` when it is not needed any more. */
export function deadline(
  timers: Timers,
  timeoutMs: number,
  what: string,
  signals: readonly (AbortSignal | undefined)[],
): { readonly signal: AbortSignal; cancel(): void } {
  const controller = new AbortController();
  const sources = signals.filter((signal) => signal !== undefined);
  const timer = timers.after(timeoutMs, () => {
    controller.abort(
      new TunicError(`Cannot ${what}: it was not done within ${Math.round(timeoutMs)} ms`, {
        kind: "timeout",
        code: "directory-timeout",
        retry: "elsewhere",
      }),
    );
  });
  const onAbort = (event: Event): void => controller.abort((event.target as AbortSignal).reason);
  const cancel = (): void => {
    timer.cancel();
    for (const signal of sources) signal.removeEventListener("abort", onAbort);
  };
  for (const signal of sources) {
    if (signal.aborted) controller.abort(signal.reason);
    else signal.addEventListener("abort", onAbort);
  }
  return { signal: controller.signal, cancel };
}

/** A pause that can be cut short. */
export class Alarm {
  readonly #timers: Timers;
  #timer: Timer | undefined;
  #ring: (() => void) | undefined;
  #rung = false;
  #closed = false;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** Resolves after `ms` (never by itself without), when `ring` is called or was since the last wait, or on `close`. */
  async wait(ms?: number): Promise<void> {
    if (!this.#rung && !this.#closed) {
      await new Promise<void>((resolve) => {
        this.#ring = resolve;
        if (ms !== undefined) this.#timer = this.#timers.after(ms, resolve);
      });
      this.#timer?.cancel();
      this.#timer = undefined;
      this.#ring = undefined;
    }
    this.#rung = false;
  }

  ring(): void {
    this.#rung = true;
    this.#ring?.();
  }

  /** From now on nothing waits. */
  close(): void {
    this.#closed = true;
    this.#ring?.();
  }
}
