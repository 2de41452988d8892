/**
 * Ed25519 signatures (RFC 8032), the identities of relays and the links of their certificate chains.
 *
 * Runtimes differ in what they take for a public key, so the edges are settled here: a key must be canonically
 * encoded, and none of the few points of low order, under which almost anything is signed.
 */
import { type KeyObject, sign, verify } from "node:crypto";
import { fromHex } from "../bytes/text.ts";
import { importPrivateKey, importPublicKey } from "./octet_key_pair.ts";
import { type RandomSource, wipe } from "./secrets.ts";

export const ED25519_LENGTH = 32;
export const ED25519_SIGNATURE_LENGTH = 64;

/** The y coordinates of the points whose order divides 8. */
const LOW_ORDER = [
  "0000000000000000000000000000000000000000000000000000000000000000",
  "0100000000000000000000000000000000000000000000000000000000000000",
  "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
  "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
  "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
].map((hex) => fromHex(hex));

/** A private key in the hands of the native code, with its public key. */
export class Ed25519PrivateKey {
  readonly #key: KeyObject;
  readonly publicKey: Uint8Array;

  /** `seed`: RFC 8032's private key, 32 bytes, copied. */
  constructor(seed: Uint8Array) {
    const { key, publicKey } = importPrivateKey("Ed25519", seed);
    this.#key = key;
    this.publicKey = publicKey;
  }

  /** 64 bytes. */
  sign(message: Uint8Array): Uint8Array {
    return new Uint8Array(sign(null, message, this.#key));
  }
}

/** A fresh private key. */
export function generateEd25519(source: RandomSource): Ed25519PrivateKey {
  const seed = source.random(ED25519_LENGTH);
  const key = new Ed25519PrivateKey(seed);
  wipe(seed);
  return key;
}

/** Whether `signature` is the holder of `publicKey`'s over `message`; false for anything of a wrong form or length. */
export function verifyEd25519(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean {
  if (signature.length !== ED25519_SIGNATURE_LENGTH || publicKey.length !== ED25519_LENGTH) return false;
  if (!isCanonical(publicKey) || LOW_ORDER.some((point) => hasCoordinate(publicKey, point))) return false;
  try {
    return verify(null, message, importPublicKey("Ed25519", publicKey), signature);
  } catch {
    return false; // Some runtimes throw for bytes that are no point of the curve.
  }
}

/** Whether the y coordinate is less than 2^255 - 19. */
function isCanonical(publicKey: Uint8Array): boolean {
  if (publicKey[0]! < 0xed || (publicKey[31]! & 0x7f) !== 0x7f) return true;
  for (let i = 1; i < 31; i++) if (publicKey[i] !== 0xff) return true;
  return false;
}

function hasCoordinate(publicKey: Uint8Array, y: Uint8Array): boolean {
  for (let i = 0; i < 31; i++) if (publicKey[i] !== y[i]) return false;
  return (publicKey[31]! & 0x7f) === y[31];
}
