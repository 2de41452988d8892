import assert from "node:assert/strict";
import { constants, createPrivateKey, generateKeyPairSync, privateEncrypt } from "node:crypto";
import { describe, test } from "node:test";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { fromHex, toHex, utf8 } from "../../src/bytes/text.ts";
import { sha1, sha256 } from "../../src/crypto/digest.ts";
import { parseRsaPublicKey, parseRsaPublicKeyPem, verifyRsaDigest } from "../../src/crypto/rsa.ts";
import vectors from "../vectors/crypto_rsa.json" with { type: "json" };

const malformed = (error: unknown) => isTunicError(error, "malformed");
const known = fromHex(vectors.known.public);
const knownPrivate = createPrivateKey({
  key: Buffer.from(fromHex(vectors.known.private)),
  format: "der",
  type: "pkcs1",
});
const digest = sha1(utf8("a document"));

/** What Tor's signers do. */
function sign(content: Uint8Array): Uint8Array {
  return new Uint8Array(privateEncrypt({ key: knownPrivate, padding: constants.RSA_PKCS1_PADDING }, content));
}

/** The bare private-key operation on a block of 128 bytes, in numbers: no runtime's padding gets in between. */
function signBlock(block: Uint8Array): Uint8Array {
  const { n, d } = knownPrivate.export({ format: "jwk" }) as { n: string; d: string };
  const number = (base64: string) => BigInt(`0x${Buffer.from(base64, "base64url").toString("hex")}`);
  const modulus = number(n);
  let [base, result] = [BigInt(`0x${toHex(block)}`), 1n];
  for (let exponent = number(d); exponent > 0n; exponent >>= 1n) {
    if (exponent & 1n) result = (result * base) % modulus;
    base = (base * base) % modulus;
  }
  return fromHex(result.toString(16).padStart(256, "0"));
}

/** 00 01 FF… 00 content, with the parts to be got wrong. */
function block(content: Uint8Array, { first = 0, type = 1, separator = 0, padding = 125 - content.length } = {}) {
  const result = new Uint8Array(128);
  result.set([first, type]);
  result.fill(0xff, 2, 2 + padding);
  result[2 + padding] = separator;
  result.set(content, 3 + padding);
  return result;
}

/** DER of two integers in a sequence, as enemies write them. */
function der(modulus: Uint8Array, exponent: Uint8Array): Uint8Array {
  const element = (tag: number, contents: Uint8Array) => {
    const n = contents.length;
    const length = n < 128 ? [n] : n < 256 ? [0x81, n] : [0x82, n >> 8, n & 255];
    return concat(Uint8Array.of(tag, ...length), contents);
  };
  return element(0x30, concat(element(2, modulus), element(2, exponent)));
}

