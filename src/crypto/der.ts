/**
 * The little of DER (ITU-T X.690) that RSA keys and Tor's X.509 certificates need, read strictly: definite
 * lengths in their shortest form, up to 65,535 bytes; whole numbers positive and in their shortest form.
 */
import { Reader } from "../bytes/reader.ts";

export const INTEGER = 0x02;
export const BIT_STRING = 0x03;
export const NULL = 0x05;
export const OBJECT_IDENTIFIER = 0x06;
export const UTC_TIME = 0x17;
export const GENERALIZED_TIME = 0x18;
export const SEQUENCE = 0x30;

export class DerReader {
  readonly #bytes: Uint8Array;
  readonly #reader: Reader;

  /** Reads `bytes`, a part of the thing called `what`. */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#reader = Reader.whole(bytes, what);
  }

  /** The next element's tag and contents, as a view. */
  any(): { tag: number; contents: Uint8Array } {
    const tag = this.#reader.u8();
    return { tag, contents: this.#reader.view(this.#length()) };
  }

  /** The contents of the next element, whose tag must be `tag`. */
  contents(tag: number): Uint8Array {
    const element = this.any();
    if (element.tag !== tag) this.fail(`an element with tag ${element.tag}, expected ${tag}`);
    return element.contents;
  }

  /** The next element with its tag and length. */
  whole(tag: number): Uint8Array {
    const start = this.#reader.position;
    this.contents(tag);
    return this.#bytes.subarray(start, this.#reader.position);
  }

  /** A reader of the next element's contents. */
  inside(tag: number): DerReader {
    return new DerReader(this.contents(tag), this.#reader.what);
  }

  /** The next INTEGER, which must be greater than zero: its bytes, most significant first, without leading zeros. */
  positiveInteger(): Uint8Array {
    const contents = this.contents(INTEGER);
    const first = contents[0];
    if (first === undefined || first >= 0x80) this.fail("a negative or empty integer");
    if (first !== 0) return contents;
    if (contents.length === 1 || contents[1]! < 0x80) this.fail("an integer that is zero or not in its shortest form");
    return contents.subarray(1);
  }

  /** The next BIT STRING, which must be a whole number of bytes. */
  bitStringBytes(): Uint8Array {
    const contents = this.contents(BIT_STRING);
    if (contents[0] !== 0) this.fail("a bit string that does not end with a byte");
    return contents.subarray(1);
  }

  /** Throws unless everything was read. */
  end(): void {
    this.#reader.end();
  }

  fail(detail: string): never {
    this.#reader.fail(detail);
  }

  #length(): number {
    const first = this.#reader.u8();
    if (first < 0x80) return first;
    const length = first === 0x81 ? this.#reader.u8() : first === 0x82 ? this.#reader.u16() : 0;
    if (length < (first === 0x81 ? 0x80 : 0x100)) {
      this.fail("a length that is indefinite, too long or not in its shortest form");
    }
    return length;
  }
}
