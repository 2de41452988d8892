/**
 * Bytes as text and back: hex, base64, base32 (RFC 4648), ASCII and UTF-8.
 *
 * The decoders are strict: a character outside the alphabet, or a length that no encoder produces, is
 * `malformed`. Tor writes base64 without padding in most places; the decoder takes it either way.
 */
import { malformed } from "./reader.ts";

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const BASE64_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE32_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";

/** Values of characters 0–127 in an alphabet; 255 where the character is none of it. */
function reverse(alphabet: string): Uint8Array {
  const values = new Uint8Array(128).fill(255);
  for (let i = 0; i < alphabet.length; i++) values[alphabet.charCodeAt(i)] = i;
  return values;
}

const HEX_VALUES = reverse("0123456789abcdef");
for (const [i, c] of [..."ABCDEF"].entries()) HEX_VALUES[c.charCodeAt(0)] = 10 + i;
const BASE64_VALUES = reverse(BASE64_ALPHABET);
const BASE32_VALUES = reverse(BASE32_ALPHABET);
for (const [i, c] of [..."ABCDEFGHIJKLMNOPQRSTUVWXYZ"].entries()) BASE32_VALUES[c.charCodeAt(0)] = i;

/** Lower-case hex. */
export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i++) text += HEX[bytes[i]!];
  return text;
}

/** Upper-case hex, as fingerprints are written. */
export function toHexUpper(bytes: Uint8Array): string {
  return toHex(bytes).toUpperCase();
}

export function fromHex(text: string, what = "hex"): Uint8Array {
  if (text.length % 2 !== 0) throw malformed(what, `an odd number (${text.length}) of hex digits`);
  return fromDigits(text, HEX_VALUES, 4, what);
}

/** Base64 without padding. */
export function toBase64(bytes: Uint8Array): string {
  return toDigits(bytes, BASE64_ALPHABET, 6);
}

export function fromBase64(text: string, what = "base64"): Uint8Array {
  let end = text.length;
  if (end % 4 === 0) { while (end > 0 && end > text.length - 2 && text.charCodeAt(end - 1) === 61) end--; }
  if (end % 4 === 1) throw malformed(what, `a length (${end}) that base64 never has`);
  return fromDigits(end === text.length ? text : text.slice(0, end), BASE64_VALUES, 6, what);
}

/** Lower-case base32 without padding, as onion addresses are written. */
export function toBase32(bytes: Uint8Array): string {
  return toDigits(bytes, BASE32_ALPHABET, 5);
}

export function fromBase32(text: string, what = "base32"): Uint8Array {
  if ([1, 3, 6].includes(text.length % 8)) throw malformed(what, `a length (${text.length}) that base32 never has`);
  return fromDigits(text, BASE32_VALUES, 5, what);
}

export function utf8(text: string): Uint8Array {
  return utf8Encoder.encode(text);
}

/** Throws `malformed` for bytes that are not UTF-8. */
export function fromUtf8(bytes: Uint8Array, what = "text"): string {
  try {
    return utf8Decoder.decode(bytes);
  } catch {
    throw malformed(what, "bytes that are not UTF-8");
  }
}

/** One character a byte, 0–255: for documents that are ASCII by specification and for keys of maps. */
export function latin1(bytes: Uint8Array, start = 0, end = bytes.length): string {
  let text = "";
  for (let i = start; i < end; i += 4096) {
    text += String.fromCharCode(...bytes.subarray(i, Math.min(end, i + 4096)));
  }
  return text;
}

function toDigits(bytes: Uint8Array, alphabet: string, bits: number): string {
  let text = "";
  let pending = 0;
  let count = 0;
  for (let i = 0; i < bytes.length; i++) {
    pending = (pending << 8) | bytes[i]!;
    count += 8;
    while (count >= bits) {
      count -= bits;
      text += alphabet[pending >>> count];
      pending &= (1 << count) - 1;
    }
  }
  if (count > 0) text += alphabet[(pending << (bits - count)) & ((1 << bits) - 1)];
  return text;
}

function fromDigits(text: string, values: Uint8Array, bits: number, what: string): Uint8Array {
  const bytes = new Uint8Array(Math.floor((text.length * bits) / 8));
  let pending = 0;
  let count = 0;
  let at = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const value = code < 128 ? values[code]! : 255;
    if (value === 255) throw malformed(what, `an unexpected character at ${i}`);
    pending = (pending << bits) | value;
    count += bits;
    if (count >= 8) {
      count -= 8;
      bytes[at++] = pending >>> count;
      pending &= (1 << count) - 1;
    }
  }
  if (pending !== 0) throw malformed(what, "stray bits after the last byte");
  return bytes;
}
