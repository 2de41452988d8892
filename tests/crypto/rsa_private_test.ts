import assert from "node:assert/strict";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import { fromHex, toHex, utf8 } from "../../src/bytes/text.ts";
import { derElement, derInteger, derTime } from "../../src/crypto/der_writer.ts";
import { sha1, sha256 } from "../../src/crypto/digest.ts";
import { formatRsaPublicKeyPem, parseRsaPublicKeyPem, verifyRsaDigest } from "../../src/crypto/rsa.ts";
import { generateRsa, parseRsaPrivateKeyPem } from "../../src/crypto/rsa_private.ts";
import { RsaCertificate } from "../../src/crypto/x509.ts";
import { type CertificateContent, makeCertificate } from "../../src/crypto/x509_make.ts";

const [key, other] = await Promise.all([generateRsa(1024), generateRsa(1024)]);
const digest = sha1(utf8("a document"));
const content: CertificateContent = {
  subject: "www.subject.net",
  issuer: "www.issuer.com",
  notBefore: Date.UTC(2026, 0, 2, 3, 4, 5),
  notAfter: Date.UTC(2026, 11, 31, 23, 59, 59),
  serial: fromHex("00ff02"),
};

describe("RSA private keys", () => {
  test("have the size asked for, and are never the same", async () => {
    assert.equal(key.publicKey.bits, 1024);
    assert.notDeepEqual(key.publicKey.der, other.publicKey.der);
    assert.equal((await generateRsa(2048)).publicKey.bits, 2048);
  });

  test("sign bare digests, of any length that fits", () => {
    for (const signed of [digest, sha256(digest), new Uint8Array(1), new Uint8Array(117).fill(3)]) {
      const signature = key.signDigest(signed);
      assert.equal(signature.length, 128);
      assert.equal(verifyRsaDigest(key.publicKey, signature, signed), true);
      assert.equal(verifyRsaDigest(other.publicKey, signature, signed), false);
      const changed = signed.slice();
      changed[0]! ^= 1;
      assert.equal(verifyRsaDigest(key.publicKey, signature, changed), false);
    }
    for (const length of [0, 118, 128, 1000]) {
      assert.throws(() => key.signDigest(new Uint8Array(length)), (error) => isTunicError(error, "argument"));
    }
  });

  test("come back from their PEM form", () => {
    const again = parseRsaPrivateKeyPem(key.toPem());
    assert.deepEqual(again.publicKey.der, key.publicKey.der);
    assert.deepEqual(again.signDigest(digest), key.signDigest(digest));
    const publicKey = parseRsaPublicKeyPem(formatRsaPublicKeyPem(key.publicKey));
    assert.deepEqual(publicKey.der, key.publicKey.der);
    const lines = formatRsaPublicKeyPem(key.publicKey).split("\n");
    assert.deepEqual(lines.map((line) => line.length), [30, 64, 64, 60, 28, 0]);
  });

  test("are refused where they are something else", () => {
    const malformed = (error: unknown) => isTunicError(error, "malformed");
    const pem = key.toPem();
    for (
      const text of [
        "",
        pem.replaceAll("RSA PRIVATE", "PRIVATE"),
        pem.replace("\n", "\nProc-Type: 4,ENCRYPTED\n"),
        pem.replace(/\n.{64}/, ""),
        `${pem}${pem}`,
        formatRsaPublicKeyPem(key.publicKey),
        formatRsaPublicKeyPem(key.publicKey).replaceAll("PUBLIC", "PRIVATE"),
        generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ type: "sec1", format: "pem" })
          .toString(),
        "A".repeat(10_000),
      ]
    ) assert.throws(() => parseRsaPrivateKeyPem(text), malformed, text);
  });
});

describe("certificates", () => {
  test("of an RSA key say what they were made from, and are signed", () => {
    const certificate = new RsaCertificate(makeCertificate(content, key.spki, key));
    assert.deepEqual(certificate.publicKey.der, key.publicKey.der);
    assert.equal(certificate.notBefore, content.notBefore);
    assert.equal(certificate.notAfter, content.notAfter);
    assert.equal(certificate.isSelfSigned(), true);
    assert.equal(certificate.isSignedBy(other.publicKey), false);
  });

  test("may be issued by another key", () => {
    const certificate = new RsaCertificate(makeCertificate(content, key.spki, other));
    assert.equal(certificate.isSelfSigned(), false);
    assert.equal(certificate.isSignedBy(other.publicKey), true);
  });

  test("are taken by the runtime's own reader", () => {
    const certificate = new X509Certificate(makeCertificate(content, other.spki, key));
    assert.match(certificate.subject, /CN=www\.subject\.net/);
    assert.match(certificate.issuer, /CN=www\.issuer\.com/);
    assert.equal(Date.parse(certificate.validFrom), content.notBefore);
    assert.equal(Date.parse(certificate.validTo), content.notAfter);
    assert.equal(certificate.serialNumber.replace(/^0+/, ""), "FF02");
  });

  test("can be valid beyond 2049", () => {
    const notAfter = Date.UTC(2050, 0, 1);
    assert.equal(new RsaCertificate(makeCertificate({ ...content, notAfter }, key.spki, key)).notAfter, notAfter);
    assert.throws(() => makeCertificate({ ...content, notAfter: Date.UTC(10_000, 0) }, key.spki, key), RangeError);
  });
});

describe("DER", () => {
  test("has lengths and integers in their shortest form", () => {
    const header = (length: number) => toHex(derElement(4, new Uint8Array(length)).subarray(0, 4));
    assert.deepEqual([127, 128, 255, 256, 65_535].map(header), [
      "047f0000",
      "04818000",
      "0481ff00",
      "04820100",
      "0482ffff",
    ]);
    assert.throws(() => derElement(4, new Uint8Array(65_536)), RangeError);
    for (
      const [bytes, der] of [["", "020100"], ["00", "020100"], ["7f", "02017f"], ["80", "02020080"], ["0001", "020101"]]
    ) {
      assert.equal(toHex(derInteger(fromHex(bytes!))), der);
    }
  });

  test("has times that are read back as they were", () => {
    fc.assert(fc.property(fc.date({ min: new Date(0), max: new Date("9999-12-31"), noInvalidDate: true }), (date) => {
      const ms = Math.floor(date.getTime() / 1000) * 1000;
      const der = derTime(date.getTime());
      assert.equal(der[0], date.getUTCFullYear() < 2050 ? 0x17 : 0x18);
      const certificate = makeCertificate({ ...content, notBefore: ms }, key.spki, fakeSigner);
      assert.equal(new RsaCertificate(certificate).notBefore, ms);
    }));
  });
});

/** Signatures do not matter to reading, and would take most of the time. */
const fakeSigner = {
  spki: key.spki,
  signatureAlgorithm: key.signatureAlgorithm,
  signSha256: () => new Uint8Array(128),
};
