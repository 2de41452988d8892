/** Builds big-endian binary messages in a buffer that grows by doubling. */
export class Writer {
  #bytes: Uint8Array;
  #length = 0;

  /** `capacity`: bytes to start with. */
  constructor(capacity = 64) {
    this.#bytes = new Uint8Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  u8(value: number): this {
    const at = this.#grow(1);
    this.#bytes[at] = value;
    return this;
  }

  u16(value: number): this {
    const at = this.#grow(2);
    this.#bytes[at] = value >>> 8;
    this.#bytes[at + 1] = value;
    return this;
  }

  u32(value: number): this {
    const at = this.#grow(4);
    this.#bytes[at] = value >>> 24;
    this.#bytes[at + 1] = value >>> 16;
    this.#bytes[at + 2] = value >>> 8;
    this.#bytes[at + 3] = value;
    return this;
  }

  u64(value: bigint): this {
    return this.u32(Number((value >> 32n) & 0xffff_ffffn)).u32(Number(value & 0xffff_ffffn));
  }

  bytes(value: Uint8Array): this {
    const at = this.#grow(value.length);
    this.#bytes.set(value, at);
    return this;
  }

  zeros(count: number): this {
    this.#grow(count);
    return this;
  }

  /** Writes a length of `size` bytes in front of what `body` writes. */
  lengthPrefixed(size: 1 | 2 | 4, body: (writer: Writer) => void): this {
    const at = this.#grow(size);
    body(this);
    const length = this.#length - at - size;
    if (length >= 2 ** (8 * size)) throw new RangeError(`${length} bytes do not fit a length of ${size} bytes`);
    for (let i = 0; i < size; i++) this.#bytes[at + i] = length >>> (8 * (size - 1 - i));
    return this;
  }

  /** What was written, as a view; the Writer must not be used after it. */
  finish(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  #grow(count: number): number {
    const at = this.#length;
    const needed = at + count;
    if (needed > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
      larger.set(this.#bytes.subarray(0, at));
      this.#bytes = larger;
    }
    this.#length = needed;
    return at;
  }
}
