/**
 * RSA→Ed25519 cross-certificates (cert-spec 2.3): the RSA identity key vouches for the Ed25519 identity key.
 *
 * Parsing gives an {@link UnverifiedCrossCert}, of which nothing can be read but what verifying it needs.
 */
import { TunicError } from "../base/errors.ts";
import { concat } from "../bytes/bytes.ts";
import { Reader } from "../bytes/reader.ts";
import { utf8 } from "../bytes/text.ts";
import { Writer } from "../bytes/writer.ts";
import { sha256 } from "../crypto/digest.ts";
import { type RsaPublicKey, verifyRsaDigest } from "../crypto/rsa.ts";
import { checkNotExpired, HOUR_MS } from "./cert_expiry.ts";

/** A certificate that was checked. */
export interface CrossCert {
  /** 32 bytes. */
  readonly ed25519Id: Uint8Array;
  /** Last moment of validity, in milliseconds since 1970. */
  readonly expiresMs: number;
}

export interface CrossCertEvidence {
  readonly rsaKey: RsaPublicKey;
  /** Milliseconds since 1970. */
  readonly now: number;
}

const WHAT = "an RSA→Ed25519 cross-certificate";
const PREFIX = utf8("Tor TLS RSA/Ed25519 cross-certificate");

export class UnverifiedCrossCert {
  readonly #fields: CrossCert;
  readonly #digest: Uint8Array;
  readonly #signature: Uint8Array;

  /** Reads the whole of `bytes` as a certificate. Throws `malformed`. */
  constructor(bytes: Uint8Array) {
    const reader = Reader.whole(bytes, WHAT);
    const ed25519Id = reader.copy(32);
    const expiresMs = reader.u32() * HOUR_MS;
    this.#fields = { ed25519Id, expiresMs };
    this.#digest = digestOf(bytes.subarray(0, reader.position));
    this.#signature = reader.copy(reader.u8());
    reader.end();
  }

  /** The certificate, if `rsaKey` signed it and it is in force. Throws `crypto`, or `clock` once it has expired. */
  verify(evidence: CrossCertEvidence): CrossCert {
    if (!verifyRsaDigest(evidence.rsaKey, this.#signature, this.#digest)) {
      const message = `Cannot accept ${WHAT}: its signature does not verify`;
      throw new TunicError(message, { kind: "crypto", code: "bad-certificate", retry: "elsewhere" });
    }
    checkNotExpired(WHAT, this.#fields.expiresMs, evidence.now);
    return this.#fields;
  }
}

/** A certificate's bytes; `signDigest` makes the RSA identity key's signature over a bare digest. */
export function encodeCrossCert(content: CrossCert, signDigest: (digest: Uint8Array) => Uint8Array): Uint8Array {
  const signed = new Writer(36).bytes(content.ed25519Id).u32(Math.ceil(content.expiresMs / HOUR_MS)).finish();
  const signature = signDigest(digestOf(signed));
  return concat(signed, new Writer(1).lengthPrefixed(1, (body) => body.bytes(signature)).finish());
}

function digestOf(signed: Uint8Array): Uint8Array {
  return sha256(PREFIX, signed);
}
