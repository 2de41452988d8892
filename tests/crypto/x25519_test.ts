import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { x25519 } from "@noble/curves/ed25519.js";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import { fromHex, toHex } from "../../src/bytes/text.ts";
import { generateX25519, X25519PrivateKey } from "../../src/crypto/x25519.ts";
import vectors from "../vectors/crypto_x25519.json" with { type: "json" };
import { seeded } from "./random.ts";

const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });

describe("X25519", () => {
  test("matches RFC 7748", () => {
    for (const { scalar, u, output } of vectors.cases) {
      assert.equal(toHex(new X25519PrivateKey(fromHex(scalar)).sharedSecret(fromHex(u))), output);
    }
    const [alice, bob] = [vectors.alice, vectors.bob].map((side) => {
      const key = new X25519PrivateKey(fromHex(side.private));
      assert.equal(toHex(key.publicKey), side.public);
      return key;
    }) as [X25519PrivateKey, X25519PrivateKey];
    assert.equal(toHex(alice.sharedSecret(bob.publicKey)), vectors.shared);
    assert.equal(toHex(bob.sharedSecret(alice.publicKey)), vectors.shared);
  });

  test("agrees with a second implementation on any bytes", () => {
    fc.assert(
      fc.property(bytes32, bytes32, (scalar, point) => {
        const key = new X25519PrivateKey(scalar);
        assert.deepEqual(key.publicKey, x25519.getPublicKey(scalar));
        assert.deepEqual(key.sharedSecret(point), x25519.getSharedSecret(scalar, point));
      }),
      { numRuns: 25 },
    );
  });

  test("refuses every point of low order, whatever its highest bit", () => {
    const key = new X25519PrivateKey(fromHex(vectors.alice.private));
    assert.equal(vectors.lowOrder.points.length, 7);
    for (const point of vectors.lowOrder.points) {
      for (const bit of [0, 0x80]) {
        const publicKey = fromHex(point);
        publicKey[31]! |= bit;
        assert.throws(
          () => key.sharedSecret(publicKey),
          (error) => isTunicError(error, "crypto") && error.code === "x25519-degenerate",
        );
      }
    }
  });

  test("refuses other lengths", () => {
    const key = generateX25519(seeded(1));
    for (const length of [0, 31, 33]) {
      assert.throws(() => key.sharedSecret(new Uint8Array(length)), (error) => isTunicError(error, "malformed"));
      assert.throws(() => new X25519PrivateKey(new Uint8Array(length)), RangeError);
    }
  });

  test("a generated key comes from the source, whose bytes are wiped", () => {
    const secret = fromHex(vectors.alice.private);
    const key = generateX25519({ random: () => secret });
    assert.equal(toHex(key.publicKey), vectors.alice.public);
    assert.deepEqual(secret, new Uint8Array(32));
  });

  test("an imported secret is left to its owner", () => {
    const secret = fromHex(vectors.alice.private);
    new X25519PrivateKey(secret);
    assert.equal(toHex(secret), vectors.alice.private);
  });
});
