/**
 * The sets of the guard algorithm: SAMPLED_GUARDS, FILTERED_GUARDS, CONFIRMED_GUARDS and PRIMARY_GUARDS
 * (guard-spec, sections 4.1 to 4.5 and 4.10).
 *
 * As proposal 310 demands (and C tor does), confirmed guards are preferred in the order in which they were sampled,
 * which keeps the preference in proportion to bandwidth; so "sampled", in order, is the only list that is kept.
 */
import { logger } from "../../base/log.ts";
import { sensitive } from "../../base/sensitive.ts";
import { toHex } from "../../bytes/text.ts";
import type { Runtime } from "../../runtime/ports.ts";
import { randomFraction } from "../../runtime/random.ts";
import type { GuardRecord } from "../../state/guard_records.ts";
import { chooseWeighted } from "../weighted_choice.ts";
import { Guard } from "./guard.ts";
import { type GuardDirectory, isPossibleGuard, isReasonablyLive } from "./guard_directory.ts";
import { type GuardParameters, maxSample } from "./parameters.ts";

const log = logger("guards");

export interface GuardSampleOptions {
  /** ADDED_BY_VERSION for new guards. */
  readonly version: string;
  /** Whether the configuration lets us connect to a relay (FILTERED_GUARDS). */
  readonly filter: (directory: GuardDirectory, relay: number) => boolean;
  /** Called when something that is kept on disk has changed. */
  readonly onChange: () => void;
}

export class GuardSample {
  readonly #runtime: Pick<Runtime, "clock" | "random">;
  readonly #options: GuardSampleOptions;
  readonly #sampled: Guard[];
  readonly #ids: Set<string>;
  #primary: Guard[] = [];

  constructor(
    runtime: Pick<Runtime, "clock" | "random">,
    records: readonly GuardRecord[],
    options: GuardSampleOptions,
  ) {
    this.#runtime = runtime;
    this.#options = options;
    this.#sampled = records.map((record) => new Guard(record));
    this.#ids = new Set(this.#sampled.map((guard) => guard.id));
  }

  /** SAMPLED_GUARDS, in sample order. */
  get sampled(): readonly Guard[] {
    return this.#sampled;
  }

  /** PRIMARY_GUARDS, preferred first. */
  get primary(): readonly Guard[] {
    return this.#primary;
  }

