import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { type Codec, decodeWith, encodeWith } from "../../src/bytes/codec.ts";
import { fromHex, toHex } from "../../src/bytes/text.ts";
import { PAYLOAD_LEN } from "../../src/wire/cell.ts";
import * as create from "../../src/wire/create_cells.ts";
import * as link from "../../src/wire/link_cells.ts";
import vectors from "../vectors/cell_link.json" with { type: "json" };
import {
  assertMalformed,
  assertRoundTrip,
  assertTotal,
  bytes,
  ipv4,
  ipv6,
  plain,
  u16,
  u32,
  u8,
} from "./codec_support.ts";

const { CREATE2, CREATED2, CREATE_FAST, CREATED_FAST, DESTROY, TRUNCATED, DestroyReason } = create;
const { VERSIONS, CERTS, AUTH_CHALLENGE, AUTHENTICATE, NETINFO, PADDING_NEGOTIATE, CertType } = link;
const fixed: Record<string, Codec<unknown>> = {
  CREATE2,
  CREATED2,
  CREATE_FAST,
  CREATED_FAST,
  DESTROY,
  NETINFO,
  PADDING_NEGOTIATE,
} as Record<string, Codec<unknown>>;
const variable = { VERSIONS, CERTS, AUTH_CHALLENGE, AUTHENTICATE } as Record<string, Codec<unknown>>;

describe("link and circuit cells", () => {
  for (const vector of vectors.cells) {
    test(`vector ${vector.codec} ${vector.body.slice(0, 24)}`, () => {
      const codec = (fixed[vector.codec] ?? variable[vector.codec])!;
      const body = fromHex(vector.body);
      const value = decodeWith(codec, body);
      assert.deepEqual(plain(value), vector.value);
      if (!vector.noncanonical) assert.equal(toHex(encodeWith(codec, value)), vector.body);
      // Fixed cells come filled up with zeros, or with whatever their sender likes.
      if (fixed[vector.codec]) {
        for (const filler of [0, 0xff]) {
          const padded = concat(body, new Uint8Array(PAYLOAD_LEN - body.length).fill(filler));
          assert.deepEqual(plain(decodeWith(codec, padded)), vector.value);
        }
      }
    });
  }

  for (const vector of vectors.malformed) {
    test(`malformed vector ${vector.codec}`, () => {
      assertMalformed(() => decodeWith((fixed[vector.codec] ?? variable[vector.codec])!, fromHex(vector.body)));
    });
  }

  for (const [name, codec] of Object.entries({ ...fixed, ...variable, TRUNCATED })) {
    test(`${name}: any bytes give a value or "malformed"`, () => assertTotal(codec as Codec<unknown>));
  }

  test("what is encoded decodes to the same", () => {
    const handshake = fc.uint8Array({ maxLength: 500, size: "max" });
    const address = fc.oneof(ipv4, ipv6);
    assertRoundTrip(CREATE2, fc.record({ handshakeType: u16, handshake }));
    assertRoundTrip(CREATED2, handshake);
    assertRoundTrip(CREATE_FAST, bytes(20));
    assertRoundTrip(CREATED_FAST, fc.record({ y: bytes(20), derivativeKeyData: bytes(20) }));
    assertRoundTrip(DESTROY, u8);
    assertRoundTrip(VERSIONS, fc.array(u16));
    assertRoundTrip(AUTHENTICATE, fc.record({ type: u16, authentication: handshake }));
    assertRoundTrip(AUTH_CHALLENGE, fc.record({ challenge: bytes(32), methods: fc.array(u16) }));
    assertRoundTrip(
      NETINFO,
      fc.record({
        timestamp: u32,
        otherAddress: fc.option(address, { nil: undefined }),
        myAddresses: fc.array(address, { maxLength: 20 }),
      }),
    );
    assertRoundTrip(
      PADDING_NEGOTIATE,
      fc.record({ command: fc.constantFrom("start" as const, "stop" as const), lowMs: u16, highMs: u16 }),
    );
    assertRoundTrip(CERTS, fc.array(fc.tuple(u8, fc.uint8Array())).map((entries) => new Map(entries)));
  });
});

