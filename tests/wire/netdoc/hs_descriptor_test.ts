import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type ErrorKind, isTunicError } from "../../../src/base/errors.ts";
import { concat } from "../../../src/bytes/bytes.ts";
import { latin1, toHex, utf8 } from "../../../src/bytes/text.ts";
import { MAX_HS_DESCRIPTOR_BYTES, UnverifiedHsDescriptor } from "../../../src/wire/netdoc/hs_descriptor.ts";
import vectors from "../../vectors/hs_descriptors.json" with { type: "json" };
import { blindedKey, makeHsDescriptor, NOW, signingKey, strangerKey } from "../../support/hs_descriptor.ts";
import { assertMalformed } from "../codec_support.ts";

const read = (text: Uint8Array, now = NOW) => new UnverifiedHsDescriptor(text).verify({ now });
const isKind = (...kinds: ErrorKind[]) => (error: unknown) => isTunicError(error, ...kinds);

describe("onion service descriptors of C tor", () => {
  const { plain, withClientAuthorization, now, certificateExpires } = vectors;

  test("are read and verified", () => {
    const descriptor = read(utf8(plain.text), Date.parse(now));
    assert.equal(toHex(descriptor.blindedKey), plain.blindedKey);
    assert.equal(descriptor.lifetimeMs, plain.lifetimeMinutes * 60_000);
    assert.equal(descriptor.revisionCounter, BigInt(plain.revisionCounter));
    assert.equal(descriptor.superencrypted.length % 10_000, 16 + 32, "padded, with salt and MAC");
    assert.equal(latin1(descriptor.text), plain.text);
    assert.equal(read(utf8(withClientAuthorization.text), Date.parse(now)).revisionCounter, 1763078644n);
  });

  test("end with their certificate", () => {
    const end = Date.parse(certificateExpires);
    assert.equal(read(utf8(plain.text), end).revisionCounter, BigInt(plain.revisionCounter));
    assert.throws(() => read(utf8(plain.text), end + 1), isKind("clock"));
  });

  test("cannot be changed in any byte", () => {
    const text = utf8(plain.text);
    for (let at = 0; at < text.length; at += 13) {
      const changed = text.map((byte, i) => i === at ? byte ^ 1 : byte);
      assert.throws(
        () => read(changed, Date.parse(now)),
        isKind("crypto", "malformed", "protocol", "clock"),
        `byte ${at}`,
      );
    }
  });
});

