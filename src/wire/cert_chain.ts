/**
 * The certificates of a CERTS cell as proof of who the peer is (tor-spec 4.2).
 *
 * RSA identity → Ed25519 identity → signing key → the certificate that TLS showed or, of an initiator, the key that
 * signs its AUTHENTICATE cell. The relay's RSA-only proof (types 1 and 3) is not taken, for every relay in the network has an Ed25519 identity.
 */
import { TunicError } from "../base/errors.ts";
import { sensitive } from "../base/sensitive.ts";
import { equal } from "../bytes/bytes.ts";
import { toBase64, toHexUpper } from "../bytes/text.ts";
import { sha256 } from "../crypto/digest.ts";
import { type RsaPublicKey } from "../crypto/rsa.ts";
import { RsaCertificate } from "../crypto/x509.ts";
import { isoTime } from "./cert_expiry.ts";
import { UnverifiedCrossCert } from "./cross_cert.ts";
import { EdCertType, UnverifiedEdCert } from "./ed_cert.ts";
import { type Certs, CertType } from "./link_cells.ts";

/** Who a relay must prove to be. */
export interface ExpectedIdentities {
  /** SHA-1 of the RSA identity key, 20 bytes. */
  readonly rsaId: Uint8Array;
  /** 32 bytes; any will do where it is not known. */
  readonly ed25519Id?: Uint8Array | undefined;
}

/** Who the peer proved to be. */
export interface ProvenIdentities {
  readonly rsaId: Uint8Array;
  readonly ed25519Id: Uint8Array;
}

/** Identities, and what of their proof goes into AUTHENTICATE cells. */
export interface ProvenKeys extends ProvenIdentities {
  /** SHA-256 of the RSA identity key. */
  readonly rsaKeySha256: Uint8Array;
}

/** Who an initiator claims to be: true once it has signed with `authKey`, for its certificates are no secret. */
export interface ClaimedIdentities extends ProvenKeys {
  /** Ed25519, 32 bytes. */
  readonly authKey: Uint8Array;
}

export interface ResponderEvidence {
  /** The certificate that the peer showed in TLS, in DER. */
  readonly tlsCertificate: Uint8Array;
  readonly expected: ExpectedIdentities;
  /** Milliseconds since 1970. */
  readonly now: number;
}

const DAY_MS = 86_400_000;
/**
 * How long an RSA identity certificate is taken after its end and before its beginning: C tor's tolerance. The
 * certificate signs only itself; what proves the identities are the others, which have none.
 */
const RSA_PAST_TOLERANCE_MS = 2 * DAY_MS;
const RSA_FUTURE_TOLERANCE_MS = 30 * DAY_MS;

/**
 * The identities that a responder's CERTS cell proves, if they are those expected. Throws `malformed` or `protocol`
 * for a certificate that is missing or of the wrong form, `crypto` for a signature or a link to another TLS
 * certificate, `clock` for one not in force, `identity` for another relay than the one expected.
 */
export function verifyResponderCerts(certs: Certs, evidence: ResponderEvidence): ProvenKeys {
  const { tlsCertificate, expected, now } = evidence;
  const { signingKey, ...keys } = verifyIdentityCerts(certs, now);
  const link = new UnverifiedEdCert(need(certs, CertType.ED25519_LINK, "Ed25519 link"));
  const { certifiedKey } = link.verify({ type: EdCertType.TLS_LINK, signedBy: signingKey, now });
  if (!equal(certifiedKey, sha256(tlsCertificate))) {
    throw refused("crypto", "wrong-tls-certificate", "the link certificate is for another TLS certificate");
  }
  checkIdentity("RSA", toHexUpper, keys.rsaId, expected.rsaId);
  checkIdentity("Ed25519", toBase64, keys.ed25519Id, expected.ed25519Id);
  return keys;
}

/**
 * The identities that an initiator's CERTS cell claims, at `now` (milliseconds since 1970), and the key that its
 * AUTHENTICATE cell must be signed with. Throws as {@link verifyResponderCerts}, but never `identity`.
 */
export function verifyInitiatorCerts(certs: Certs, now: number): ClaimedIdentities {
  const { signingKey, ...keys } = verifyIdentityCerts(certs, now);
  const auth = new UnverifiedEdCert(need(certs, CertType.ED25519_AUTH, "Ed25519 authentication"));
  const { certifiedKey } = auth.verify({ type: EdCertType.LINK_AUTH, signedBy: signingKey, now });
  return { ...keys, authKey: certifiedKey };
}

/** What both sides prove alike: both identities and the signing key that acts for them (types 2, 4 and 7). */
function verifyIdentityCerts(certs: Certs, now: number): ProvenKeys & { readonly signingKey: Uint8Array } {
  const signing = new UnverifiedEdCert(need(certs, CertType.ED25519_SIGNING, "Ed25519 signing key"));
  const { signingKey: ed25519Id, certifiedKey: signingKey } = signing.verify({
    type: EdCertType.SIGNING,
    signedBy: "included",
    now,
  });
  const rsaKey = verifyRsaIdCert(need(certs, CertType.RSA_ID, "RSA identity"), now);
  const cross = new UnverifiedCrossCert(need(certs, CertType.RSA_ED25519_CROSS, "RSA→Ed25519 cross"));
  if (!equal(cross.verify({ rsaKey, now }).ed25519Id, ed25519Id)) {
    throw refused("crypto", "bad-certificate", "the RSA key vouches for another Ed25519 identity");
  }
  return { rsaId: rsaKey.identity(), rsaKeySha256: sha256(rsaKey.der), ed25519Id, signingKey };
}

function verifyRsaIdCert(der: Uint8Array, now: number): RsaPublicKey {
  const certificate = new RsaCertificate(der);
  const { publicKey, notBefore, notAfter } = certificate;
  if (publicKey.bits !== 1024) {
    throw refused("protocol", "bad-certificate", `the RSA identity key has ${publicKey.bits} bits, expected 1024`);
  }
  if (!certificate.isSelfSigned()) {
    throw refused("crypto", "bad-certificate", "the RSA identity certificate is not signed by its own key");
  }
  if (now > notAfter + RSA_PAST_TOLERANCE_MS || now < notBefore - RSA_FUTURE_TOLERANCE_MS) {
    const validity = `valid from ${isoTime(notBefore)} to ${isoTime(notAfter)}`;
    const detail = `the RSA identity certificate is ${validity}, and the local clock says ${isoTime(now)}`;
    throw refused("clock", "certificate-expired", detail);
  }
  return publicKey;
}

function need(certs: Certs, type: number, name: string): Uint8Array {
  const body = certs.get(type);
  if (!body) throw refused("protocol", "missing-certificate", `the ${name} certificate (type ${type}) is missing`);
  return body;
}

function checkIdentity(
  name: string,
  format: (id: Uint8Array) => string,
  found: Uint8Array,
  expected: Uint8Array | undefined,
): void {
  if (!expected || equal(found, expected)) return;
  throw new TunicError(`Cannot trust the relay: its ${name} identity is not the one expected`, {
    kind: "identity",
    code: "wrong-identity",
    retry: "elsewhere",
    context: { found: sensitive(format(found)), expected: sensitive(format(expected)) },
  });
}

function refused(kind: "protocol" | "crypto" | "clock", code: string, detail: string): TunicError {
  return new TunicError(`Cannot trust the relay's certificates: ${detail}`, { kind, code, retry: "elsewhere" });
}
