/**
 * From bytes to a consensus that may be believed (dir-spec 5.1), and what a clock that is wrong looks like.
 *
 * Signatures are judged first by the consensus' own time: so a consensus that our clock contradicts is known to be
 * genuine before the clock is blamed. It is only used if the local clock agrees as well.
 */
import { TunicError } from "../../base/errors.ts";
import { CLIENT_TOLERANCE, type ConsensusEvidence } from "../../wire/netdoc/consensus_verify.ts";
import { type Consensus, type Lifetime, parseConsensus } from "../../wire/netdoc/consensus.ts";
import type { UnverifiedConsensus } from "../../wire/netdoc/consensus_verify.ts";
import type { AuthorityCertificates } from "./certificates.ts";

/** A consensus that passed every check, with its text for the cache. */
export interface AcceptedConsensus {
  readonly consensus: Consensus;
  readonly text: Uint8Array;
}

/** How early a consensus may be before the clock is mentioned, besides the time that votes are given to spread. */
const EARLY_NOTICE_MS = 60_000;
const MINUTE_MS = 60_000;

export class ConsensusChecker {
  readonly #authorities: readonly Uint8Array[];
  readonly #certificates: AuthorityCertificates;

  constructor(authorities: readonly Uint8Array[], certificates: AuthorityCertificates) {
    this.#authorities = authorities;
    this.#certificates = certificates;
  }

  /** What signatures are judged by, at `now`. */
  evidence(now: number): ConsensusEvidence {
    return { authorities: this.#authorities, certificates: this.#certificates.all, now };
  }

  /**
   * Reads and checks `text`; `fetchCertificates` is called once if certificates are missing without which it cannot be
   * believed. Throws `malformed`, `crypto`, `clock`, or `directory` where it is not newer than `newerThan`
   * (its valid-after, ms since 1970).
   */
  async check(
    text: Uint8Array,
    now: () => number,
    newerThan: number | undefined,
    fetchCertificates: (unverified: UnverifiedConsensus) => Promise<void>,
  ): Promise<AcceptedConsensus> {
    const unverified = parseConsensus(text);
    const { lifetime } = unverified;
    if (newerThan !== undefined && lifetime.validAfter <= newerThan) {
      throw new TunicError("Cannot use a consensus: it is not newer than the one there is", {
        kind: "directory",
        code: "consensus-not-newer",
        retry: "later",
      });
    }
    const ownTime = this.evidence(lifetime.validAfter);
    if (!this.#isSigned(unverified, ownTime) && unverified.missingCertificates(ownTime).length > 0) {
      await fetchCertificates(unverified);
    }
    const consensus = unverified.verify(this.evidence(lifetime.validAfter));
    const skew = clockSkew(lifetime, now());
    if (skew) throw skew;
    unverified.verify(this.evidence(now()));
    return { consensus, text };
  }

  #isSigned(unverified: UnverifiedConsensus, evidence: ConsensusEvidence): boolean {
    try {
      unverified.verify(evidence);
      return true;
    } catch {
      return false;
    }
  }
}

/** `clock` "clock-ahead" or "clock-behind" if a genuine consensus with this lifetime cannot be used now. */
export function clockSkew(lifetime: Lifetime, now: number): TunicError | undefined {
  const { validAfter, validUntil } = lifetime;
  if (now < validAfter - CLIENT_TOLERANCE.earlyMs) {
    return clockError("clock-behind", validAfter - now, "behind", `it holds from ${showTime(validAfter)}`, now);
  }
  if (now > validUntil + CLIENT_TOLERANCE.lateMs) {
    return clockError("clock-ahead", now - validUntil, "ahead of", `it held until ${showTime(validUntil)}`, now);
  }
  return undefined;
}

/** `clock` "clock-doubtful" for a consensus that is used, but could not be published yet if our clock were right. */
export function earlyConsensus(consensus: Consensus, now: number): TunicError | undefined {
  const early = consensus.validAfter - consensus.distributionDelayMs - EARLY_NOTICE_MS - now;
  if (early <= 0) return undefined;
  const { validAfter } = consensus;
  return clockError("clock-doubtful", validAfter - now, "behind", `it holds from ${showTime(validAfter)}`, now);
}

/** `clock` "clock-doubtful" for what a relay said of the time; `skewMs` is positive where our clock is ahead. */
export function relaySkew(skewMs: number, now: number): TunicError {
  const relation = skewMs > 0 ? "ahead of" : "behind";
  return new TunicError(
    `Cannot rely on the local clock: our clock is ${showSpan(Math.abs(skewMs))} ${relation} what the directory says: ` +
      `found ${showTime(now)}, expected about ${showTime(now - skewMs)}: check date, time and time zone`,
    { kind: "clock", code: "clock-doubtful", retry: "later", context: { skewMs } },
  );
}

/** `clock` "clock-ahead" where certificates of several relays have expired, and there is no consensus to go by. */
export function expiredByOurClock(cause: TunicError, now: number): TunicError {
  return new TunicError(
    "Cannot rely on the local clock: the certificates of several relays have expired by it: it says " +
      `${showTime(now)}: check date, time and time zone`,
    { kind: "clock", code: "clock-ahead", retry: "later", cause },
  );
}

function clockError(code: string, byMs: number, relation: string, holds: string, now: number): TunicError {
  return new TunicError(
    `Cannot rely on the consensus: our clock is ${showSpan(byMs)} ${relation} what the directory says: ${holds}, ` +
      `and the local clock says ${showTime(now)}: check date, time and time zone`,
    { kind: "clock", code, retry: "later", context: { skewMs: code === "clock-ahead" ? byMs : -byMs } },
  );
}

function showTime(ms: number): string {
  return `${new Date(ms).toISOString().replace("T", " ").slice(0, 19)} UTC`;
}

/** Roughly, in the two largest units. */
function showSpan(ms: number): string {
  const minutes = Math.round(ms / MINUTE_MS);
  const parts = [[Math.floor(minutes / 1440), "days"], [Math.floor(minutes / 60) % 24, "hours"], [
    minutes % 60,
    "minutes",
  ]] as const;
  const shown = parts.filter(([count]) => count > 0).slice(0, 2).map(([count, unit]) =>
    `${count} ${count === 1 ? unit.slice(0, -1) : unit}`
  );
  return shown.length > 0 ? shown.join(" and ") : "less than a minute";
}
