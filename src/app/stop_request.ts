/** The user's wish to stop: the first signal asks for it, a second one ends the process at once. */
import { Deferred } from "../base/deferred.ts";
import { TunicError } from "../base/errors.ts";
import type { Process, StopSignal } from "../runtime/process.ts";
import { EXIT_CODES } from "./exit_codes.ts";

export class StopRequest implements Disposable {
  readonly #process: Process;
  readonly #onFirst: (signal: StopSignal) => void;
  readonly #unsubscribe: () => void;
  readonly #made = new Deferred<void>();
  readonly #abort = new AbortController();

  /** Takes the process's signals until it is disposed of; `onFirst` is for telling the user. */
  constructor(process: Process, onFirst: (signal: StopSignal) => void) {
    this.#process = process;
    this.#onFirst = onFirst;
    this.#unsubscribe = process.onStopSignal((signal) => this.#onSignal(signal));
  }

  get isMade(): boolean {
    return this.#made.settled;
  }

  /** Resolves when it is made. */
  get made(): Promise<void> {
    return this.#made.promise;
  }

  /** Fires when it is made, with kind `aborted`. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  [Symbol.dispose](): void {
    this.#unsubscribe();
  }

  #onSignal(signal: StopSignal): void {
    if (this.isMade) return this.#process.exit(EXIT_CODES.forced);
    this.#made.resolve();
    this.#onFirst(signal);
    this.#abort.abort(
      new TunicError(`Cannot go on: ${signal} asked to stop`, { kind: "aborted", code: "signal", context: { signal } }),
    );
  }
}
