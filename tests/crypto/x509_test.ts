import assert from "node:assert/strict";
import { constants, generateKeyPairSync, privateEncrypt } from "node:crypto";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import { concat, equal } from "../../src/bytes/bytes.ts";
import { fromHex, toHex, utf8 } from "../../src/bytes/text.ts";
import { sha1, sha256 } from "../../src/crypto/digest.ts";
import { RsaCertificate } from "../../src/crypto/x509.ts";
import vectors from "../vectors/crypto_x509.json" with { type: "json" };

const malformed = (error: unknown) => isTunicError(error, "malformed");
const identity = fromHex(vectors.identity.certificate);

/** The bytes `from` replaced by as many other ones; both in hex. */
function replaced(bytes: Uint8Array, from: string, to: string): Uint8Array {
  const text = toHex(bytes);
  assert.ok(text.includes(from) && from.length === to.length);
  return fromHex(text.replaceAll(from, to));
}

describe("RsaCertificate", () => {
  test("reads a relay's identity certificate, made by C tor", () => {
    const certificate = new RsaCertificate(identity);
    assert.equal(certificate.publicKey.bits, 1024);
    assert.equal(toHex(certificate.publicKey.identity()), vectors.identity.rsaId);
    assert.equal(certificate.notBefore, Date.UTC(2020, 7, 10));
    assert.equal(certificate.notAfter, Date.UTC(2021, 7, 10));
    assert.equal(certificate.isSelfSigned(), true);
  });

  test("reads a link certificate and one from the web, which are signed by others", () => {
    const link = new RsaCertificate(fromHex(vectors.link.certificate));
    assert.equal(toHex(link.publicKey.der), vectors.link.publicKey);
    assert.equal(link.notBefore, Date.UTC(2019, 10, 18));
    assert.equal(link.notAfter, Date.UTC(2020, 9, 22));
    const web = new RsaCertificate(fromHex(vectors.web.certificate));
    assert.equal(toHex(web.publicKey.der), vectors.web.publicKey);
    assert.equal(web.notBefore, Date.UTC(2020, 6, 24, 0, 44, 42));
    for (const certificate of [link, web]) {
      assert.equal(certificate.isSelfSigned(), false);
      assert.equal(certificate.isSignedBy(new RsaCertificate(identity).publicKey), false);
    }
  });

  test("every beginning, and a certificate with anything after it, is malformed", () => {
    for (let length = 0; length < identity.length; length++) {
      assert.throws(() => new RsaCertificate(identity.subarray(0, length)), malformed);
    }
    assert.throws(() => new RsaCertificate(concat(identity, Uint8Array.of(0))), malformed);
  });

  test("with any bit changed it is malformed or not signed", () => {
    fc.assert(
      fc.property(fc.nat(identity.length * 8 - 1), (bit) => {
        const changed = identity.slice();
        changed[bit >> 3]! ^= 1 << (bit & 7);
        try {
          assert.equal(new RsaCertificate(changed).isSelfSigned(), false);
        } catch (error) {
          assert.ok(malformed(error), String(error));
        }
      }),
      { numRuns: 400 },
    );
  });

  test("any bytes are malformed and nothing worse", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
      assert.throws(() => new RsaCertificate(bytes), malformed);
      assert.throws(() => new RsaCertificate(concat(Uint8Array.of(0x30, 0x82, 1, 0x90), bytes)), malformed);
    }));
  });

  test("times that do not exist, or are not in UTC to the second, are malformed", () => {
    const notBefore = toHex(utf8("200810000000Z"));
    for (
      const text of [
        "200230000000Z",
        "201310000000Z",
        "200010000000Z",
        "200810240000Z",
        "200810006000Z",
        "200810000060Z",
        "200800000000Z",
        "2008100000000",
        "20081000000Z0",
        "2008100000+1Z",
        " 00810000000Z",
      ]
    ) {
      assert.throws(() => new RsaCertificate(replaced(identity, notBefore, toHex(utf8(text)))), malformed, text);
    }
    const year = (text: string) =>
      new Date(
        new RsaCertificate(replaced(identity, notBefore, toHex(utf8(text)))).notBefore,
      ).toISOString();
    assert.equal(year("491231235959Z"), "2049-12-31T23:59:59.000Z");
    assert.equal(year("500101000000Z"), "1950-01-01T00:00:00.000Z");
    assert.equal(year("000229000000Z"), "2000-02-29T00:00:00.000Z");
    assert.throws(() => new RsaCertificate(replaced(identity, `170d${notBefore}`, `180d${notBefore}`)), malformed);
  });

  test("reads a GeneralizedTime", () => {
    const bytes = made({ times: [["180f", "20500101000000Z"], ["180f", "99991231235959Z"]] });
    const certificate = new RsaCertificate(bytes);
    assert.equal(certificate.notBefore, Date.UTC(2050, 0, 1));
    assert.equal(certificate.notAfter, Date.UTC(9999, 11, 31, 23, 59, 59));
    assert.equal(certificate.isSelfSigned(), true);
  });

  test("keys and signatures of other kinds", () => {
    assert.equal(new RsaCertificate(made({})).isSelfSigned(), true);
    // SHA-1 is not taken, even where it is used correctly.
    const sha1Certificate = new RsaCertificate(made({ algorithm: "2a864886f70d010105", digest: "sha1" }));
    assert.equal(sha1Certificate.isSelfSigned(), false);
    const bareDigest = new RsaCertificate(made({ digest: "bare" }));
    assert.equal(bareDigest.isSelfSigned(), false);
    assert.throws(() => new RsaCertificate(made({ innerAlgorithm: "2a864886f70d010105" })), malformed);
    assert.throws(() => new RsaCertificate(made({ keyAlgorithm: "2a8648ce3d0201" })), malformed);
    assert.throws(() => new RsaCertificate(made({ keyAlgorithm: "2a864886f70d01010a" })), malformed);
  });
});

