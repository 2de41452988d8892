/**
 * Giving up: waiting that a signal ends, and signals made of others.
 *
 * Not `AbortSignal.any`, whose signals a long-lived source remembers until they are collected: here whoever made one
 * takes it off its sources.
 */
import { abortError } from "./errors.ts";

/** What `promise` comes to, or the signal's reason if that fires first; "Cannot `what`: …". */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined, what: string): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(abortError(signal, what));
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}

/** A signal that fires with the first of its sources, or when told to. */
export class LinkedSignal implements Disposable {
  readonly #controller = new AbortController();
  readonly #sources: readonly AbortSignal[];

  constructor(...sources: readonly (AbortSignal | undefined)[]) {
    this.#sources = sources.filter((source) => source !== undefined);
    for (const source of this.#sources) {
      if (source.aborted) this.abort(source.reason);
      else source.addEventListener("abort", this.#onAbort);
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Does nothing once the signal has fired. */
  abort(reason: unknown): void {
    this.#controller.abort(reason);
  }

  /** From now on the sources have nothing to do with it. */
  [Symbol.dispose](): void {
    for (const source of this.#sources) source.removeEventListener("abort", this.#onAbort);
  }

  readonly #onAbort = (event: Event): void => this.abort((event.target as AbortSignal).reason);
}
