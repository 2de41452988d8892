/**
 * Finds or builds the circuit that a stream may use, and keeps a few clean ones ready (path-spec 2.1, 2.3).
 *
 * A circuit is clean until its first stream, whose isolation key it then keeps. Prediction is simple: what was
 * asked for in the last hour is asked for again, and the web is assumed at the start.
 */
import { unlessAborted } from "../../base/abort.ts";
import { isTunicError, throwIfAborted, toTunicError, TunicError } from "../../base/errors.ts";
import { Deferred } from "../../base/deferred.ts";
import { Emitter } from "../../base/events.ts";
import { logger } from "../../base/log.ts";
import { equal } from "../../bytes/bytes.ts";
import type { NetDir } from "../../netdir/net_dir.ts";
import type { Circuit } from "../../proto/circuit.ts";
import type { Runtime, Timer } from "../../runtime/ports.ts";
import type { ChannelManager } from "../channels.ts";
import type { Destination, Path, PathSelector } from "../paths.ts";
import { Backoff } from "./backoff.ts";
import { buildCircuit } from "./build_circuit.ts";
import { type Avoided, type CircuitRequest, type CircuitState, ManagedCircuit } from "./managed_circuit.ts";

const log = logger("circuits");

export interface CircuitManagerOptions {
  readonly runtime: Runtime;
  readonly channels: ChannelManager;
  readonly paths: PathSelector;
  /** The view that circuits may be built with now; `undefined` before there is one, and when it is too old. */
  readonly netdir: () => NetDir | undefined;
  readonly circuitBuildTimeoutMs: number;
  readonly maxCircuitDirtinessMs: number;
  /** How long an unused circuit is kept. */
  readonly circuitsAvailableTimeoutMs: number;
  readonly maxClientCircuitsPending: number;
}

export interface CircuitManagerEvents {
  circuit: { readonly id: number; readonly state: CircuitState; readonly hops: number; readonly error?: TunicError };
}

/** Clean circuits kept ready for each predicted port. */
const CLEAN_CIRCUITS = 2;
/** Circuits for nobody yet beyond which none is built ahead of need, whatever is predicted (as in C tor). */
const MAX_UNUSED = 14;
/** How long a port counts as predicted after it was asked for (C tor's PredictedPortsRelevanceTime). */
const PREDICTION_MS = 60 * 60_000;
/** What is predicted before anything was asked for, and from lookups. */
const WEB_PORT = 443;
/** Ports predicted at one time: those asked for last. */
const MAX_PREDICTED = 32;
/** How often ages are looked at. */
const TICK_MS = 1_000;
/** Streams on one circuit beyond which another is used. */
const STREAMS_PER_CIRCUIT = 1_000;
/** Between looks for a path where there was none. */
const SHORTEST_PAUSE_MS = 100;
/** Between circuits while built ones wait for a better guard; or else as many as the network is quick would be built. */
const BETTER_GUARD_PAUSE_MS = 1_000;
/** What requests are told that they cannot do. */
const WHAT = "find a circuit";

export class CircuitManager {
  readonly events: { on: Emitter<CircuitManagerEvents>["on"] };
  readonly #emitter = new Emitter<CircuitManagerEvents>();
  readonly #options: CircuitManagerOptions;
  readonly #runtime: Runtime;
  readonly #circuits = new Set<ManagedCircuit>();
  readonly #backoff: Backoff;
  /** For circuits that fail behind a guard that works: another path may do better at once. */
  readonly #pathBackoff: Backoff;
  readonly #shutdown = new AbortController();
  /** Built, but not to be used unless better guards fail. */
  readonly #waiting = new Set<Circuit>();
  /** When each port was last asked for, in monotonic milliseconds; the latest at the end. */
  readonly #predicted = new Map<number, number>();
  /** Resolves when there is something new for waiting requests: a view, a circuit, one circuit less. */
  #news = new Deferred<void>();
  #nextId = 1;
  /** Whether any circuit has ever stood. */
  #hasOpened = false;
  #timer: Timer | undefined;
  /** Why the last circuit that could not be built could not. */
  #lastFailure: { readonly error: TunicError; readonly atMs: number } | undefined;
  /** No circuit is begun before this moment: the last ones failed. */
  #launchAfterMs = 0;

