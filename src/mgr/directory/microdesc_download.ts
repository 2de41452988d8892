/**
 * Gets the microdescriptors that the consensus names and that are not there (dir-spec 5.2, 5.5).
 *
 * In rounds: all that is missing, cut into requests as C tor cuts them, spread over our guards; what a round did not
 * bring is asked of others in the next, after a pause. A few that are missing wait for more, once there are enough
 * to build circuits.
 */
import { isTunicError, TunicError } from "../../base/errors.ts";
import { logger } from "../../base/log.ts";
import type { AddedMicrodescs, NetDir } from "../../netdir/net_dir.ts";
import { type RandomSource, shuffled } from "../../runtime/random.ts";
import type { Clock, Timers } from "../../runtime/ports.ts";
import type { DirectoryTransport } from "./directory_client.ts";
import { microdescsRequest } from "./documents.ts";
import { fetchDocument } from "./fetch_document.ts";
import { RetrySchedule } from "./schedule.ts";
import type { DirectorySources, SourceKind, SourceRound } from "./sources.ts";
import { Alarm } from "./waiting.ts";

const log = logger("directory");

/** Of one request: C tor's bounds, and at least as many requests as there are directory guards. */
const MIN_PER_REQUEST = 32;
const MAX_PER_REQUEST = 500;
const MIN_REQUESTS = 3;
/** Requests at a time. */
const MAX_PARALLEL = 6;
/** Fewer than this wait for more … */
const MIN_DOWNLOADABLE = 16;
/** … for as long as TestingClientMaxIntervalWithoutRequest, or half as long as a consensus is fresh. */
const LONGEST_WAIT_MS = 600_000;

const SOURCE_KINDS: readonly SourceKind[] = ["guard", "fallback", "authority"];

export interface MicrodescDownloadOptions {
  readonly runtime: RandomSource & { readonly clock: Clock; readonly timers: Timers };
  readonly transport: DirectoryTransport;
  readonly sources: DirectorySources;
  /** The view to fill, the newest there is. */
  readonly view: () => NetDir | undefined;
  /** Whether circuits can be built with what is there, and whether nothing of it is urgent. */
  readonly isEnough: () => boolean;
  /** Takes in an answer. Throws `malformed`. */
  readonly deliver: (text: Uint8Array) => AddedMicrodescs;
  /** Bytes of an answer arrive. */
  readonly onAnswering: () => void;
  readonly onFailure: (error: TunicError) => void;
  /** The longest pause between rounds. */
  readonly longestDelayMs: () => number;
}

export class MicrodescDownload {
  readonly #options: MicrodescDownloadOptions;
  readonly #alarm: Alarm;
  readonly #round: SourceRound;
  #schedule: RetrySchedule | undefined;
  #notBefore = -Infinity;
  #lastRoundAt = -Infinity;
  #active = 0;

  constructor(options: MicrodescDownloadOptions) {
    this.#options = options;
    this.#alarm = new Alarm(options.runtime.timers);
    this.#round = options.sources.round();
  }

  /** Requests under way. */
  get active(): number {
    return this.#active;
  }

  /** There is a new view, with its own chances. */
  viewChanged(): void {
    this.#round.reset();
    this.hurry();
  }

  /** Ends the pause between rounds. */
  hurry(): void {
    this.#schedule = undefined;
    this.#notBefore = -Infinity;
    this.#alarm.ring();
  }

  /** Works until `signal` fires. */
  async run(signal: AbortSignal): Promise<void> {
    const onAbort = (): void => this.#alarm.close();
    signal.addEventListener("abort", onAbort);
    const { clock } = this.#options.runtime;
    while (!signal.aborted) {
      const view = this.#options.view();
      const wanted = view?.missingMicrodescs() ?? [];
      const now = clock.monotonic();
      if (!view || wanted.length === 0) {
        await this.#alarm.wait();
        continue;
      }
      const dueAt = Math.max(this.#notBefore, this.#lastRoundAt + this.#gatheringMs(view, wanted.length));
      if (dueAt > now) {
        await this.#alarm.wait(dueAt - now);
        continue;
      }
      await this.#fetchAll(wanted, signal);
    }
    signal.removeEventListener("abort", onAbort);
  }

  #gatheringMs(view: NetDir, count: number): number {
    if (count >= MIN_DOWNLOADABLE || !this.#options.isEnough()) return 0;
    return Math.min(LONGEST_WAIT_MS, (view.freshUntil - view.validAfter) / 2);
  }

  async #fetchAll(wanted: readonly Uint8Array[], signal: AbortSignal): Promise<void> {
    const { runtime, view, longestDelayMs } = this.#options;
    const before = view();
    this.#lastRoundAt = runtime.clock.monotonic();
    const perRequest = Math.min(MAX_PER_REQUEST, Math.max(MIN_PER_REQUEST, Math.ceil(wanted.length / MIN_REQUESTS)));
    const mixed = shuffled(runtime, wanted);
    const batches: Uint8Array[][] = [];
    for (let at = 0; at < mixed.length; at += perRequest) batches.push(mixed.slice(at, at + perRequest));
    log.debug("Asking for {count} microdescriptors in {requests} requests", {
      count: wanted.length,
      requests: batches.length,
    });
    const worker = async (): Promise<void> => {
      for (let batch = batches.pop(); batch && !signal.aborted; batch = batches.pop()) await this.#fetch(batch, signal);
    };
    await Promise.all(Array.from({ length: Math.min(MAX_PARALLEL, batches.length) }, worker));
    // A new view has a schedule of its own.
    if (signal.aborted || view() !== before) return;
    if (before?.missingCount === 0) {
      this.#schedule = undefined;
      this.#round.reset();
      return;
    }
    this.#schedule ??= new RetrySchedule(runtime, 0, longestDelayMs());
    this.#notBefore = runtime.clock.monotonic() + this.#schedule.next();
  }

  async #fetch(batch: readonly Uint8Array[], signal: AbortSignal): Promise<void> {
    const { transport, deliver, onAnswering, onFailure } = this.#options;
    const source = this.#round.next(SOURCE_KINDS);
    if (!source) return;
    this.#active++;
    try {
      const text = await fetchDocument(transport, source, {
        ...microdescsRequest(batch),
        signal,
        onStep: (step) => step === "answering" && onAnswering(),
      });
      const { added, malformed, unwanted } = deliver(text);
      if (added + malformed >= batch.length) return;
      this.#round.avoid(source);
      if (unwanted > 0) onFailure(notAskedFor(unwanted, batch.length));
    } catch (error) {
      if (!isTunicError(error)) throw error;
      if (signal.aborted) return;
      log.info("A {kind} did not give microdescriptors: {error}", { kind: source.kind, error: error.message });
      this.#round.avoid(source);
      onFailure(error);
    } finally {
      this.#active--;
    }
  }
}

function notAskedFor(unwanted: number, asked: number): TunicError {
  return new TunicError(
    `Cannot use all microdescriptors of a directory: found ${unwanted} with digests that were not asked for, expected ` +
      `those of the ${asked} asked for`,
    { kind: "directory", code: "wrong-microdescriptors", retry: "elsewhere" },
  );
}