describe("RSA public keys", () => {
  test("a known key has its size and identity", () => {
    const key = parseRsaPublicKey(known);
    assert.equal(key.bits, 1024);
    assert.equal(toHex(key.identity()), vectors.known.identity);
    assert.deepEqual(key.der, known);
  });

  test("a key keeps its own copy", () => {
    const bytes = known.slice();
    const key = parseRsaPublicKey(bytes);
    bytes.fill(0);
    assert.equal(toHex(key.identity()), vectors.known.identity);
    assert.equal(verifyRsaDigest(key, sign(digest), digest), true);
  });

  test("every beginning of a key, and a key with anything after it, is malformed", () => {
    for (let length = 0; length < known.length; length++) {
      assert.throws(() => parseRsaPublicKey(known.subarray(0, length)), malformed);
    }
    assert.throws(() => parseRsaPublicKey(concat(known, Uint8Array.of(0))), malformed);
  });

  test("any bytes are a key or malformed", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      assert.throws(() => parseRsaPublicKey(bytes), malformed);
    }));
    fc.assert(fc.property(fc.nat(known.length - 1), fc.nat(255), (at, value) => {
      const bytes = known.slice();
      bytes[at] = value;
      try {
        assert.deepEqual(parseRsaPublicKey(bytes).der, bytes);
      } catch (error) {
        assert.ok(malformed(error));
      }
    }));
  });

  test("keys of other sizes, even, negative or long-winded moduli, and other exponents are malformed", () => {
    const e = Uint8Array.of(1, 0, 1);
    const modulus = (bytes: number, first = 0x80, last = 1) => {
      const result = new Uint8Array(bytes + 1).fill(0x5a);
      result[0] = 0;
      result[1] = first;
      result[bytes] = last;
      return result;
    };
    assert.equal(parseRsaPublicKey(der(modulus(128), e)).bits, 1024);
    assert.equal(parseRsaPublicKey(der(modulus(512), e)).bits, 4096);
    assert.equal(parseRsaPublicKey(der(modulus(200).slice(1).fill(0x40, 0, 1), e)).bits, 1599);
    const bad: [string, Uint8Array, Uint8Array][] = [
      ["1023 bits", modulus(128).slice(1).fill(0x40, 0, 1), e],
      ["512 bits", modulus(64), e],
      ["4097 bits", concat(Uint8Array.of(1), modulus(512).slice(1)), e],
      ["even", modulus(128, 0x80, 2), e],
      ["negative", modulus(128).slice(1), e],
      ["leading zeros", concat(Uint8Array.of(0), modulus(128)), e],
      ["zero", Uint8Array.of(0), e],
      ["empty", new Uint8Array(), e],
      ["exponent 3", modulus(128), Uint8Array.of(3)],
      ["exponent 1", modulus(128), Uint8Array.of(1)],
      ["exponent 0", modulus(128), Uint8Array.of(0)],
      ["exponent 17", modulus(128), Uint8Array.of(17)],
      ["exponent with leading zeros", modulus(128), Uint8Array.of(0, 1, 0, 1)],
      ["long exponent", modulus(128), new Uint8Array(100).fill(1)],
    ];
    for (const [what, n, exponent] of bad) assert.throws(() => parseRsaPublicKey(der(n, exponent)), malformed, what);
  });

  test("lengths in other forms than the shortest are malformed", () => {
    const body = known.subarray(3);
    for (const header of [[0x30, 0x82, 0, 0x89], [0x30, 0x80], [0x30, 0x83, 0, 0, 0x89], [0x31, 0x81, 0x89]]) {
      assert.throws(() => parseRsaPublicKey(concat(Uint8Array.from(header), body)), malformed);
    }
  });

  test("PEM is read, and nothing like it", () => {
    const pem = vectors.authority.identityKey;
    assert.equal(toHex(parseRsaPublicKeyPem(pem).identity()), vectors.authority.identity);
    assert.equal(parseRsaPublicKeyPem(pem.trimEnd()).bits, 3072);
    const bad = [
      "",
      ` ${pem}`,
      `${pem}\n`,
      pem + pem,
      pem.replace("BEGIN RSA PUBLIC", "BEGIN PUBLIC"),
      pem.replace("END RSA", "END DSA"),
      pem.replace("MIIB", "M!IB"),
      pem.replace("MIIB", ""),
      pem.replaceAll("\n", "\r\n"),
      pem.replace("-----END", `${"A".repeat(2048)}\n-----END`),
      "-----BEGIN RSA PUBLIC KEY-----\n-----END RSA PUBLIC KEY-----\n",
    ];
    for (const text of bad) assert.throws(() => parseRsaPublicKeyPem(text), malformed);
  });
});

