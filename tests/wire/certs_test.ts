import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type ErrorKind, isTunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { decodeWith } from "../../src/bytes/codec.ts";
import { fromHex, toHex } from "../../src/bytes/text.ts";
import { Ed25519PrivateKey } from "../../src/crypto/ed25519.ts";
import { parseRsaPublicKey } from "../../src/crypto/rsa.ts";
import { RsaCertificate } from "../../src/crypto/x509.ts";
import { verifyResponderCerts } from "../../src/wire/cert_chain.ts";
import { isoTime } from "../../src/wire/cert_expiry.ts";
import { encodeCrossCert, UnverifiedCrossCert } from "../../src/wire/cross_cert.ts";
import { EdCertType, encodeEdCert, UnverifiedEdCert } from "../../src/wire/ed_cert.ts";
import { CERTS } from "../../src/wire/link_cells.ts";
import vectors from "../vectors/cell_certs.json" with { type: "json" };
import link from "../vectors/cell_link.json" with { type: "json" };
import { assertMalformed, bytes, u8 } from "./codec_support.ts";

const now = Date.parse(vectors.now);
const identityKey = fromHex(vectors.identityKey);
const signingKey = fromHex(vectors.signingKey);
const signingCert = fromHex(vectors.signing.cert);
const linkCert = fromHex(vectors.link.cert);
const crossCert = fromHex(vectors.cross.cert);
const rsaKey = parseRsaPublicKey(fromHex(vectors.cross.rsaKey));
const HOUR = 3_600_000;

function throwsKind(kind: ErrorKind, action: () => unknown): void {
  assert.throws(action, (error) => isTunicError(error, kind));
}

describe("Ed25519 certificates", () => {
  test("a real signing certificate names its key and verifies", () => {
    const cert = new UnverifiedEdCert(signingCert).verify({ type: 4, signedBy: "included", now });
    assert.equal(toHex(cert.signingKey), vectors.identityKey);
    assert.equal(toHex(cert.certifiedKey), vectors.signingKey);
    assert.equal(isoTime(cert.expiresMs), vectors.signing.expires.replace("Z", ".000Z"));
    assert.equal(cert.keyType, vectors.signing.keyType);
    new UnverifiedEdCert(signingCert).verify({ type: 4, signedBy: identityKey, now });
  });

  test("a real link certificate verifies with the signing key", () => {
    const cert = new UnverifiedEdCert(linkCert).verify({ type: 5, signedBy: signingKey, now });
    assert.equal(toHex(cert.certifiedKey), vectors.link.certifiedKey);
    assert.equal(isoTime(cert.expiresMs), vectors.link.expires.replace("Z", ".000Z"));
    assert.equal(cert.keyType, vectors.link.keyType);
  });

  for (const { why, cert } of vectors.malformed) {
    test(`malformed: ${why}`, () => assertMalformed(() => new UnverifiedEdCert(fromHex(cert))));
  }

  test("nothing of it can be read before it is verified", () => {
    const cert = new UnverifiedEdCert(signingCert);
    assert.deepEqual(Object.keys(cert), []);
    // @ts-expect-error: the type has no such field either
    assert.equal(cert.certifiedKey, undefined);
  });

  test("another signing key is refused, included or not", () => {
    throwsKind("crypto", () => new UnverifiedEdCert(signingCert).verify({ type: 4, signedBy: signingKey, now }));
    throwsKind("crypto", () => new UnverifiedEdCert(linkCert).verify({ type: 5, signedBy: identityKey, now }));
    throwsKind("protocol", () => new UnverifiedEdCert(linkCert).verify({ type: 5, signedBy: "included", now }));
  });

  test("a named signing key that is not the one that signed is refused, however good the signature", () => {
    const key = new Ed25519PrivateKey(new Uint8Array(32).fill(7));
    const liar = { publicKey: identityKey, sign: (message: Uint8Array) => key.sign(message) };
    const content = { type: 4, keyType: 1, certifiedKey: signingKey, expiresMs: HOUR, includeSigningKey: true };
    const cert = new UnverifiedEdCert(encodeEdCert(content, liar));
    throwsKind("crypto", () => cert.verify({ type: 4, signedBy: key.publicKey, now: 0 }));
    throwsKind("crypto", () => cert.verify({ type: 4, signedBy: "included", now: 0 }));
  });

  test("another type than the one that belongs there is refused", () => {
    throwsKind("protocol", () => new UnverifiedEdCert(signingCert).verify({ type: 5, signedBy: "included", now }));
    throwsKind("protocol", () => new UnverifiedEdCert(linkCert).verify({ type: 4, signedBy: signingKey, now }));
  });

  test("it is in force to the last moment and no longer", () => {
    const expires = Date.parse(vectors.signing.expires);
    const cert = new UnverifiedEdCert(signingCert);
    cert.verify({ type: 4, signedBy: "included", now: expires });
    throwsKind("clock", () => cert.verify({ type: 4, signedBy: "included", now: expires + 1 }));
  });

  test("any changed byte is noticed", () => {
    for (let at = 0; at < signingCert.length; at++) {
      const changed = signingCert.slice();
      changed[at]! ^= 0x20;
      assert.throws(
        () => new UnverifiedEdCert(changed).verify({ type: 4, signedBy: "included", now }),
        (error) => isTunicError(error, "malformed", "crypto", "protocol"),
        `byte ${at}`,
      );
    }
  });

  test("cut short or with bytes after it, it is malformed", () => {
    for (const cert of [signingCert, linkCert]) {
      for (let end = 0; end < cert.length; end++) assertMalformed(() => new UnverifiedEdCert(cert.subarray(0, end)));
      assertMalformed(() => new UnverifiedEdCert(concat(cert, new Uint8Array(1))));
    }
  });

  test("two signing keys in one certificate are malformed", () => {
    const extension = signingCert.slice(40, 76);
    const doubled = concat(signingCert.slice(0, 39), new Uint8Array([2]), extension, extension, signingCert.slice(-64));
    assertMalformed(() => new UnverifiedEdCert(doubled));
  });

  test("what is encoded verifies, and an unknown extension that matters to nobody is ignored", () => {
    const key = new Ed25519PrivateKey(new Uint8Array(32).fill(7));
    const property = fc.property(
      bytes(32),
      fc.integer({ min: 1, max: 400_000 }),
      fc.boolean(),
      (certified, hours, include) => {
        const content = {
          type: 4,
          keyType: 1,
          certifiedKey: certified,
          expiresMs: hours * HOUR,
          includeSigningKey: include,
        };
        const cert = new UnverifiedEdCert(encodeEdCert(content, key)).verify({
          type: 4,
          signedBy: key.publicKey,
          now: 0,
        });
        assert.deepEqual(cert.certifiedKey, certified);
        assert.equal(cert.expiresMs, hours * HOUR);
      },
    );
    fc.assert(property, { numRuns: 30 });

    const head = encodeEdCert(
      { type: 4, keyType: 1, certifiedKey: signingKey, expiresMs: HOUR, includeSigningKey: false },
      key,
    ).slice(0, 39);
    const signed = concat(head, fromHex("01" + "0003" + "77" + "00" + "010203"));
    const cert = new UnverifiedEdCert(concat(signed, key.sign(signed)));
    assert.equal(cert.verify({ type: 4, signedBy: key.publicKey, now: 0 }).type, 4);
  });

  test("a key type that does not belong to the type is refused; C tor's old 1 for a TLS certificate is taken", () => {
    const key = new Ed25519PrivateKey(new Uint8Array(32).fill(7));
    const made = (type: number, keyType: number) =>
      new UnverifiedEdCert(
        encodeEdCert({ type, keyType, certifiedKey: signingKey, expiresMs: HOUR, includeSigningKey: false }, key),
      ).verify({ type, signedBy: key.publicKey, now: 0 });
    for (const [type, keyType] of [[4, 3], [4, 2], [4, 0], [5, 2], [5, 4]] as const) {
      throwsKind("protocol", () => made(type, keyType));
    }
    assert.equal(made(5, 1).keyType, 1);
    assert.equal(made(5, 3).keyType, 3);
  });

  test('any bytes give a certificate or "malformed"', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300, size: "max" }), (random) => {
      try {
        new UnverifiedEdCert(random);
      } catch (error) {
        assert.ok(isTunicError(error, "malformed"));
      }
    }));
  });

  test("a date beyond what JavaScript can name has words", () =>
    assert.equal(isoTime(2 ** 32 * HOUR), "the far future"));

  test("types have the specification's numbers", () => {
    assert.deepEqual(Object.values(EdCertType), [4, 5, 6, 8, 9, 10, 11]);
  });
});

