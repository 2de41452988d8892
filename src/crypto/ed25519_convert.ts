/**
 * The Ed25519 public key that belongs to a Curve25519 one (proposal 228, section 2.3.1), with which a relay's ntor
 * key signs for its identity: y = (u - 1) / (u + 1).
 */
import { ED25519_LENGTH } from "./ed25519.ts";

const P = 2n ** 255n - 19n;

/**
 * `publicKey`: a Curve25519 public key, 32 bytes; `signBit`: the sign of x, which it does not have. `undefined`
 * for u = -1, which has no counterpart. Not for secrets: takes time that depends on its input.
 */
export function ed25519FromX25519(publicKey: Uint8Array, signBit: 0 | 1): Uint8Array | undefined {
  if (publicKey.length !== ED25519_LENGTH) throw new RangeError(`a key of ${publicKey.length} bytes, expected 32`);
  let u = 0n;
  for (let i = ED25519_LENGTH - 1; i >= 0; i--) u = (u << 8n) | BigInt(publicKey[i]!);
  u = BigInt.asUintN(255, u) % P;
  if (u === P - 1n) return undefined;
  let y = ((u + P - 1n) * power(u + 1n, P - 2n)) % P;
  const result = new Uint8Array(ED25519_LENGTH);
  for (let i = 0; i < ED25519_LENGTH; i++, y >>= 8n) result[i] = Number(y & 255n);
  result[31]! |= signBit << 7;
  return result;
}

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (; exponent > 0n; exponent >>= 1n) {
    if (exponent & 1n) result = (result * base) % P;
    base = (base * base) % P;
  }
  return result;
}