describe("RSA signatures", () => {
  const key = parseRsaPublicKey(known);

  test("a digest of any length that Tor uses verifies, and no other digest", () => {
    for (const content of [digest, sha256(utf8("a document"))]) {
      const signature = sign(content);
      assert.equal(verifyRsaDigest(key, signature, content), true);
      assert.equal(verifyRsaDigest(key, signature, content.subarray(0, 19)), false);
      assert.equal(verifyRsaDigest(key, signature, concat(content, Uint8Array.of(0))), false);
      assert.equal(verifyRsaDigest(key, signature, concat(Uint8Array.of(0), content)), false);
      assert.equal(verifyRsaDigest(key, signature, content.map((byte) => byte ^ 1)), false);
    }
    assert.equal(verifyRsaDigest(key, sign(new Uint8Array()), new Uint8Array()), false);
  });

  test("an authority's certificate, made by C tor, verifies with its keys and no others", () => {
    const { identity, identityKey, signingKey, crosscert, certification, signedDigest } = vectors.authority;
    const [master, signing] = [parseRsaPublicKeyPem(identityKey), parseRsaPublicKeyPem(signingKey)];
    assert.equal(verifyRsaDigest(master, fromHex(certification), fromHex(signedDigest)), true);
    assert.equal(verifyRsaDigest(signing, fromHex(crosscert), fromHex(identity)), true);
    assert.equal(verifyRsaDigest(signing, fromHex(certification), fromHex(signedDigest)), false);
    assert.equal(verifyRsaDigest(master, fromHex(crosscert), fromHex(identity)), false);
    assert.equal(verifyRsaDigest(master, fromHex(certification), sha1(fromHex(signedDigest))), false);
  });

  test("a cross-certificate made by C tor verifies with its key, and not with one of which one digit differs", () => {
    const { prefix, certificate, ...keys } = vectors.crosscert;
    const bytes = fromHex(certificate);
    const signed = sha256(fromHex(prefix), bytes.subarray(0, 36));
    const signature = bytes.subarray(37);
    assert.equal(bytes[36], signature.length);
    assert.equal(verifyRsaDigest(parseRsaPublicKey(fromHex(keys.public)), signature, signed), true);
    assert.equal(verifyRsaDigest(parseRsaPublicKey(fromHex(keys.wrongPublic)), signature, signed), false);
  });

  test("a signature with any bit changed, cut, lengthened or moved is refused", () => {
    const signature = sign(digest);
    fc.assert(fc.property(fc.nat(1023), (bit) => {
      const changed = signature.slice();
      changed[bit >> 3]! ^= 1 << (bit & 7);
      assert.equal(verifyRsaDigest(key, changed, digest), false);
    }));
    for (const length of [0, 1, 64, 127]) {
      assert.equal(verifyRsaDigest(key, signature.subarray(0, length), digest), false);
    }
    assert.equal(verifyRsaDigest(key, concat(signature, Uint8Array.of(0)), digest), false);
    assert.equal(verifyRsaDigest(key, concat(Uint8Array.of(0), signature), digest), false);
  });

  test("numbers that are not less than the modulus are refused", () => {
    const modulus = known.subarray(7, 7 + 128);
    assert.equal(verifyRsaDigest(key, modulus, digest), false);
    assert.equal(verifyRsaDigest(key, new Uint8Array(128).fill(0xff), digest), false);
    for (const small of [0, 1]) {
      const number = new Uint8Array(128);
      number[127] = small;
      assert.equal(verifyRsaDigest(key, number, digest), false);
    }
    // The same signature plus the modulus, where that still fits 128 bytes.
    const n = BigInt(`0x${toHex(modulus)}`);
    let tried = 0;
    for (let i = 0; i < 64 && tried === 0; i++) {
      const content = sha1(Uint8Array.of(i));
      const sum = BigInt(`0x${toHex(signBlock(block(content)))}`) + n;
      if (sum >= 1n << 1024n) continue;
      tried++;
      assert.equal(verifyRsaDigest(key, fromHex(sum.toString(16).padStart(256, "0")), content), false);
    }
    assert.equal(tried, 1);
  });

  test("blocks with any other padding are refused", () => {
    assert.equal(verifyRsaDigest(key, signBlock(block(digest)), digest), true);
    const zeros = new Uint8Array(86);
    const info = fromHex("3021300906052b0e03021a05000414");
    const bad: [string, Uint8Array][] = [
      ["block type 2", block(digest, { type: 2 })],
      ["block type 0", block(digest, { type: 0 })],
      ["no leading zero", block(digest, { first: 1 })],
      ["no separator", block(digest, { separator: 0xff })],
      ["short padding, garbage after the digest", block(concat(digest, zeros.subarray(0, 80)), { padding: 25 })],
      ["the shortest padding, garbage after the digest", block(concat(digest, new Uint8Array(97)), { padding: 8 })],
      ["no padding, garbage after the digest", block(concat(digest, new Uint8Array(105)), { padding: 0 })],
      ["digest at the end, garbage before it", block(concat(zeros, digest), { padding: 19 })],
      ["the digest's algorithm named", block(concat(info, digest))],
      ["a hole in the padding", block(digest).fill(0xfe, 60, 61)],
    ];
    for (const [what, forged] of bad) assert.equal(verifyRsaDigest(key, signBlock(forged), digest), false, what);
  });

  test("more content than the padding leaves room for is refused", () => {
    const content = new Uint8Array(118).fill(7);
    assert.equal(verifyRsaDigest(key, signBlock(block(content)), content), false);
    assert.equal(verifyRsaDigest(key, signBlock(block(content.subarray(1))), content.subarray(1)), true);
    assert.equal(verifyRsaDigest(key, sign(digest), new Uint8Array(1000)), false);
  });

  test("a key with exponent 3, under which signatures can be forged, cannot even be read", () => {
    const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 1024, publicExponent: 3 });
    const bytes = new Uint8Array(publicKey.export({ format: "der", type: "pkcs1" }));
    assert.throws(() => parseRsaPublicKey(bytes), malformed);
  });

  test("a modulus that is no product of two primes verifies nothing and throws nothing", () => {
    for (const last of [1, 0x5b, 0xff]) {
      const modulus = new Uint8Array(129).fill(0x80);
      modulus[0] = 0;
      modulus[128] = last;
      const odd = parseRsaPublicKey(der(modulus, Uint8Array.of(1, 0, 1)));
      assert.equal(verifyRsaDigest(odd, sign(digest).fill(0, 0, 1), digest), false);
    }
  });
});