describe("RSA→Ed25519 cross-certificates", () => {
  test("a real one verifies", () => {
    const cert = new UnverifiedCrossCert(crossCert).verify({ rsaKey, now });
    assert.equal(toHex(cert.ed25519Id), vectors.identityKey);
    assert.equal(cert.expiresMs, 0x0006da3a * HOUR);
  });

  test("with another key it does not", () => {
    const wrong = parseRsaPublicKey(fromHex(vectors.cross.wrongRsaKey));
    throwsKind("crypto", () => new UnverifiedCrossCert(crossCert).verify({ rsaKey: wrong, now }));
  });

  test("it is in force to the last moment and no longer", () => {
    const cert = new UnverifiedCrossCert(crossCert);
    cert.verify({ rsaKey, now: 0x0006da3a * HOUR });
    throwsKind("clock", () => cert.verify({ rsaKey, now: 0x0006da3a * HOUR + 1 }));
  });

  test("any changed byte is noticed", () => {
    for (let at = 0; at < crossCert.length; at++) {
      const changed = crossCert.slice();
      changed[at]! ^= 1;
      assert.throws(
        () => new UnverifiedCrossCert(changed).verify({ rsaKey, now }),
        (error) => isTunicError(error, "malformed", "crypto"),
        `byte ${at}`,
      );
    }
  });

  test("cut short or with bytes after it, it is malformed", () => {
    for (let end = 0; end < crossCert.length; end++) {
      assertMalformed(() => new UnverifiedCrossCert(crossCert.subarray(0, end)));
    }
    assertMalformed(() => new UnverifiedCrossCert(concat(crossCert, new Uint8Array(1))));
  });

  test("it is encoded as it was read", () => {
    const content = { ed25519Id: identityKey, expiresMs: 0x0006da3a * HOUR };
    assert.deepEqual(encodeCrossCert(content, () => crossCert.slice(37)), crossCert);
  });

  test('any bytes give a certificate or "malformed"', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300, size: "max" }), u8, (random, length) => {
      try {
        new UnverifiedCrossCert(concat(random.subarray(0, 36), new Uint8Array([length]), random.subarray(36)));
      } catch (error) {
        assert.ok(isTunicError(error, "malformed"));
      }
    }));
  });
});

describe("a real CERTS cell", () => {
  test("proves everything but a TLS certificate that was not kept", () => {
    const certs = decodeWith(CERTS, fromHex(link.certs));
    const rsaId = new RsaCertificate(certs.get(2)!).publicKey.identity();
    assert.throws(
      () => verifyResponderCerts(certs, { tlsCertificate: new Uint8Array(500), expected: { rsaId }, now }),
      (error) => isTunicError(error, "crypto") && error.code === "wrong-tls-certificate",
    );
  });
});
