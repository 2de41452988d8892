/**
 * Which relays this client connects to, and when it changes its mind: the guard algorithm of proposal 271
 * (guard-spec). No sockets: circuits tell what became of them, and are told whether they may be used.
 */
import { TunicError } from "../../base/errors.ts";
import { logger } from "../../base/log.ts";
import type { Runtime, Timer } from "../../runtime/ports.ts";
import { randomBelow } from "../../runtime/random.ts";
import type { GuardRecord } from "../../state/guard_records.ts";
import { CircuitGuard, type CircuitGuardOwner, type CircuitGuardState, type GuardPurpose } from "./circuit_guard.ts";
import type { Guard } from "./guard.ts";
import type { GuardDirectory } from "./guard_directory.ts";
import { describe, GuardSample } from "./guard_sample.ts";
import { type GuardParameters, guardParameters } from "./parameters.ts";
import { type GuardRestrictions, isExcluded, obeysPath } from "./restrictions.ts";
import { nextWaitingDeadline, updateWaitingCircuits } from "./waiting_circuits.ts";

const log = logger("guards");

export interface GuardManagerOptions {
  /** Guards of earlier runs, as `records` gave them. */
  readonly records?: readonly GuardRecord[];
  /** ADDED_BY_VERSION of new guards: "tunic 0.1.0". */
  readonly version: string;
  /** torrc's EnforceDistinctSubnets; true by default. */
  readonly enforceDistinctSubnets?: boolean;
  /** Whether the configuration lets us connect to a relay; by default, to every one. */
  readonly filter?: (directory: GuardDirectory, relay: number) => boolean;
  /** Comes before what the consensus says. */
  readonly parameters?: Partial<GuardParameters>;
  /** Called when `records` has changed and should be saved. */
  readonly onChange?: () => void;
}

export interface GuardRequest {
  readonly purpose: GuardPurpose;
  readonly restrictions?: GuardRestrictions;
}

/** Counts, which give nobody away. */
export interface GuardSnapshot {
  readonly sampled: number;
  readonly filtered: number;
  readonly usableFiltered: number;
  readonly confirmed: number;
  readonly primary: number;
  /** Primary guards not believed to be down. */
  readonly usablePrimary: number;
  readonly circuitsInProgress: number;
  readonly circuitsWaiting: number;
}

export class GuardManager {
  readonly #runtime: Pick<Runtime, "clock" | "timers" | "random">;
  readonly #options: GuardManagerOptions;
  readonly #sample: GuardSample;
  readonly #circuits = new Set<CircuitGuard>();
  readonly #owner: CircuitGuardOwner;
  #directory: GuardDirectory | undefined;
  #parameters: GuardParameters;
  #lastTimeOnInternet = -Infinity;
  #timer: Timer | undefined;

