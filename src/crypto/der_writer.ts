/**
 * The little of DER (ITU-T X.690) that Tor's X.509 certificates are made of; lengths up to 65,535 bytes.
 *
 * Certificate libraries bring ASN.1 schemas of hundreds of kilobytes for what these few lines do.
 */
import { concat } from "../bytes/bytes.ts";
import { utf8 } from "../bytes/text.ts";
import { BIT_STRING, GENERALIZED_TIME, INTEGER, UTC_TIME } from "./der.ts";

/** An element: tag, length, contents. */
export function derElement(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const body = concat(...contents);
  const { length } = body;
  if (length > 0xffff) throw new RangeError(`an element of ${length} bytes, at most 65,535 can be written`);
  if (length < 0x80) return concat(Uint8Array.of(tag, length), body);
  if (length < 0x100) return concat(Uint8Array.of(tag, 0x81, length), body);
  return concat(Uint8Array.of(tag, 0x82, length >>> 8, length), body);
}

/** An INTEGER that is not negative, from its bytes, most significant first. */
export function derInteger(bytes: Uint8Array): Uint8Array {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start++;
  const shortest = bytes.subarray(start);
  const needsSign = shortest.length === 0 || shortest[0]! >= 0x80;
  return derElement(INTEGER, new Uint8Array(needsSign ? 1 : 0), shortest);
}

/** A BIT STRING of whole bytes. */
export function derBitString(bytes: Uint8Array): Uint8Array {
  return derElement(BIT_STRING, Uint8Array.of(0), bytes);
}

/** A moment, to the second, in the form that RFC 5280 section 4.1.2.5 wants: UTCTime for the years 1950 to 2049. */
export function derTime(ms: number): Uint8Array {
  const text = `${new Date(ms).toISOString().slice(0, 19).replace(/[-:T]/g, "")}Z`;
  const year = new Date(ms).getUTCFullYear();
  if (year < 0 || year > 9999) throw new RangeError(`the year ${year}, which a certificate cannot name`);
  return year >= 1950 && year < 2050
    ? derElement(UTC_TIME, utf8(text.slice(2)))
    : derElement(GENERALIZED_TIME, utf8(text));
}
