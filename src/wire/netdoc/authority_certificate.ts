/**
 * Authority key certificates: an authority's long-term identity key vouches for its signing key (dir-spec 3.1).
 */
import { TunicError } from "../../base/errors.ts";
import { equal, toHexUpper } from "../../bytes/mod.ts";
import { sha1 } from "../../crypto/digest.ts";
import { parseRsaPublicKey, type RsaPublicKey, verifyRsaDigest } from "../../crypto/rsa.ts";
import { Scanner } from "./scanner.ts";
import type { Unverified } from "./unverified.ts";

const WHAT = "an authority certificate";
const MAX_CERTIFICATES = 64;
/** How far ahead of the local clock a certificate may have been made. */
const MAX_EARLY_MS = 24 * 3_600_000;

export interface AuthorityCertificate {
  /** v3 identity: SHA-1 of the identity key, 20 bytes. */
  readonly identity: Uint8Array;
  /** SHA-1 of the signing key, 20 bytes. */
  readonly signingKeyDigest: Uint8Array;
  readonly signingKey: RsaPublicKey;
  /** Milliseconds since 1970. */
  readonly published: number;
  readonly expires: number;
  /** The document itself, for the cache. */
  readonly text: Uint8Array;
}

export interface CertificateEvidence {
  /** v3 identities of the authorities that count, 20 bytes each. */
  readonly authorities: readonly Uint8Array[];
  /** Milliseconds since 1970. */
  readonly now: number;
}

interface Signatures {
  readonly identityKey: RsaPublicKey;
  readonly identityKeyDer: Uint8Array;
  /** SHA-1 of the text up to the certification's keyword line. */
  readonly digest: Uint8Array;
  readonly crossCertification: Uint8Array;
  readonly certification: Uint8Array;
}

/** A certificate that was parsed; its key is out of reach until {@link UnverifiedCertificate.verify}. */
export class UnverifiedCertificate implements Unverified<AuthorityCertificate, CertificateEvidence> {
  readonly #certificate: AuthorityCertificate;
  readonly #signatures: Signatures;

  constructor(certificate: AuthorityCertificate, signatures: Signatures) {
    this.#certificate = certificate;
    this.#signatures = signatures;
  }

  /**
   * Throws `identity` where it is of no known authority, `crypto` where a signature is wrong, `clock` where it has
   * expired (code "certificate-expired") or is from the future ("certificate-from-future").
   */
  verify(evidence: CertificateEvidence): AuthorityCertificate {
    const certificate = this.#certificate;
    const { identityKey, identityKeyDer, digest, crossCertification, certification } = this.#signatures;
    const name = toHexUpper(certificate.identity);
    const refuse = (kind: "identity" | "crypto" | "clock", code: string, reason: string): never => {
      throw new TunicError(`Cannot trust the certificate of authority ${name}: ${reason}`, {
        kind,
        code,
        retry: "elsewhere",
        context: { identity: name },
      });
    };
    if (!evidence.authorities.some((authority) => equal(authority, certificate.identity))) {
      refuse("identity", "unknown-authority", "it is not one of the known authorities");
    }
    if (!equal(sha1(identityKeyDer), certificate.identity)) {
      refuse("crypto", "wrong-fingerprint", "its fingerprint is not that of its identity key");
    }
    if (!verifyRsaDigest(identityKey, certification, digest)) {
      refuse("crypto", "bad-certification", "the identity key did not sign it");
    }
    if (!verifyRsaDigest(certificate.signingKey, crossCertification, certificate.identity)) {
      refuse("crypto", "bad-cross-certification", "the signing key did not sign the identity");
    }
    if (certificate.expires <= evidence.now) refuse("clock", "certificate-expired", "it has expired");
    if (certificate.published > evidence.now + MAX_EARLY_MS) {
      refuse("clock", "certificate-from-future", "it was made in the future");
    }
    return certificate;
  }
}

/** Reads certificates, one after another, as directories send them. Throws `malformed`. */
export function parseCertificates(bytes: Uint8Array): UnverifiedCertificate[] {
  const certificates: UnverifiedCertificate[] = [];
  const scanner = new Scanner(bytes, WHAT);
  while (scanner.next()) {
    if (certificates.length === MAX_CERTIFICATES) scanner.fail(`more than ${MAX_CERTIFICATES} certificates`);
    certificates.push(parseCertificate(scanner));
  }
  return certificates;
}

/** Reads one certificate from its first line, which is the current one, to its signature. */
function parseCertificate(scanner: Scanner): UnverifiedCertificate {
  const start = scanner.lineStart;
  if (!scanner.is("dir-key-certificate-version")) {
    scanner.fail('it does not begin with "dir-key-certificate-version"');
  }
  if (scanner.needInteger("version", 0, 1000) !== 3) scanner.fail("it is of another version, expected 3");
  let identity: Uint8Array | undefined;
  let published: number | undefined;
  let expires: number | undefined;
  let identityKeyDer: Uint8Array | undefined;
  let signingKeyDer: Uint8Array | undefined;
  let crossCertification: Uint8Array | undefined;
  const once = (value: unknown): void => {
    if (value !== undefined) scanner.fail(`it has two "${scanner.keyword()}" items`);
  };
  for (;;) {
    if (!scanner.next()) scanner.fail("it ends before its signature");
    switch (scanner.keyword()) {
      case "dir-key-certificate-version":
        return scanner.fail("it ends before its signature");
      case "fingerprint":
        once(identity);
        identity = scanner.needHex("fingerprint", 20);
        break;
      case "dir-key-published":
        once(published);
        published = scanner.needTime("dir-key-published");
        break;
      case "dir-key-expires":
        once(expires);
        expires = scanner.needTime("dir-key-expires");
        break;
      case "dir-identity-key":
        once(identityKeyDer);
        scanner.noMoreArguments();
        identityKeyDer = scanner.needObject("RSA PUBLIC KEY");
        break;
      case "dir-signing-key":
        once(signingKeyDer);
        scanner.noMoreArguments();
        signingKeyDer = scanner.needObject("RSA PUBLIC KEY");
        break;
      case "dir-key-crosscert":
        once(crossCertification);
        scanner.noMoreArguments();
        crossCertification = scanner.needObject("ID SIGNATURE", "SIGNATURE");
        break;
      case "dir-key-certification": {
        scanner.noMoreArguments();
        const digest = sha1(scanner.bytes.subarray(start, scanner.lineEnd + 1));
        const certification = scanner.needObject("SIGNATURE");
        if (
          !identity || published === undefined || expires === undefined || !identityKeyDer || !signingKeyDer ||
          !crossCertification
        ) return scanner.fail("an item is missing");
        const identityKey = parseRsaPublicKey(identityKeyDer);
        const signingKey = parseRsaPublicKey(signingKeyDer);
        const text = scanner.bytes.slice(start, scanner.position);
        return new UnverifiedCertificate(
          { identity, signingKeyDigest: sha1(signingKeyDer), signingKey, published, expires, text },
          { identityKey, identityKeyDer, digest, crossCertification, certification },
        );
      }
    }
  }
}
