/**
 * Ed25519 with a Curve25519 key (proposal 228, section 2.3.1; dir-spec, appendix C), with which a relay's ntor key
 * signs for its identity: y = (u - 1) / (u + 1).
 */
import { ed25519 } from "@noble/curves/ed25519.js";
import { createHash } from "node:crypto";
import { concat } from "../bytes/bytes.ts";
import { utf8 } from "../bytes/text.ts";
import { ED25519_LENGTH } from "./ed25519.ts";
import { wipe } from "./secrets.ts";
import type { X25519PrivateKey } from "./x25519.ts";

const P = 2n ** 255n - 19n;

/**
 * `publicKey`: a Curve25519 public key, 32 bytes; `signBit`: the sign of x, which it does not have. `undefined`
 * for u = -1, which has no counterpart. Not for secrets: takes time that depends on its input.
 */
export function ed25519FromX25519(publicKey: Uint8Array, signBit: 0 | 1): Uint8Array | undefined {
  if (publicKey.length !== ED25519_LENGTH) throw new RangeError(`a key of ${publicKey.length} bytes, expected 32`);
  const u = BigInt.asUintN(255, numberOf(publicKey)) % P;
  if (u === P - 1n) return undefined;
  const result = bytesOf(((u + P - 1n) * power(u + 1n, P - 2n)) % P);
  result[31]! |= signBit << 7;
  return result;
}

/** With its last byte, which is part of it. */
const PREFIX_TEXT = utf8("Derive high part of ed25519 key from curve25519 key\0");

/** Signs as the Ed25519 key that belongs to a Curve25519 key. */
export interface X25519Signer {
  readonly publicKey: Uint8Array;
  /** Of the public key's x coordinate, without which {@link ed25519FromX25519} cannot find the public key. */
  readonly signBit: 0 | 1;
  sign(message: Uint8Array): Uint8Array;
}

/**
 * Keeps the secret in memory, and takes time that may depend on it: for relays of test networks, whose secrets are
 * nobody's.
 */
export function x25519Signer(key: X25519PrivateKey): X25519Signer {
  const { Point } = ed25519;
  const order = Point.Fn.ORDER;
  const secret = key.exportSecret();
  const prefix = sha512(secret, PREFIX_TEXT).subarray(0, 32);
  secret[0]! &= 248;
  secret[31] = (secret[31]! & 127) | 64;
  const scalar = numberOf(secret) % order;
  wipe(secret);
  const publicKey = Point.BASE.multiply(scalar).toBytes();
  return {
    publicKey,
    signBit: publicKey[31]! >>> 7 === 1 ? 1 : 0,
    sign: (message) => {
      const nonce = numberOf(sha512(prefix, message)) % order;
      const commitment = Point.BASE.multiply(nonce).toBytes();
      const challenge = numberOf(sha512(commitment, publicKey, message)) % order;
      return concat(commitment, bytesOf((nonce + challenge * scalar) % order));
    },
  };
}

function sha512(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = createHash("sha512");
  for (const part of parts) hash.update(part);
  return new Uint8Array(hash.digest());
}

/** Least significant byte first. */
function numberOf(bytes: Uint8Array): bigint {
  let number = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) number = (number << 8n) | BigInt(bytes[i]!);
  return number;
}

function bytesOf(number: bigint): Uint8Array {
  const bytes = new Uint8Array(ED25519_LENGTH);
  for (let i = 0; i < ED25519_LENGTH; i++, number >>= 8n) bytes[i] = Number(number & 255n);
  return bytes;
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (; exponent > 0n; exponent >>= 1n) {
    if (exponent & 1n) result = (result * base) % P;
    base = (base * base) % P;
  }
  return result;
}
