import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { fromHex, toHex, utf8 } from "../../src/bytes/text.ts";
import { sha1 } from "../../src/crypto/digest.ts";
import { hkdfSha256, kdfTor, RELAY_KEYS_LENGTH, splitRelayKeys } from "../../src/crypto/kdf.ts";
import vectors from "../vectors/crypto_kdf.json" with { type: "json" };

describe("kdfTor", () => {
  test("matches the vectors", () => {
    for (const { input, output } of vectors.kdfTor) assert.equal(toHex(kdfTor(fromHex(input), 100)), output);
  });

  test("cuts at any length", () => {
    const whole = fromHex(vectors.kdfTor[1]!.output);
    const k0 = fromHex(vectors.kdfTor[1]!.input);
    for (let length = 0; length <= 100; length++) assert.deepEqual(kdfTor(k0, length), whole.slice(0, length));
  });

  test("counts its blocks in one byte, and goes no further", () => {
    const k0 = utf8("key seed");
    assert.deepEqual(kdfTor(k0, 5120).slice(5100), sha1(k0, Uint8Array.of(255)));
    for (const length of [5121, -1, 1.5, NaN]) assert.throws(() => kdfTor(k0, length), RangeError);
  });
});

describe("hkdfSha256", () => {
  test("matches RFC 5869", () => {
    for (const { secret, salt, info, output } of vectors.rfc5869) {
      assert.equal(toHex(hkdfSha256(fromHex(secret), fromHex(salt), fromHex(info), output.length / 2)), output);
    }
  });

  test("matches the vectors of ntor's KDF", () => {
    const salt = fromHex(vectors.ntorSalt);
    const info = fromHex(vectors.ntorInfo);
    for (const { input, output } of vectors.ntorKdf) {
      assert.equal(toHex(hkdfSha256(fromHex(input), salt, info, 100)), output);
    }
  });

  test("goes no further than 255 blocks", () => {
    const bytes = utf8("bytes");
    assert.equal(hkdfSha256(bytes, bytes, bytes, 8160).length, 8160);
    for (const length of [8161, -1, 0.5]) assert.throws(() => hkdfSha256(bytes, bytes, bytes, length), RangeError);
  });
});

describe("splitRelayKeys", () => {
  const k = Uint8Array.from({ length: 92 }, (_, i) => i);

  test("cuts Df, Db, Kf, Kb in this order and ignores the rest", () => {
    for (const length of [RELAY_KEYS_LENGTH, 92]) {
      const keys = splitRelayKeys(k.slice(0, length));
      assert.deepEqual(keys, { df: k.slice(0, 20), db: k.slice(20, 40), kf: k.slice(40, 56), kb: k.slice(56, 72) });
    }
  });

  test("gives copies", () => {
    const material = k.slice();
    const keys = splitRelayKeys(material);
    material.fill(0);
    assert.deepEqual(keys.kb, k.slice(56, 72));
  });

  test("refuses too little key material", () => {
    assert.throws(() => splitRelayKeys(k.slice(0, RELAY_KEYS_LENGTH - 1)), RangeError);
  });
});
