import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { concat } from "../../../src/bytes/bytes.ts";
import { AuthorityCertificates } from "../../../src/mgr/directory/certificates.ts";
import { bytesOf, TEST_NOW, TestAuthority } from "../../support/network_documents.ts";

const [a, b, stranger] = await Promise.all([TestAuthority.create(), TestAuthority.create(), TestAuthority.create()]);
const TEXTS = [a, b, stranger].map((authority) => bytesOf(authority.certificate()));

function empty(): AuthorityCertificates {
  return new AuthorityCertificates([a.identity, b.identity]);
}

describe("AuthorityCertificates", () => {
  test("takes those of known authorities, each once", () => {
    const certificates = empty();
    assert.equal(certificates.add(concat(...TEXTS), TEST_NOW), 2);
    assert.equal(certificates.add(TEXTS[0]!, TEST_NOW), 1);
    assert.deepEqual(certificates.all.map(({ identity }) => identity), [a.identity, b.identity]);
  });

  test("takes none that was not asked for", () => {
    const certificates = empty();
    const wanted = [{ identity: a.identity, signingKeyDigest: a.signingKeyDigest }];
    assert.equal(certificates.add(concat(...TEXTS), TEST_NOW, wanted), 1);
    assert.deepEqual(certificates.all.map(({ identity }) => identity), [a.identity]);
    const otherKey = [{ identity: b.identity, signingKeyDigest: a.signingKeyDigest }];
    assert.equal(certificates.add(TEXTS[1]!, TEST_NOW, otherKey), 0);
  });

  test("takes none that has expired or was signed by another", () => {
    const certificates = empty();
    assert.equal(certificates.add(TEXTS[0]!, Date.UTC(2027, 0, 2)), 0);
    assert.equal(certificates.add(bytesOf(a.certificate({ certifier: b })), TEST_NOW), 0);
    assert.equal(certificates.add(bytesOf(a.certificate({ crossCertifier: b })), TEST_NOW), 0);
    assert.throws(() => certificates.add(bytesOf("no certificate\n"), TEST_NOW), { kind: "malformed" });
    assert.equal(certificates.all.length, 0);
  });

  test("writes what it can read again, without those that have expired", () => {
    const certificates = empty();
    const short = bytesOf(b.certificate({ expires: "2026-02-01 00:00:00" }));
    certificates.add(concat(TEXTS[0]!, short), TEST_NOW);
    const again = empty();
    assert.equal(again.add(certificates.encode(TEST_NOW), TEST_NOW), 2);
    assert.deepEqual(again.encode(TEST_NOW), certificates.encode(TEST_NOW));
    assert.deepEqual(certificates.encode(Date.UTC(2026, 2, 1)), TEXTS[0]);
  });
});
