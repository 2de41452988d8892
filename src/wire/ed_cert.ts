/**
 * Ed25519 certificates (cert-spec 2.1, 2.2): a key, or a digest of one, certified by an Ed25519 key until some hour.
 *
 * Parsing gives an {@link UnverifiedEdCert}, of which nothing can be read but what verifying it needs.
 */
import { TunicError } from "../base/errors.ts";
import { concat, equal } from "../bytes/bytes.ts";
import { Reader } from "../bytes/reader.ts";
import { Writer } from "../bytes/writer.ts";
import { ED25519_LENGTH, ED25519_SIGNATURE_LENGTH, verifyEd25519 } from "../crypto/ed25519.ts";
import { checkNotExpired, HOUR_MS } from "./cert_expiry.ts";

/** CERT_TYPE (cert-spec A.1). */
export const EdCertType = {
  /** A signing key, certified by the identity key. */
  SIGNING: 4,
  /** A TLS certificate, certified by the signing key. */
  TLS_LINK: 5,
  /** A key for AUTHENTICATE cells, certified by the signing key. */
  LINK_AUTH: 6,
  HS_DESCRIPTOR_SIGNING: 8,
  HS_INTRO_AUTH: 9,
  NTOR_CROSS: 10,
  HS_INTRO_ENCRYPTION: 11,
} as const;

/** CERT_KEY_TYPE (cert-spec A.4). */
export const CertifiedKeyType = { ED25519: 1, SHA256_OF_RSA: 2, SHA256_OF_X509: 3 } as const;

/** A certificate that was checked. */
export interface EdCert {
  readonly type: number;
  readonly keyType: number;
  /** 32 bytes: an Ed25519 key or a digest, as `keyType` says. */
  readonly certifiedKey: Uint8Array;
  /** The key that signed, 32 bytes. */
  readonly signingKey: Uint8Array;
  /** Last moment of validity, in milliseconds since 1970. */
  readonly expiresMs: number;
}

export interface EdCertEvidence {
  /** The CERT_TYPE that belongs where the certificate was found. */
  readonly type: number;
  /** The key that must have signed; "included": the one that the certificate names, which must be there. */
  readonly signedBy: Uint8Array | "included";
  /** Milliseconds since 1970. */
  readonly now: number;
}

const WHAT = "an Ed25519 certificate";
const VERSION = 1;
const SIGNED_WITH_ED25519_KEY = 4;
const AFFECTS_VALIDATION = 1;

export class UnverifiedEdCert {
  readonly #fields: Omit<EdCert, "signingKey">;
  readonly #includedKey: Uint8Array | undefined;
  readonly #signed: Uint8Array;
  readonly #signature: Uint8Array;

  /**
   * Reads the whole of `bytes` as a certificate. Throws `malformed`, also for an unknown extension that affects
   * validation.
   */
  constructor(bytes: Uint8Array) {
    const reader = Reader.whole(bytes, WHAT);
    const version = reader.u8();
    if (version !== VERSION) reader.fail(`version ${version}, expected ${VERSION}`);
    const type = reader.u8();
    const expiresMs = reader.u32() * HOUR_MS;
    const keyType = reader.u8();
    const certifiedKey = reader.copy(32);
    this.#fields = { type, keyType, certifiedKey, expiresMs };
    this.#includedKey = readExtensions(reader);
    this.#signed = bytes.slice(0, reader.position);
    this.#signature = reader.copy(ED25519_SIGNATURE_LENGTH);
    reader.end();
  }

  /**
   * The certificate, if it is of the type expected, signed by the key expected and in force. Throws `protocol` for
   * another type, `crypto` for the signature, `clock` once it has expired.
   */
  verify(evidence: EdCertEvidence): EdCert {
    const { type, keyType } = this.#fields;
    if (type !== evidence.type) throw refused("protocol", `it is of type ${type}, expected ${evidence.type}`);
    // Until 0.4.5 every C tor wrote key type 1 for digests too.
    const mayCertify = keyType === CertifiedKeyType.ED25519 ||
      (type === EdCertType.TLS_LINK && keyType === CertifiedKeyType.SHA256_OF_X509);
    if (!mayCertify) throw refused("protocol", `it certifies a key of type ${keyType}, which type ${type} never does`);
    const signingKey = evidence.signedBy === "included" ? this.#includedKey : evidence.signedBy;
    if (!signingKey) throw refused("protocol", "it does not name the key that signed it");
    if (this.#includedKey && !equal(this.#includedKey, signingKey)) {
      throw refused("crypto", "it names another signing key than the one expected");
    }
    if (!verifyEd25519(this.#signature, this.#signed, signingKey)) {
      throw refused("crypto", "its signature does not verify");
    }
    checkNotExpired(`${WHAT} of type ${type}`, this.#fields.expiresMs, evidence.now);
    return { ...this.#fields, signingKey };
  }
}

/** Something that signs with an Ed25519 key. */
export interface EdSigner {
  readonly publicKey: Uint8Array;
  sign(message: Uint8Array): Uint8Array;
}

export interface EdCertContent {
  readonly type: number;
  readonly keyType: number;
  readonly certifiedKey: Uint8Array;
  /** Rounded up to the hour. */
  readonly expiresMs: number;
  /** Whether the certificate names its signing key. */
  readonly includeSigningKey: boolean;
}

/** A certificate's bytes, signed by `signer`. */
export function encodeEdCert(content: EdCertContent, signer: EdSigner): Uint8Array {
  const writer = new Writer(176);
  writer.u8(VERSION).u8(content.type).u32(Math.ceil(content.expiresMs / HOUR_MS));
  writer.u8(content.keyType).bytes(content.certifiedKey);
  if (content.includeSigningKey) {
    writer.u8(1).u16(ED25519_LENGTH).u8(SIGNED_WITH_ED25519_KEY).u8(0).bytes(signer.publicKey);
  } else {
    writer.u8(0);
  }
  const signed = writer.finish();
  return concat(signed, signer.sign(signed));
}

/** Reads N_EXTENSIONS and the extensions; the signing key's, if there is one. */
function readExtensions(reader: Reader): Uint8Array | undefined {
  let includedKey: Uint8Array | undefined;
  for (let count = reader.u8(); count > 0; count--) {
    const length = reader.u16();
    const type = reader.u8();
    const flags = reader.u8();
    const data = reader.view(length);
    if (type === SIGNED_WITH_ED25519_KEY) {
      if (length !== ED25519_LENGTH) reader.fail(`a signing key of ${length} bytes, expected ${ED25519_LENGTH}`);
      if (includedKey) reader.fail("two signing keys");
      includedKey = data.slice();
    } else if ((flags & AFFECTS_VALIDATION) !== 0) {
      reader.fail(`an unknown extension (${type}) that affects validation`);
    }
  }
  return includedKey;
}

function refused(kind: "protocol" | "crypto", detail: string): TunicError {
  return new TunicError(`Cannot accept ${WHAT}: ${detail}`, { kind, code: "bad-certificate", retry: "elsewhere" });
}
