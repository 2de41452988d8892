/**
 * Gets a verified view of the network, and keeps it fresh (dir-spec 5).
 *
 * Two loops: one replaces the consensus when its time comes, one fills in microdescriptors. A new view takes the old
 * one's place when circuits can be built with it. Nothing that fails ends a loop; it is told as a problem and tried
 * again.
 */
import { abortError, isTunicError, toTunicError, TunicError } from "../../base/errors.ts";
import { Emitter, type Unsubscribe } from "../../base/events.ts";
import { logger } from "../../base/log.ts";
import type { DirectoryAuthority, FallbackDirectory } from "../../netdir/authorities.ts";
import { MicrodescStore } from "../../netdir/microdesc_store.ts";
import { type AddedMicrodescs, NetDir } from "../../netdir/net_dir.ts";
import type { Runtime } from "../../runtime/ports.ts";
import type { Lifetime } from "../../wire/netdoc/consensus.ts";
import type { ChannelManager } from "../channels.ts";
import type { GuardManager } from "../guards/guard_manager.ts";
import { AuthorityCertificates } from "./certificates.ts";
import {
  type AcceptedConsensus,
  clockSkew,
  ConsensusChecker,
  earlyConsensus,
  expiredByOurClock,
  relaySkew,
} from "./consensus_check.ts";
import { ConsensusDownload } from "./consensus_download.ts";
import { DirectoryCache, type DirectoryFiles } from "./directory_cache.ts";
import { DirectoryClient, type DirectoryTransport } from "./directory_client.ts";
import { MicrodescDownload } from "./microdesc_download.ts";
import { type DirectoryProgress, ProgressMeter } from "./progress.ts";
import { refreshTime } from "./schedule.ts";
import { DirectorySources } from "./sources.ts";
import { Alarm } from "./waiting.ts";

const log = logger("directory");

/** How often the wall clock is looked at: it may jump, and no timer runs while the machine sleeps. */
const LONGEST_SLEEP_MS = 60_000;
/** Pauses between attempts grow no longer than this, so that a network that is back is noticed within it. */
const LONGEST_RETRY_MS = 600_000;
const SHORTEST_LIMIT_MS = 5_000;
/** What NETINFO may differ by before it is mentioned (C tor's NETINFO_NOTICE_SKEW). */
const NOTICE_SKEW_MS = 3_600_000;
/** Microdescriptors that no consensus has named for this long are dropped. */
const KEEP_MICRODESCS_MS = 7 * 24 * 3_600_000;

export interface DirectoryManagerOptions {
  readonly runtime: Runtime;
  readonly channels: ChannelManager;
  /** Is told of every new view, and of microdescriptors added to it. */
  readonly guards: GuardManager;
  readonly state: DirectoryFiles;
  readonly authorities: readonly DirectoryAuthority[];
  readonly fallbacks: readonly FallbackDirectory[];
  /** torrc's PathsNeededToBuildCircuits, 0 to 1; by default the consensus' `min_paths_for_circs_pct`. */
  readonly pathsNeeded?: number;
  /** TestingTorNetwork: authorities are asked as soon as fallbacks. */
  readonly testing?: boolean;
  /** What requests go through; by default, a {@link DirectoryClient}. */
  readonly transport?: DirectoryTransport;
}

export interface DirectoryManagerEvents {
  /** There is a new view, and circuits can be built with it. It gains microdescriptors as they come. */
  netdir: NetDir;
  /** The start has come further. */
  progress: DirectoryProgress;
  /**
   * Something failed and is tried again. Kind `clock` is for the user to solve: with code "clock-ahead" or
   * "clock-behind" nothing will come of it before; with others somebody says so, and may be wrong.
   */
  problem: TunicError;
}

/** Counts, which give nobody away. */
export interface DirectorySnapshot {
  readonly progress: DirectoryProgress;
  /** Whether circuits can be built. */
  readonly ready: boolean;
  /** Of the newest consensus. */
  readonly lifetime: Lifetime | undefined;
  readonly relays: number;
  readonly missingMicrodescs: number;
  /** Of all paths, weighted by bandwidth: how many could be built, and how many are needed. */
  readonly pathsUsable: number;
  readonly pathsNeeded: number;
  readonly certificates: number;
  /** When the consensus will be replaced, in ms since 1970. */
  readonly refreshAt: number | undefined;
  readonly microdescRequests: number;
  /** The last problem since there was a new consensus. */
  readonly problem: TunicError | undefined;
}

