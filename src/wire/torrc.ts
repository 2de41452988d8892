/**
 * The grammar of C tor's configuration file: names and values with the place they stand at.
 *
 * A file is a list of entries, one a line: a name, spaces, a value. `#` opens a comment; a value in double
 * quotes has C escapes; a backslash at a line's end continues the value on the next line, and between continued
 * lines comments may stand, with or without a backslash of their own. `+Name` appends to, `/Name` clears what
 * a source of lower rank has set. Sources: tor(1) and C tor's doc/torrc_format.txt.
 *
 * What names exist and what their values mean is not known here. Every error is a {@link TunicError} of kind
 * `config` that names file and line.
 */
import { TunicError } from "../base/errors.ts";
import { fromUtf8, latin1, utf8 } from "../bytes/text.ts";

/** How an entry meets those of the same name in a source of lower rank. */
export type TorrcCommand = "set" | "append" | "clear";

/** Where an entry stands. */
export interface TorrcPlace {
  /** The file's path, or a word for another source ("command line"). */
  readonly file: string;
  /** From 1; 0 where the source has no lines. */
  readonly line: number;
}

export interface TorrcEntry extends TorrcPlace {
  /** As written, without `+` or `/`. */
  readonly name: string;
  readonly value: string;
  readonly command: TorrcCommand;
}

/** Bytes of one file, and entries of it. */
export const MAX_TORRC_BYTES = 1 << 20;
export const MAX_TORRC_ENTRIES = 10_000;

/** An error about `place`; `reason` says what was found and what was expected. */
export function torrcError(place: TorrcPlace, reason: string, code: string, cause?: unknown): TunicError {
  return new TunicError(`Cannot use ${placeText(place)}: ${reason}`, {
    kind: "config",
    code,
    context: { file: place.file, line: place.line },
    cause,
  });
}

/** "torrc:12", or the source alone where it has no lines. */
export function placeText({ file, line }: TorrcPlace): string {
  return line > 0 ? `${file}:${line}` : file;
}

/** A value as messages show it: quoted, short, without control characters. */
export function shown(value: string): string {
  const short = value.length > 80 ? `${value.slice(0, 77)}...` : value;
  return JSON.stringify(short).replace(/[\u007f-\u009f\u2028\u2029]/g, (c) => `\\u${hex4(c.charCodeAt(0))}`);
}

function hex4(code: number): string {
  return code.toString(16).padStart(4, "0");
}

/** The entries of one file, `%include` lines among them. */
export function parseTorrc(bytes: Uint8Array, file: string): TorrcEntry[] {
  if (bytes.length > MAX_TORRC_BYTES) {
    throw torrcError(
      { file, line: 0 },
      `it is too long: found ${bytes.length} bytes, expected at most ${MAX_TORRC_BYTES}`,
      "torrc-too-long",
    );
  }
  // One character a byte, so that escapes can give any byte; values are decoded as UTF-8 at the end.
  const marked = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  const text = latin1(bytes, marked ? 3 : 0).replaceAll("\r\n", "\n");
  const scanner = new Scanner(text, file);
  const entries: TorrcEntry[] = [];
  for (let entry = scanner.next(); entry; entry = scanner.next()) {
    if (entries.length === MAX_TORRC_ENTRIES) {
      throw torrcError(entry, `found more than ${MAX_TORRC_ENTRIES} entries, expected fewer`, "torrc-too-long");
    }
    entries.push(entry);
  }
  return entries;
}

/** An entry from outside a file, its name still with `+` or `/`. */
export function makeEntry(name: string, value: string, place: TorrcPlace): TorrcEntry {
  const sign = name[0];
  const command = sign === "+" ? "append" : sign === "/" ? "clear" : "set";
  return { name: command === "set" ? name : name.slice(1), value, command, file: place.file, line: place.line };
}

const SPACE = /[ \t\n\v\f\r]/;

class Scanner {
  readonly #text: string;
  readonly #file: string;
  #at = 0;
  #line = 1;

  constructor(text: string, file: string) {
    this.#text = text;
    this.#file = file;
  }

  next(): TorrcEntry | undefined {
    this.#skipBlank();
    if (this.#at >= this.#text.length) return undefined;
    const place: TorrcPlace = { file: this.#file, line: this.#line };
    const name = this.#name();
    this.#skipSpaces();
    const value = this.#text[this.#at] === '"' ? this.#quoted(place) : this.#plain();
    if (name.includes("\0") || value.includes("\0")) {
      throw torrcError(place, "found a NUL byte, expected text", "torrc-syntax");
    }
    return makeEntry(decode(name, place), decode(value, place), place);
  }

  /** Over white space and comments, to an entry's name or the end. */
  #skipBlank(): void {
    for (;;) {
      const c = this.#text[this.#at];
      if (c === undefined) return;
      if (c === "#") this.#at = this.#lineEnd();
      else if (SPACE.test(c)) this.#step();
      else return;
    }
  }

  #skipSpaces(): void {
    while (this.#text[this.#at] === " " || this.#text[this.#at] === "\t") this.#at++;
  }

  #step(): void {
    if (this.#text[this.#at++] === "\n") this.#line++;
  }

  #lineEnd(): number {
    const end = this.#text.indexOf("\n", this.#at);
    return end < 0 ? this.#text.length : end;
  }

