/**
 * Network documents, line by line, from bytes (dir-spec 1.2).
 *
 * A document is a sequence of items: a keyword line, and sometimes an object between BEGIN and END lines. The
 * scanner is a cursor over the bytes that builds no strings and no objects: it shows where the current line, its
 * keyword and its arguments lie, and decodes an object only when asked for it. Objects nobody asks for are skipped.
 */
import { latin1, malformed } from "../../bytes/mod.ts";

const NEWLINE = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;
const DASH = 0x2d;

/** Longest line; family lists of microdescriptors are the longest there are, near 30 KiB. */
export const MAX_LINE_BYTES = 128 * 1024;
const MAX_OBJECT_BYTES = 16 * 1024;
const MAX_KEYWORD_BYTES = 64;

const BEGIN = [..."-----BEGIN "].map((c) => c.charCodeAt(0));
const END = [..."-----END "].map((c) => c.charCodeAt(0));

const KEYWORD_CHARACTERS = new Uint8Array(256);
const BASE64_VALUES = new Uint8Array(256).fill(255);
const ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
for (const [i, c] of [...ALPHANUMERIC + "+/"].entries()) BASE64_VALUES[c.charCodeAt(0)] = i;
for (const c of ALPHANUMERIC + "-") KEYWORD_CHARACTERS[c.charCodeAt(0)] = 1;

export class Scanner {
  readonly bytes: Uint8Array;
  readonly what: string;
  readonly #limit: number;
  readonly #maxObjectBytes: number;
  /** Where the next line begins. */
  #next: number;
  #lineStart: number;
  #lineEnd: number;
  #keywordEnd: number;
  #argumentStart = 0;
  #argumentEnd = 0;

  /** Scans `bytes[start, end)`; `what` names the document in errors, `maxObjectBytes` bounds each object decoded. */
  constructor(bytes: Uint8Array, what: string, start = 0, end = bytes.length, maxObjectBytes = MAX_OBJECT_BYTES) {
    this.bytes = bytes;
    this.what = what;
    this.#limit = end;
    this.#maxObjectBytes = maxObjectBytes;
    this.#next = start;
    this.#lineStart = start;
    this.#lineEnd = start;
    this.#keywordEnd = start;
  }

  /** Offset of the current line's first byte. */
  get lineStart(): number {
    return this.#lineStart;
  }

  /** Offset of the current line's newline. */
  get lineEnd(): number {
    return this.#lineEnd;
  }

  /** Offset after the current line's keyword. */
  get keywordEnd(): number {
    return this.#keywordEnd;
  }

  /** Where the next line begins: after the object, where one was read. */
  get position(): number {
    return this.#next;
  }

  get argumentStart(): number {
    return this.#argumentStart;
  }

  get argumentEnd(): number {
    return this.#argumentEnd;
  }

  /** Goes on to the next item's keyword line; false at the end of the document. */
  next(): boolean {
    while (this.#next < this.#limit) {
      const atStart = this.#lineStart === this.#next;
      this.#line();
      if (!this.#startsWith(BEGIN)) {
        this.#keyword();
        return true;
      }
      if (atStart) this.fail("an object where a keyword was expected");
      this.#skipObject();
    }
    return false;
  }

