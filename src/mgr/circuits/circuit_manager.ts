/**
 * Finds or builds the circuit that a stream may use, and keeps a few clean ones ready (path-spec 2.1, 2.3).
 *
 * A circuit is clean until its first stream, whose isolation key it then keeps. Prediction is simple: what was
 * asked for in the last hour is asked for again, and the web is assumed at the start.
 */
import { abortError, isTunicError, throwIfAborted, toTunicError, TunicError } from "../../base/errors.ts";
import { Deferred } from "../../base/deferred.ts";
import { Emitter } from "../../base/events.ts";
import { logger } from "../../base/log.ts";
import type { NetDir } from "../../netdir/net_dir.ts";
import type { Circuit } from "../../proto/circuit.ts";
import type { Runtime, Timer } from "../../runtime/ports.ts";
import type { ChannelManager } from "../channels.ts";
import type { Destination, PathSelector } from "../paths.ts";
import { Backoff } from "./backoff.ts";
import { buildCircuit } from "./build_circuit.ts";
import { type CircuitRequest, type CircuitState, ManagedCircuit } from "./managed_circuit.ts";

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
/** What is predicted before anything was asked for. */
const FIRST_PREDICTION = 443;
/** How often ages are looked at. */
const TICK_MS = 1_000;
/** Streams on one circuit beyond which another is used. */
const STREAMS_PER_CIRCUIT = 1_000;

export class CircuitManager {
  readonly events: { on: Emitter<CircuitManagerEvents>["on"] };
  readonly #emitter = new Emitter<CircuitManagerEvents>();
  readonly #options: CircuitManagerOptions;
  readonly #runtime: Runtime;
  readonly #circuits = new Set<ManagedCircuit>();
  readonly #backoff: Backoff;
  readonly #shutdown = new AbortController();
  /** When each port was last asked for, in monotonic milliseconds. */
  readonly #predicted = new Map<number, number>();
  /** Resolves with the next view. */
  #nextView = new Deferred<void>();
  #nextId = 1;
  #timer: Timer | undefined;
  /** Not before this moment are circuits built ahead of need. */
  #prebuildAfterMs = 0;

