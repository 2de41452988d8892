/**
 * RSA private keys (tor-spec section 0.3): identity keys of relays, identity and signing keys of authorities.
 *
 * Keys come from the runtime's own generator, which takes no randomness from outside.
 */
import { Buffer } from "node:buffer";
import {
  constants,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  type KeyObject,
  privateEncrypt,
  sign,
} from "node:crypto";
import { TunicError } from "../base/errors.ts";
import { malformed } from "../bytes/reader.ts";
import { parseRsaPublicKey, type RsaPublicKey } from "./rsa.ts";
import { type CertificateKey, SHA256_WITH_RSA } from "./x509_make.ts";

const WHAT = "an RSA private key";
const PEM = /^-----BEGIN RSA PRIVATE KEY-----\n[A-Za-z0-9+/=\n]+\n-----END RSA PRIVATE KEY-----\n?$/;
/** More than a key of 4096 bits takes. */
const MAX_PEM_LENGTH = 4096;
/** 00 01 FF×8 00, the shortest padding. */
const MIN_PADDING = 11;

/** A private key in the hands of the native code, with its public key. */
export class RsaPrivateKey implements CertificateKey {
  readonly publicKey: RsaPublicKey;
  readonly signatureAlgorithm = SHA256_WITH_RSA;
  readonly spki: Uint8Array;
  readonly #key: KeyObject;

  /** For {@link generateRsa} and {@link parseRsaPrivateKeyPem}. */
  constructor(key: KeyObject) {
    const publicKey = createPublicKey(key);
    this.publicKey = parseRsaPublicKey(new Uint8Array(publicKey.export({ type: "pkcs1", format: "der" })));
    this.spki = new Uint8Array(publicKey.export({ type: "spki", format: "der" }));
    this.#key = key;
  }

  /** A signature over a bare digest, padded by PKCS #1 v1.5 without the algorithm's name, as Tor signs. */
  signDigest(digest: Uint8Array): Uint8Array {
    const longest = this.publicKey.bits / 8 - MIN_PADDING;
    if (digest.length === 0 || digest.length > longest) {
      throw new TunicError(`Cannot sign: a digest of ${digest.length} bytes, expected 1 to ${longest}`, {
        kind: "argument",
        code: "bad-digest-length",
      });
    }
    return new Uint8Array(privateEncrypt({ key: this.#key, padding: constants.RSA_PKCS1_PADDING }, digest));
  }

  /** A signature with SHA-256 as PKCS #1 v1.5 has it, for X.509. */
  signSha256(message: Uint8Array): Uint8Array {
    return new Uint8Array(sign("sha256", message, this.#key));
  }

  /** A "-----BEGIN RSA PRIVATE KEY-----" block: the secret itself, to be stored as such. */
  toPem(): string {
    return String(this.#key.export({ type: "pkcs1", format: "pem" }));
  }
}

/** A fresh key, made off the main thread where the runtime can. */
export function generateRsa(bits: 1024 | 2048 | 3072): Promise<RsaPrivateKey> {
  return new Promise((resolve, reject) =>
    generateKeyPair("rsa", { modulusLength: bits }, (error, _, privateKey) => {
      if (error) reject(error);
      else resolve(new RsaPrivateKey(privateKey));
    })
  );
}

/**
 * Reads a "-----BEGIN RSA PRIVATE KEY-----" block (PKCS #1), from its first line to its last. Throws `malformed`,
 * also for a key that {@link parseRsaPublicKey} does not take.
 */
export function parseRsaPrivateKeyPem(pem: string): RsaPrivateKey {
  if (pem.length > MAX_PEM_LENGTH || !PEM.test(pem)) throw malformed(WHAT, "text that is no RSA PRIVATE KEY block");
  let key: KeyObject;
  try {
    key = createPrivateKey({ key: Buffer.from(pem), format: "pem", type: "pkcs1" });
  } catch {
    throw malformed(WHAT, "a block whose contents are no key");
  }
  return new RsaPrivateKey(key);
}
