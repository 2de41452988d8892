/**
 * Gets a new consensus, however long it takes (dir-spec 5.1, 5.5).
 *
 * While there is none, several directories are asked side by side, fallbacks at once and authorities a little later,
 * each kind by its own schedule; once one begins to answer the others are let go. To replace one that there is, one
 * directory is asked after another, guards first.
 */
import { Deferred } from "../../base/deferred.ts";
import { isTunicError, toTunicError, TunicError } from "../../base/errors.ts";
import { logger } from "../../base/log.ts";
import type { DirectoryAuthority } from "../../netdir/authorities.ts";
import type { Runtime, Timer } from "../../runtime/ports.ts";
import type { Lifetime } from "../../wire/netdoc/consensus.ts";
import type { UnverifiedConsensus } from "../../wire/netdoc/consensus_verify.ts";
import type { AuthorityCertificates } from "./certificates.ts";
import type { AcceptedConsensus, ConsensusChecker } from "./consensus_check.ts";
import type { DirectoryTransport } from "./directory_client.ts";
import { certificatesRequest, consensusRequest } from "./documents.ts";
import { fetchDocument } from "./fetch_document.ts";
import type { BootstrapPhase } from "./progress.ts";
import { RetrySchedule } from "./schedule.ts";
import type { DirectorySource, DirectorySources, SourceKind, SourceRound } from "./sources.ts";

const log = logger("directory");

/** ClientBootstrapConsensusMaxInProgressTries. */
const MAX_IN_PROGRESS = 3;
/** ClientBootstrapConsensusAuthorityDownloadInitialDelay. */
const AUTHORITY_DELAY_MS = 6_000;
/** Other directories asked for certificates that the one with the consensus does not give. */
const MAX_CERTIFICATE_SOURCES = 4;

const BOOTSTRAP_KINDS: readonly SourceKind[] = ["fallback", "authority"];
const ALL_KINDS: readonly SourceKind[] = ["guard", "fallback", "authority"];

export interface ConsensusDownloadOptions {
  readonly runtime: Pick<Runtime, "clock" | "timers" | "random">;
  readonly transport: DirectoryTransport;
  readonly sources: DirectorySources;
  readonly authorities: readonly DirectoryAuthority[];
  readonly certificates: AuthorityCertificates;
  readonly checker: ConsensusChecker;
  /** In a network for tests authorities are plain directories, asked at once. */
  readonly testing: boolean;
  readonly onPhase: (phase: BootstrapPhase) => void;
  /** An attempt failed; others follow. */
  readonly onFailure: (error: TunicError) => void;
}

export interface ConsensusWish {
  /** Whether there is no consensus that can be used meanwhile. */
  readonly bootstrapping: boolean;
  /** Of the one there is. */
  readonly current: Lifetime | undefined;
  /** The longest pause between attempts. */
  readonly longestDelayMs: number;
  readonly signal: AbortSignal;
}

const NOT_NEWER: ReadonlySet<string> = new Set(["not-modified", "consensus-not-newer"]);

/** Directories of these kinds, and when the next of them is asked, in monotonic milliseconds. */
interface Track {
  readonly kinds: readonly SourceKind[];
  readonly schedule: RetrySchedule;
  dueAt: number;
}

/** One download; resolves `result` once, with a consensus or the signal's reason. */
class Race {
  readonly #options: ConsensusDownloadOptions;
  readonly #wish: ConsensusWish;
  readonly #round: SourceRound;
  readonly #tracks: Track[];
  readonly #attempts = new Set<AbortController>();
  readonly #result = new Deferred<AcceptedConsensus>();
  #answering: AbortController | undefined;
  #timer: Timer | undefined;

  constructor(options: ConsensusDownloadOptions, wish: ConsensusWish) {
    this.#options = options;
    this.#wish = wish;
    this.#round = options.sources.round();
    const now = options.runtime.clock.monotonic();
    const { hasFallbacks } = options.sources;
    const track = (kinds: readonly SourceKind[], delayMs: number): Track => {
      const schedule = new RetrySchedule(options.runtime, delayMs, wish.longestDelayMs);
      return { kinds, schedule, dueAt: now + delayMs };
    };
    if (!wish.bootstrapping) this.#tracks = [track(ALL_KINDS, 0)];
    else if (!hasFallbacks) this.#tracks = [track(["authority"], 0)];
    else this.#tracks = [track(["fallback"], 0), track(["authority"], options.testing ? 0 : AUTHORITY_DELAY_MS)];
  }