export class DirectoryManager {
  readonly events: { on: Emitter<DirectoryManagerEvents>["on"] };
  readonly #emitter = new Emitter<DirectoryManagerEvents>();
  readonly #options: DirectoryManagerOptions;
  readonly #transport: DirectoryTransport;
  readonly #sources: DirectorySources;
  readonly #certificates: AuthorityCertificates;
  readonly #cache: DirectoryCache;
  readonly #consensusDownload: ConsensusDownload;
  readonly #microdescDownload: MicrodescDownload;
  readonly #progress: ProgressMeter;
  readonly #alarm: Alarm;
  readonly #shutdown = new AbortController();
  readonly #subscriptions: Unsubscribe[] = [];
  #running: Promise<unknown> | undefined;
  /** The newest consensus. */
  #view: NetDir | undefined;
  /** The newest that circuits can be built with. */
  #usable: NetDir | undefined;
  /** What the cache held, while there is no view to take it. */
  #cachedStore: MicrodescStore | undefined;
  #refreshAt: number | undefined;
  #staleConsensuses = 0;
  #expiredCertificates = 0;
  #problem: TunicError | undefined;

  constructor(options: DirectoryManagerOptions) {
    this.#options = options;
    const { runtime, channels, authorities } = options;
    this.events = { on: (name, listener) => this.#emitter.on(name, listener) };
    this.#transport = options.transport ?? new DirectoryClient({ runtime, channels });
    this.#sources = new DirectorySources({ ...options, random: runtime });
    const identities = authorities.map(({ v3ident }) => v3ident);
    this.#certificates = new AuthorityCertificates(identities);
    const checker = new ConsensusChecker(identities, this.#certificates);
    this.#cache = new DirectoryCache(runtime.clock, options.state, this.#certificates, checker);
    this.#progress = new ProgressMeter((progress) => this.#emitter.emit("progress", progress));
    this.#alarm = new Alarm(runtime.timers);
    const shared = { runtime, transport: this.#transport, sources: this.#sources };
    this.#consensusDownload = new ConsensusDownload({
      ...shared,
      authorities,
      certificates: this.#certificates,
      checker,
      testing: options.testing ?? false,
      onPhase: (phase) => this.#progress.reach(phase),
      onFailure: (error) => this.#consensusFailed(error),
    });
    this.#microdescDownload = new MicrodescDownload({
      ...shared,
      view: () => this.#view,
      isEnough: () => this.#view !== undefined && this.#isEnough(this.#view),
      deliver: (text) => this.#deliver(text),
      onAnswering: () => this.#progress.reach("loading_descriptors"),
      onFailure: (error) => this.#tell(error),
      longestDelayMs: () => this.#longestRetryMs(),
    });
  }

  /** The newest view that circuits can be built with, while its consensus may be used. */
  get netdir(): NetDir | undefined {
    const netdir = this.#usable;
    return netdir && !clockSkew(netdir.consensus, this.#options.runtime.clock.now()) ? netdir : undefined;
  }

  /** Loads what is on disk and gets what is missing; comes back at once. */
  start(): void {
    if (this.#running || this.#shutdown.signal.aborted) return;
    const { events } = this.#options.channels;
    this.#subscriptions.push(
      events.on("connecting", () => this.#progress.reach("conn")),
      events.on("connected", () => this.#progress.reach("handshake")),
      events.on("handshake-done", () => this.#progress.reach("onehop_create")),
      events.on("clock-skew", ({ skewMs }) => this.#relaySaid(skewMs)),
    );
    this.#running = this.#run();
  }

  /** The view, once circuits can be built. Rejects when `signal` fires or the manager closes, and never before. */
  ready(signal?: AbortSignal): Promise<NetDir> {
    const what = "wait for the directory";
    return new Promise((resolve, reject) => {
      const shutdown = this.#shutdown.signal;
      const settle = (outcome: () => void): void => {
        unsubscribe();
        signal?.removeEventListener("abort", onAbort);
        shutdown.removeEventListener("abort", onClose);
        outcome();
      };
      const onAbort = (): void => settle(() => reject(abortError(signal!, what)));
      const onClose = (): void => settle(() => reject(abortError(shutdown, what)));
      const unsubscribe = this.#emitter.on("netdir", (netdir) => settle(() => resolve(netdir)));
      if (shutdown.aborted) return onClose();
      if (signal?.aborted) return onAbort();
      const { netdir } = this;
      if (netdir) return settle(() => resolve(netdir));
      signal?.addEventListener("abort", onAbort);
      shutdown.addEventListener("abort", onClose);
    });
  }

  /** Ends pauses between attempts: somebody needs the network, or it has come back. */
  retryNow(): void {
    this.#consensusDownload.hurry();
    this.#microdescDownload.hurry();
  }

  snapshot(): DirectorySnapshot {
    const view = this.#view;
    return {
      progress: this.#progress.current,
      ready: this.netdir !== undefined,
      lifetime: view && { validAfter: view.validAfter, freshUntil: view.freshUntil, validUntil: view.validUntil },
      relays: view?.size ?? 0,
      missingMicrodescs: view?.missingCount ?? 0,
      pathsUsable: view?.fractionUsable() ?? 0,
      pathsNeeded: view ? this.#pathsNeeded(view) : this.#options.pathsNeeded ?? 0,
      certificates: this.#certificates.all.length,
      refreshAt: this.#refreshAt,
      microdescRequests: this.#microdescDownload.active,
      problem: this.#problem,
    };
  }

  /** Ends everything under way. What is to be saved is left to the state store's own closing. */
  async close(): Promise<void> {
    if (!this.#shutdown.signal.aborted) {
      this.#shutdown.abort(
        new TunicError("Cannot go on with the directory: the client is closing", { kind: "closed", code: "closed" }),
      );
      for (const unsubscribe of this.#subscriptions.splice(0)) unsubscribe();
      this.#alarm.close();
      this.#transport.close();
      this.#emitter.clear();
    }
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#shutdown;
    try {
      await this.#load();
      if (signal.aborted) return;
      await Promise.all([this.#keepConsensus(signal), this.#microdescDownload.run(signal)]);
    } catch (thrown) {
      if (signal.aborted) return;
      const error = toTunicError(thrown, "Cannot keep the directory", { kind: "internal", code: "directory-defect" });
      log.error("{error}", { error: error.message });
      this.#tell(error);
    }
  }

  async #load(): Promise<void> {
    let store: MicrodescStore | undefined;
    try {
      store = await this.#cache.loadStore();
      const cached = await this.#cache.loadConsensus((error) => this.#tell(error));
      if (cached && !this.#shutdown.signal.aborted) {
        log.info("The cached consensus can be used: it holds until {time}", {
          time: new Date(cached.consensus.validUntil).toISOString(),
        });
        this.#adopt(cached, store);
      }
    } catch (error) {
      if (!isTunicError(error, "storage")) throw error;
      // Without its cache a client starts all the same, only slower.
      log.warn("{error}", { error: error.message });
      this.#tell(error);
    }
    if (!this.#view) this.#cachedStore = store;
  }

  async #keepConsensus(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options.runtime;
    while (!signal.aborted) {
      const view = this.#view;
      const now = clock.now();
      const usable = view !== undefined && !clockSkew(view.consensus, now);
      if (usable && this.#refreshAt !== undefined && now < this.#refreshAt) {
        await this.#alarm.wait(Math.min(this.#refreshAt - now, LONGEST_SLEEP_MS));
        continue;
      }
      const accepted = await this.#consensusDownload.run({
        bootstrapping: !usable,
        current: view?.consensus,
        longestDelayMs: this.#longestRetryMs(),
        signal,
      });
      this.#adopt(accepted, view?.store ?? this.#cachedStore);
      this.#cache.saveConsensus(accepted);
    }
  }

  /** Takes a consensus that was checked as the newest view. */
  #adopt(accepted: AcceptedConsensus, store: MicrodescStore | undefined): void {
    const { consensus } = accepted;
    const { clock } = this.#options.runtime;
    const kept = store?.pruned(consensus.validAfter - KEEP_MICRODESCS_MS);
    const view = new NetDir(consensus, kept ?? new MicrodescStore(consensus.relays.size));
    this.#cachedStore = undefined;
    this.#view = view;
    this.#problem = undefined;
    this.#staleConsensuses = 0;
    this.#expiredCertificates = 0;
    this.#refreshAt = refreshTime(consensus, this.#options.runtime);
    log.info("A consensus of {relays} relays holds until {time}; {missing} microdescriptors are missing", {
      relays: view.size,
      time: new Date(consensus.validUntil).toISOString(),
      missing: view.missingCount,
    });
    const early = earlyConsensus(consensus, clock.now());
    if (early) this.#tell(early);
    if (!this.netdir) this.#useForGuards(view);
    this.#progress.reach("requesting_descriptors");
    this.#consider();
    this.#microdescDownload.viewChanged();
    this.#saveStore();
  }

  #deliver(text: Uint8Array): AddedMicrodescs {
    const result = this.#view!.addMicrodescs(text);
    if (result.added === 0) return result;
    if (this.#usable && this.#usable !== this.#view) this.#usable.addMicrodescs(text);
    if (this.#sources.netdir) this.#useForGuards(this.#sources.netdir);
    this.#consider();
    this.#saveStore();
    return result;
  }

  /** Puts the newest view into use once it is good enough. */
  #consider(): void {
    const view = this.#view!;
    if (view === this.#usable) return;
    if (!this.#isEnough(view)) {
      this.#progress.reach("loading_descriptors", Math.min(1, view.fractionUsable() / this.#pathsNeeded(view)));
      return;
    }
    this.#usable = view;
    this.#useForGuards(view);
    this.#progress.reach("enough_dirinfo");
    const { netdir } = this;
    if (netdir) this.#emitter.emit("netdir", netdir);
  }

  #useForGuards(view: NetDir): void {
    this.#sources.netdir = view;
    this.#options.guards.update(view);
  }

  #isEnough(view: NetDir): boolean {
    if (view.fractionUsable() < this.#pathsNeeded(view)) return false;
    // Of guards only the view that they are chosen from can be asked (guard-spec, section 4.12).
    return this.#sources.netdir !== view || this.#options.guards.missingMicrodescriptors.length === 0;
  }

  #pathsNeeded(view: NetDir): number {
    return this.#options.pathsNeeded ??
      view.params.get("min_paths_for_circs_pct", { default: 60, min: 25, max: 95 }) / 100;
  }

  /** In networks whose consensuses follow each other quickly, pauses must not outlast them. */
  #longestRetryMs(): number {
    const view = this.#view;
    if (!view) return LONGEST_RETRY_MS;
    return Math.min(LONGEST_RETRY_MS, Math.max(SHORTEST_LIMIT_MS, (view.freshUntil - view.validAfter) / 4));
  }

  #saveStore(): void {
    this.#cache.saveStore(() => this.#view!.store);
  }

  #relaySaid(skewMs: number): void {
    // What most authorities have signed counts for more than what one relay says.
    if (Math.abs(skewMs) < NOTICE_SKEW_MS || this.netdir) return;
    this.#tell(relaySkew(skewMs, this.#options.runtime.clock.now()));
  }

  #consensusFailed(error: TunicError): void {
    // One directory may have an old consensus; when several have, it is the clock.
    if (isTunicError(error, "clock") && error.code === "clock-ahead" && ++this.#staleConsensuses === 1) {
      return this.#tell(
        new TunicError("Cannot use a consensus: it is out of date", {
          kind: "directory",
          code: "stale-consensus",
          retry: "elsewhere",
          cause: error,
        }),
      );
    }
    // Likewise a relay with an old certificate.
    if (isTunicError(error, "clock") && error.code === "certificate-expired" && !this.netdir) {
      if (++this.#expiredCertificates > 1) {
        return this.#tell(expiredByOurClock(error, this.#options.runtime.clock.now()));
      }
    }
    this.#tell(error);
  }

  #tell(error: TunicError): void {
    if (this.#shutdown.signal.aborted) return;
    this.#problem = error;
    this.#emitter.emit("problem", error);
  }
}