function element(tag: string, ...contents: Uint8Array[]): Uint8Array {
  const body = concat(...contents);
  const n = body.length;
  const length = n < 128 ? [n] : n < 256 ? [0x81, n] : [0x82, n >> 8, n & 255];
  return concat(fromHex(tag), Uint8Array.from(length), body);
}

interface Recipe {
  times?: [string, string][];
  algorithm?: string;
  innerAlgorithm?: string;
  keyAlgorithm?: string;
  digest?: "sha256" | "sha1" | "bare";
}

/** A self-signed certificate with a fresh key, right except where the recipe says otherwise. */
function made(recipe: Recipe): Uint8Array {
  const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 1024 });
  const algorithm = (oid: string) => element("30", element("06", fromHex(oid)), element("05"));
  const outer = recipe.algorithm ?? "2a864886f70d01010b";
  const times = recipe.times ?? [["170d", "200101000000Z"], ["170d", "300101000000Z"]];
  const key = new Uint8Array(publicKey.export({ format: "der", type: "pkcs1" }));
  const signed = element(
    "30",
    element("a0", element("02", Uint8Array.of(2))),
    element("02", Uint8Array.of(1)),
    algorithm(recipe.innerAlgorithm ?? outer),
    element("30"),
    element("30", ...times.map(([header, text]) => concat(fromHex(header), utf8(text)))),
    element("30"),
    element("30", algorithm(recipe.keyAlgorithm ?? "2a864886f70d010101"), element("03", Uint8Array.of(0), key)),
  );
  const content = recipe.digest === "sha1"
    ? concat(fromHex("3021300906052b0e03021a05000414"), sha1(signed))
    : recipe.digest === "bare"
    ? sha256(signed)
    : concat(fromHex("3031300d060960864801650304020105000420"), sha256(signed));
  const signature = privateEncrypt({ key: privateKey, padding: constants.RSA_PKCS1_PADDING }, content);
  const certificate = element(
    "30",
    signed,
    algorithm(outer),
    element("03", Uint8Array.of(0), new Uint8Array(signature)),
  );
  assert.ok(!equal(certificate, identity));
  return certificate;
}