  constructor(runtime: Pick<Runtime, "clock" | "timers" | "random">, options: GuardManagerOptions) {
    this.#runtime = runtime;
    this.#options = options;
    this.#parameters = guardParameters({ get: (_, limits) => limits.default }, options.parameters);
    this.#sample = new GuardSample(runtime, options.records ?? [], {
      version: options.version,
      filter: options.filter ?? (() => true),
      onChange: options.onChange ?? (() => {}),
    });
    this.#owner = {
      succeeded: (circuit) => this.#succeeded(circuit),
      failed: (circuit) => this.#failed(circuit),
      closed: (circuit) => this.#closed(circuit),
    };
  }

  /** Takes a new consensus, or one whose microdescriptors have become more. */
  update(directory: GuardDirectory): void {
    this.#directory = directory;
    this.#parameters = guardParameters(directory.params, this.#options.parameters);
    this.#sample.update(directory, this.#parameters);
    this.#updateWaiting();
  }

  /**
   * A guard for a new circuit (section 4.6). Throws `no-path`:
   * - `no-directory` before the first `update`;
   * - `no-guards` where the consensus has none that we may use;
   * - `guards-without-microdescriptor`: those that would do are not described yet;
   * - `no-suitable-guard` where `restrictions` forbid all that work: another path may do better;
   * - `all-guards-down` when every one was tried in vain. All are worth a try again then, but after a pause.
   */
  select({ purpose, restrictions = {} }: GuardRequest): CircuitGuard {
    const directory = this.#directory;
    if (!directory) throw noGuard("no-directory", "later", "there is no consensus yet");
    this.#sample.considerRetries();
    const primary = this.#selectPrimary(directory, purpose, restrictions);
    if (primary) return this.#lend(primary, purpose, restrictions, "usable_on_completion");
    this.#sample.expand(directory, this.#parameters);
    this.#sample.updatePrimary(this.#parameters);
    const other = this.#selectOther(directory, purpose, restrictions);
    if (other) {
      if (other.isPrimary) return this.#lend(other, purpose, restrictions, "usable_on_completion");
      other.isPending = true;
      return this.#lend(other, purpose, restrictions, "usable_if_no_better_guard");
    }
    throw this.#whyNone(directory, purpose, restrictions);
  }

  /** What to keep on disk: SAMPLED_GUARDS in order. */
  get records(): readonly GuardRecord[] {
    return this.#sample.sampled.map((guard) => guard.record);
  }

  /**
   * Indexes of the guards whose microdescriptors must be there before circuits are built at all (section 4.12).
   */
  get missingMicrodescriptors(): readonly number[] {
    const directory = this.#directory;
    if (!directory) return [];
    return this.#sample.primary
      .filter((guard) => guard.isReachable !== "no")
      .slice(0, this.#parameters.numUsablePrimaryGuards)
      .map((guard) => guard.relay)
      .filter((relay) => !directory.hasMicrodesc(relay));
  }

  /**
   * When the next unreachable guard is worth another try, in monotonic milliseconds; `undefined` while there is one
   * that is worth a try now, and before there are guards.
   */
  get nextRetryAt(): number | undefined {
    this.#sample.considerRetries();
    let next: number | undefined;
    for (const guard of this.#sample.sampled) {
      if (guard.isUsableFiltered) return undefined;
      if (guard.isFiltered) next = Math.min(next ?? Infinity, guard.retryAt!);
    }
    return next;
  }

  /** The network has come back, or the machine woken up: what was learnt of unreachable guards no longer counts. */
  markAllMaybeReachable(): void {
    for (const guard of this.#sample.sampled) guard.markMaybeReachable();
  }

  get snapshot(): GuardSnapshot {
    const { sampled, primary } = this.#sample;
    const circuits = [...this.#circuits];
    return {
      sampled: sampled.length,
      filtered: sampled.filter((guard) => guard.isFiltered).length,
      usableFiltered: sampled.filter((guard) => guard.isUsableFiltered).length,
      confirmed: sampled.filter((guard) => guard.isConfirmed).length,
      primary: primary.length,
      usablePrimary: primary.filter((guard) => guard.isUsableFiltered).length,
      circuitsInProgress: circuits.filter((circuit) => circuit.isInProgress).length,
      circuitsWaiting: circuits.filter((circuit) => circuit.state === "waiting_for_better_guard").length,
    };
  }

  /** Closes every circuit's guard; nothing happens by itself afterwards. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const now = this.#runtime.clock.monotonic();
    for (const circuit of this.#circuits) circuit.become("closed", now);
    this.#circuits.clear();
  }

  #selectPrimary(directory: GuardDirectory, purpose: GuardPurpose, restrictions: GuardRestrictions): Guard | undefined {
    const { numUsablePrimaryGuards, numUsablePrimaryDirectoryGuards } = this.#parameters;
    const wanted = purpose === "directory" ? numUsablePrimaryDirectoryGuards : numUsablePrimaryGuards;
    const usable: Guard[] = [];
    let considered = 0;
    for (const guard of this.#sample.primary) {
      if (considered >= wanted && usable.length > 0) break;
      if (!this.#obeysPath(guard, restrictions)) {
        // It counts, as in C tor: an exit must not be able to widen the choice beyond the usual guards.
        considered++;
      } else if (guard.isUsableFiltered && this.#serves(guard, directory, purpose, restrictions)) {
        usable.push(guard);
        considered++;
      }
    }
    return usable.length === 0 ? undefined : usable[randomBelow(this.#runtime, usable.length)];
  }

  /** Confirmed ones before others, those that no circuit is trying yet before those that one is. */
  #selectOther(directory: GuardDirectory, purpose: GuardPurpose, restrictions: GuardRestrictions): Guard | undefined {
    const usable = this.#sample.sampled.filter((guard) =>
      guard.isUsableFiltered && this.#obeysPath(guard, restrictions) &&
      this.#serves(guard, directory, purpose, restrictions)
    );
    return usable.find((guard) => guard.isConfirmed && !guard.isPending) ??
      usable.find((guard) => !guard.isPending) ?? usable.find((guard) => guard.isConfirmed) ?? usable[0];
  }

  #lend(guard: Guard, purpose: GuardPurpose, restrictions: GuardRestrictions, state: CircuitGuardState): CircuitGuard {
    const now = this.#runtime.clock.monotonic();
    guard.lastTriedConnect = now;
    const circuit = new CircuitGuard(this.#owner, guard, purpose, restrictions, state, now);
    this.#circuits.add(circuit);
    return circuit;
  }

  #obeysPath(guard: Guard, restrictions: GuardRestrictions): boolean {
    return obeysPath(guard, restrictions, this.#directory!, this.#options.enforceDistinctSubnets ?? true);
  }

  #serves(
    guard: Guard,
    directory: GuardDirectory,
    purpose: GuardPurpose,
    restrictions: GuardRestrictions,
  ): boolean {
    return !isExcluded(guard, restrictions) && (purpose === "directory" || directory.hasMicrodesc(guard.relay));
  }

  /** Section 4.8. */
  #succeeded(circuit: CircuitGuard): void {
    const now = this.#runtime.clock.monotonic();
    const { guard } = circuit;
    const lastTimeOnInternet = this.#lastTimeOnInternet;
    this.#lastTimeOnInternet = now;
    guard.succeeded();
    this.#sample.confirm(guard, this.#parameters);
    if (circuit.state === "usable_on_completion" || guard.isPrimary) {
      circuit.become("complete", now);
    } else {
      circuit.become("waiting_for_better_guard", now);
      if (now - lastTimeOnInternet > this.#parameters.internetLikelyDownIntervalMs) {
        log.debug("The network seems to have been away; primary guards are worth another try");
        for (const one of this.#sample.primary) one.markMaybeReachable();
      }
    }
    this.#updateWaiting();
  }

  /** Section 4.7. */
  #failed(circuit: CircuitGuard): void {
    const now = this.#runtime.clock.monotonic();
    if (circuit.guard.isReachable !== "no") {
      log.info("Guard {guard} is unreachable", { guard: describe(circuit.guard) });
    }
    circuit.guard.failed(this.#runtime, now);
    circuit.become("closed", now);
    this.#updateWaiting();
  }

  #closed(circuit: CircuitGuard): void {
    if (circuit.state === "usable_if_no_better_guard") circuit.guard.isPending = false;
    circuit.become("closed", this.#runtime.clock.monotonic());
    this.#updateWaiting();
  }

  #updateWaiting(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#sample.considerRetries();
    const directory = this.#directory;
    const context = {
      now: this.#runtime.clock.monotonic(),
      parameters: this.#parameters,
      sampled: this.#sample.sampled,
      primary: this.#sample.primary,
      obeys: (guard: Guard, restrictions: GuardRestrictions) =>
        directory !== undefined && this.#obeysPath(guard, restrictions) && !isExcluded(guard, restrictions),
    };
    updateWaitingCircuits(this.#circuits, context);
    for (const circuit of this.#circuits) if (circuit.state === "closed") this.#circuits.delete(circuit);
    const deadline = nextWaitingDeadline(this.#circuits, context);
    if (deadline === undefined) return;
    this.#timer = this.#runtime.timers.after(deadline - context.now, () => this.#updateWaiting());
  }

  #whyNone(directory: GuardDirectory, purpose: GuardPurpose, restrictions: GuardRestrictions): TunicError {
    const filtered = this.#sample.sampled.filter((guard) => guard.isFiltered);
    if (filtered.length === 0) {
      return noGuard("no-guards", "later", `none of ${directory.size} relays in the consensus may be a guard for us`);
    }
    const usable = filtered.filter((guard) => guard.isUsableFiltered);
    if (usable.length === 0) {
      this.markAllMaybeReachable();
      return noGuard("all-guards-down", "later", `all ${filtered.length} guards were tried, and none can be reached`);
    }
    const suitable = usable.filter((guard) => this.#obeysPath(guard, restrictions) && !isExcluded(guard, restrictions));
    if (purpose === "traffic" && suitable.length > 0) {
      return noGuard(
        "guards-without-microdescriptor",
        "later",
        `the microdescriptors of ${suitable.length} guards are not there yet`,
      );
    }
    return noGuard(
      "no-suitable-guard",
      "elsewhere",
      `none of the ${usable.length} guards that may be reachable fits the rest of the path`,
    );
  }
}

function noGuard(code: string, retry: "later" | "elsewhere", reason: string): TunicError {
  return new TunicError(`Cannot choose a guard: ${reason}`, { kind: "no-path", code, retry });
}
