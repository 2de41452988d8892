import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { toHexUpper } from "../../../src/bytes/mod.ts";
import { isTunicError, type TunicError } from "../../../src/base/errors.ts";
import { type AuthorityCertificate, parseCertificates } from "../../../src/wire/netdoc/authority_certificate.ts";
import { parseConsensus } from "../../../src/wire/netdoc/consensus.ts";
import { checkTimely } from "../../../src/wire/netdoc/consensus_verify.ts";
import testnet from "../../vectors/netdoc_testnet.json" with { type: "json" };
import dirmgr from "../../vectors/netdoc_dirmgr.json" with { type: "json" };
import {
  attach,
  bytesOf,
  consensusBody,
  TEST_NOW,
  TestAuthority,
  type TestCertificateOptions,
  testRelay,
} from "../../support/network_documents.ts";

const HOUR = 3_600_000;

const AUTHORITIES = await Promise.all(Array.from({ length: 5 }, () => TestAuthority.create()));
const [A, B, C, D, E] = AUTHORITIES as [TestAuthority, TestAuthority, TestAuthority, TestAuthority, TestAuthority];
const KNOWN = AUTHORITIES.map((authority) => authority.identity);
const BODY = consensusBody({ relays: [testRelay(1)], authorities: AUTHORITIES });

function certificate(authority: TestAuthority, options: TestCertificateOptions = {}, now = TEST_NOW) {
  const text = bytesOf(authority.certificate(options));
  return parseCertificates(text)[0]!.verify({ authorities: [authority.identity], now });
}

const CERTIFICATES: readonly AuthorityCertificate[] = AUTHORITIES.map((authority) => certificate(authority));

function consensus(signatures: readonly string[]) {
  return parseConsensus(bytesOf(attach(BODY, signatures)));
}

function refuses(run: () => unknown, counts: Record<string, number>): void {
  assert.throws(run, (error) => {
    assert.ok(isTunicError(error, "crypto"), String(error));
    assert.equal(error.code, "too-few-signatures");
    assert.deepEqual({ ...error.context, ...counts }, error.context);
    return true;
  });
}

describe("a consensus' signatures", () => {
  const evidence = { authorities: KNOWN, certificates: CERTIFICATES, now: TEST_NOW };
  const sign = (...authorities: TestAuthority[]) => authorities.map((authority) => authority.signature(BODY));

  test("of more than half of the authorities are enough", () => {
    assert.equal(consensus(sign(A, B, C)).verify(evidence).relays.size, 1);
    assert.equal(consensus(sign(E, D, C, B, A)).verify(evidence).relays.size, 1);
    const four = { ...evidence, authorities: KNOWN.slice(0, 4) };
    consensus(sign(A, B, C)).verify(four);
    refuses(() => consensus(sign(A, B)).verify(four), { valid: 2, required: 3, known: 4 });
  });

  test("of half or fewer are not", () => {
    refuses(() => consensus(sign(A, B)).verify(evidence), { valid: 2, invalid: 0, required: 3, known: 5 });
    refuses(() => consensus(sign(A)).verify(evidence), { valid: 1 });
  });

  test("count once for each authority, however many it gives", () => {
    refuses(() => consensus(sign(A, A, A, B, B)).verify(evidence), { valid: 2 });
    const both = [A.signature(BODY, "sha1"), A.signature(BODY), B.signature(BODY)];
    refuses(() => consensus(both).verify(evidence), { valid: 2 });
  });

  test("count once for an authority that is configured twice", () => {
    refuses(() => consensus(sign(A)).verify({ ...evidence, authorities: [KNOWN[0]!, KNOWN[0]!, KNOWN[1]!] }), {
      valid: 1,
      known: 2,
      required: 2,
    });
  });

  test("count with SHA-1 as with SHA-256", () => {
    consensus([A.signature(BODY, "sha1"), B.signature(BODY), C.signature(BODY, "sha1")]).verify(evidence);
  });

  test("do not count from authorities that are not known", async () => {
    const stranger = await TestAuthority.create();
    const certificates = [...CERTIFICATES, certificate(stranger)];
    refuses(() => consensus(sign(A, B, stranger)).verify({ ...evidence, certificates }), { valid: 2, invalid: 0 });
    refuses(() => consensus(sign(A, B, C)).verify({ ...evidence, authorities: [] }), { valid: 0, required: 1 });
  });

  test("do not count with an algorithm that is not known", () => {
    const unknown = C.signature(BODY).replace("sha256", "sha512");
    refuses(() => consensus([...sign(A, B), unknown]).verify(evidence), { valid: 2, invalid: 0 });
  });

  test("do not count without a certificate, or with one that has expired", () => {
    const without = { ...evidence, certificates: CERTIFICATES.slice(0, 2) };
    refuses(() => consensus(sign(A, B, C)).verify(without), { valid: 2, withoutCertificate: 1 });
    const soon = certificate(C, { expires: "2026-01-29 06:30:00" }, TEST_NOW - 1);
    refuses(() => consensus(sign(A, B, C)).verify({ ...without, certificates: [...without.certificates, soon] }), {
      valid: 2,
      withoutCertificate: 1,
    });
  });

  test("do not count over another text or with another key", () => {
    const forged = D.signature(BODY).replace(toHexUpper(D.identity), toHexUpper(C.identity))
      .replace(toHexUpper(D.signingKeyDigest), toHexUpper(C.signingKeyDigest));
    refuses(() => consensus([...sign(A, B), forged]).verify(evidence), { valid: 2, invalid: 1 });
    const other = C.signature(BODY.replace("Bandwidth=1000", "Bandwidth=9999"));
    refuses(() => consensus([...sign(A, B), other]).verify(evidence), { valid: 2, invalid: 1 });
    const tampered = attach(BODY, sign(A, B, C)).replace("Bandwidth=1000", "Bandwidth=9999");
    refuses(() => parseConsensus(bytesOf(tampered)).verify(evidence), { valid: 0, invalid: 3 });
    // The right digest under the wrong algorithm's name.
    const renamed = C.signature(BODY, "sha1").replace(/^/, "sha256 ");
    refuses(() => consensus([...sign(A, B), renamed]).verify(evidence), { valid: 2, invalid: 1 });
  });

  test("that are bad do not spoil a good one of the same authority", () => {
    const bad = C.signature(BODY.replace("Bandwidth=1000", "Bandwidth=9999"));
    consensus([bad, ...sign(A, B, C)]).verify(evidence);
  });

  test("name the certificates that are missing, once, and only those of known authorities", async () => {
    const stranger = await TestAuthority.create();
    const unverified = consensus([...sign(A, B, C), C.signature(BODY, "sha1"), stranger.signature(BODY)]);
    const missing = unverified.missingCertificates({ ...evidence, certificates: CERTIFICATES.slice(0, 2) });
    assert.deepEqual(missing, [{ identity: C.identity, signingKeyDigest: C.signingKeyDigest }]);
    assert.deepEqual(unverified.missingCertificates(evidence), []);
  });
});

