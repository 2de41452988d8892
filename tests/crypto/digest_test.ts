import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { sha1 as nobleSha1 } from "@noble/hashes/legacy.js";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 as nobleSha256 } from "@noble/hashes/sha2.js";
import { sha3_256 as nobleSha3 } from "@noble/hashes/sha3.js";
import fc from "fast-check";
import { concat } from "../../src/bytes/bytes.ts";
import { toHex, utf8 } from "../../src/bytes/text.ts";
import {
  type DigestName,
  hmacSha256,
  RunningDigest,
  sha1,
  sha256,
  sha3_256,
  sha3Mac,
} from "../../src/crypto/digest.ts";

const ONE_SHOT: Record<DigestName, (...parts: Uint8Array[]) => Uint8Array> = { sha1, sha256, "sha3-256": sha3_256 };
const NOBLE: Record<DigestName, (bytes: Uint8Array) => Uint8Array> = {
  sha1: nobleSha1,
  sha256: nobleSha256,
  "sha3-256": nobleSha3,
};
const NAMES = Object.keys(ONE_SHOT) as DigestName[];
const pieces = fc.array(fc.uint8Array({ maxLength: 600 }), { maxLength: 8 });

describe("digests", () => {
  test("match the examples of FIPS 180-4 and FIPS 202", () => {
    const abc = utf8("abc");
    assert.equal(toHex(sha1(abc)), "a9993e364706816aba3e25717850c26c9cd0d89d");
    assert.equal(toHex(sha256(abc)), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert.equal(toHex(sha3_256(abc)), "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532");
  });

  test("agree with a second implementation, over any parts", () => {
    fc.assert(fc.property(fc.constantFrom(...NAMES), pieces, (name, parts) => {
      assert.deepEqual(ONE_SHOT[name](...parts), NOBLE[name](concat(...parts)));
    }));
  });

  test("hmacSha256 matches RFC 4231 section 4.3 and a second implementation", () => {
    assert.equal(
      toHex(hmacSha256(utf8("Jefe"), utf8("what do ya want "), utf8("for nothing?"))),
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    );
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), pieces, (key, parts) => {
      assert.deepEqual(hmacSha256(key, ...parts), hmac(nobleSha256, key, concat(...parts)));
    }));
  });
});

test("sha3Mac hashes the key's length, the key and the message", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), pieces, (key, parts) => {
    const length = Uint8Array.of(0, 0, 0, 0, 0, 0, key.length >> 8, key.length);
    assert.deepEqual(sha3Mac(key, ...parts), nobleSha3(concat(length, key, ...parts)));
  }));
});

describe("RunningDigest", () => {
  test("a look at any prefix is the digest of that prefix, and changes nothing", () => {
    fc.assert(fc.property(fc.constantFrom(...NAMES), pieces, (name, parts) => {
      const running = new RunningDigest(name);
      for (let i = 0; i < parts.length; i++) {
        running.update(parts[i]!);
        const expected = ONE_SHOT[name](...parts.slice(0, i + 1));
        assert.deepEqual(running.peek(), expected);
        assert.deepEqual(running.peek(), expected);
      }
    }));
  });

  test("a fork goes its own way", () => {
    const running = new RunningDigest("sha1");
    running.update(utf8("ab"));
    const fork = running.fork();
    fork.update(utf8("x"));
    running.update(utf8("c"));
    assert.deepEqual(running.peek(), sha1(utf8("abc")));
    assert.deepEqual(fork.peek(), sha1(utf8("abx")));
  });
});
