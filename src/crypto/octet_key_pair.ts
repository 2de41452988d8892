/**
 * Import of the keys that RFC 8410 calls octet key pairs: 32 bytes, private or public.
 *
 * Private keys go in as PKCS #8, from a buffer that is wiped afterwards (a JSON Web Key would leave the secret in a
 * string), and stay imported; public keys go in as JSON Web Keys, which every runtime reads fast.
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { wipe } from "./secrets.ts";

export type OctetCurve = "X25519" | "Ed25519";

/** Last byte of the curve's object identifier, 1.3.101.… */
const CURVE_NUMBER: Readonly<Record<OctetCurve, number>> = { X25519: 0x6e, Ed25519: 0x70 };

/** Where the secret is in PKCS #8, in which it may be followed by attributes. */
const SECRET_OFFSET = 16;

/** `secret`: 32 bytes, copied. */
export function importPrivateKey(curve: OctetCurve, secret: Uint8Array): { key: KeyObject; publicKey: Uint8Array } {
  if (secret.length !== 32) throw new RangeError(`a private key of ${secret.length} bytes, expected 32`);
  const der = Uint8Array.of(0x30, 46, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, CURVE_NUMBER[curve], 4, 34, 4, 32, ...secret);
  const key = createPrivateKey({ key: Buffer.from(der.buffer), format: "der", type: "pkcs8" });
  wipe(der);
  const { x } = createPublicKey(key).export({ format: "jwk" });
  return { key, publicKey: new Uint8Array(Buffer.from(x!, "base64url")) };
}

/** The 32 bytes that a private key was imported from. */
export function exportSecret(key: KeyObject): Uint8Array {
  const der = key.export({ format: "der", type: "pkcs8" });
  const secret = new Uint8Array(der.subarray(SECRET_OFFSET, SECRET_OFFSET + 32));
  wipe(der);
  return secret;
}

/** `bytes`: 32 bytes. May throw for some of those that are no key. */
export function importPublicKey(curve: OctetCurve, bytes: Uint8Array): KeyObject {
  const x = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64url");
  return createPublicKey({ key: { kty: "OKP", crv: curve, x }, format: "jwk" });
}
