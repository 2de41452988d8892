/**
 * One file of the data directory: read once at the start, written behind the client's back.
 *
 * Writes are coalesced: the first `save` starts a delay, those that come within it replace what is to be written,
 * and the value is only asked for when the time comes. Nothing that goes wrong here stops the client: a file that
 * does not make sense is set aside under another name, a write that fails is logged and tried again.
 */
import { isTunicError } from "../base/errors.ts";
import { logger } from "../base/log.ts";
import type { Runtime, Timer } from "../runtime/ports.ts";
import { withAdvice } from "./storage_advice.ts";

const log = logger("state");

/** How long after a write that failed (a full disk, say) the next is tried. */
const RETRY_DELAY_MS = 60_000;

/** A value's form on disk. `decode` throws `malformed` for anything `encode` would not have written. */
export interface FileFormat<T> {
  encode(value: T): Uint8Array;
  decode(bytes: Uint8Array): T;
}

/** Bytes kept as they are, for documents whose readers check them themselves. */
export const rawBytes: FileFormat<Uint8Array> = { encode: (bytes) => bytes, decode: (bytes) => bytes };

export interface StateFileOptions<T> {
  /** Without a path nothing is read or written. */
  readonly path: string | undefined;
  readonly format: FileFormat<T>;
  /** How long changes are gathered before they are written. */
  readonly delayMs: number;
}

export class StateFile<T> {
  readonly #runtime: Pick<Runtime, "files" | "timers">;
  readonly #options: StateFileOptions<T>;
  #pending: (() => T) | undefined;
  #timer: Timer | undefined;
  #writing: Promise<void> | undefined;
  #failing = false;
  #closed = false;

  constructor(runtime: Pick<Runtime, "files" | "timers">, options: StateFileOptions<T>) {
    this.#runtime = runtime;
    this.#options = options;
  }

  /**
   * What was saved last; `undefined` where there is nothing, or nothing that makes sense: that is set aside with a
   * warning. Throws `storage` if the file is there but cannot be read.
   */
  async load(): Promise<T | undefined> {
    const { path, format } = this.#options;
    if (path === undefined) return undefined;
    let bytes: Uint8Array | undefined;
    try {
      bytes = await this.#runtime.files.read(path);
    } catch (error) {
      throw withAdvice(error);
    }
    if (bytes === undefined) return undefined;
    try {
      return format.decode(bytes);
    } catch (error) {
      if (!isTunicError(error, "malformed")) throw error;
      await this.#moveAside(path, bytes, error.message);
      return undefined;
    }
  }

  /** Has `value` asked for and written soon, unless another `save` comes first. */
  save(value: () => T): void {
    if (this.#options.path === undefined || this.#closed) return;
    this.#pending = value;
    // After a failure the next attempt is already on its way, and comes no sooner for every change.
    this.#arm(this.#options.delayMs);
  }

  /** Writes at once what is to be written; throws `storage` if that fails (it is tried again later). */
  async flush(): Promise<void> {
    this.#disarm();
    while (this.#writing) await this.#writing.catch(() => {});
    if (this.#pending === undefined) return;
    this.#writing = this.#write(this.#options.path!, this.#pending);
    try {
      await this.#writing;
    } finally {
      this.#writing = undefined;
    }
  }

  /** Sets the file aside: its contents decode, but turned out to be wrong. */
  async setAside(reason: string): Promise<void> {
    const { path } = this.#options;
    if (path === undefined) return;
    const bytes = await this.#runtime.files.read(path);
    if (bytes !== undefined) await this.#moveAside(path, bytes, reason);
  }

  /** Flushes; what is saved afterwards is dropped. A failure is logged, and thrown as `storage`. */
  async close(): Promise<void> {
    this.#closed = true;
    try {
      await this.flush();
    } finally {
      this.#disarm();
    }
  }

  async #write(path: string, value: () => T): Promise<void> {
    this.#pending = undefined;
    try {
      await this.#runtime.files.writeAtomic(path, this.#options.format.encode(value()));
      if (this.#failing) log.info("{path} can be written again", { path });
      this.#failing = false;
    } catch (error) {
      const advised = withAdvice(error);
      if (!this.#failing) log.warn("{error}", { error: advised instanceof Error ? advised.message : String(advised) });
      this.#failing = true;
      this.#pending ??= value;
      if (!this.#closed) this.#arm(RETRY_DELAY_MS);
      throw advised;
    }
  }

  async #moveAside(path: string, bytes: Uint8Array, reason: string): Promise<void> {
    const aside = `${path}.bad`;
    log.warn("Cannot use {path}: {reason}; it is kept as {aside} and replaced", { path, reason, aside });
    try {
      await this.#runtime.files.writeAtomic(aside, bytes);
      await this.#runtime.files.remove(path);
    } catch (error) {
      log.warn("Cannot set {path} aside: {error}", { path, error: error instanceof Error ? error.message : error });
    }
  }

  #arm(delayMs: number): void {
    this.#timer ??= this.#runtime.timers.after(delayMs, () => {
      this.#timer = undefined;
      // Logged where it happened, and tried again.
      this.flush().catch(() => {});
    });
  }

  #disarm(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
