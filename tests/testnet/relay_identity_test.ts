import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { describe, test } from "node:test";
import { isTunicError } from "../../src/base/errors.ts";
import { equal } from "../../src/bytes/bytes.ts";
import { generateRelayIdentity } from "../../src/testnet/relay_identity.ts";
import { verifyInitiatorCerts, verifyResponderCerts } from "../../src/wire/cert_chain.ts";
import { CertType } from "../../src/wire/link_cells.ts";
import { SeededRandom } from "../support/seeded_random.ts";

const DAY_MS = 86_400_000;
const NOW = Date.UTC(2026, 0, 1);
const make = (seed: number) => generateRelayIdentity({ nickname: "r1", now: NOW, random: new SeededRandom(seed) });
const [relay, other] = await Promise.all([make(1), make(2)]);

describe("a relay's identity", () => {
  const evidence = {
    tlsCertificate: relay.tls.certificate,
    expected: { rsaId: relay.rsaId, ed25519Id: relay.ed25519Id },
    now: NOW,
  };

  test("proves itself as a responder, and as an initiator", () => {
    const proven = verifyResponderCerts(relay.link.responderCerts, evidence);
    assert.deepEqual(proven.rsaKeySha256, relay.link.rsaKeySha256);
    const claimed = verifyInitiatorCerts(relay.link.initiatorCerts, NOW);
    assert.deepEqual(claimed.authKey, relay.link.authKey.publicKey);
    for (const { rsaId, ed25519Id } of [proven, claimed]) {
      assert.deepEqual(rsaId, relay.rsaId);
      assert.deepEqual(ed25519Id, relay.ed25519Id);
    }
  });

  test("shows each side the certificates that are for it, and no others", () => {
    const { RSA_ID, ED25519_SIGNING, ED25519_LINK, ED25519_AUTH, RSA_ED25519_CROSS } = CertType;
    const types = (certs: ReadonlyMap<number, Uint8Array>) => [...certs.keys()].sort();
    assert.deepEqual(types(relay.link.responderCerts), [RSA_ID, ED25519_SIGNING, ED25519_LINK, RSA_ED25519_CROSS]);
    assert.deepEqual(types(relay.link.initiatorCerts), [RSA_ID, ED25519_SIGNING, ED25519_AUTH, RSA_ED25519_CROSS]);
    assert.throws(
      () => verifyInitiatorCerts(relay.link.responderCerts, NOW),
      (error) => isTunicError(error, "protocol"),
    );
    assert.throws(
      () => verifyResponderCerts(relay.link.initiatorCerts, evidence),
      (error) => isTunicError(error, "protocol"),
    );
  });

  test("is good for a year, for clocks a month behind as well, and no longer", () => {
    for (const days of [-50, 0, 364]) {
      verifyResponderCerts(relay.link.responderCerts, { ...evidence, now: NOW + days * DAY_MS });
    }
    for (const days of [-61, 366]) {
      assert.throws(
        () => verifyResponderCerts(relay.link.responderCerts, { ...evidence, now: NOW + days * DAY_MS }),
        (error) => isTunicError(error, "clock"),
      );
    }
  });

  test("has a TLS certificate of its TLS key, issued by its RSA key", () => {
    const tls = new X509Certificate(relay.tls.certificate);
    const issuer = new X509Certificate(relay.link.responderCerts.get(CertType.RSA_ID)!);
    assert.equal(tls.verify(issuer.publicKey), true);
    assert.equal(tls.issuer, issuer.subject);
    assert.match(tls.subject, /^CN=www\.[a-z2-7]{4,25}\.net$/);
    assert.match(relay.tls.keyPem, /^-----BEGIN RSA PRIVATE KEY-----\n/);
  });

  test("shares no key with another one's, nor has one key twice", () => {
    const keysOf = ({ rsaId, ed25519Id, signingKey, ntorKey, link, tls }: typeof relay) => [
      rsaId,
      ed25519Id,
      signingKey.publicKey,
      ntorKey.publicKey,
      link.authKey.publicKey,
      tls.certificate,
    ];
    const keys = [...keysOf(relay), ...keysOf(other)];
    for (const [i, key] of keys.entries()) assert.ok(keys.slice(i + 1).every((later) => !equal(key, later)));
  });
});
