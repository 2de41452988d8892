/**
 * Link authentication type 3, Ed25519-SHA256-RFC5705 (tor-spec 4.4.2): with it an initiator proves that the identity
 * in its certificates is its own, on this very link.
 *
 * The specification wants the initiator's Ed25519 identity as the exporter's context. C tor has always used the CID
 * field, the digest of its RSA identity key, and would not understand anything else.
 */
import { TunicError } from "../base/errors.ts";
import { concat } from "../bytes/bytes.ts";
import { utf8 } from "../bytes/text.ts";
import { ED25519_SIGNATURE_LENGTH, verifyEd25519 } from "../crypto/ed25519.ts";
import { equalSecrets } from "../crypto/secrets.ts";
import type { EdSigner } from "./ed_cert.ts";

/** What both ends must know alike; 32 bytes each. */
export interface LinkFacts {
  /** SHA-256 of the RSA identity keys. */
  readonly initiatorRsaKey: Uint8Array;
  readonly responderRsaKey: Uint8Array;
  readonly initiatorEd25519Id: Uint8Array;
  readonly responderEd25519Id: Uint8Array;
  /** SHA-256 of all that the responder sent, up to its AUTH_CHALLENGE cell. */
  readonly responderLog: Uint8Array;
  /** SHA-256 of all that the initiator sent before its AUTHENTICATE cell. */
  readonly initiatorLog: Uint8Array;
  /** SHA-256 of the responder's TLS certificate. */
  readonly tlsCertificate: Uint8Array;
  /** Of the TLS session: {@link TLS_SECRETS_LABEL} with `initiatorRsaKey` as context. */
  readonly tlsSecrets: Uint8Array;
}

export const TLS_SECRETS_LABEL = "EXPORTER FOR TOR TLS CLIENT BINDING AUTH0003";
export const TLS_SECRETS_LENGTH = 32;
/** Random bytes in front of the signature. */
export const AUTH_NONCE_LENGTH = 24;

const TYPE = utf8("AUTH0003");

/** The Authentication field of an AUTHENTICATE cell; `nonce` has {@link AUTH_NONCE_LENGTH} bytes. */
export function signLink(facts: LinkFacts, nonce: Uint8Array, authKey: EdSigner): Uint8Array {
  const signed = concat(known(facts), nonce);
  return concat(signed, authKey.sign(signed));
}

/**
 * Throws `malformed` or `crypto` unless `authentication` is of this link and signed with the key `authKey`. Further
 * fields between nonce and signature are let pass: they are for later versions.
 */
export function verifyLinkSignature(authentication: Uint8Array, facts: LinkFacts, authKey: Uint8Array): void {
  const expected = known(facts);
  const shortest = expected.length + AUTH_NONCE_LENGTH + ED25519_SIGNATURE_LENGTH;
  if (authentication.length < shortest) {
    throw refused("malformed", `it has ${authentication.length} bytes, expected at least ${shortest}`);
  }
  if (!equalSecrets(authentication.subarray(0, expected.length), expected)) {
    throw refused("crypto", "it is for another link");
  }
  const signatureAt = authentication.length - ED25519_SIGNATURE_LENGTH;
  const signed = authentication.subarray(0, signatureAt);
  if (!verifyEd25519(authentication.subarray(signatureAt), signed, authKey)) {
    throw refused("crypto", "its signature does not verify");
  }
}

function known(facts: LinkFacts): Uint8Array {
  return concat(
    TYPE,
    facts.initiatorRsaKey,
    facts.responderRsaKey,
    facts.initiatorEd25519Id,
    facts.responderEd25519Id,
    facts.responderLog,
    facts.initiatorLog,
    facts.tlsCertificate,
    facts.tlsSecrets,
  );
}

function refused(kind: "malformed" | "crypto", detail: string): TunicError {
  return new TunicError(`Cannot accept the initiator's authentication: ${detail}`, {
    kind,
    code: "bad-authentication",
    retry: "elsewhere",
  });
}