describe("a consensus' times", () => {
  const unverified = consensus([A.signature(BODY)]);
  const { validAfter, validUntil } = unverified.lifetime;

  test("are kept with a day of tolerance on both sides", () => {
    unverified.checkTimely(TEST_NOW);
    unverified.checkTimely(validAfter - 24 * HOUR);
    unverified.checkTimely(validUntil + 24 * HOUR);
    for (
      const [now, code, text] of [
        [validAfter - 24 * HOUR - 1, "consensus-not-yet-valid", /clock is slow.*2026-01-29 06:00:00 UTC/],
        [validUntil + 24 * HOUR + 1, "consensus-expired", /out of date.*2026-01-29 09:00:00 UTC/],
      ] as const
    ) {
      assert.throws(() => unverified.checkTimely(now), (error: TunicError) => {
        assert.ok(isTunicError(error, "clock"));
        assert.equal(error.code, code);
        assert.match(error.message, text);
        return true;
      });
    }
  });

  test("are kept with the tolerance that is given", () => {
    checkTimely(unverified.lifetime, validUntil, { earlyMs: 0, lateMs: 0 });
    const late = () => checkTimely(unverified.lifetime, validUntil + 1, { earlyMs: 0, lateMs: 0 });
    assert.throws(late, (error) => isTunicError(error, "clock"));
    const early = () => checkTimely(unverified.lifetime, validAfter - 1, { earlyMs: 0, lateMs: 0 });
    assert.throws(early, (error) => isTunicError(error, "clock"));
  });
});

describe("consensuses that C tor's authorities signed", () => {
  for (const [name, vector] of Object.entries({ testnet, dirmgr })) {
    test(`verify at their time (${name})`, () => {
      const now = Date.parse(vector.now);
      const text = [vector.certificates].flat().join("");
      const unverified = parseConsensus(bytesOf(vector.consensus));
      const authorities = unverified.signatures.map((signature) => signature.identity);
      const certificates = parseCertificates(bytesOf(text)).map((one) => one.verify({ authorities, now }));
      unverified.checkTimely(now);
      assert.deepEqual(unverified.missingCertificates({ authorities, certificates, now }), []);
      const evidence = { authorities, certificates, now };
      assert.ok(unverified.verify(evidence).relays.size > 3);
      const tampered = vector.consensus.replace("Bandwidth=", "Bandwidth=1");
      refuses(() => parseConsensus(bytesOf(tampered)).verify(evidence), { valid: 0 });
      const later = Date.UTC(2026, 0, 1);
      refuses(() => unverified.verify({ ...evidence, now: later }), { valid: 0, invalid: 0 });
      assert.throws(() => unverified.checkTimely(later), (error) => isTunicError(error, "clock"));
    });
  }

  test("do not verify with another network's certificates", () => {
    const now = Date.parse(dirmgr.now);
    const unverified = parseConsensus(bytesOf(dirmgr.otherConsensus));
    const authorities = parseConsensus(bytesOf(dirmgr.consensus)).signatures.map((signature) => signature.identity);
    const certificates = parseCertificates(bytesOf(dirmgr.certificates.join("")))
      .map((one) => one.verify({ authorities, now }));
    refuses(() => unverified.verify({ authorities, certificates, now }), { valid: 0, known: 3 });
  });
});
