/**
 * Stores each distinct byte string once and names it by a small number, without an object per string.
 *
 * The strings lie end to end in one growing array; an open-addressing table of their numbers finds them again.
 * Directory documents repeat themselves so much (protocol lists, policies, families) that this is what keeps a
 * view of the whole network within a few megabytes.
 */

export class ByteInterner {
  #arena: Uint8Array;
  #arenaLength = 0;
  #ends: Uint32Array;
  #count = 0;
  /** Number + 1 of the string in each place; 0 is empty. The length is a power of two. */
  #table: Uint32Array;

  /** `expected`: how many strings there will be, `expectedBytes`: how long all of them together, both only guesses. */
  constructor(expected = 16, expectedBytes = 256) {
    this.#arena = new Uint8Array(expectedBytes);
    this.#ends = new Uint32Array(Math.max(expected, 4));
    let places = 8;
    while (places * 3 < expected * 4) places *= 2;
    this.#table = new Uint32Array(places);
  }

  /** How many distinct strings there are; their numbers are 0 to `size - 1`. */
  get size(): number {
    return this.#count;
  }

  /** The number of `bytes[start, end)`, which is copied where it is new. */
  intern(bytes: Uint8Array, start = 0, end = bytes.length): number {
    const place = this.#place(bytes, start, end);
    const known = this.#table[place]!;
    if (known !== 0) return known - 1;
    return this.#append(bytes, start, end, place);
  }

  /** The number of `bytes[start, end)`, or -1. */
  find(bytes: Uint8Array, start = 0, end = bytes.length): number {
    return this.#table[this.#place(bytes, start, end)]! - 1;
  }

  /** The string called `number`, as a view that must not be written to. */
  view(number: number): Uint8Array {
    return this.#arena.subarray(this.#start(number), this.#ends[number]!);
  }

  #start(number: number): number {
    return number === 0 ? 0 : this.#ends[number - 1]!;
  }

  /** Where the string is in the table, or the empty place where it would go. */
  #place(bytes: Uint8Array, start: number, end: number): number {
    const mask = this.#table.length - 1;
    let place = hash(bytes, start, end) & mask;
    for (;;) {
      const known = this.#table[place]!;
      if (known === 0 || this.#equals(known - 1, bytes, start, end)) return place;
      place = (place + 1) & mask;
    }
  }

  #equals(number: number, bytes: Uint8Array, start: number, end: number): boolean {
    let at = this.#start(number);
    if (this.#ends[number]! - at !== end - start) return false;
    for (let i = start; i < end; i++, at++) if (this.#arena[at] !== bytes[i]) return false;
    return true;
  }

  #append(bytes: Uint8Array, start: number, end: number, place: number): number {
    const number = this.#count;
    const at = this.#arenaLength;
    const needed = at + end - start;
    if (needed > this.#arena.length) {
      const larger = new Uint8Array(Math.max(needed, grown(this.#arena.length)));
      larger.set(this.#arena.subarray(0, at));
      this.#arena = larger;
    }
    for (let i = start; i < end; i++) this.#arena[at + i - start] = bytes[i]!;
    this.#arenaLength = needed;
    if (number === this.#ends.length) {
      const larger = new Uint32Array(grown(number));
      larger.set(this.#ends);
      this.#ends = larger;
    }
    this.#ends[number] = needed;
    this.#table[place] = number + 1;
    this.#count++;
    if (this.#count * 4 > this.#table.length * 3) this.#rehash();
    return number;
  }

  #rehash(): void {
    this.#table = new Uint32Array(this.#table.length * 2);
    const mask = this.#table.length - 1;
    for (let number = 0; number < this.#count; number++) {
      let place = hash(this.#arena, this.#start(number), this.#ends[number]!) & mask;
      while (this.#table[place] !== 0) place = (place + 1) & mask;
      this.#table[place] = number + 1;
    }
  }
}

/** Half as much again: doubling would waste too much of what stays for long. */
function grown(length: number): number {
  return Math.max(16, length + (length >>> 1));
}

/** FNV-1a with a final mix, so that the low bits depend on every byte. */
function hash(bytes: Uint8Array, start: number, end: number): number {
  let h = 0x811c9dc5;
  for (let i = start; i < end; i++) h = Math.imul(h ^ bytes[i]!, 0x01000193);
  h ^= h >>> 15;
  h = Math.imul(h, 0x2c1b3c6d);
  return h ^ (h >>> 12);
}
