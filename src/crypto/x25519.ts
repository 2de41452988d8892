/**
 * Curve25519 key agreement (RFC 7748), the group of every handshake in use.
 */
import { diffieHellman, type KeyObject } from "node:crypto";
import { TunicError } from "../base/errors.ts";
import { exportSecret, importPrivateKey, importPublicKey } from "./octet_key_pair.ts";
import { equalSecrets, type RandomSource, wipe } from "./secrets.ts";

export const X25519_LENGTH = 32;

/** How the point at infinity is encoded; most runtimes throw instead of giving it. */
const INFINITY = new Uint8Array(X25519_LENGTH);

/** A private key in the hands of the native code, with its public key. */
export class X25519PrivateKey {
  readonly #key: KeyObject;
  readonly publicKey: Uint8Array;

  /** `secret`: 32 bytes, copied; clamped when used. */
  constructor(secret: Uint8Array) {
    const { key, publicKey } = importPrivateKey("X25519", secret);
    this.#key = key;
    this.publicKey = publicKey;
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
    let secret: Uint8Array;
    try {
      secret = diffieHellman({ privateKey: this.#key, publicKey: importPublicKey("X25519", publicKey) });
    } catch (cause) {
      throw degenerate(cause);
    }
    if (equalSecrets(secret, INFINITY)) throw degenerate(undefined);
    return new Uint8Array(secret.buffer, secret.byteOffset, secret.byteLength);
  }

  /** The secret itself, 32 bytes, for whoever has to compute with it; to be wiped. */
  exportSecret(): Uint8Array {
    return exportSecret(this.#key);
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
