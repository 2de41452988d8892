/** How directory documents write times, digests and objects (dir-spec 1.2). */
import { toBase64, toHexUpper } from "../../bytes/text.ts";

/** `YYYY-MM-DD HH:MM:SS`, of milliseconds since 1970. */
export function formatTime(ms: number): string {
  return new Date(ms).toISOString().slice(0, 19).replace("T", " ");
}

/** As HTTP has it, of milliseconds since 1970 (RFC 1123). */
export function formatHttpTime(ms: number): string {
  return new Date(ms).toUTCString();
}

/** Base64 with its padding, as objects and a few items have it. */
export function paddedBase64(bytes: Uint8Array): string {
  const text = toBase64(bytes);
  return text.padEnd(Math.ceil(text.length / 4) * 4, "=");
}

/** `-----BEGIN …-----` to `-----END …-----`, with its last line's end. */
export function formatObject(label: string, bytes: Uint8Array): string {
  const lines = paddedBase64(bytes).replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}

/** A fingerprint in groups of four digits, as server descriptors show it. */
export function spacedFingerprint(rsaId: Uint8Array): string {
  return toHexUpper(rsaId).replace(/.{4}(?=.)/g, "$& ");
}
