import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ed25519 } from "@noble/curves/ed25519.js";
import { sha512 } from "@noble/hashes/sha2.js";
import fc from "fast-check";
import { concat } from "../../src/bytes/bytes.ts";
import { fromHex, toHex, utf8 } from "../../src/bytes/text.ts";
import { Ed25519PrivateKey, generateEd25519, verifyEd25519 } from "../../src/crypto/ed25519.ts";
import { ed25519FromX25519, x25519Signer } from "../../src/crypto/ed25519_convert.ts";
import { X25519PrivateKey } from "../../src/crypto/x25519.ts";
import vectors from "../vectors/crypto_ed25519.json" with { type: "json" };

const Point = ed25519.Point;
const L = 2n ** 252n + 27742317777372353535851937790883648493n;
const P = 2n ** 255n - 19n;
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });

function littleEndian(value: bigint, length = 32): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => Number((value >> BigInt(8 * i)) & 255n));
}

function fromLittleEndian(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

/** k of RFC 8032's verification: SHA-512(R | A | M) mod L. */
function challenge(r: Uint8Array, a: Uint8Array, message: Uint8Array): bigint {
  return fromLittleEndian(sha512(concat(r, a, message))) % L;
}

/** A point of order 8. */
const TORSION = Point.fromBytes(fromHex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"));

describe("Ed25519", () => {
  test("signs and verifies as the vectors do", () => {
    for (const { seed, publicKey, signature, message } of vectors.cases) {
      const key = new Ed25519PrivateKey(fromHex(seed));
      assert.equal(toHex(key.publicKey), publicKey);
      assert.equal(toHex(key.sign(fromHex(message))), signature);
      assert.equal(verifyEd25519(fromHex(signature), fromHex(message), fromHex(publicKey)), true);
    }
  });

  test("agrees with a second implementation", () => {
    fc.assert(
      fc.property(bytes32, fc.uint8Array({ maxLength: 200 }), (seed, message) => {
        const key = new Ed25519PrivateKey(seed);
        assert.deepEqual(key.publicKey, ed25519.getPublicKey(seed));
        assert.deepEqual(key.sign(message), ed25519.sign(message, seed));
      }),
      { numRuns: 20 },
    );
  });

  test("refuses a signature, message or key with any bit changed", () => {
    const { publicKey, signature, message } = vectors.cases[0]!;
    const parts = [fromHex(signature), fromHex(message), fromHex(publicKey)] as const;
    fc.assert(fc.property(fc.nat(2), fc.nat(), (which, n) => {
      const changed = parts.map((part) => part.slice()) as [Uint8Array, Uint8Array, Uint8Array];
      const bit = n % (changed[which]!.length * 8);
      changed[which]![bit >> 3]! ^= 1 << (bit & 7);
      assert.equal(verifyEd25519(...changed), false);
    }));
  });

  test("refuses other lengths and keys that are no point, without throwing", () => {
    const { publicKey, signature, message } = vectors.cases[0]!;
    const [s, m, p] = [fromHex(signature), fromHex(message), fromHex(publicKey)];
    for (const length of [0, 1, 32, 63]) assert.equal(verifyEd25519(s.subarray(0, length), m, p), false);
    assert.equal(verifyEd25519(concat(s, Uint8Array.of(0)), m, p), false);
    for (const length of [0, 1, 31]) assert.equal(verifyEd25519(s, m, p.subarray(0, length)), false);
    assert.equal(verifyEd25519(s, m, concat(p, Uint8Array.of(0))), false);
    const offCurve = fromHex("e19c65de75c68cf3b7643ea732ba9eb1a3d20d6d57ba223c2ece1df66feb5af0");
    assert.equal(verifyEd25519(s, m, offCurve), false);
  });

  test("refuses S plus the group's order", () => {
    const { publicKey, signature, message } = vectors.cases[0]!;
    const s = fromHex(signature);
    const malleated = concat(s.subarray(0, 32), littleEndian(fromLittleEndian(s.subarray(32)) + L));
    assert.equal(verifyEd25519(malleated, fromHex(message), fromHex(publicKey)), false);
  });

  test("refuses keys of low order, under which anybody can sign", () => {
    // With S = 0 and R = -k·A the equation holds; a key of order 8 makes R one of eight points.
    let forgeries = 0;
    for (let multiple = 0n; multiple < 8n; multiple++) {
      const key = multiple === 0n ? Point.ZERO : TORSION.multiplyUnsafe(multiple);
      for (let attempt = 0; attempt < 32; attempt++) {
        const message = utf8(`forgery ${attempt}`);
        const a = key.toBytes();
        for (let j = 0n; j < 8n; j++) {
          const point = j === 0n ? Point.ZERO : TORSION.multiplyUnsafe(j);
          const k = challenge(point.toBytes(), a, message) % 8n;
          const minusKA = k === 0n ? Point.ZERO : key.multiplyUnsafe(k).negate();
          if (!point.equals(minusKA)) continue;
          forgeries++;
          assert.equal(verifyEd25519(concat(point.toBytes(), new Uint8Array(32)), message, a), false);
        }
      }
    }
    assert.ok(forgeries > 100);
  });

  test("refuses encodings of y that are not less than 2^255 - 19", () => {
    for (let excess = 0n; excess < 19n; excess++) {
      for (const sign of [0, 0x80]) {
        const key = littleEndian(P + excess);
        key[31]! |= sign;
        // R = the identity and S = 0 verify for the neutral element however it is written.
        for (const r of [littleEndian(1n), key]) {
          assert.equal(verifyEd25519(concat(r, new Uint8Array(32)), utf8("message"), key), false);
        }
      }
    }
  });

  test("checks the equation without the cofactor, as C tor does", () => {
    // R has a part of order 8, which multiplication with the cofactor would hide.
    const a = 123456789n;
    const r = 987654321n;
    const A = Point.BASE.multiply(a).toBytes();
    const message = utf8("message");
    const R = Point.BASE.multiply(r).add(TORSION).toBytes();
    const S = littleEndian((r + challenge(R, A, message) * a) % L);
    assert.equal(ed25519.verify(concat(R, S), message, A), true, "the forgery works with the cofactor");
    assert.equal(verifyEd25519(concat(R, S), message, A), false);
  });

  test("a generated key comes from the source, whose bytes are wiped", () => {
    const seed = fromHex(vectors.cases[0]!.seed);
    assert.equal(toHex(generateEd25519({ random: () => seed }).publicKey), vectors.cases[0]!.publicKey);
    assert.deepEqual(seed, new Uint8Array(32));
    assert.throws(() => new Ed25519PrivateKey(new Uint8Array(31)), RangeError);
  });
});

describe("ed25519FromX25519", () => {
  test("undoes the conversion from Ed25519 to Curve25519", () => {
    fc.assert(
      fc.property(bytes32, (seed) => {
        const publicKey = ed25519.getPublicKey(seed);
        const signBit = (publicKey[31]! >> 7) as 0 | 1;
        assert.deepEqual(ed25519FromX25519(ed25519.utils.toMontgomery(publicKey), signBit), publicKey);
      }),
      { numRuns: 10 },
    );
  });

  test("gives the key of the same scalar", () => {
    const scalar = littleEndian(2n ** 254n + 8n * 424242n);
    const edwards = Point.BASE.multiply(fromLittleEndian(scalar) % L).toBytes();
    const signBit = (edwards[31]! >> 7) as 0 | 1;
    const x25519 = new X25519PrivateKey(scalar).publicKey;
    assert.deepEqual(ed25519FromX25519(x25519, signBit), edwards);
    assert.notDeepEqual(ed25519FromX25519(x25519, (1 - signBit) as 0 | 1), edwards);
  });

  test("has no answer for u = -1, in both its encodings, and refuses other lengths", () => {
    assert.equal(ed25519FromX25519(littleEndian(P - 1n), 0), undefined);
    const highBit = littleEndian(P - 1n);
    highBit[31]! |= 0x80;
    assert.equal(ed25519FromX25519(highBit, 0), undefined);
    assert.throws(() => ed25519FromX25519(new Uint8Array(31), 0), RangeError);
  });
});

describe("x25519Signer", () => {
  test("signs as the key that the Curve25519 key and the sign bit stand for", () => {
    const bits = new Set<number>();
    fc.assert(
      fc.property(bytes32, fc.uint8Array({ maxLength: 100 }), (secret, message) => {
        const key = new X25519PrivateKey(secret);
        const signer = x25519Signer(key);
        bits.add(signer.signBit);
        const publicKey = ed25519FromX25519(key.publicKey, signer.signBit)!;
        assert.deepEqual(signer.publicKey, publicKey);
        const signature = signer.sign(message);
        assert.ok(verifyEd25519(signature, message, publicKey));
        assert.deepEqual(signer.sign(message), signature);
        assert.ok(!verifyEd25519(signature, concat(message, Uint8Array.of(0)), publicKey));
      }),
      { numRuns: 20, seed: 1 },
    );
    assert.equal(bits.size, 2, "both sign bits came up");
  });

  test("a key gives out the secret that it was made of", () => {
    const secret = fromHex("77".repeat(32));
    const exported = new X25519PrivateKey(secret).exportSecret();
    assert.deepEqual(new X25519PrivateKey(exported).publicKey, new X25519PrivateKey(secret).publicKey);
    assert.deepEqual(exported, secret);
  });
});