  /** Whether the current line's keyword is `keyword`. */
  is(keyword: string): boolean {
    const start = this.#lineStart;
    if (this.#keywordEnd - start !== keyword.length) return false;
    for (let i = 0; i < keyword.length; i++) if (this.bytes[start + i] !== keyword.charCodeAt(i)) return false;
    return true;
  }

  keyword(): string {
    return latin1(this.bytes, this.#lineStart, this.#keywordEnd);
  }

  /** Goes on to the line's next argument, found at `argumentStart`; false where there is none. */
  nextArgument(): boolean {
    const bytes = this.bytes;
    let at = this.#argumentEnd;
    while (at < this.#lineEnd && (bytes[at] === SPACE || bytes[at] === TAB)) at++;
    if (at === this.#lineEnd) return false;
    this.#argumentStart = at;
    while (at < this.#lineEnd && bytes[at] !== SPACE && bytes[at] !== TAB) at++;
    this.#argumentEnd = at;
    return true;
  }

  /** Goes on to the line's next argument, which must be there; `name` is for the error. */
  needArgument(name: string): void {
    if (!this.nextArgument()) this.fail(`the item "${this.keyword()}" has no ${name}`);
  }

  /** The current argument, as text with one character a byte. */
  argument(): string {
    return latin1(this.bytes, this.#argumentStart, this.#argumentEnd);
  }

  needText(name: string): string {
    this.needArgument(name);
    return this.argument();
  }

  /** The next argument as a decimal integer between `min` and `max`. */
  needInteger(name: string, min: number, max: number): number {
    this.needArgument(name);
    const value = parseInteger(this.bytes, this.#argumentStart, this.#argumentEnd);
    if (value === undefined || value < min || value > max) {
      this.fail(`${name}: found "${this.#shown()}", expected an integer between ${min} and ${max}`);
    }
    return value;
  }

  /** The next two arguments as `YYYY-MM-DD HH:MM:SS` in UTC; milliseconds since 1970. */
  needTime(name: string): number {
    this.needArgument(name);
    const start = this.#argumentStart;
    this.needArgument(name);
    const time = this.#argumentEnd - start === 19 ? parseTime(this.bytes, start) : undefined;
    if (time === undefined) this.fail(`${name} is not a date and a time of day`);
    return time;
  }

  /** Decodes the next argument, base64 with or without padding, into `into[at, at + length)`. */
  needBase64(name: string, into: Uint8Array, at: number, length: number): void {
    this.needArgument(name);
    let end = this.#argumentEnd;
    const padded = Math.ceil(length / 3) * 4;
    if (end - this.#argumentStart === padded) { while (this.bytes[end - 1] === 0x3d) end--; }
    if (
      end - this.#argumentStart !== Math.ceil((length * 4) / 3) ||
      !decodeBase64(this.bytes, this.#argumentStart, end, into, at)
    ) this.fail(`${name} is not ${length} bytes in base64`);
  }

  /** The next argument as the hex of `length` bytes. */
  needHex(name: string, length: number): Uint8Array {
    this.needArgument(name);
    const value = new Uint8Array(length);
    if (
      this.#argumentEnd - this.#argumentStart !== length * 2 ||
      !decodeHex(this.bytes, this.#argumentStart, value, 0, length)
    ) this.fail(`${name} is not ${length} bytes in hex`);
    return value;
  }

  /** Refuses arguments that are left over on the line. */
  noMoreArguments(): void {
    if (this.nextArgument()) this.fail(`the item "${this.keyword()}" has arguments too many`);
  }

  /** Reads the current item's object, which must be there and be labelled `label`, or `other` where that is given. */
  needObject(label: string, other = label): Uint8Array {
    const keyword = this.keyword();
    if (this.#next >= this.#limit) this.fail(`the item "${keyword}" has no object`);
    this.#line();
    if (!this.#startsWith(BEGIN)) this.fail(`the item "${keyword}" has no object`);
    const found = this.#label(BEGIN.length);
    if (found !== label && found !== other) {
      this.fail(`the item "${keyword}" has an object of another kind, expected "${label}"`);
    }
    return this.#objectBody(found, true);
  }

  /** Throws a `malformed` error about this document. */
  fail(detail: string): never {
    throw malformed(this.what, `${detail} (at byte ${this.#lineStart})`);
  }

  /** Takes the next line, whatever it is. */
  #line(): void {
    const start = this.#next;
    const end = this.bytes.indexOf(NEWLINE, start);
    this.#lineStart = start;
    if (end < 0 || end >= this.#limit) this.fail("the last line is cut off");
    if (end - start > MAX_LINE_BYTES) this.fail(`a line is longer than ${MAX_LINE_BYTES} bytes`);
    this.#lineEnd = end;
    this.#next = end + 1;
  }

  #keyword(): void {
    const bytes = this.bytes;
    let at = this.#lineStart;
    while (at < this.#lineEnd && KEYWORD_CHARACTERS[bytes[at]!] === 1) at++;
    const length = at - this.#lineStart;
    const after = bytes[at];
    if (
      length === 0 || length > MAX_KEYWORD_BYTES || (at < this.#lineEnd && after !== SPACE && after !== TAB)
    ) this.fail("a line does not begin with a keyword");
    this.#keywordEnd = at;
    this.#argumentEnd = at;
  }

  #startsWith(text: readonly number[]): boolean {
    const start = this.#lineStart;
    if (this.#lineEnd - start < text.length) return false;
    for (let i = 0; i < text.length; i++) if (this.bytes[start + i] !== text[i]) return false;
    return true;
  }

  /** The label of a BEGIN or END line, which must close with five dashes. */
  #label(prefix: number): string {
    const end = this.#lineEnd - 5;
    const start = this.#lineStart + prefix;
    if (end <= start || end - start > MAX_KEYWORD_BYTES) this.fail("an object has a bad label");
    for (let i = end; i < this.#lineEnd; i++) if (this.bytes[i] !== DASH) this.fail("an object has a bad label");
    return latin1(this.bytes, start, end);
  }

  #skipObject(): void {
    this.#objectBody(this.#label(BEGIN.length), false);
  }

  #objectBody(label: string, decode: boolean): Uint8Array {
    const start = this.#next;
    for (;;) {
      if (this.#next >= this.#limit) this.fail("an object has no end");
      this.#line();
      if (this.#startsWith(END)) break;
      if (this.#next - start > this.#maxObjectBytes * 2) this.fail("an object is too long");
    }
    if (this.#label(END.length) !== label) this.fail("an object ends with another label than it began with");
    return decode ? this.#decodeObject(start, this.#lineStart) : EMPTY;
  }

  #decodeObject(start: number, end: number): Uint8Array {
    const digits = new Uint8Array(end - start);
    let count = 0;
    let padding = 0;
    for (let i = start; i < end; i++) {
      const byte = this.bytes[i]!;
      if (byte === NEWLINE) continue;
      if (byte === 0x3d) padding++;
      else if (padding > 0) this.fail("an object goes on after its padding");
      else digits[count++] = byte;
    }
    const body = new Uint8Array(Math.floor((count * 3) / 4));
    if (padding > 2 || body.length > this.#maxObjectBytes || !decodeBase64(digits, 0, count, body, 0)) {
      this.fail("an object is not base64");
    }
    return body;
  }

  /** The current argument for an error message, never long. */
  #shown(): string {
    return latin1(this.bytes, this.#argumentStart, Math.min(this.#argumentEnd, this.#argumentStart + 40))
      .replace(/[^ -~]/g, "?");
  }
}

const EMPTY = new Uint8Array(0);

/** Base64 digits `bytes[start, end)` without padding, into `into` from `at`; false where they are none. */
export function decodeBase64(bytes: Uint8Array, start: number, end: number, into: Uint8Array, at: number): boolean {
  let pending = 0;
  let bits = 0;
  for (let i = start; i < end; i++) {
    const value = BASE64_VALUES[bytes[i]!]!;
    if (value === 255) return false;
    pending = (pending << 6) | value;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      into[at++] = pending >>> bits;
      pending &= (1 << bits) - 1;
    }
  }
  return pending === 0 && bits < 6;
}

/** `length` bytes of hex from `bytes[start]`, into `into` from `at`; false where a digit is none. */
export function decodeHex(bytes: Uint8Array, start: number, into: Uint8Array, at: number, length: number): boolean {
  for (let i = 0; i < length; i++) {
    const high = hexDigit(bytes[start + 2 * i]!);
    const low = hexDigit(bytes[start + 2 * i + 1]!);
    if (high < 0 || low < 0) return false;
    into[at + i] = (high << 4) | low;
  }
  return true;
}

/** The value of a hex digit, or -1. */
export function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** A decimal integer, perhaps negative, of at most ten digits; `undefined` where there is none. */
export function parseInteger(bytes: Uint8Array, start: number, end: number): number | undefined {
  const negative = bytes[start] === DASH && start < end;
  if (negative) start++;
  if (start >= end || end - start > 10) return undefined;
  let value = 0;
  for (let i = start; i < end; i++) {
    const digit = bytes[i]! - 0x30;
    if (digit < 0 || digit > 9) return undefined;
    value = value * 10 + digit;
  }
  return negative ? -value : value;
}

/** `YYYY-MM-DD HH:MM:SS` at `bytes[at]`, in milliseconds since 1970. */
function parseTime(bytes: Uint8Array, at: number): number | undefined {
  if (
    bytes[at + 4] !== DASH || bytes[at + 7] !== DASH || bytes[at + 10] !== SPACE || bytes[at + 13] !== 0x3a ||
    bytes[at + 16] !== 0x3a
  ) return undefined;
  const field = (start: number, end: number, min: number, max: number): number => {
    // A sign is no digit here, so a negative number shows as below the minimum.
    const value = bytes[at + start] === DASH ? -1 : parseInteger(bytes, at + start, at + end);
    return value === undefined || value < min || value > max ? Number.NaN : value;
  };
  const year = field(0, 4, 1970, 9999);
  const month = field(5, 7, 1, 12);
  const day = field(8, 10, 1, 31);
  const time = Date.UTC(year, month - 1, day, field(11, 13, 0, 23), field(14, 16, 0, 59), field(17, 19, 0, 60));
  // The 31st of a shorter month would quietly become the next month's first.
  return Number.isNaN(time) || new Date(Date.UTC(year, month - 1, day)).getUTCDate() !== day ? undefined : time;
}