  #continues(): boolean {
    return this.#text[this.#at] === "\\" && this.#text[this.#at + 1] === "\n";
  }

  #name(): string {
    const start = this.#at;
    while (this.#at < this.#text.length) {
      const c = this.#text[this.#at]!;
      if (c === "#" || SPACE.test(c) || this.#continues()) break;
      this.#at++;
    }
    return this.#text.slice(start, this.#at);
  }

  #plain(): string {
    let value = "";
    let start = this.#at;
    let continued = false;
    for (;;) {
      const c = this.#text[this.#at];
      if (c === undefined || c === "\n" || (c === "#" && !continued)) break;
      if (c !== "#" && !this.#continues()) {
        this.#at++;
        continue;
      }
      value += this.#text.slice(start, this.#at);
      continued = true;
      // Past the backslash or the comment, and the line's end with it.
      this.#at = this.#lineEnd();
      if (this.#at < this.#text.length) this.#step();
      start = this.#at;
    }
    value += this.#text.slice(start, this.#at);
    return trim(value);
  }

  #quoted(place: TorrcPlace): string {
    let value = "";
    this.#at++;
    for (;;) {
      const c = this.#text[this.#at];
      if (c === undefined || c === "\n") {
        throw torrcError(place, 'found a quoted value without its end, expected a closing "', "torrc-syntax");
      }
      this.#at++;
      if (c === '"') break;
      value += c === "\\" ? this.#escape(place) : c;
    }
    this.#skipSpaces();
    const next = this.#text[this.#at];
    if (next !== undefined && next !== "\n" && next !== "#") {
      const rest = this.#text.slice(this.#at, this.#lineEnd());
      throw torrcError(
        place,
        `found ${shown(rest)} after a quoted value, expected the line's end or a comment`,
        "torrc-syntax",
      );
    }
    return value;
  }

  #escape(place: TorrcPlace): string {
    const rest = this.#text.slice(this.#at, this.#at + 3);
    const hex = /^[xX]([0-9a-fA-F]{2})/.exec(rest);
    const octal = /^[0-7]{1,3}/.exec(rest);
    const code = hex ? parseInt(hex[1]!, 16) : octal ? parseInt(octal[0], 8) : undefined;
    if (code !== undefined && code <= 255) {
      this.#at += hex ? 3 : octal![0].length;
      return String.fromCharCode(code);
    }
    const simple = rest === "" ? undefined : SIMPLE_ESCAPES[rest[0]!];
    if (code !== undefined || simple === undefined) {
      throw torrcError(
        place,
        `found ${shown(`\\${rest}`)} in a quoted value, expected one of \\n \\r \\t \\" \\' \\\\ \\xHH \\OOO`,
        "torrc-syntax",
      );
    }
    this.#at++;
    return simple;
  }
}

const SIMPLE_ESCAPES: Readonly<Record<string, string | undefined>> = {
  n: "\n",
  r: "\r",
  t: "\t",
  '"': '"',
  "'": "'",
  "\\": "\\",
};

/** Without white space at its ends, of ASCII only: the text is bytes. */
function trim(value: string): string {
  let start = 0;
  let end = value.length;
  while (start < end && SPACE.test(value[start]!)) start++;
  while (end > start && SPACE.test(value[end - 1]!)) end--;
  return value.slice(start, end);
}

function decode(bytes: string, place: TorrcPlace): string {
  if (/^[\x00-\x7f]*$/.test(bytes)) return bytes;
  try {
    return fromUtf8(Uint8Array.from(bytes, (c) => c.charCodeAt(0)));
  } catch (error) {
    throw torrcError(place, "found bytes that are not UTF-8, expected UTF-8 text", "torrc-encoding", error);
  }
}

/** A value as an entry's value must be written to be read back the same. */
export function quoteValue(value: string): string {
  if (/^[^"#\\\x00-\x20\x7f-\uffff](?:[^#\\\x00-\x1f\x7f-\uffff]*[^#\\\x00-\x20\x7f-\uffff])?$/.test(value)) {
    return value;
  }
  let text = "";
  for (const byte of utf8(value)) {
    if (byte === 0x22 || byte === 0x5c) text += `\\${String.fromCharCode(byte)}`;
    else if (byte >= 0x20 && byte < 0x7f) text += String.fromCharCode(byte);
    else text += `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return `"${text}"`;
}
