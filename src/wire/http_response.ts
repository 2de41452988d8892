/**
 * Answers of directory servers: HTTP/1.0 (RFC 1945; dir-spec 4), bounded and strict.
 *
 * A body is as long as Content-Length says, or goes on to the end of the stream. What could be read in two ways is
 * refused: two lengths, a transfer encoding, folded lines, lines without CR. Bytes after the body are ignored.
 */
import { TunicError } from "../base/errors.ts";
import { concat } from "../bytes/bytes.ts";
import { malformed } from "../bytes/reader.ts";
import { latin1 } from "../bytes/text.ts";
import { Writer } from "../bytes/writer.ts";

export interface HttpMessage {
  readonly status: number;
  readonly reason: string;
  /** By names in lower case; values of a repeated header are joined by ", ". */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
}

export interface HttpResponseLimits {
  readonly maxBodyBytes: number;
  /** Default: 16 KiB. */
  readonly maxHeadBytes?: number;
}

type Head = Omit<HttpMessage, "body"> & { readonly length: number | undefined };

const WHAT = "HTTP answer";
const DEFAULT_MAX_HEAD_BYTES = 16 * 1024;
/** For a body of unknown length, in bytes. */
const FIRST_CAPACITY = 16 * 1024;
const CR = 13;
const LF = 10;

/** Reads one answer from bytes as they come. */
export class HttpResponseReader {
  readonly #limits: Required<HttpResponseLimits>;
  /** The head so far. */
  #pending: Uint8Array = new Uint8Array(0);
  #head: Head | undefined;
  /** The body so far: copied together, since bytes may come in any number of pieces. */
  #body = new Writer(0);

  constructor(limits: HttpResponseLimits) {
    this.#limits = { maxHeadBytes: DEFAULT_MAX_HEAD_BYTES, ...limits };
  }

  /** Takes bytes; answers the message once it is whole. Throws `malformed` or `limit`. */
  push(bytes: Uint8Array): HttpMessage | undefined {
    if (this.#head) return this.#take(bytes);
    const input = this.#pending.length === 0 ? bytes : concat(this.#pending, bytes);
    const end = endOfHead(input, Math.max(0, this.#pending.length - 3));
    if ((end ?? input.length) > this.#limits.maxHeadBytes) {
      throw limit(`its head is longer than ${this.#limits.maxHeadBytes} bytes`);
    }
    if (end === undefined) {
      this.#pending = input;
      return undefined;
    }
    this.#head = parseHead(latin1(input, 0, end - 4));
    if ((this.#head.length ?? 0) > this.#limits.maxBodyBytes) throw this.#tooLong();
    this.#body = new Writer(this.#head.length ?? FIRST_CAPACITY);
    return this.#take(input.subarray(end));
  }

  /** The stream has ended in an orderly way; throws `malformed` where the answer is not whole. */
  end(): HttpMessage {
    if (!this.#head) throw malformed(WHAT, "it ended within its head");
    if (this.#head.length === undefined) return this.#message(this.#head);
    throw malformed(WHAT, `it ended after ${this.#body.length} of ${this.#head.length} bytes`);
  }

  #take(bytes: Uint8Array): HttpMessage | undefined {
    const { length } = this.#head!;
    const piece = length === undefined ? bytes : bytes.subarray(0, length - this.#body.length);
    if (this.#body.length + piece.length > this.#limits.maxBodyBytes) throw this.#tooLong();
    this.#body.bytes(piece);
    return this.#body.length === length ? this.#message(this.#head!) : undefined;
  }

  #message({ status, reason, headers }: Head): HttpMessage {
    return { status, reason, headers, body: this.#body.finish() };
  }

  #tooLong(): TunicError {
    return limit(`its body is longer than ${this.#limits.maxBodyBytes} bytes`);
  }
}

function limit(detail: string): TunicError {
  return new TunicError(`Cannot read ${WHAT}: ${detail}`, { kind: "limit", code: "http-too-long", retry: "elsewhere" });
}

/** The offset after the empty line, looked for from `from` on. */
function endOfHead(bytes: Uint8Array, from: number): number | undefined {
  for (let i = bytes.indexOf(LF, from); i >= 0; i = bytes.indexOf(LF, i + 1)) {
    if (i >= 3 && bytes[i - 1] === CR && bytes[i - 2] === LF && bytes[i - 3] === CR) return i + 1;
  }
  return undefined;
}

function parseHead(text: string): Head {
  const [first, ...lines] = text.split("\r\n");
  const start = /^HTTP\/1\.[01] ([1-5]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?$/.exec(first!);
  if (!start) throw malformed(WHAT, "its first line is none of HTTP/1.0 or HTTP/1.1");
  const headers = new Map<string, string>();
  for (const line of lines) {
    const field = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([\t\x20-\x7e\x80-\xff]*)$/.exec(line);
    if (!field) throw malformed(WHAT, "a line of its head is no header");
    const name = field[1]!.toLowerCase();
    const before = headers.get(name);
    if (before !== undefined && name === "content-length") throw malformed(WHAT, "it has two lengths");
    const value = field[2]!.trimEnd();
    headers.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  if (headers.has("transfer-encoding")) throw malformed(WHAT, "it has a transfer encoding, expected none");
  const length = headers.get("content-length");
  if (length !== undefined && !/^\d{1,15}$/.test(length)) throw malformed(WHAT, "its length is no number");
  return {
    status: Number(start[1]),
    reason: start[2] ?? "",
    headers,
    length: length === undefined ? undefined : Number(length),
  };
}
