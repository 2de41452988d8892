/**
 * Whether a consensus may be believed: who signed it, and when it holds (dir-spec 3.4.1, 5.1, 5.2).
 */
import { TunicError } from "../../base/errors.ts";
import { equal, toHexUpper } from "../../bytes/mod.ts";
import { verifyRsaDigest } from "../../crypto/rsa.ts";
import type { AuthorityCertificate } from "./authority_certificate.ts";
import type { Consensus, Lifetime } from "./consensus.ts";
import type { Unverified } from "./unverified.ts";

export interface ConsensusSignature {
  readonly algorithm: "sha1" | "sha256";
  /** v3 identity of the authority, 20 bytes. */
  readonly identity: Uint8Array;
  /** SHA-1 of the key it signed with, 20 bytes. */
  readonly signingKeyDigest: Uint8Array;
  readonly signature: Uint8Array;
}

/** Digests of a consensus' signed part, those that its signatures use. */
export interface SignedDigests {
  readonly sha1: Uint8Array | undefined;
  readonly sha256: Uint8Array | undefined;
}

/** Names a certificate: whose, and for which signing key. */
export interface CertificateName {
  readonly identity: Uint8Array;
  readonly signingKeyDigest: Uint8Array;
}

export interface ConsensusEvidence {
  /** v3 identities of the authorities that count, 20 bytes each. */
  readonly authorities: readonly Uint8Array[];
  readonly certificates: readonly AuthorityCertificate[];
  /** Milliseconds since 1970: certificates that have expired by then do not count. */
  readonly now: number;
}

/** How far the local clock may be from a consensus' times; milliseconds. */
export interface Tolerance {
  readonly earlyMs: number;
  readonly lateMs: number;
}

/** What C tor calls "reasonably live". */
export const CLIENT_TOLERANCE: Tolerance = { earlyMs: 24 * 3_600_000, lateMs: 24 * 3_600_000 };

/**
 * Throws `clock` unless `now` is within the lifetime, give or take `tolerance`: code "consensus-not-yet-valid" or
 * "consensus-expired".
 */
export function checkTimely(lifetime: Lifetime, now: number, tolerance: Tolerance = CLIENT_TOLERANCE): void {
  const { validAfter, validUntil } = lifetime;
  const found = `the consensus holds from ${showTime(validAfter)} to ${showTime(validUntil)}`;
  const context = { validAfter, validUntil, now };
  if (now < validAfter - tolerance.earlyMs) {
    throw new TunicError(
      `Cannot use a consensus: it is from the future or this clock is slow: ${found}, it is ${showTime(now)}`,
      {
        kind: "clock",
        code: "consensus-not-yet-valid",
        retry: "later",
        context,
      },
    );
  }
  if (now > validUntil + tolerance.lateMs) {
    throw new TunicError(
      `Cannot use a consensus: it is out of date or this clock is fast: ${found}, it is ${showTime(now)}`,
      {
        kind: "clock",
        code: "consensus-expired",
        retry: "elsewhere",
        context,
      },
    );
  }
}

/** A consensus that was parsed; what it says is out of reach until {@link UnverifiedConsensus.verify}. */
export class UnverifiedConsensus implements Unverified<Consensus, ConsensusEvidence> {
  readonly #consensus: Consensus;
  readonly #digests: SignedDigests;
  readonly signatures: readonly ConsensusSignature[];

  constructor(consensus: Consensus, signatures: readonly ConsensusSignature[], digests: SignedDigests) {
    this.#consensus = consensus;
    this.signatures = signatures;
    this.#digests = digests;
  }

  /** What the document claims about its time: enough to choose between documents, and to refuse one early. */
  get lifetime(): Lifetime {
    const { validAfter, freshUntil, validUntil } = this.#consensus;
    return { validAfter, freshUntil, validUntil };
  }

  /** As {@link checkTimely}. */
  checkTimely(now: number, tolerance: Tolerance = CLIENT_TOLERANCE): void {
    checkTimely(this.#consensus, now, tolerance);
  }

  /** Certificates to fetch: named by signatures of known authorities, and not among those given. */
  missingCertificates(evidence: ConsensusEvidence): CertificateName[] {
    const missing = new Map<string, CertificateName>();
    for (const { identity, signingKeyDigest } of this.signatures) {
      if (!evidence.authorities.some((authority) => equal(authority, identity))) continue;
      if (findCertificate(evidence, identity, signingKeyDigest) !== undefined) continue;
      missing.set(toHexUpper(identity) + toHexUpper(signingKeyDigest), { identity, signingKeyDigest });
    }
    return [...missing.values()];
  }

  /**
   * The consensus, if more than half of the known authorities signed it, each counted once. Otherwise throws
   * `crypto`, code "too-few-signatures", with the counts in its context.
   */
  verify(evidence: ConsensusEvidence): Consensus {
    const known = new Set(evidence.authorities.map(toHexUpper));
    const signed = new Set<string>();
    const invalid = new Set<string>();
    const withoutCertificate = new Set<string>();
    for (const signature of this.signatures) {
      const identity = toHexUpper(signature.identity);
      if (!known.has(identity) || signed.has(identity)) continue;
      const certificate = findCertificate(evidence, signature.identity, signature.signingKeyDigest);
      if (certificate === undefined) withoutCertificate.add(identity);
      else if (this.#isValid(signature, certificate)) signed.add(identity);
      else invalid.add(identity);
    }
    const required = Math.floor(known.size / 2) + 1;
    if (signed.size < required) {
      const context = {
        valid: signed.size,
        invalid: invalid.size,
        withoutCertificate: withoutCertificate.size,
        known: known.size,
        required,
      };
      throw new TunicError(
        `Cannot trust a consensus: too few signatures: found ${signed.size} valid ones (${invalid.size} invalid, ` +
          `${withoutCertificate.size} without certificate), expected at least ${required} of ${known.size} authorities`,
        { kind: "crypto", code: "too-few-signatures", retry: "elsewhere", context },
      );
    }
    return this.#consensus;
  }

  #isValid(signature: ConsensusSignature, certificate: AuthorityCertificate): boolean {
    const digest = this.#digests[signature.algorithm];
    return digest !== undefined && verifyRsaDigest(certificate.signingKey, signature.signature, digest);
  }
}

function findCertificate(
  evidence: ConsensusEvidence,
  identity: Uint8Array,
  signingKeyDigest: Uint8Array,
): AuthorityCertificate | undefined {
  return evidence.certificates.find((certificate) =>
    equal(certificate.identity, identity) && equal(certificate.signingKeyDigest, signingKeyDigest) &&
    certificate.expires > evidence.now
  );
}

function showTime(ms: number): string {
  return new Date(ms).toISOString().replace("T", " ").slice(0, 19) + " UTC";
}