  async run(): Promise<AcceptedConsensus> {
    const { signal } = this.#wish;
    const onAbort = (): void => this.#result.reject(signal.reason);
    signal.addEventListener("abort", onAbort);
    try {
      if (signal.aborted) onAbort();
      else this.#consider();
      return await this.#result.promise;
    } finally {
      signal.removeEventListener("abort", onAbort);
      this.#timer?.cancel();
      for (const attempt of this.#attempts) attempt.abort(notNeeded());
    }
  }

  /** All that has been waited for may have changed: the next attempts are due now. */
  hurry(): void {
    const now = this.#options.runtime.clock.monotonic();
    for (const track of this.#tracks) {
      track.schedule.reset();
      track.dueAt = Math.min(track.dueAt, now);
    }
    this.#consider();
  }

  /** Starts the attempts that are due, and sets the timer for the next. */
  #consider(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#result.settled || this.#answering) return;
    const now = this.#options.runtime.clock.monotonic();
    const limit = this.#wish.bootstrapping ? MAX_IN_PROGRESS : 1;
    for (const track of this.#tracks) {
      while (track.dueAt <= now && this.#attempts.size < limit) {
        const source = this.#round.next(track.kinds);
        track.dueAt = now + track.schedule.next();
        if (source) void this.#attempt(source);
      }
    }
    if (this.#attempts.size >= limit) return;
    const next = Math.min(...this.#tracks.map(({ dueAt }) => dueAt));
    this.#timer = this.#options.runtime.timers.after(Math.max(0, next - now), () => this.#consider());
  }

  async #attempt(source: DirectorySource): Promise<void> {
    const attempt = new AbortController();
    this.#attempts.add(attempt);
    this.#round.avoid(source);
    try {
      this.#result.resolve(await this.#download(source, attempt));
    } catch (thrown) {
      const error = toTunicError(thrown, "Cannot get a consensus", { kind: "internal", code: "consensus-defect" });
      if (!attempt.signal.aborted) this.#failed(source, error);
    } finally {
      this.#attempts.delete(attempt);
      if (this.#answering === attempt) this.#answering = undefined;
      this.#consider();
    }
  }

  async #download(source: DirectorySource, attempt: AbortController): Promise<AcceptedConsensus> {
    const { runtime, transport, authorities, checker, onPhase } = this.#options;
    const newerThan = this.#wish.current?.validAfter;
    onPhase("conn");
    const text = await fetchDocument(transport, source, {
      ...consensusRequest(authorities),
      ifModifiedSince: newerThan,
      signal: attempt.signal,
      onStep: (step) => {
        if (step === "circuit") onPhase("requesting_status");
        if (step !== "answering") return;
        onPhase("loading_status");
        this.#letGoOfOthers(attempt);
      },
    });
    return await checker.check(text, () => runtime.clock.now(), newerThan, (unverified) => {
      onPhase("loading_keys");
      return this.#fetchCertificates(unverified, source, attempt.signal);
    });
  }

  #letGoOfOthers(attempt: AbortController): void {
    this.#answering ??= attempt;
    if (this.#answering !== attempt) return;
    for (const other of this.#attempts) if (other !== attempt) other.abort(notNeeded());
  }

  #failed(source: DirectorySource, error: TunicError): void {
    log.info("A {kind} did not give a consensus: {error}", { kind: source.kind, error: error.message });
    const { current } = this.#wish;
    if (!isTunicError(error, "directory") || !NOT_NEWER.has(error.code)) this.#options.onFailure(error);
    // While ours is still valid, a directory that has no newer one is as good as any.
    else if (current && this.#options.runtime.clock.now() < current.validUntil) this.#round.allow(source);
  }

  /** Asks the directory that had the consensus, then others, until nothing is missing. */
  async #fetchCertificates(
    unverified: UnverifiedConsensus,
    first: DirectorySource,
    signal: AbortSignal,
  ): Promise<void> {
    const { transport, certificates, checker, sources } = this.#options;
    const { validAfter } = unverified.lifetime;
    const round = sources.round();
    for (let i = 0; i < MAX_CERTIFICATE_SOURCES && !signal.aborted; i++) {
      const missing = unverified.missingCertificates(checker.evidence(validAfter));
      if (missing.length === 0) return;
      const source = i === 0 ? first : round.next(this.#wish.bootstrapping ? BOOTSTRAP_KINDS : ALL_KINDS);
      if (!source) return;
      round.avoid(source);
      try {
        const text = await fetchDocument(transport, source, { ...certificatesRequest(missing), signal });
        certificates.add(text, validAfter, missing);
      } catch (error) {
        if (!isTunicError(error)) throw error;
        log.info("A {kind} did not give certificates: {error}", { kind: source.kind, error: error.message });
      }
    }
  }
}

export class ConsensusDownload {
  readonly #options: ConsensusDownloadOptions;
  #race: Race | undefined;

  constructor(options: ConsensusDownloadOptions) {
    this.#options = options;
  }

  /** Rejects only with the signal's reason. */
  async run(wish: ConsensusWish): Promise<AcceptedConsensus> {
    const race = this.#race = new Race(this.#options, wish);
    try {
      return await race.run();
    } finally {
      this.#race = undefined;
    }
  }

  /** Ends the pause between attempts, if there is one. */
  hurry(): void {
    this.#race?.hurry();
  }
}

function notNeeded(): TunicError {
  return new TunicError("Cannot go on with a download: another directory was quicker", {
    kind: "aborted",
    code: "not-needed",
  });
}
