import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { type Codec, decodeWith, encodeWith } from "../../src/bytes/codec.ts";
import { fromHex, toHex, utf8 } from "../../src/bytes/text.ts";
import { Ed25519PrivateKey, generateEd25519 } from "../../src/crypto/ed25519.ts";
import {
  ESTABLISH_INTRO,
  ESTABLISH_RENDEZVOUS,
  type HsExtension,
  INTRO_DOS_PARAMETERS,
  INTRO_ESTABLISHED,
  INTRODUCE1,
  INTRODUCE2,
  INTRODUCE_ACK,
  makeEstablishIntro,
  openEstablishIntro,
  RENDEZVOUS1,
  RENDEZVOUS2,
} from "../../src/wire/hs_messages.ts";
import vectors from "../vectors/hs_messages.json" with { type: "json" };
import { SeededRandom } from "../support/seeded_random.ts";
import { assertMalformed, assertRoundTrip, assertTotal, bytes, plain, u16, u8 } from "./codec_support.ts";

const codecs = {
  ESTABLISH_INTRO,
  INTRO_DOS_PARAMETERS,
  INTRO_ESTABLISHED,
  INTRODUCE1,
  INTRODUCE2,
  INTRODUCE_ACK,
  ESTABLISH_RENDEZVOUS,
  RENDEZVOUS1,
  RENDEZVOUS2,
} as Record<string, Codec<unknown>>;

const extensions = fc.array(fc.record({ type: u8, field: fc.uint8Array({ maxLength: 40 }) }), { maxLength: 6 });
const authKey = bytes(32);
const some = fc.uint8Array({ minLength: 1, maxLength: 300 });

describe("messages of onion services", () => {
  for (const { codec, body, value, noncanonical } of vectors.messages) {
    test(`vector ${codec} ${body.slice(0, 90).slice(-24)}`, () => {
      const decoded = decodeWith(codecs[codec]!, fromHex(body));
      assert.deepEqual(plain(decoded), value);
      assert.equal(toHex(encodeWith(codecs[codec]!, decoded)), noncanonical ?? body);
    });
  }

  for (const { codec, body, why } of vectors.malformed) {
    test(`malformed vector ${codec}: ${why}`, () => {
      assertMalformed(() => decodeWith(codecs[codec]!, fromHex(body)));
    });
  }

  for (const [name, codec] of Object.entries(codecs)) {
    test(`${name}: any bytes give a value or "malformed"`, () => assertTotal(codec));
  }

  test("round trips", () => {
    const handshakeAuth = bytes(32);
    const signature = bytes(64);
    assertRoundTrip(ESTABLISH_INTRO, fc.record({ authKey, extensions, handshakeAuth, signature }));
    assertRoundTrip(INTRO_ESTABLISHED, fc.record({ extensions }));
    assertRoundTrip(INTRODUCE1, fc.record({ authKey, extensions, encrypted: some }));
    assertRoundTrip(INTRODUCE2, fc.record({ authKey, extensions, encrypted: some }));
    assertRoundTrip(INTRODUCE_ACK, fc.record({ status: u16, extensions }));
    assertRoundTrip(ESTABLISH_RENDEZVOUS, bytes(20));
    assertRoundTrip(RENDEZVOUS1, fc.record({ cookie: bytes(20), handshakeInfo: some }));
    assertRoundTrip(RENDEZVOUS2, some);
  });

  test("bytes after the fields are ignored", () => {
    const none: HsExtension[] = [];
    const values = {
      INTRO_ESTABLISHED: { extensions: none },
      INTRODUCE_ACK: { status: 1, extensions: none },
      ESTABLISH_RENDEZVOUS: new Uint8Array(20),
      INTRO_DOS_PARAMETERS: { ratePerSecond: 1, burst: 3 },
    };
    for (const [name, value] of Object.entries(values)) {
      const longer = concat(encodeWith(codecs[name]!, value), Uint8Array.of(9, 9));
      assert.deepEqual(plain(decodeWith(codecs[name]!, longer)), plain(value), name);
    }
  });

  test("every message but the last field's is malformed when cut", () => {
    for (const { codec, body } of vectors.messages) {
      if (["RENDEZVOUS2", "INTRO_ESTABLISHED"].includes(codec)) continue;
      const whole = fromHex(body);
      const end = codec === "INTRODUCE1"
        ? 57
        : codec === "RENDEZVOUS1" || codec === "ESTABLISH_RENDEZVOUS"
        ? 20
        : whole.length;
      for (let length = 0; length < end; length++) {
        assertMalformed(() => decodeWith(codecs[codec]!, whole.subarray(0, length)));
      }
    }
  });

  test("an empty INTRO_ESTABLISHED is one without extensions", () => {
    assert.deepEqual(decodeWith(INTRO_ESTABLISHED, new Uint8Array(0)), { extensions: [] });
  });

  test("an INTRODUCE1 with nothing for the service, or with a key of another type, is malformed", () => {
    const message = encodeWith(INTRODUCE1, {
      authKey: new Uint8Array(32),
      extensions: [],
      encrypted: Uint8Array.of(1),
    });
    assertMalformed(() => decodeWith(INTRODUCE1, message.subarray(0, message.length - 1)));
    for (const type of [0, 1, 3]) {
      assertMalformed(() => decodeWith(INTRODUCE1, message.map((byte, i) => i === 20 ? type : byte)));
    }
  });

  test("extensions that do not fit cannot be written", () => {
    const write = (count: number, length: number) => () =>
      encodeWith(INTRO_ESTABLISHED, {
        extensions: Array.from({ length: count }, () => ({ type: 1, field: new Uint8Array(length) })),
      });
    assert.equal(write(255, 255)().length, 1 + 255 * 257);
    assert.throws(write(256, 0), RangeError);
    assert.throws(write(1, 256), RangeError);
  });
});

