/**
 * Curve25519 key agreement (RFC 7748), the group of every handshake in use.
 *
 * The runtime's native code does the arithmetic; what costs time besides is the import of keys. Private keys go in as
 * PKCS #8, from a buffer that is wiped afterwards (a JSON Web Key would leave the secret in a string), and stay
 * imported; public keys go in as JSON Web Keys, which every runtime reads fastest.
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, createPublicKey, diffieHellman, type KeyObject } from "node:crypto";
import { TunicError } from "../base/errors.ts";
import { type RandomSource, wipe } from "./secrets.ts";

export const X25519_LENGTH = 32;

/** PKCS #8 in front of the 32 bytes of an X25519 private key (RFC 8410). */
const PKCS8_PREFIX = Uint8Array.of(0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20);

/** A private key in the hands of the native code, with its public key. */
export class X25519PrivateKey {
  readonly #key: KeyObject;
  readonly publicKey: Uint8Array;

  /** `secret`: 32 bytes, copied; clamped when used. */
  constructor(secret: Uint8Array) {
    if (secret.length !== X25519_LENGTH) {
      throw new RangeError(`an X25519 private key of ${secret.length} bytes, expected 32`);
    }
    const der = new Uint8Array(PKCS8_PREFIX.length + X25519_LENGTH);
    der.set(PKCS8_PREFIX);
    der.set(secret, PKCS8_PREFIX.length);
    this.#key = createPrivateKey({ key: Buffer.from(der.buffer), format: "der", type: "pkcs8" });
    wipe(der);
    const { x } = createPublicKey(this.#key).export({ format: "jwk" });
    this.publicKey = new Uint8Array(Buffer.from(x!, "base64url"));
  }

  /**
   * The secret shared with the holder of `publicKey`, 32 bytes. Throws `crypto` where it would be the point at infinity,
   * which a public key of low order brings about.
   */
  sharedSecret(publicKey: Uint8Array): Uint8Array {
    if (publicKey.length !== X25519_LENGTH) {
      throw new TunicError(`Cannot agree on a key: a public key of ${publicKey.length} bytes, expected 32`, {
        kind: "malformed",
        code: "x25519-length",
      });
    }
    const x = Buffer.from(publicKey.buffer, publicKey.byteOffset, publicKey.byteLength).toString("base64url");
    const peer = createPublicKey({ key: { kty: "OKP", crv: "X25519", x }, format: "jwk" });
    let secret: Buffer;
    try {
      secret = diffieHellman({ privateKey: this.#key, publicKey: peer });
    } catch (cause) {
      throw degenerate(cause);
    }
    if (secret.every((byte) => byte === 0)) throw degenerate(undefined);
    return new Uint8Array(secret.buffer, secret.byteOffset, secret.byteLength);
  }
}

/** A fresh private key. */
export function generateX25519(source: RandomSource): X25519PrivateKey {
  const secret = source.random(X25519_LENGTH);
  const key = new X25519PrivateKey(secret);
  wipe(secret);
  return key;
}

function degenerate(cause: unknown): TunicError {
  return new TunicError("Cannot agree on a key: the peer's public key leads to the point at infinity", {
    kind: "crypto",
    code: "x25519-degenerate",
    cause,
  });
}
