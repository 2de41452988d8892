/** P-256 keys, for the certificates that relays show in TLS (tor-spec section 2). */
import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { type CertificateKey, ECDSA_WITH_SHA256 } from "./x509_make.ts";

/** A private key in the hands of the native code, with its public key. */
export class P256PrivateKey implements CertificateKey {
  readonly signatureAlgorithm = ECDSA_WITH_SHA256;
  readonly spki: Uint8Array;
  readonly #key: KeyObject;

  /** For {@link generateP256}. */
  constructor(key: KeyObject) {
    this.#key = key;
    this.spki = new Uint8Array(createPublicKey(key).export({ type: "spki", format: "der" }));
  }

  signSha256(message: Uint8Array): Uint8Array {
    return new Uint8Array(sign("sha256", message, this.#key));
  }

  /** A "-----BEGIN PRIVATE KEY-----" block (PKCS #8), as TLS servers take it: the secret itself. */
  toPem(): string {
    return String(this.#key.export({ type: "pkcs8", format: "pem" }));
  }
}

/** A fresh key from the runtime's own generator. */
export function generateP256(): P256PrivateKey {
  return new P256PrivateKey(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey);
}