describe("the denial-of-service extension", () => {
  const parameter = (type: number, value: number) => {
    const field = new DataView(new ArrayBuffer(9));
    field.setUint8(0, type);
    field.setBigUint64(1, BigInt(value));
    return new Uint8Array(field.buffer);
  };
  const read = (...parameters: Uint8Array[]) =>
    decodeWith(INTRO_DOS_PARAMETERS, concat(Uint8Array.of(parameters.length), ...parameters));

  test("round trip", () => {
    const value = fc.tuple(fc.nat(0x7fff_ffff), fc.nat(0x7fff_ffff)).map(([a, b]) => ({
      ratePerSecond: Math.min(a, b),
      burst: Math.max(a, b),
    }));
    assertRoundTrip(INTRO_DOS_PARAMETERS, value);
  });

  test("what is not said is zero, what is not known is ignored", () => {
    assert.deepEqual(read(), { ratePerSecond: 0, burst: 0 });
    assert.deepEqual(read(parameter(1, 7)), { ratePerSecond: 7, burst: 0 });
    assert.deepEqual(read(parameter(9, 1), parameter(2, 8)), { ratePerSecond: 0, burst: 8 });
  });

  test("a value out of range, or a burst below the rate, is malformed", () => {
    assert.equal(read(parameter(2, 0x7fff_ffff)).burst, 0x7fff_ffff);
    assertMalformed(() => read(parameter(2, 0x8000_0000)));
    assertMalformed(() => read(parameter(1, 3), parameter(2, 2)));
  });
});

describe("ESTABLISH_INTRO", () => {
  const { body, kh } = vectors.establishIntro;
  const key = generateEd25519(new SeededRandom(1));
  const isCrypto = (code: string) => (error: unknown) => isTunicError(error, "crypto") && error.code === code;

  test("C tor's is accepted for its circuit", () => {
    const request = openEstablishIntro(fromHex(body), fromHex(kh));
    assert.equal(toHex(request.authKey), body.slice(6, 70));
    assert.deepEqual(request.extensions, []);
  });

  test("no bit of it can be changed", () => {
    const message = fromHex(body);
    for (let at = 0; at < message.length; at++) {
      const changed = message.map((byte, i) => i === at ? byte ^ 1 : byte);
      assert.throws(
        () => openEstablishIntro(changed, fromHex(kh)),
        (error) => isTunicError(error, "crypto", "malformed"),
      );
    }
  });

  test("ours is accepted, for its circuit alone", () => {
    const ours = makeEstablishIntro([{ type: 7, field: utf8("hello") }], key, fromHex(kh));
    const opened = openEstablishIntro(ours, fromHex(kh));
    assert.deepEqual(plain(opened), {
      authKey: toHex(key.publicKey),
      extensions: [{ type: 7, field: toHex(utf8("hello")) }],
    });
    const elsewhere = fromHex(kh).map((byte, i) => i === 19 ? byte ^ 1 : byte);
    assert.throws(() => openEstablishIntro(ours, elsewhere), isCrypto("bad-intro-mac"));
    assert.throws(() => openEstablishIntro(ours, fromHex(kh).subarray(1)), isCrypto("bad-intro-mac"));
    assert.throws(() => openEstablishIntro(ours, new Uint8Array(0)), isCrypto("bad-intro-mac"));
  });

  test("the signature must be the authentication key's, over the message with its prefix", () => {
    const other = new Ed25519PrivateKey(new Uint8Array(32).fill(8));
    const forged = makeEstablishIntro([], { publicKey: key.publicKey, sign: (it) => other.sign(it) }, fromHex(kh));
    assert.throws(() => openEstablishIntro(forged, fromHex(kh)), isCrypto("bad-intro-signature"));
    const bare = makeEstablishIntro(
      [],
      { publicKey: key.publicKey, sign: (it) => key.sign(it.subarray(27)) },
      fromHex(kh),
    );
    assert.throws(() => openEstablishIntro(bare, fromHex(kh)), isCrypto("bad-intro-signature"));
  });

  test("what comes after the signature is ignored", () => {
    const longer = concat(fromHex(body), utf8("later"));
    assert.equal(toHex(openEstablishIntro(longer, fromHex(kh)).authKey), body.slice(6, 70));
  });
});
