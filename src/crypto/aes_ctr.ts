/**
 * AES in counter mode as one endless keystream (tor-spec section 0.3): relay cells with a 128-bit key and an
 * initial counter of zero, other uses with 256 bits.
 *
 * A call into the native cipher costs about as much as the encryption of a cell, so callers hand over as many bytes as they
 * have: the keystream does not care where calls begin and end.
 */
import { type Cipheriv, createCipheriv } from "node:crypto";

const ZERO_IV = new Uint8Array(16);

export class AesCtr {
  readonly #cipher: Cipheriv;

  /** `key`: 16 or 32 bytes; `iv`: the first counter block, 16 bytes, zero unless given. */
  constructor(key: Uint8Array, iv: Uint8Array = ZERO_IV) {
    if (key.length !== 16 && key.length !== 32) {
      throw new RangeError(`an AES key of ${key.length} bytes, expected 16 or 32`);
    }
    if (iv.length !== 16) throw new RangeError(`a counter block of ${iv.length} bytes, expected 16`);
    this.#cipher = createCipheriv(key.length === 16 ? "aes-128-ctr" : "aes-256-ctr", key, iv);
  }

  /** XORs the next bytes of keystream with `bytes` into a new array: encryption and decryption are the same. */
  apply(bytes: Uint8Array): Uint8Array {
    const result = this.#cipher.update(bytes);
    // Not the Buffer itself: its slice() would be a view where a Uint8Array's is a copy.
    return new Uint8Array(result.buffer, result.byteOffset, result.byteLength);
  }
}