  constructor(options: CircuitManagerOptions) {
    this.#options = options;
    this.#runtime = options.runtime;
    this.events = { on: (name, listener) => this.#emitter.on(name, listener) };
    this.#backoff = new Backoff(options.runtime, { firstMs: 500, longestMs: 30_000, free: 3 });
    this.#pathBackoff = new Backoff(options.runtime, { firstMs: 100, longestMs: 1_000, free: 8 });
  }

  /** Circuits by what they are good for. */
  get snapshot(): { readonly building: number; readonly clean: number; readonly dirty: number } {
    let [building, clean, dirty] = [0, 0, 0];
    for (const circuit of this.#circuits) {
      if (circuit.state === "building") building++;
      else if (circuit.isolation === undefined) clean++;
      else dirty++;
    }
    return { building, clean, dirty };
  }

  /** There is a new view; the first one starts building ahead of need. */
  viewChanged(): void {
    if (this.#shutdown.signal.aborted) return;
    this.#tellNews();
    if (this.#timer) return;
    this.#predict(WEB_PORT);
    this.#tick();
  }

  /**
   * A circuit for `request`, open and claimed for its isolation key; nothing of `avoided`. Tries other paths when
   * building fails, with growing pauses, until `signal` aborts. Throws `no-path` at once if no relay can be the last hop.
   */
  async get(
    request: CircuitRequest,
    avoided: Avoided,
    signal: AbortSignal,
  ): Promise<{ managed: ManagedCircuit; circuit: Circuit }> {
    this.#predict(request.destination?.port ?? WEB_PORT);
    /** Why there is none yet. */
    let obstacle: TunicError | undefined;
    try {
      for (;;) {
        throwIfAborted(signal, WHAT);
        this.#requireOpen();
        let managed: ManagedCircuit | undefined;
        try {
          managed = this.#reserve(request, avoided);
        } catch (error) {
          obstacle = this.#noPath(error, request);
          continue;
        }
        if (!managed) {
          await this.#pause(signal);
          continue;
        }
        try {
          const circuit = managed.circuit ?? await unlessAborted(managed.ready, signal, WHAT);
          managed.claim(this.#now());
          return { managed, circuit };
        } catch (error) {
          managed.release();
          throwIfAborted(signal, WHAT);
          obstacle = toTunicError(error, "Cannot build a circuit", { kind: "internal", code: "build-defect" });
        } finally {
          this.#scheduleTick(0);
        }
      }
    } catch (error) {
      throw obstacle && error === signal.reason && isTunicError(error, "timeout") ? explained(error, obstacle) : error;
    }
  }

  /** No further streams go to circuits there are; open streams go on. */
  retireAll(): void {
    for (const circuit of this.#circuits) circuit.retired = true;
    this.#scheduleTick(0);
  }

  /** Closes every circuit; the manager cannot be used again. */
  close(): void {
    const reason = new TunicError("Cannot use a circuit: the client is closing", { kind: "closed", code: "closed" });
    this.#shutdown.abort(reason);
    this.#timer?.cancel();
    this.#news.reject(reason);
    for (const managed of [...this.#circuits]) managed.circuit?.destroy(reason);
    for (const circuit of [...this.#waiting]) circuit.destroy(reason);
    this.#emitter.clear();
  }

  #now(): number {
    return this.#runtime.clock.monotonic();
  }

  #requireOpen(): void {
    if (this.#shutdown.signal.aborted) throw this.#shutdown.signal.reason;
  }

  /** Requests that wait look again at what there is. */
  #tellNews(): void {
    this.#news.resolve();
    this.#news = new Deferred();
  }

  #predict(port: number): void {
    this.#predicted.delete(port);
    this.#predicted.set(port, this.#now());
    if (this.#predicted.size > MAX_PREDICTED) this.#predicted.delete(this.#predicted.keys().next().value!);
  }

  /**
   * A circuit that is, or will be, fit for `request`, reserved for its key in the same turn; `undefined` if none may be begun just
   * now. Throws `no-path`.
   */
  #reserve(request: CircuitRequest, avoided: Avoided): ManagedCircuit | undefined {
    let managed = this.#find(request, avoided);
    if (!managed) {
      const netdir = this.#options.netdir();
      const building = this.#count((circuit) => circuit.state === "building");
      if (!netdir || building >= this.#options.maxClientCircuitsPending || this.#now() < this.#launchAfterMs) {
        return undefined;
      }
      managed = this.#launch(this.#choosePath(request, avoided.exits), netdir);
    }
    managed.reserve(request.isolation);
    return managed;
  }

  #count(which: (managed: ManagedCircuit) => boolean): number {
    let count = 0;
    for (const managed of this.#circuits) if (which(managed)) count++;
    return count;
  }

  #find(request: CircuitRequest, avoided: Avoided): ManagedCircuit | undefined {
    const isAvoided = (managed: ManagedCircuit) =>
      avoided.circuits.has(managed) || avoided.exits.some((rsaId) => equal(rsaId, managed.exit));
    let best: ManagedCircuit | undefined;
    let bestRank = Infinity;
    for (const managed of this.#circuits) {
      if (isAvoided(managed) || !this.#suits(managed, request)) continue;
      const rank = (managed.isolation === undefined ? 1 : 0) + (managed.state === "open" ? 0 : 2);
      if (rank >= bestRank) continue;
      best = managed;
      bestRank = rank;
    }
    return best;
  }

  #suits(managed: ManagedCircuit, { destination, isolation }: CircuitRequest): boolean {
    if (managed.state === "closed" || managed.retired || managed.streams >= STREAMS_PER_CIRCUIT) return false;
    if (managed.isolation !== undefined && managed.isolation !== isolation) return false;
    if (this.#isTooDirty(managed)) return false;
    if (!destination) return true;
    return !managed.refusedPorts.has(destination.port) && this.#options.paths.serves(managed.path, destination);
  }

  #isTooDirty(managed: ManagedCircuit): boolean {
    const { dirtySinceMs } = managed;
    return dirtySinceMs !== undefined && this.#now() - dirtySinceMs >= this.#options.maxCircuitDirtinessMs;
  }

  /** Throws `no-path`. */
  #choosePath({ destination }: CircuitRequest, without: readonly Uint8Array[]): Path {
    const { paths } = this.#options;
    const choose = (exclude: readonly Uint8Array[]) =>
      destination ? paths.exitPath(destination, { exclude }) : paths.resolvePath({ exclude });
    if (without.length === 0) return choose([]);
    try {
      return choose(without);
    } catch (error) {
      if (!isTunicError(error, "no-path")) throw error;
      return choose([]);
    }
  }

  /** Exits are lacking for one port, which is final; guards for everybody, and for a while. */
  #noPath(error: unknown, { destination }: CircuitRequest): TunicError {
    if (!isTunicError(error, "no-path")) throw error;
    if (error.code === "no-exit") {
      if (destination) this.#predicted.delete(destination.port);
      throw error;
    }
    log.debug("No path at the moment: {reason}", { reason: error.message });
    this.#countFailure(SHORTEST_PAUSE_MS);
    return error;
  }

  #countFailure(shortestMs = 0, backoff = this.#backoff): void {
    const pauseMs = Math.max(shortestMs, Math.ceil(backoff.failed()));
    this.#launchAfterMs = Math.max(this.#launchAfterMs, this.#now() + pauseMs);
  }

  /** Begins to build along `path`. */
  #launch(path: Path, netdir: NetDir): ManagedCircuit {
    const { runtime, channels } = this.#options;
    const managed = new ManagedCircuit(this.#nextId++, path, this.#now());
    this.#circuits.add(managed);
    this.#emitter.emit("circuit", { id: managed.id, state: "building", hops: 0 });
    let built = 0;
    const building = buildCircuit(path.guard, path.hops, {
      runtime,
      channels,
      circuitWindow: netdir.params.get("circwindow", { default: 1000, min: 100, max: 1000 }),
      timeoutMs: this.#options.circuitBuildTimeoutMs,
      signal: this.#shutdown.signal,
      onHop: (hops) => {
        built = hops;
        this.#emitter.emit("circuit", { id: managed.id, state: "building", hops });
      },
    });
    building.then((circuit) => this.#onBuilt(managed, circuit), (cause) => {
      const error = toTunicError(cause, "Cannot build a circuit", { kind: "internal", code: "build-defect" });
      // One connection that fails, fails all circuits that waited for it: that is one failure.
      const last = this.#lastFailure;
      if (error !== last?.error || managed.createdAtMs > last.atMs) {
        this.#countFailure(0, built > 0 ? this.#pathBackoff : this.#backoff);
        this.#lastFailure = { error, atMs: this.#now() };
      }
      this.#onClosed(managed, error);
    });
    return managed;
  }

  #onBuilt(managed: ManagedCircuit, circuit: Circuit): void {
    const { guard } = managed.path;
    // In the moment between its being built and our hearing of it.
    if (this.#shutdown.signal.aborted) circuit.destroy(this.#shutdown.signal.reason);
    if (circuit.closed) {
      guard.onClosed();
      return this.#onClosed(managed, circuit.closed);
    }
    circuit.events.on("closed", () => guard.onClosed());
    if (guard.state === "waiting_for_better_guard") this.#wait(managed, circuit);
    else this.#open(managed, circuit);
  }

  /**
   * The circuit stands, but better guards have not been given up yet (guard-spec 4.11). Whoever waited for it gets
   * another one built meanwhile, which is how the better guards are tried.
   */
  async #wait(managed: ManagedCircuit, circuit: Circuit): Promise<void> {
    const error = new TunicError("Cannot use a circuit: a better guard may still work", {
      kind: "circuit",
      code: "waiting-for-better-guard",
      retry: "elsewhere",
    });
    this.#launchAfterMs = Math.max(this.#launchAfterMs, this.#now() + BETTER_GUARD_PAUSE_MS);
    this.#onClosed(managed, error);
    this.#waiting.add(circuit);
    const { id, path, createdAtMs } = managed;
    const usable = await path.guard.usable;
    this.#waiting.delete(circuit);
    if (circuit.closed) return;
    if (!usable || this.#shutdown.signal.aborted) return circuit.destroy(error);
    const again = new ManagedCircuit(id, path, createdAtMs);
    this.#circuits.add(again);
    this.#open(again, circuit);
  }

  #open(managed: ManagedCircuit, circuit: Circuit): void {
    circuit.events.on("closed", (error) => this.#onClosed(managed, error));
    circuit.events.on("streams", () => {
      if (managed.streams === 0) this.#scheduleTick(0);
    });
    this.#backoff.succeeded();
    this.#pathBackoff.succeeded();
    this.#launchAfterMs = 0;
    this.#hasOpened = true;
    managed.opened(circuit);
    this.#tellNews();
    this.#emitter.emit("circuit", { id: managed.id, state: "open", hops: circuit.hops });
  }

  #onClosed(managed: ManagedCircuit, error: TunicError): void {
    if (!this.#circuits.delete(managed)) return;
    managed.closed(error);
    this.#emitter.emit("circuit", { id: managed.id, state: "closed", hops: 0, error });
    // Another one is built at the next tick, not at once: a relay may close every circuit as soon as it is built.
    this.#tellNews();
  }

  /** Until there is news, or circuits may be begun again. */
  async #pause(signal: AbortSignal): Promise<void> {
    const over = new Deferred<void>();
    const gateMs = Math.ceil(this.#launchAfterMs - this.#now());
    const timer = gateMs > 0 ? this.#runtime.timers.after(gateMs, () => over.resolve()) : undefined;
    try {
      await unlessAborted(Promise.race([this.#news.promise, over.promise]), signal, WHAT);
    } finally {
      timer?.cancel();
    }
  }

  /** Closes what is too old, builds what will be needed. */
  #tick(): void {
    this.#timer?.cancel();
    if (this.#shutdown.signal.aborted) return;
    this.#closeOld();
    this.#prebuild();
    this.#timer = this.#runtime.timers.after(TICK_MS, () => this.#tick());
  }

  #scheduleTick(delayMs: number): void {
    if (!this.#timer || this.#shutdown.signal.aborted) return;
    this.#timer.cancel();
    this.#timer = this.#runtime.timers.after(delayMs, () => this.#tick());
  }

  #closeOld(): void {
    const finished = new TunicError("Cannot use a circuit: it has served its time", {
      kind: "circuit",
      code: "retired",
      retry: "elsewhere",
    });
    for (const managed of [...this.#circuits]) {
      const { circuit } = managed;
      if (!circuit || managed.streams > 0) continue;
      const unusedTooLong = managed.isolation === undefined &&
        this.#now() - managed.createdAtMs >= this.#options.circuitsAvailableTimeoutMs;
      if (managed.retired || this.#isTooDirty(managed) || unusedTooLong) circuit.destroy(finished);
    }
  }

  #prebuild(): void {
    const netdir = this.#options.netdir();
    if (!netdir) return;
    let clean = this.#count((managed) => managed.isolation === undefined);
    for (const [port, askedAtMs] of this.#predicted) {
      if (this.#now() - askedAtMs > PREDICTION_MS) {
        this.#predicted.delete(port);
        continue;
      }
      // A name: what the web is asked for.
      const destination: Destination = { host: "", port };
      const request: CircuitRequest = { destination, isolation: "" };
      let ready = this.#count((managed) => managed.isolation === undefined && this.#suits(managed, request));
      for (; ready < CLEAN_CIRCUITS && clean < MAX_UNUSED; ready++, clean++) {
        const outcome = this.#launchAhead(request, netdir);
        if (outcome === "not-now") return;
        if (outcome === "no-exit") {
          this.#predicted.delete(port);
          break;
        }
      }
    }
    // Where exits are for other things than the web, one circuit still shows that there can be any.
    if (!this.#hasOpened && this.#circuits.size === 0) {
      this.#launchAhead({ destination: undefined, isolation: "" }, netdir);
    }
  }

  /** Nobody waits for these circuits: a request that needs one will hear of what is wrong. */
  #launchAhead(request: CircuitRequest, netdir: NetDir): "launched" | "no-exit" | "not-now" {
    if (this.#now() < this.#launchAfterMs) return "not-now";
    try {
      this.#launch(this.#choosePath(request, []), netdir);
      return "launched";
    } catch (error) {
      if (isTunicError(error, "no-path") && error.code === "no-exit") return "no-exit";
      log.debug("No circuit built ahead of need: {reason}", { reason: (error as Error).message });
      this.#countFailure(TICK_MS);
      return "not-now";
    }
  }
}

/** A request's time is up; what took it is worth more than the number of seconds. */
function explained(timeout: TunicError, obstacle: TunicError): TunicError {
  const { kind, code, retry } = timeout;
  return new TunicError(`${timeout.message}; what failed last: ${obstacle.message}`, {
    kind,
    code,
    retry,
    cause: obstacle,
  });
}
