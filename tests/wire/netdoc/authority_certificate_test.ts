import { describe, test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { fromHex, toHexUpper } from "../../../src/bytes/mod.ts";
import { isTunicError } from "../../../src/base/errors.ts";
import { parseCertificates } from "../../../src/wire/netdoc/authority_certificate.ts";
import malformed from "../../vectors/netdoc_malformed.json" with { type: "json" };
import { bytesOf, TEST_NOW, TestAuthority, type TestCertificateOptions } from "../../support/network_documents.ts";

const A = await TestAuthority.create();
const B = await TestAuthority.create();

function verify(options: TestCertificateOptions = {}, authorities = [A.identity], now = TEST_NOW) {
  return parseCertificates(bytesOf(A.certificate(options)))[0]!.verify({ authorities, now });
}

function refuses(run: () => unknown, kind: "crypto" | "identity" | "clock", code: string): void {
  assert.throws(run, (error) => {
    assert.ok(isTunicError(error, kind), String(error));
    assert.equal(error.code, code);
    return true;
  });
}

describe("an authority certificate", () => {
  test("gives the signing key that the identity key vouches for", () => {
    const certificate = verify();
    assert.deepEqual(certificate.identity, A.identity);
    assert.deepEqual(certificate.signingKeyDigest, A.signingKeyDigest);
    assert.equal(certificate.expires, Date.UTC(2027, 0, 1));
    assert.equal(certificate.published, Date.UTC(2026, 0, 1));
    assert.deepEqual(certificate.text, bytesOf(A.certificate()));
  });

  test("of the public network verifies at its time", () => {
    const identity = fromHex("ED03BB616EB2F60BEC80151114BB25CEF515B226");
    const [certificate] = parseCertificates(bytesOf(malformed.goodCertificate));
    const now = Date.UTC(2020, 5, 1);
    assert.equal(toHexUpper(certificate!.verify({ authorities: [identity], now }).identity), toHexUpper(identity));
    refuses(() => certificate!.verify({ authorities: [identity], now: TEST_NOW }), "clock", "certificate-expired");
  });

  test("is refused where its fingerprint, signatures, authority or times are wrong", () => {
    refuses(() => verify({ fingerprint: toHexUpper(B.identity) }), "identity", "unknown-authority");
    refuses(() => verify({ fingerprint: toHexUpper(B.identity) }, [B.identity]), "crypto", "wrong-fingerprint");
    refuses(() => verify({ certifier: B }), "crypto", "bad-certification");
    refuses(() => verify({ crossCertifier: B }), "crypto", "bad-cross-certification");
    refuses(() => verify({}, [B.identity]), "identity", "unknown-authority");
    refuses(() => verify({}, []), "identity", "unknown-authority");
    refuses(() => verify({ expires: "2026-01-29 06:30:00" }), "clock", "certificate-expired");
    refuses(() => verify({ published: "2026-01-30 06:30:01" }), "clock", "certificate-from-future");
    verify({ published: "2026-01-30 06:30:00" });
    const tampered = A.certificate().replace("2027-01-01", "2028-01-01");
    const [one] = parseCertificates(bytesOf(tampered));
    refuses(() => one!.verify({ authorities: [A.identity], now: TEST_NOW }), "crypto", "bad-certification");
  });

  test("comes with others, in one text", () => {
    const certificates = parseCertificates(bytesOf(A.certificate() + B.certificate()));
    assert.equal(certificates.length, 2);
    const evidence = { authorities: [A.identity, B.identity], now: TEST_NOW };
    assert.deepEqual(certificates.map((one) => one.verify(evidence).identity), [A.identity, B.identity]);
    assert.deepEqual(parseCertificates(new Uint8Array(0)), []);
  });

  test("may name its cross-certification as C tor's earliest versions did", () => {
    const old = A.certificate().replaceAll(" ID SIGNATURE-", " SIGNATURE-");
    assert.equal(parseCertificates(bytesOf(old)).length, 1);
  });

  test("is refused where Arti's tests have it malformed", () => {
    const entries = Object.entries(malformed.badCertificates);
    assert.equal(entries.length, 5);
    const authorities = ["ED03BB616EB2F60BEC80151114BB25CEF515B226", "ED03BB616EB2F60BEC80151114BB25CEFFFFFFFF"];
    const evidence = { authorities: authorities.map((identity) => fromHex(identity)), now: Date.UTC(2020, 5, 1) };
    for (const [name, text] of entries) {
      const read = () => parseCertificates(bytesOf(text)).map((one) => one.verify(evidence));
      assert.throws(read, (error) => isTunicError(error, "malformed", "crypto"), name);
    }
  });

  test("is malformed with an item missing, twice, or with too much on its line", () => {
    const text = A.certificate();
    const refusesText = (changed: string) => {
      assert.notEqual(changed, text);
      assert.throws(() => parseCertificates(bytesOf(changed)), (error) => isTunicError(error, "malformed"));
    };
    for (const keyword of ["fingerprint", "dir-key-published", "dir-key-expires"]) {
      refusesText(text.replace(new RegExp(`${keyword}.*\n`), ""));
      refusesText(text.replace(new RegExp(`(${keyword}.*\n)`), "$1$1"));
    }
    for (const keyword of ["dir-identity-key", "dir-signing-key", "dir-key-crosscert"]) {
      refusesText(text.replace(new RegExp(`${keyword}\n[^]*?-----END.*\n`), ""));
      refusesText(text.replace(new RegExp(`(${keyword}\n[^]*?-----END.*\n)`), "$1$1"));
      refusesText(text.replace(`${keyword}\n`, `${keyword} more\n`));
    }
    refusesText(text.replace("dir-key-certification\n", "dir-key-certification more\n"));
    refusesText(text.replace("version 3", "version 4"));
    refusesText(text.replace("dir-identity-key\n-----BEGIN RSA", "dir-identity-key\n-----BEGIN DSA"));
    for (let end = text.indexOf("\n") + 1; end < text.length; end = text.indexOf("\n", end) + 1) {
      refusesText(text.slice(0, end));
      refusesText(text.slice(0, end - 1));
    }
    refusesText(text.repeat(65));
  });

  test("throws nothing but malformed for mutations", () => {
    const text = bytesOf(A.certificate());
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.nat(255), (at, byte) => {
        const mutated = text.slice();
        mutated[at] = byte;
        try {
          const evidence = { authorities: [A.identity], now: TEST_NOW };
          const certificates = parseCertificates(mutated).map((one) => one.verify(evidence));
          assert.deepEqual(certificates[0]!.signingKeyDigest, A.signingKeyDigest);
        } catch (error) {
          assert.ok(isTunicError(error, "malformed", "crypto", "identity", "clock"), String(error));
        }
      }),
      { numRuns: 300 },
    );
  });
});