  /** Takes a new consensus into account (section 4.10), with more microdescriptors or without. */
  update(directory: GuardDirectory, parameters: GuardParameters): void {
    const live = isReasonablyLive(directory, this.#runtime.clock.now());
    for (const guard of this.#sampled) guard.relay = directory.indexOfRsaId(guard.rsaId);
    if (live) {
      for (const guard of this.#sampled) this.#updateListing(guard, directory, parameters);
      this.#removeExpired(parameters);
    }
    for (const guard of this.#sampled) this.#updateFilter(guard, directory);
    this.considerRetries();
    this.expand(directory, parameters);
    this.updatePrimary(parameters);
  }

  /** Adds to SAMPLED_GUARDS until USABLE_FILTERED_GUARDS is large enough, or the sample at its largest. */
  expand(directory: GuardDirectory, parameters: GuardParameters): void {
    let usable = 0;
    for (const guard of this.#sampled) if (guard.isUsableFiltered) usable++;
    if (usable >= parameters.minFilteredSample) return;
    if (!isReasonablyLive(directory, this.#runtime.clock.now())) return;
    let guards = 0;
    for (let i = 0; i < directory.size; i++) if (isPossibleGuard(directory, i)) guards++;
    const max = maxSample(parameters, guards);
    const before = this.#sampled.length;
    while (usable < parameters.minFilteredSample && this.#sampled.length < max) {
      const guard = this.#addOne(directory, parameters);
      if (!guard) break;
      if (guard.isUsableFiltered) usable++;
    }
    if (this.#sampled.length === before) return;
    log.debug("Sampled {added} more guards, {sampled} in all", {
      added: this.#sampled.length - before,
      sampled: this.#sampled.length,
    });
    this.#options.onChange();
  }

  /** Recomputes PRIMARY_GUARDS (section 4.4): confirmed ones first, then those that were primary, then the others. */
  updatePrimary(parameters: GuardParameters): void {
    const chosen = new Set<Guard>();
    const take = (guards: Iterable<Guard>, isWanted: (guard: Guard) => boolean) => {
      for (const guard of guards) {
        if (chosen.size >= parameters.nPrimaryGuards) return;
        if (guard.isFiltered && !guard.isRemoved && isWanted(guard)) chosen.add(guard);
      }
    };
    take(this.#sampled, (guard) => guard.isConfirmed);
    take(this.#primary, () => true);
    take(this.#sampled, () => true);
    const now = this.#runtime.clock.monotonic();
    for (const guard of this.#primary) if (!chosen.has(guard)) guard.setPrimary(false, this.#runtime, now);
    for (const guard of chosen) guard.setPrimary(true, this.#runtime, now);
    this.#primary = [...chosen];
  }

  /** Adds `guard` to CONFIRMED_GUARDS. */
  confirm(guard: Guard, parameters: GuardParameters): void {
    if (guard.isConfirmed || guard.isRemoved) return;
    guard.confirmedOn = this.#randomDate(parameters.guardLifetimeMs / 10);
    log.info("Guard {guard} is confirmed", { guard: describe(guard) });
    this.updatePrimary(parameters);
    this.#options.onChange();
  }

  /** Gives unreachable guards whose time has come another chance (section 4.5). */
  considerRetries(): void {
    const now = this.#runtime.clock.monotonic();
    for (const guard of this.#sampled) guard.considerRetry(now);
  }

  #addOne(directory: GuardDirectory, parameters: GuardParameters): Guard | undefined {
    const relay = chooseWeighted(this.#runtime, {
      size: directory.size,
      weight: (i) => isPossibleGuard(directory, i) ? directory.weight(i, "guard") : -1,
      accepts: (i) => !this.#ids.has(toHex(directory.rsaId(i))),
    });
    if (relay < 0) return undefined;
    const guard = new Guard({
      rsaId: directory.rsaId(relay).slice(),
      nickname: directory.nickname(relay),
      addedOn: this.#randomDate(parameters.guardLifetimeMs / 10),
      addedBy: this.#options.version,
      isListed: true,
      firstUnlistedAt: undefined,
      confirmedOn: undefined,
      unknown: {},
    });
    guard.relay = relay;
    this.#updateFilter(guard, directory);
    this.#sampled.push(guard);
    this.#ids.add(guard.id);
    return guard;
  }

  #updateListing(guard: Guard, directory: GuardDirectory, parameters: GuardParameters): void {
    const isListed = guard.relay >= 0 && isPossibleGuard(directory, guard.relay);
    const now = this.#runtime.clock.now();
    const before = guard.record;
    guard.isListed = isListed;
    if (isListed) {
      guard.nickname = directory.nickname(guard.relay);
      guard.firstUnlistedAt = undefined;
    } else if (guard.firstUnlistedAt === undefined || guard.firstUnlistedAt > now) {
      guard.firstUnlistedAt = this.#randomDate(parameters.removeUnlistedGuardsAfterMs / 5);
    }
    // Dates in the future were written under a wrong clock, and would keep a guard for too long.
    if (guard.addedOn > now) guard.addedOn = this.#randomDate(parameters.guardLifetimeMs / 10);
    if (guard.confirmedOn !== undefined && guard.confirmedOn > now) {
      guard.confirmedOn = this.#randomDate(parameters.guardLifetimeMs / 10);
    }
    const changed = before.isListed !== guard.isListed || before.nickname !== guard.nickname ||
      before.firstUnlistedAt !== guard.firstUnlistedAt || before.addedOn !== guard.addedOn ||
      before.confirmedOn !== guard.confirmedOn;
    if (changed) this.#options.onChange();
  }

  #removeExpired(parameters: GuardParameters): void {
    const now = this.#runtime.clock.now();
    const kept = this.#sampled.filter((guard) => !isExpired(guard, parameters, now));
    if (kept.length === this.#sampled.length) return;
    for (const guard of this.#sampled) {
      if (kept.includes(guard)) continue;
      guard.isRemoved = true;
      guard.isFiltered = false;
      this.#ids.delete(guard.id);
      log.info("Guard {guard} has expired", { guard: describe(guard) });
    }
    this.#sampled.splice(0, this.#sampled.length, ...kept);
    this.#options.onChange();
  }

  #updateFilter(guard: Guard, directory: GuardDirectory): void {
    guard.isFiltered = guard.isListed && guard.relay >= 0 && this.#options.filter(directory, guard.relay);
  }

  /** RAND(now, interval) of appendix A.2, in whole seconds, as the file has them. */
  #randomDate(intervalMs: number): number {
    const ms = this.#runtime.clock.now() - randomFraction(this.#runtime) * intervalMs;
    return Math.max(0, Math.floor(ms / 1_000) * 1_000);
  }
}

function isExpired(guard: Guard, parameters: GuardParameters, now: number): boolean {
  if (!guard.isListed && guard.firstUnlistedAt! < now - parameters.removeUnlistedGuardsAfterMs) return true;
  if (guard.addedOn >= now - parameters.guardLifetimeMs) return false;
  return guard.confirmedOn === undefined || guard.confirmedOn < now - parameters.guardConfirmedMinLifetimeMs;
}

/** For logs: who our guards are is nobody's business. */
export function describe(guard: Guard): unknown {
  return sensitive(`${guard.nickname ?? "?"}~${guard.id}`);
}