describe("an onion service descriptor", () => {
  test("says whose it is", () => {
    const descriptor = read(makeHsDescriptor());
    assert.deepEqual(descriptor.blindedKey, blindedKey.publicKey);
    assert.deepEqual(descriptor.signingKey, signingKey.publicKey);
    assert.deepEqual(descriptor.superencrypted, new Uint8Array(10_000).fill(7));
  });

  test("is not verified with a signature of another key, or over something else", () => {
    assert.throws(() => read(makeHsDescriptor({ signer: strangerKey })), isKind("crypto"));
    assert.throws(() => read(makeHsDescriptor({ signer: blindedKey })), isKind("crypto"));
    assert.throws(() => read(makeHsDescriptor({ signaturePrefix: "" })), isKind("crypto"));
    const withKeyword = { sign: (it: Uint8Array) => signingKey.sign(concat(it, utf8("signature "))) };
    assert.throws(() => read(makeHsDescriptor({ signer: withKeyword })), isKind("crypto"));
  });

  test("is not verified with a certificate that is wrong", () => {
    assert.throws(() => read(makeHsDescriptor({ certifier: strangerKey })), isKind("crypto"));
    assert.throws(() => read(makeHsDescriptor({ certificateType: 9 })), isKind("protocol"));
    assert.throws(() => read(makeHsDescriptor({ includeSigningKey: false })), isKind("protocol"));
    assert.throws(() => read(makeHsDescriptor({ expiresMs: NOW - 3_600_001 })), isKind("clock"));
  });

  test("has a revision counter of 64 bits", () => {
    for (const counter of [0n, 1n << 53n, (1n << 64n) - 1n]) {
      assert.equal(read(makeHsDescriptor({ revisionCounter: counter })).revisionCounter, counter);
    }
    for (const counter of [1n << 64n, -1, "1.5", "0x10", "", "1e3", "9".repeat(30)]) {
      assertMalformed(() => read(makeHsDescriptor({ revisionCounter: counter })));
    }
  });

  test("has a lifetime from half an hour to twelve", () => {
    const lifetime = (minutes: number) =>
      makeHsDescriptor({ edit: (text) => text.replace("lifetime 180", `lifetime ${minutes}`) });
    for (const minutes of [30, 720]) assert.equal(read(lifetime(minutes)).lifetimeMs, minutes * 60_000);
    for (const minutes of [0, 29, 721, -30]) assertMalformed(() => read(lifetime(minutes)));
  });

  const items = [
    "hs-descriptor",
    "descriptor-lifetime",
    "descriptor-signing-key-cert",
    "revision-counter",
    "superencrypted",
  ];
  const itemOf = (text: string, keyword: string) =>
    new RegExp(`^${keyword}.*\n(-----BEGIN [^]*?-----END .*\n)?`, "m").exec(text)![0];
  for (const keyword of items) {
    test(`has one "${keyword}"`, () => {
      assertMalformed(() => read(makeHsDescriptor({ edit: (text) => text.replace(itemOf(text, keyword), "") })));
      assertMalformed(() => read(makeHsDescriptor({ edit: (text) => text + itemOf(text, keyword) })));
    });
  }

  test("may have items that are not known, signed with the rest", () => {
    assert.equal(read(makeHsDescriptor({ edit: (text) => `${text}later thing\n` })).revisionCounter, 42n);
  });

  for (
    const [name, edit] of [
      ["of another version", (text) => text.replace("descriptor 3", "descriptor 4")],
      ["that begins with something else", (text) => `first\n${text}`],
      ["whose certificate is an object of another kind", (text) => text.replaceAll("ED25519 CERT", "CERTIFICATE")],
      ["whose content is an object of another kind", (text) => text.replaceAll("MESSAGE", "LETTER")],
      ["whose certificate is cut", (text) => text.replace(/AQg[^]{8}/, "AQg")],
      ["with a signature inside", (text) => `${text}signature ${"A".repeat(86)}\n`],
      ["with no line's end before the signature", (text) => text.slice(0, -1)],
    ] as [string, (text: string) => string][]
  ) {
    test(`${name} is none`, () => assertMalformed(() => read(makeHsDescriptor({ edit }))));
  }

  test("ends with its signature", () => {
    const text = makeHsDescriptor();
    assertMalformed(() => read(text.subarray(0, text.length - 1)));
    assertMalformed(() => read(text.subarray(0, text.length - 89)));
    for (const more of ["\n", "later thing\n", "-----BEGIN MESSAGE-----\n-----END MESSAGE-----\n"]) {
      assertMalformed(() => read(concat(text, utf8(more))));
    }
  });

  test("may be as long as the limit, and no longer", () => {
    const filled = (length: number) => {
      const bare = makeHsDescriptor({ superencrypted: new Uint8Array(30_000), edit: (text) => `${text}later \n` });
      const filler = "x".repeat(length - bare.length);
      return makeHsDescriptor({ superencrypted: new Uint8Array(30_000), edit: (text) => `${text}later ${filler}\n` });
    };
    const longest = filled(MAX_HS_DESCRIPTOR_BYTES - 1);
    assert.equal(longest.length, 49_999);
    assert.equal(read(longest).superencrypted.length, 30_000);
    assertMalformed(() => read(filled(MAX_HS_DESCRIPTOR_BYTES)));
  });

  test("is anything, or malformed", () => {
    const text = makeHsDescriptor({ superencrypted: new Uint8Array(40) });
    const splice = fc.tuple(fc.nat(text.length), fc.nat(30), fc.uint8Array({ maxLength: 30 }));
    fc.assert(fc.property(fc.array(splice, { minLength: 1, maxLength: 3 }), (splices) => {
      let changed = text;
      for (const [at, gone, added] of splices) {
        changed = concat(changed.subarray(0, at), added, changed.subarray(at + gone));
      }
      if (toHex(changed) === toHex(text)) return;
      assert.throws(() => read(changed), isKind("malformed", "crypto", "protocol", "clock"));
    }));
  });
});