describe("VERSIONS", () => {
  test("an odd number of bytes is malformed", () => assertMalformed(() => decodeWith(VERSIONS, fromHex("000400"))));
});

describe("CERTS", () => {
  const body = fromHex(vectors.certs);

  test("a real cell gives its five certificates", () => {
    const certs = decodeWith(CERTS, body);
    assert.deepEqual([...certs.keys()], [1, 2, 4, 5, 7]);
    assert.deepEqual([...certs.values()].map((cert) => cert.length), [0x23e, 0x1bd, 0x8c, 0x68, 0xa5]);
    assert.equal(toHex(encodeWith(CERTS, certs)), vectors.certs);
  });

  test("a second certificate of one type is malformed, whatever the type", () => {
    assertMalformed(() => decodeWith(CERTS, fromHex("02" + "02000101" + "02000102")));
    assertMalformed(() => decodeWith(CERTS, fromHex("02" + "63000101" + "63000101")));
  });

  test("cut short anywhere it is malformed; bytes after the last certificate are ignored", () => {
    for (let end = 0; end < body.length; end++) assertMalformed(() => decodeWith(CERTS, body.subarray(0, end)));
    assert.equal(decodeWith(CERTS, concat(body, body)).size, 5);
  });

  test("types have the specification's numbers", () => {
    assert.deepEqual(Object.values(CertType), [1, 2, 3, 4, 5, 6, 7]);
  });
});

describe("AUTH_CHALLENGE", () => {
  test("methods that are announced and missing are malformed", () => {
    const challenge = "11".repeat(32);
    assertMalformed(() => decodeWith(AUTH_CHALLENGE, fromHex(challenge + "00020001")));
    assertMalformed(() => decodeWith(AUTH_CHALLENGE, fromHex(challenge)));
    assertMalformed(() => decodeWith(AUTH_CHALLENGE, fromHex(challenge.slice(2) + "0000")));
  });
});

describe("NETINFO", () => {
  test("addresses that are announced and missing are malformed", () => {
    assertMalformed(() => decodeWith(NETINFO, fromHex("00000000" + "04047f000001" + "02" + "04047f000001")));
    assertMalformed(() => decodeWith(NETINFO, fromHex("00000000" + "06107f000001")));
    assertMalformed(() => decodeWith(NETINFO, fromHex("000000")));
  });

  test("255 addresses that do not fit the cell are malformed", () => {
    const payload = new Uint8Array(PAYLOAD_LEN).fill(4);
    payload.set(fromHex("00000000" + "04047f000001" + "ff"));
    assertMalformed(() => decodeWith(NETINFO, payload));
  });

  test("a name is not written as an address", () => {
    const value = { timestamp: 0, otherAddress: "relay.example", myAddresses: [] };
    assert.throws(() => encodeWith(NETINFO, value), (error) => isTunicError(error, "argument"));
  });
});

describe("CREATE2 and CREATED2", () => {
  test("a length that goes past the cell is malformed", () => {
    const payload = new Uint8Array(PAYLOAD_LEN);
    payload.set(fromHex("000201fa"));
    assertMalformed(() => decodeWith(CREATE2, payload));
    payload.set(fromHex("01fc0000"));
    assertMalformed(() => decodeWith(CREATED2, payload));
    payload.set(fromHex("01fb"));
    assert.equal(decodeWith(CREATED2, payload).length, 507);
  });
});

describe("DESTROY and TRUNCATED", () => {
  test("a missing reason is NONE", () => {
    assert.equal(decodeWith(TRUNCATED, new Uint8Array(0)), DestroyReason.NONE);
    assert.equal(decodeWith(DESTROY, new Uint8Array(0)), DestroyReason.NONE);
  });

  test("reasons have names, unknown ones too", () => {
    assert.equal(create.destroyReasonName(5), "RESOURCELIMIT");
    assert.equal(create.destroyReasonName(12), "NOSUCHSERVICE");
    assert.equal(create.destroyReasonName(200), "reason 200");
    assert.deepEqual(Object.values(DestroyReason), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  });
});
