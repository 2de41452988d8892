/**
 * The data directory: what survives a restart.
 *
 * One directory of mode 0700, held by a lock for as long as the store is open, with one file for each kind of state.
 * A store without a directory keeps nothing, for programs that want no trace on disk: they choose new guards at
 * every start, which over many starts is worse for anonymity.
 */
import type { FileLock, Runtime } from "../runtime/ports.ts";
import { type GuardRecord, guardRecords } from "./guard_records.ts";
import { rawBytes, StateFile } from "./state_file.ts";
import { withAdvice } from "./storage_advice.ts";

/** As a directory's name: no directory at all. */
export const IN_MEMORY = ":memory:";

/** Guards change in bursts; losing the last second of them in a crash costs nothing. */
const GUARDS_DELAY_MS = 1_000;
const DOCUMENT_DELAY_MS = 1_000;
/** Microdescriptors come in many batches; each write carries all of them. */
const MICRODESCRIPTORS_DELAY_MS = 10_000;

export class StateStore implements AsyncDisposable {
  /** The data directory; `undefined` where nothing is kept. */
  readonly directory: string | undefined;
  /** The sampled guards, in sample order. */
  readonly guards: StateFile<readonly GuardRecord[]>;
  /** The newest consensus that was verified: the text as it was received. */
  readonly consensus: StateFile<Uint8Array>;
  /** The authorities' key certificates, one after the other. */
  readonly certificates: StateFile<Uint8Array>;
  /** Microdescriptors, in the form the network directory gives them. */
  readonly microdescriptors: StateFile<Uint8Array>;
  readonly #files: readonly Pick<StateFile<unknown>, "flush" | "close">[];
  readonly #lock: FileLock | undefined;

  private constructor(
    runtime: Pick<Runtime, "files" | "timers">,
    directory: string | undefined,
    lock: FileLock | undefined,
  ) {
    this.directory = directory;
    this.#lock = lock;
    const path = (name: string) => directory === undefined ? undefined : `${directory}/${name}`;
    const document = (name: string, delayMs: number) =>
      new StateFile(runtime, { path: path(name), format: rawBytes, delayMs });
    this.guards = new StateFile(runtime, {
      path: path("guards.json"),
      format: guardRecords,
      delayMs: GUARDS_DELAY_MS,
    });
    this.consensus = document("consensus-microdesc", DOCUMENT_DELAY_MS);
    this.certificates = document("certificates", DOCUMENT_DELAY_MS);
    this.microdescriptors = document("microdescriptors", MICRODESCRIPTORS_DELAY_MS);
    this.#files = [this.guards, this.consensus, this.certificates, this.microdescriptors];
  }

  /**
   * Opens `directory`, making it if it is not there; `undefined` or {@link IN_MEMORY} for none. Throws `locked` where
   * another process has it open, `storage` where it cannot be made, entered or written.
   */
  static async open(
    runtime: Pick<Runtime, "files" | "timers">,
    directory: string | undefined,
  ): Promise<StateStore> {
    if (directory === undefined || directory === IN_MEMORY) return new StateStore(runtime, undefined, undefined);
    const path = directory.length > 1 ? directory.replace(/\/+$/, "") : directory;
    try {
      await runtime.files.makePrivateDirectory(path);
      return new StateStore(runtime, path, await runtime.files.lock(`${path}/lock`));
    } catch (error) {
      throw withAdvice(error);
    }
  }

  /** Writes everything that is to be written now; throws the first `storage` error, after trying every file. */
  async flush(): Promise<void> {
    await this.#each((file) => file.flush());
  }

  /** Flushes, then lets others have the directory, even where the flush threw. */
  async close(): Promise<void> {
    try {
      await this.#each((file) => file.close());
    } finally {
      await this.#lock?.release();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #each(action: (file: Pick<StateFile<unknown>, "flush" | "close">) => Promise<void>): Promise<void> {
    const outcomes = await Promise.allSettled(this.#files.map(action));
    const failed = outcomes.find((outcome) => outcome.status === "rejected");
    if (failed) throw failed.reason;
  }
}
