import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { concat } from "../../src/bytes/bytes.ts";
import { fromHex, toHex } from "../../src/bytes/text.ts";
import { AesCtr } from "../../src/crypto/aes_ctr.ts";
import vectors from "../vectors/crypto_aes_ctr.json" with { type: "json" };

const iv = fromHex(vectors.iv);
const plaintext = fromHex(vectors.plaintext);
const key = fromHex(vectors.cases[0]!.key);

describe("AesCtr", () => {
  test("matches NIST's vectors with 128 and 256 bits, both ways", () => {
    assert.equal(vectors.cases.length, 2);
    for (const { key, ciphertext } of vectors.cases) {
      assert.equal(toHex(new AesCtr(fromHex(key), iv).apply(plaintext)), ciphertext);
      assert.deepEqual(new AesCtr(fromHex(key), iv).apply(fromHex(ciphertext)), plaintext);
    }
  });

  test("starts at counter zero unless told otherwise, and carries over all 128 bits of the counter", () => {
    const zeros = new Uint8Array(64);
    const fromZero = new AesCtr(key).apply(zeros);
    assert.deepEqual(new AesCtr(key, new Uint8Array(16)).apply(zeros), fromZero);
    const beforeWrap = new AesCtr(key, new Uint8Array(16).fill(0xff)).apply(zeros);
    assert.deepEqual(beforeWrap.slice(16), fromZero.slice(0, 48));
  });

  test("gives the same bytes however the input is cut", () => {
    const cuts = fc.array(fc.uint8Array({ maxLength: 1100 }), { maxLength: 8 });
    fc.assert(fc.property(cuts, fc.constantFrom(16, 32), (pieces, keyLength) => {
      const key = new Uint8Array(keyLength).fill(7);
      const cipher = new AesCtr(key);
      const cut = concat(...pieces.map((piece) => cipher.apply(piece)));
      assert.deepEqual(cut, new AesCtr(key).apply(concat(...pieces)));
    }));
  });

  test("gives a plain array of its own and leaves the input alone", () => {
    const cipher = new AesCtr(key);
    const input = new Uint8Array(509).fill(1);
    const first = cipher.apply(input);
    const copy = first.slice();
    cipher.apply(input);
    assert.deepEqual(first, copy);
    assert.equal(Object.getPrototypeOf(first), Uint8Array.prototype);
    assert.deepEqual(input, new Uint8Array(509).fill(1));
    copy[0]! ^= 1;
    assert.notEqual(first[0], copy[0]);
  });

  test("refuses keys and counters of other lengths", () => {
    for (const length of [0, 15, 17, 24, 31, 33]) {
      assert.throws(() => new AesCtr(new Uint8Array(length)), RangeError);
    }
    for (const length of [0, 12, 15, 17]) assert.throws(() => new AesCtr(key, new Uint8Array(length)), RangeError);
  });
});
