import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { concat } from "../../../src/bytes/bytes.ts";
import { fromBase64, fromHex, latin1, toHex, utf8 } from "../../../src/bytes/text.ts";
import { sha1, sha256 } from "../../../src/crypto/digest.ts";
import { verifyEd25519 } from "../../../src/crypto/ed25519.ts";
import { ed25519FromX25519 } from "../../../src/crypto/ed25519_convert.ts";
import { parseRsaPublicKey, verifyRsaDigest } from "../../../src/crypto/rsa.ts";
import { EdCertType, UnverifiedEdCert } from "../../../src/wire/ed_cert.ts";
import { parseMicrodesc } from "../../../src/wire/netdoc/microdesc.ts";
import { descriptor, IDENTITIES, START, TAP_KEY } from "./support.ts";

const identity = IDENTITIES[5]!;
const made = descriptor(5, {
  ipv6: { host: "2001:db8:0:0:0:0:0:1", port: 5005 },
  family: [`$${"F".repeat(40)}`, `$${toHex(identity.rsaId).toUpperCase()}`],
  contact: "nobody",
});
const text = latin1(made.text);

function object(after: string, label: string): Uint8Array {
  const at = text.indexOf(`\n${after}`);
  const begin = text.indexOf(`-----BEGIN ${label}-----\n`, at);
  const end = text.indexOf(`\n-----END ${label}-----\n`, begin);
  assert.ok(at >= 0 && begin >= 0 && end >= 0, after);
  return fromBase64(text.slice(begin + label.length + 17, end).replaceAll("\n", ""));
}

describe("server descriptors", () => {
  test("the RSA key signs all but its signature, and the digest is of that", () => {
    const end = text.indexOf("router-signature\n") + "router-signature\n".length;
    const key = parseRsaPublicKey(object("signing-key", "RSA PUBLIC KEY"));
    assert.deepEqual(key.identity(), identity.rsaId);
    assert.deepEqual(made.digest, sha1(utf8(text.slice(0, end))));
    assert.ok(verifyRsaDigest(key, object("router-signature", "SIGNATURE"), made.digest));
  });

  test("the Ed25519 signing key, certified by the identity, signs all before its signature", () => {
    const cert = new UnverifiedEdCert(object("identity-ed25519", "ED25519 CERT"));
    const { certifiedKey, signingKey } = cert.verify({ type: EdCertType.SIGNING, signedBy: "included", now: START });
    assert.deepEqual(signingKey, identity.ed25519Id);
    const [, signature] = /^router-sig-ed25519 (\S+)$/m.exec(text)!;
    const signed = text.slice(0, text.indexOf("router-sig-ed25519 ") + "router-sig-ed25519 ".length);
    const digest = sha256(utf8("Tor router descriptor signature v1"), utf8(signed));
    assert.ok(verifyEd25519(fromBase64(signature!), digest, certifiedKey));
  });

  test("both onion keys vouch for the identities", () => {
    const tap = parseRsaPublicKey(object("onion-key", "RSA PUBLIC KEY"));
    const both = concat(identity.rsaId, identity.ed25519Id);
    assert.ok(verifyRsaDigest(tap, object("onion-key-crosscert", "CROSSCERT"), both));
    const [, bit] = /^ntor-onion-key-crosscert ([01])$/m.exec(text)!;
    const signer = ed25519FromX25519(identity.ntorKey.publicKey, bit === "1" ? 1 : 0)!;
    const cert = new UnverifiedEdCert(object("ntor-onion-key-crosscert", "ED25519 CERT"));
    const evidence = { type: EdCertType.NTOR_CROSS, now: START };
    assert.deepEqual(cert.verify({ ...evidence, signedBy: signer }).certifiedKey, identity.ed25519Id);
    const other = ed25519FromX25519(identity.ntorKey.publicKey, bit === "1" ? 0 : 1)!;
    assert.throws(() => cert.verify({ ...evidence, signedBy: other }), { kind: "crypto" });
  });

  test("says where the relay is and what it does", () => {
    for (
      const line of [
        "router r5 127.0.0.1 5005 0 0",
        "or-address [2001:db8::1]:5005",
        "published 2026-01-29 11:59:59",
        "accept *:*",
        "ipv6-policy accept 1-65535",
        "tunnelled-dir-server",
        "contact nobody",
      ]
    ) assert.ok(text.includes(`\n${line}\n`) || text.startsWith(`${line}\n`), line);
    const [, spaced] = /^fingerprint (.*)$/m.exec(text)!;
    assert.match(spaced!, /^([0-9A-F]{4} ){9}[0-9A-F]{4}$/);
    assert.deepEqual(fromHex(spaced!.replaceAll(" ", "")), identity.rsaId);
  });

  test("its microdescriptor has the keys, the policy and the whole family in order", () => {
    const microdesc = parseMicrodesc(made.microdesc);
    assert.deepEqual(microdesc.ntorKey, identity.ntorKey.publicKey);
    assert.deepEqual(microdesc.ed25519Id, identity.ed25519Id);
    assert.equal(latin1(microdesc.policy!), "accept 1-65535");
    assert.equal(latin1(microdesc.policy6!), "accept 1-65535");
    const family = [`$${"F".repeat(40)}`, `$${toHex(identity.rsaId).toUpperCase()}`].sort().join(" ");
    assert.equal(latin1(microdesc.family!), family);
    assert.deepEqual(made.microdescDigest, sha256(made.microdesc));
    const tap = fromBase64(/KEY-----\n([^-]*)\n-----END/.exec(latin1(made.microdesc))![1]!.replaceAll("\n", ""));
    assert.deepEqual(tap, TAP_KEY.publicKey.der);
  });

  test("relays that let nothing out and have no family say nothing of it", () => {
    const microdesc = parseMicrodesc(descriptor(3).microdesc);
    assert.equal(microdesc.policy, undefined);
    assert.equal(microdesc.policy6, undefined);
    assert.equal(microdesc.family, undefined);
  });
});
