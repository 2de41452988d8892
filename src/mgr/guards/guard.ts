/**
 * One sampled guard: what is remembered of it, and what is believed of it now (guard-spec, sections 4.1 and 4.5).
 *
 * Retries follow proposal 336 (decorrelated jitter, as Arti has it) rather than the fixed table of appendix A.1: a
 * guard that comes back is noticed sooner, and clients do not probe it in step.
 */
import { toHex } from "../../bytes/text.ts";
import { randomFraction, type RandomSource } from "../../runtime/random.ts";
import type { GuardRecord } from "../../state/guard_records.ts";

/** `maybe` is worth a try; `yes` was tried, and worked. */
export type Reachability = "yes" | "no" | "maybe";

interface RetrySchedule {
  readonly baseDelayMs: number;
  readonly capMs: number;
}

const PRIMARY_GUARDS_RETRY_SCHED: RetrySchedule = { baseDelayMs: 30_000, capMs: 6 * 3_600_000 };
const GUARDS_RETRY_SCHED: RetrySchedule = { baseDelayMs: 600_000, capMs: 36 * 3_600_000 };

/** The delay after one of `previousMs` (0 for the first). */
function nextDelayMs(random: RandomSource, schedule: RetrySchedule, previousMs: number): number {
  const lower = schedule.baseDelayMs;
  const upper = Math.max(lower + 1_000, previousMs * 3);
  return Math.min(schedule.capMs, Math.floor(lower + randomFraction(random) * (upper - lower)));
}

export class Guard {
  readonly rsaId: Uint8Array;
  /** The identity as a key of maps. */
  readonly id: string;
  nickname: string | undefined;
  /** ADDED_ON_DATE; dates in milliseconds since 1970. */
  addedOn: number;
  readonly addedBy: string;
  isListed: boolean;
  firstUnlistedAt: number | undefined;
  /** CONFIRMED_ON_DATE; a guard that has one is in CONFIRMED_GUARDS. */
  confirmedOn: number | undefined;
  readonly #unknown: Readonly<Record<string, unknown>>;

  /** Index in the current consensus; -1 where it is not listed. */
  relay = -1;
  /** In FILTERED_GUARDS. */
  isFiltered = false;
  /** Out of SAMPLED_GUARDS, and so of use to nobody. */
  isRemoved = false;
  isPending = false;
  /** Monotonic milliseconds. */
  lastTriedConnect = -Infinity;
  #isPrimary = false;
  #isReachable: Reachability = "maybe";
  #retryDelayMs = 0;
  #retryAt = 0;

  constructor(record: GuardRecord) {
    this.rsaId = record.rsaId;
    this.id = toHex(record.rsaId);
    this.nickname = record.nickname;
    this.addedOn = record.addedOn;
    this.addedBy = record.addedBy;
    this.isListed = record.isListed;
    this.firstUnlistedAt = record.firstUnlistedAt;
    this.confirmedOn = record.confirmedOn;
    this.#unknown = record.unknown;
  }

  get record(): GuardRecord {
    return {
      rsaId: this.rsaId,
      nickname: this.nickname,
      addedOn: this.addedOn,
      addedBy: this.addedBy,
      isListed: this.isListed,
      firstUnlistedAt: this.firstUnlistedAt,
      confirmedOn: this.confirmedOn,
      unknown: this.#unknown,
    };
  }

  get isConfirmed(): boolean {
    return this.confirmedOn !== undefined;
  }

  get isPrimary(): boolean {
    return this.#isPrimary;
  }

  get isReachable(): Reachability {
    return this.#isReachable;
  }

  /** In USABLE_FILTERED_GUARDS. */
  get isUsableFiltered(): boolean {
    return this.isFiltered && this.#isReachable !== "no";
  }

  /** When an unreachable guard is worth another try; `undefined` while it is not unreachable. */
  get retryAt(): number | undefined {
    return this.#isReachable === "no" ? this.#retryAt : undefined;
  }

  setPrimary(isPrimary: boolean, random: RandomSource, nowMs: number): void {
    if (isPrimary && !this.#isPrimary && this.#isReachable === "no") {
      // It was on the slower schedule until now.
      this.#retryDelayMs = nextDelayMs(random, PRIMARY_GUARDS_RETRY_SCHED, 0);
      this.#retryAt = Math.min(this.#retryAt, nowMs + this.#retryDelayMs);
    }
    this.#isPrimary = isPrimary;
  }

  succeeded(): void {
    this.#isReachable = "yes";
    this.#retryDelayMs = 0;
    this.isPending = false;
  }

  failed(random: RandomSource, nowMs: number): void {
    this.isPending = false;
    // Circuits that were tried together fail together: one failure, and one step of the schedule.
    if (this.#isReachable === "no") return;
    this.#isReachable = "no";
    const schedule = this.#isPrimary ? PRIMARY_GUARDS_RETRY_SCHED : GUARDS_RETRY_SCHED;
    this.#retryDelayMs = nextDelayMs(random, schedule, this.#retryDelayMs);
    this.#retryAt = nowMs + this.#retryDelayMs;
  }

  /** Makes an unreachable guard `maybe` once its time has come. */
  considerRetry(nowMs: number): void {
    if (this.#isReachable === "no" && nowMs >= this.#retryAt) this.#isReachable = "maybe";
  }

  markMaybeReachable(): void {
    if (this.#isReachable === "no") this.#isReachable = "maybe";
  }
}
