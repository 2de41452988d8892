/**
 * RSA as Tor still uses it (tor-spec section 0.3): identity keys of relays and directory authorities, with the
 * fixed exponent 65537, whose signatures pad the bare digest without naming its algorithm.
 *
 * A signature is checked by building what it must decrypt to and comparing the whole: nothing parses the padding, so
 * there is nothing to be lenient about.
 */
import { Buffer } from "node:buffer";
import { constants, createPublicKey, type KeyObject, publicEncrypt } from "node:crypto";
import { compare, equal } from "../bytes/bytes.ts";
import { malformed } from "../bytes/reader.ts";
import { fromBase64 } from "../bytes/text.ts";
import { DerReader, SEQUENCE } from "./der.ts";
import { sha1 } from "./digest.ts";
import { equalSecrets } from "./secrets.ts";

const WHAT = "an RSA public key";
const MIN_BITS = 1024;
const MAX_BITS = 4096;
const EXPONENT = Uint8Array.of(1, 0, 1);
/** 00 01 FF×8 00, the shortest padding. */
const MIN_PADDING = 11;
/** More than a key of 4096 bits takes. */
const MAX_PEM_LENGTH = 2048;

export class RsaPublicKey {
  /** PKCS #1's RSAPublicKey, to the byte. */
  readonly der: Uint8Array;
  /** The length of the modulus. */
  readonly bits: number;
  readonly #modulus: Uint8Array;
  #key: KeyObject | undefined;

  /** For {@link parseRsaPublicKey}, which checks the parts. */
  constructor(der: Uint8Array, modulus: Uint8Array) {
    this.der = der;
    this.bits = 8 * modulus.length - (Math.clz32(modulus[0]!) - 24);
    this.#modulus = modulus;
  }

  /** The identity that the key gives a relay or authority: SHA-1 of its DER form, 20 bytes. */
  identity(): Uint8Array {
    return sha1(this.der);
  }

  /** Whether `signature` is this key's over exactly `content`, padded by PKCS #1 v1.5 as block type 1. */
  verify(signature: Uint8Array, content: Uint8Array): boolean {
    const length = this.#modulus.length;
    if (signature.length !== length || compare(signature, this.#modulus) >= 0) return false;
    if (content.length > length - MIN_PADDING) return false;
    const expected = new Uint8Array(length).fill(0xff);
    expected[0] = 0;
    expected[1] = 1;
    expected[length - content.length - 1] = 0;
    expected.set(content, length - content.length);
    let opened: Uint8Array;
    try {
      this.#key ??= createPublicKey({ key: Buffer.from(this.der), format: "der", type: "pkcs1" });
      // "Encryption" without padding is the bare RSA operation, which Deno's publicDecrypt does not offer.
      opened = publicEncrypt({ key: this.#key, padding: constants.RSA_NO_PADDING }, signature);
    } catch {
      return false; // The runtime takes the modulus for no RSA key.
    }
    return equalSecrets(opened, expected);
  }
}

/** Reads PKCS #1's RSAPublicKey. Throws `malformed` unless it has 1024 to 4096 bits and the exponent 65537. */
export function parseRsaPublicKey(der: Uint8Array): RsaPublicKey {
  const copy = new Uint8Array(der);
  const outside = new DerReader(copy, WHAT);
  const inside = outside.inside(SEQUENCE);
  outside.end();
  const modulus = inside.positiveInteger();
  const exponent = inside.positiveInteger();
  inside.end();
  const key = new RsaPublicKey(copy, modulus);
  if (key.bits < MIN_BITS || key.bits > MAX_BITS) {
    inside.fail(`a modulus of ${key.bits} bits, expected ${MIN_BITS} to ${MAX_BITS}`);
  }
  if (modulus[modulus.length - 1]! % 2 === 0) inside.fail("an even modulus");
  if (!equal(exponent, EXPONENT)) inside.fail("an exponent other than 65537");
  return key;
}

/** Reads a "-----BEGIN RSA PUBLIC KEY-----" block, from its first line to its last, as {@link parseRsaPublicKey} does. */
export function parseRsaPublicKeyPem(pem: string): RsaPublicKey {
  if (pem.length > MAX_PEM_LENGTH) {
    throw malformed(WHAT, `${pem.length} characters, expected ${MAX_PEM_LENGTH} at most`);
  }
  const block = /^-----BEGIN RSA PUBLIC KEY-----\n([A-Za-z0-9+/=\n]+)\n-----END RSA PUBLIC KEY-----\n?$/.exec(pem);
  if (block === null) throw malformed(WHAT, "text that is no RSA PUBLIC KEY block");
  return parseRsaPublicKey(fromBase64(block[1]!.replaceAll("\n", ""), WHAT));
}

/** The "-----BEGIN RSA PUBLIC KEY-----" block of a key, as network documents have it, with its last line's end. */
export function formatRsaPublicKeyPem(key: RsaPublicKey): string {
  const base64 = Buffer.from(key.der).toString("base64").replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN RSA PUBLIC KEY-----\n${base64}\n-----END RSA PUBLIC KEY-----\n`;
}

/** Whether `signature` is the holder of `key`'s over a digest, as Tor signs: the bare digest, without its algorithm's name. */
export function verifyRsaDigest(key: RsaPublicKey, signature: Uint8Array, digest: Uint8Array): boolean {
  return digest.length > 0 && key.verify(signature, digest);
}
