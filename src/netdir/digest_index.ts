/** Finds the rows of a column of 32-byte digests by value. */
import { MICRODESC_DIGEST_BYTES } from "../wire/netdoc/relay_table.ts";

export class DigestIndex {
  readonly #digests: Uint8Array;
  /** Row + 1 in each place; 0 is empty. A digest is its own hash. */
  readonly #table: Uint32Array;

  constructor(digests: Uint8Array, rows: number) {
    this.#digests = digests;
    let places = 8;
    while (places * 3 < rows * 4) places *= 2;
    this.#table = new Uint32Array(places);
    for (let row = 0; row < rows; row++) {
      let place = this.#first(digests, row * MICRODESC_DIGEST_BYTES);
      while (this.#table[place] !== 0) place = (place + 1) & (places - 1);
      this.#table[place] = row + 1;
    }
  }

  /** All rows that hold `digest`: hardly ever more than one. */
  rows(digest: Uint8Array): number[] {
    const rows: number[] = [];
    for (let place = this.#first(digest, 0);; place = (place + 1) & (this.#table.length - 1)) {
      const row = this.#table[place]! - 1;
      if (row < 0) return rows;
      if (this.#equals(row, digest)) rows.push(row);
    }
  }

  #first(digests: Uint8Array, at: number): number {
    const start = (digests[at]! << 24) | (digests[at + 1]! << 16) | (digests[at + 2]! << 8) | digests[at + 3]!;
    return start & (this.#table.length - 1);
  }

  #equals(row: number, digest: Uint8Array): boolean {
    const at = row * MICRODESC_DIGEST_BYTES;
    for (let i = 0; i < MICRODESC_DIGEST_BYTES; i++) if (this.#digests[at + i] !== digest[i]) return false;
    return true;
  }
}
