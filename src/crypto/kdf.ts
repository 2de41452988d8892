/**
 * The key derivation functions of circuits: KDF-TOR (tor-spec section 5.2.1) and KDF-RFC5869 (section 5.2.2), and
 * how their output is cut into the keys of a hop.
 */
import { hkdfSync } from "node:crypto";
import { sha1, SHA1_LENGTH, SHA256_LENGTH } from "./digest.ts";
import { wipe } from "./secrets.ts";

const KEY_LENGTH = 16;

/** Bytes of key material that {@link splitRelayKeys} takes. */
export const RELAY_KEYS_LENGTH = 2 * SHA1_LENGTH + 2 * KEY_LENGTH;
/** Bytes of KH, which follows the keys where KDF-RFC5869 made them. */
export const KH_LENGTH = SHA1_LENGTH;

/** K = H(K0 | [00]) | H(K0 | [01]) | …, cut to `length` ≤ 5120 bytes. */
export function kdfTor(k0: Uint8Array, length: number): Uint8Array {
  checkLength(length, 256 * SHA1_LENGTH);
  const k = new Uint8Array(length);
  for (let i = 0, at = 0; at < length; i++, at += SHA1_LENGTH) {
    const block = sha1(k0, Uint8Array.of(i));
    k.set(block.subarray(0, length - at), at);
    wipe(block);
  }
  return k;
}

/** HKDF-SHA256, extracted with `salt` and expanded with `info` to `length` ≤ 8160 bytes. */
export function hkdfSha256(secret: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array {
  checkLength(length, 255 * SHA256_LENGTH);
  return new Uint8Array(hkdfSync("sha256", secret, salt, info, length));
}

/** What a hop encrypts and authenticates relay cells with. */
export interface RelayKeys {
  /** Seed of the digest of cells away from the client. */
  readonly df: Uint8Array;
  /** Seed of the digest of cells towards the client. */
  readonly db: Uint8Array;
  /** Key of the cipher away from the client. */
  readonly kf: Uint8Array;
  /** Key of the cipher towards the client. */
  readonly kb: Uint8Array;
}

/** The keys, with KH: what ties messages to this one circuit (rend-spec-v3 3.1.1). */
export interface CircuitKeys extends RelayKeys {
  readonly kh: Uint8Array;
}

/** Cuts K (without KH) into Df | Db | Kf | Kb; excess bytes are ignored. The results are copies: K can be wiped. */
export function splitRelayKeys(k: Uint8Array): RelayKeys {
  if (k.length < RELAY_KEYS_LENGTH) {
    throw new RangeError(`${k.length} bytes of key material, expected ${RELAY_KEYS_LENGTH} or more`);
  }
  const kfAt = 2 * SHA1_LENGTH;
  return {
    df: k.slice(0, SHA1_LENGTH),
    db: k.slice(SHA1_LENGTH, kfAt),
    kf: k.slice(kfAt, kfAt + KEY_LENGTH),
    kb: k.slice(kfAt + KEY_LENGTH, RELAY_KEYS_LENGTH),
  };
}

function checkLength(length: number, limit: number): void {
  if (!(Number.isInteger(length) && length >= 0 && length <= limit)) {
    throw new RangeError(`a key length of ${length} bytes is not within 0 … ${limit}`);
  }
}
