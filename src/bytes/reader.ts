/**
 * A bounded cursor over bytes from outside.
 *
 * "Not yet complete" and "malformed" are different results: a Reader opened with {@link Reader.partial} throws
 * {@link Incomplete} when the bytes run out, and framing code waits for more; any other Reader throws a
 * `malformed` {@link TunicError}, since its input was said to be whole. (Arti's tor-bytes makes the same
 * distinction.) All numbers are big-endian, as in every Tor format.
 */
import { TunicError } from "../base/errors.ts";

/** The bytes so far are a beginning of something; at least `missing` more are needed. */
export class Incomplete extends Error {
  override readonly name = "Incomplete";
  readonly missing: number;

  constructor(missing: number) {
    super(`at least ${missing} more bytes are needed`);
    this.missing = missing;
  }
}

/** A `malformed` error about the thing called `what`. */
export function malformed(what: string, detail: string): TunicError {
  return new TunicError(`Cannot read ${what}: ${detail}`, { kind: "malformed", code: "malformed", context: { what } });
}

export class Reader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  readonly #partial: boolean;
  #position: number;

  private constructor(bytes: Uint8Array, what: string, partial: boolean) {
    this.#bytes = bytes;
    this.#what = what;
    this.#partial = partial;
    this.#position = 0;
  }

  /** Reads `bytes` as the whole of the thing called `what` (the name appears in errors). */
  static whole(bytes: Uint8Array, what: string): Reader {
    return new Reader(bytes, what, false);
  }

  /** Reads `bytes` as a beginning; running out of them throws {@link Incomplete}. */
  static partial(bytes: Uint8Array, what: string): Reader {
    return new Reader(bytes, what, true);
  }

  get what(): string {
    return this.#what;
  }

  get position(): number {
    return this.#position;
  }

  get remaining(): number {
    return this.#bytes.length - this.#position;
  }

  u8(): number {
    return this.#bytes[this.#advance(1)]!;
  }

  u16(): number {
    const at = this.#advance(2);
    return (this.#bytes[at]! << 8) | this.#bytes[at + 1]!;
  }

  u32(): number {
    const at = this.#advance(4);
    const b = this.#bytes;
    return ((b[at]! << 24) | (b[at + 1]! << 16) | (b[at + 2]! << 8) | b[at + 3]!) >>> 0;
  }

  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }

  /** The next `count` bytes, as a view: valid for as long as the caller's buffer is. */
  view(count: number): Uint8Array {
    const at = this.#advance(count);
    return this.#bytes.subarray(at, at + count);
  }

  /** The next `count` bytes, as a copy of their own. */
  copy(count: number): Uint8Array {
    const at = this.#advance(count);
    return this.#bytes.slice(at, at + count);
  }

  /** Everything that is left, as a view. */
  rest(): Uint8Array {
    return this.view(this.remaining);
  }

  skip(count: number): void {
    this.#advance(count);
  }

  /** A Reader over the next `count` bytes, which are whole even where this Reader is partial. */
  sub(count: number, what: string): Reader {
    return Reader.whole(this.view(count), what);
  }

  /** Throws unless every byte was read. */
  end(): void {
    if (this.remaining !== 0) this.fail(`${this.remaining} bytes too many`);
  }

  /** Throws a `malformed` error about what is being read. */
  fail(detail: string): never {
    throw malformed(this.#what, detail);
  }

  #advance(count: number): number {
    const at = this.#position;
    const end = at + count;
    if (end > this.#bytes.length) {
      const missing = end - this.#bytes.length;
      if (this.#partial) throw new Incomplete(missing);
      this.fail(`${missing} bytes too few at offset ${at}`);
    }
    this.#position = end;
    return at;
  }
}