  constructor(options: CircuitManagerOptions) {
    this.#options = options;
    this.#runtime = options.runtime;
    this.events = { on: (name, listener) => this.#emitter.on(name, listener) };
    this.#backoff = new Backoff(options.runtime, { firstMs: 500, longestMs: 30_000, free: 3 });
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
    this.#nextView.resolve();
    this.#nextView = new Deferred();
    if (this.#timer) return;
    this.#predicted.set(FIRST_PREDICTION, this.#now());
    this.#tick();
  }

  /**
   * A circuit for `request`, open and claimed for its isolation key. Circuits in `avoid` are passed over. Tries other paths
   * when building fails, with growing pauses, until `signal` aborts. Throws `no-path` at once if no relay can be the
   * last hop.
   */
  async get(
    request: CircuitRequest,
    avoid: ReadonlySet<ManagedCircuit>,
    signal: AbortSignal,
  ): Promise<{ managed: ManagedCircuit; circuit: Circuit }> {
    if (request.destination) this.#predicted.set(request.destination.port, this.#now());
    for (;;) {
      throwIfAborted(signal, "find a circuit");
      this.#requireOpen();
      const managed = this.#find(request, avoid) ?? await this.#launchFor(request, signal);
      if (!managed) continue;
      managed.claim(request.isolation, this.#now());
      try {
        return { managed, circuit: managed.circuit ?? await unlessAborted(managed.ready, signal) };
      } catch (error) {
        throwIfAborted(signal, "find a circuit");
        if (error instanceof TunicError && error.kind === "closed") throw error;
        await this.#pauseAfterFailure(signal);
      } finally {
        this.#scheduleTick(0);
      }
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
    for (const managed of [...this.#circuits]) managed.circuit?.destroy(reason);
    this.#emitter.clear();
  }

  #now(): number {
    return this.#runtime.clock.monotonic();
  }

  #requireOpen(): void {
    if (this.#shutdown.signal.aborted) throw this.#shutdown.signal.reason;
  }

  #find(request: CircuitRequest, avoid: ReadonlySet<ManagedCircuit>): ManagedCircuit | undefined {
    let best: ManagedCircuit | undefined;
    let bestRank = Infinity;
    for (const managed of this.#circuits) {
      if (avoid.has(managed) || !this.#suits(managed, request)) continue;
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

  /** A new circuit for `request`; `undefined`, after a wait, if too many are being built. */
  async #launchFor(request: CircuitRequest, signal: AbortSignal): Promise<ManagedCircuit | undefined> {
    const netdir = this.#options.netdir();
    if (!netdir) {
      await unlessAborted(this.#nextView.promise, signal);
      return undefined;
    }
    const building = [...this.#circuits].filter((managed) => managed.state === "building");
    if (building.length >= this.#options.maxClientCircuitsPending) {
      await unlessAborted(Promise.race(building.map(({ ready }) => ready.then(() => {}, () => {}))), signal);
      return undefined;
    }
    try {
      return this.#launch(request, netdir);
    } catch (error) {
      if (!isTunicError(error, "no-path") || error.code === "no-exit") throw error;
      log.debug("No path at the moment: {reason}", { reason: error.message });
      await this.#pauseAfterFailure(signal, error);
      return undefined;
    }
  }

  /** Chooses a path and begins to build along it. Throws `no-path`. */
  #launch(request: CircuitRequest, netdir: NetDir): ManagedCircuit {
    const { runtime, channels, paths } = this.#options;
    const { destination } = request;
    const path = destination ? paths.exitPath(destination) : paths.resolvePath();
    const managed = new ManagedCircuit(this.#nextId++, path, this.#now());
    this.#circuits.add(managed);
    this.#emitter.emit("circuit", { id: managed.id, state: "building", hops: 0 });
    const building = buildCircuit(path.guard, path.hops, {
      runtime,
      channels,
      circuitWindow: netdir.params.get("circwindow", { default: 1000, min: 100, max: 1000 }),
      timeoutMs: this.#options.circuitBuildTimeoutMs,
      signal: this.#shutdown.signal,
      onHop: (hops) => this.#emitter.emit("circuit", { id: managed.id, state: "building", hops }),
    });
    building.then((circuit) => this.#onBuilt(managed, circuit), (error) => {
      this.#prebuildAfterMs = this.#now() + this.#backoff.failed();
      this.#onClosed(
        managed,
        toTunicError(error, "Cannot build a circuit", { kind: "internal", code: "build-defect" }),
      );
    });
    return managed;
  }

  #onBuilt(managed: ManagedCircuit, circuit: Circuit): void {
    const { guard } = managed.path;
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
    const { id, path, createdAtMs } = managed;
    this.#onClosed(managed, error);
    const usable = await path.guard.usable;
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
    managed.opened(circuit);
    this.#emitter.emit("circuit", { id: managed.id, state: "open", hops: circuit.hops });
    this.#scheduleTick(0);
  }

  #onClosed(managed: ManagedCircuit, error: TunicError): void {
    if (!this.#circuits.delete(managed)) return;
    managed.closed(error);
    this.#emitter.emit("circuit", { id: managed.id, state: "closed", hops: 0, error });
    this.#scheduleTick(0);
  }

  async #pauseAfterFailure(signal: AbortSignal, error?: TunicError): Promise<void> {
    // A failed build was counted when it failed; a path that cannot be chosen has not been.
    const ms = error ? Math.max(100, this.#backoff.failed()) : Math.max(0, this.#prebuildAfterMs - this.#now());
    if (ms === 0) return;
    const { timers } = this.#runtime;
    let timer: Timer | undefined;
    const pause = new Promise<void>((resolve) => timer = timers.after(ms, resolve));
    await unlessAborted(pause, signal).finally(() => timer?.cancel());
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

  get #unused(): number {
    let count = 0;
    for (const { isolation } of this.#circuits) if (isolation === undefined) count++;
    return count;
  }

  #prebuild(): void {
    const netdir = this.#options.netdir();
    if (!netdir || this.#now() < this.#prebuildAfterMs) return;
    for (const [port, askedAtMs] of this.#predicted) {
      if (this.#now() - askedAtMs > PREDICTION_MS) {
        this.#predicted.delete(port);
        continue;
      }
      let ready = 0;
      // A name: what the web is asked for.
      const destination: Destination = { host: "", port };
      const request: CircuitRequest = { destination, isolation: "" };
      for (const managed of this.#circuits) {
        if (managed.isolation === undefined && this.#suits(managed, request)) ready++;
      }
      try {
        for (; ready < CLEAN_CIRCUITS && this.#unused < MAX_UNUSED; ready++) this.#launch(request, netdir);
      } catch (error) {
        // Nobody waits for these; a request that needs such a circuit will hear of it.
        if (isTunicError(error) && error.code === "no-exit") {
          this.#predicted.delete(port);
          continue;
        }
        log.debug("No circuit built ahead of need: {reason}", { reason: (error as Error).message });
        this.#prebuildAfterMs = this.#now() + Math.max(TICK_MS, this.#backoff.failed());
      }
    }
  }
}

function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(abortError(signal, "find a circuit"));
    if (signal.aborted) return onAbort();
    signal.addEventListener("abort", onAbort);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
