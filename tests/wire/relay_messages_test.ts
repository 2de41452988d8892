import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import { type Codec, decodeWith, encodeWith } from "../../src/bytes/codec.ts";
import { fromHex, toHex, utf8 } from "../../src/bytes/text.ts";
import { EXTEND2, EXTENDED2, SENDME } from "../../src/wire/circuit_messages.ts";
import { TRUNCATED } from "../../src/wire/create_cells.ts";
import { type LinkSpecifier, linkSpecifiersOf } from "../../src/wire/link_specifier.ts";
import { RESOLVE, RESOLVED, type ResolvedAnswer, reverseLookupName } from "../../src/wire/resolve_messages.ts";
import { BEGIN, BeginFlag, CONNECTED, END, EndReason, endReasonName } from "../../src/wire/stream_messages.ts";
import vectors from "../vectors/cell_relay.json" with { type: "json" };
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

const codecs = { BEGIN, CONNECTED, END, EXTEND2, EXTENDED2, TRUNCATED, RESOLVE, RESOLVED, SENDME } as Record<
  string,
  Codec<unknown>
>;
const isArgument = (error: unknown) => isTunicError(error, "argument");
const hostname = fc.domain().filter((name) => name.length < 200);
const address = fc.oneof(ipv4, ipv6);

describe("relay messages", () => {
  for (const vector of vectors.messages) {
    test(`vector ${vector.codec} ${vector.body.slice(0, 24)}`, () => {
      const codec = codecs[vector.codec]!;
      const value = decodeWith(codec, fromHex(vector.body));
      assert.deepEqual(plain(value), vector.value);
      assert.equal(toHex(encodeWith(codec, value)), vector.noncanonical ?? vector.body);
      if (vector.reverseOf) assert.equal(reverseLookupName(vector.reverseOf), vector.value);
    });
  }

  for (const vector of vectors.malformed) {
    test(`malformed vector ${vector.codec} ${vector.body.slice(0, 24)}`, () => {
      assertMalformed(() => decodeWith(codecs[vector.codec]!, fromHex(vector.body)));
    });
  }

  for (const [name, codec] of Object.entries(codecs)) {
    test(`${name}: any bytes give a value or "malformed"`, () => assertTotal(codec));
  }
});

describe("BEGIN", () => {
  test("round trip", () => {
    const host = fc.oneof(hostname, address, fc.constant(""));
    assertRoundTrip(BEGIN, fc.record({ host, port: fc.integer({ min: 1, max: 65535 }), flags: u32 }));
  });

  test("hosts are written and read in lower case", () => {
    const upper = { host: "WWW.Example.COM", port: 80, flags: BeginFlag.IPV6_OKAY };
    assert.equal(toHex(encodeWith(BEGIN, upper)), toHex(utf8("www.example.com:80\0\0\0\0\x01")));
    assert.equal(decodeWith(BEGIN, utf8("WWW.Example.COM:80\0")).host, "www.example.com");
  });

  for (
    const target of [
      "",
      "example.com",
      "example.com:",
      "example.com:0",
      "example.com:65536",
      "example.com:080808",
      "example.com:80a",
      "example.com:-1",
      "::1:80",
      "[::1]",
      "[127.0.0.1]:80",
      "[example.com]:80",
      "[[::1]]:80",
      "a b:80",
      "a\n:80",
    ]
  ) {
    test(`${JSON.stringify(target)} is no target`, () => {
      assertMalformed(() => decodeWith(BEGIN, utf8(`${target}\0`)));
    });
  }

  test("a target without its NUL is malformed", () => assertMalformed(() => decodeWith(BEGIN, utf8("a.example:80"))));

  for (const host of ["a:b", "a\0b", "b\u00fccher.example", "a b", "[::1]", "fe80::1%eth0"]) {
    test(`${JSON.stringify(host)} cannot be written`, () => {
      assert.throws(() => encodeWith(BEGIN, { host, port: 80, flags: 0 }), isArgument);
    });
  }

  for (const port of [0, 65536, -1, 1.5, NaN]) {
    test(`port ${port} cannot be written`, () => {
      assert.throws(() => encodeWith(BEGIN, { host: "a.example", port, flags: 0 }), isArgument);
    });
  }
});

describe("CONNECTED", () => {
  test("round trip", () => {
    assertRoundTrip(CONNECTED, fc.record({ address, ttl: u32 }));
  });

  test("an address without a lifetime is taken, a cut one is not", () => {
    assert.deepEqual(decodeWith(CONNECTED, fromHex("7f000001")), { address: "127.0.0.1", ttl: undefined });
    for (const body of ["00", "7f0000", "00000000", "0000000006", "0000000006" + "20".repeat(15)]) {
      assertMalformed(() => decodeWith(CONNECTED, fromHex(body)));
    }
  });
});

describe("END", () => {
  test("round trip", () => {
    assertRoundTrip(END, u8.filter((reason) => reason !== EndReason.EXITPOLICY).map((reason) => ({ reason })));
    assertRoundTrip(END, fc.record({ reason: fc.constant(EndReason.EXITPOLICY), address, ttl: u32 }));
  });

  test("EXITPOLICY with an address of the wrong length still ends the stream", () => {
    for (const body of ["04", "0401", "04010203", "04" + "01".repeat(5), "04" + "01".repeat(30)]) {
      assert.deepEqual(decodeWith(END, fromHex(body)), { reason: EndReason.EXITPOLICY });
    }
  });

  test("bytes after another reason are ignored", () => {
    assert.deepEqual(decodeWith(END, fromHex("067f00000100000100")), { reason: EndReason.DONE });
  });

  test("reasons have names, unknown ones too", () => {
    assert.equal(endReasonName(14), "NOTDIRECTORY");
    assert.equal(endReasonName(99), "reason 99");
    assert.deepEqual(Object.values(EndReason), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
  });
});

describe("EXTEND2", () => {
  const rsaId = new Uint8Array(20).fill(1);
  const ed25519Id = new Uint8Array(32).fill(2);
  const v4 = { host: "192.0.2.1", port: 9001 };
  const v6 = { host: "2001:db8::1", port: 443 };

  test("round trip, unknown specifiers kept byte for byte", () => {
    const specifier = fc.oneof(
      fc.record({ kind: fc.constant("ipv4" as const), address: ipv4, port: u16 }),
      fc.record({ kind: fc.constant("ipv6" as const), address: ipv6, port: u16 }),
      fc.record({
        kind: fc.constant("unknown" as const),
        type: fc.integer({ min: 4, max: 255 }),
        data: fc.uint8Array({ maxLength: 255 }),
      }),
    ) as fc.Arbitrary<LinkSpecifier>;
    const identities: LinkSpecifier[] = [{ kind: "rsa-id", id: rsaId }, { kind: "ed25519-id", id: ed25519Id }];
    const linkSpecifiers = fc.tuple(fc.array(specifier), fc.subarray(identities)).map(([a, b]) => [...b, ...a]);
    assertRoundTrip(EXTEND2, fc.record({ linkSpecifiers, handshakeType: u16, handshake: fc.uint8Array() }));
  });

  test("a relay's specifiers come in the order that everybody sends", () => {
    const kinds = (addresses: { host: string; port: number }[], id: Uint8Array | undefined) =>
      linkSpecifiersOf({ addresses, rsaId, ed25519Id: id }).map((specifier) => specifier.kind);
    assert.deepEqual(kinds([v6, v4], ed25519Id), ["ipv4", "rsa-id", "ed25519-id", "ipv6"]);
    assert.deepEqual(kinds([v4], undefined), ["ipv4", "rsa-id"]);
    assert.deepEqual(kinds([v6], ed25519Id), ["rsa-id", "ed25519-id", "ipv6"]);
  });

  test("the first address of each kind is the one sent", () => {
    const addresses = [v4, v6, { host: "192.0.2.9", port: 1 }, { host: "::9", port: 1 }];
    const sent = linkSpecifiersOf({ addresses, rsaId, ed25519Id });
    assert.deepEqual(sent[0], { kind: "ipv4", address: v4.host, port: v4.port });
    assert.deepEqual(sent[3], { kind: "ipv6", address: v6.host, port: v6.port });
    assert.throws(
      () => linkSpecifiersOf({ addresses: [{ host: "a.example", port: 1 }], rsaId, ed25519Id }),
      isArgument,
    );
  });

  test("a known specifier of the wrong length is malformed", () => {
    for (const [type, length] of [[0, 5], [0, 18], [1, 6], [2, 19], [2, 32], [3, 20]] as const) {
      const specifier = new Uint8Array(2 + length);
      specifier.set([type, length]);
      assertMalformed(() => decodeWith(EXTEND2, fromHex(`01${toHex(specifier)}00020000`)));
    }
  });

  test("a second identity of one kind is malformed", () => {
    const rsa = `0214${toHex(rsaId)}`;
    const ed25519 = `0320${toHex(ed25519Id)}`;
    assert.equal(decodeWith(EXTEND2, fromHex(`02${rsa}${ed25519}00020000`)).linkSpecifiers.length, 2);
    assertMalformed(() => decodeWith(EXTEND2, fromHex(`02${rsa}${rsa}00020000`)));
    assertMalformed(() => decodeWith(EXTEND2, fromHex(`02${ed25519}${ed25519}00020000`)));
  });

  test("a handshake cut short is malformed", () => {
    assertMalformed(() => decodeWith(EXTEND2, fromHex("0000020004010203")));
    assertMalformed(() => decodeWith(EXTENDED2, fromHex("0004010203")));
  });
});

describe("SENDME", () => {
  test("round trip", () => {
    assertRoundTrip(SENDME, fc.constant({ version: 0 as const }));
    assertRoundTrip(SENDME, fc.record({ version: fc.constant(1 as const), digest: bytes(20) }));
  });

  test("version 0 ignores its body; of a longer digest the first 20 bytes count", () => {
    assert.deepEqual(decodeWith(SENDME, fromHex("00ffff")), { version: 0 });
    const longer = decodeWith(SENDME, fromHex("010020" + "11".repeat(20) + "22".repeat(12)));
    assert.deepEqual(plain(longer), { version: 1, digest: "11".repeat(20) });
  });

  test("other versions, short digests and missing ones are malformed", () => {
    for (
      const body of ["02", "020014" + "11".repeat(20), "01", "010013" + "11".repeat(20), "010014" + "11".repeat(19)]
    ) {
      assertMalformed(() => decodeWith(SENDME, fromHex(body)));
    }
  });
});

describe("RESOLVE and RESOLVED", () => {
  test("round trip", () => {
    assertRoundTrip(RESOLVE, hostname.filter((name) => name.length > 0));
    const answer = fc.oneof(
      fc.record({ kind: fc.constant("ipv4" as const), address: ipv4, ttl: u32 }),
      fc.record({ kind: fc.constant("ipv6" as const), address: ipv6, ttl: u32 }),
      fc.record({ kind: fc.constant("hostname" as const), hostname, ttl: u32 }),
      fc.record({ kind: fc.constant("error" as const), transient: fc.boolean(), ttl: u32 }),
      fc.record({
        kind: fc.constant("unknown" as const),
        type: fc.integer({ min: 7, max: 0xef }),
        value: fc.uint8Array({ maxLength: 255 }),
        ttl: u32,
      }),
    ) as fc.Arbitrary<ResolvedAnswer>;
    assertRoundTrip(RESOLVED, fc.array(answer));
  });

  test("a relay's explanation of an error is ignored", () => {
    const explained = `f018${toHex(utf8("Error resolving hostname"))}0000003c`;
    assert.deepEqual(decodeWith(RESOLVED, fromHex(explained)), [{ kind: "error", transient: true, ttl: 60 }]);
  });

  test("names with bytes that no name has are malformed", () => {
    for (const text of ["", "a\nb", "a b", "\x1b[2J", "a:b"]) {
      const body = `00${toHex(new Uint8Array([text.length]))}${toHex(utf8(text))}00000001`;
      assertMalformed(() => decodeWith(RESOLVED, fromHex(body)));
    }
    assertMalformed(() => decodeWith(RESOLVED, fromHex("000480ff41420000000a")));
    for (const name of ["", "a b", "a:b"]) assertMalformed(() => decodeWith(RESOLVE, utf8(`${name}\0`)));
  });

  test("an answer cut short is malformed", () => {
    for (const body of ["04", "0404", "04047f0000", "04047f000001", "04047f000001000000", "f0ff00000001"]) {
      assertMalformed(() => decodeWith(RESOLVED, fromHex(body)));
    }
  });

  test("no names and no addresses that are none are written", () => {
    for (const name of ["", "a b", "a\0", "::1"]) assert.throws(() => encodeWith(RESOLVE, name), isArgument);
    const answers: ResolvedAnswer[] = [{ kind: "ipv4", address: "a.example", ttl: 1 }];
    assert.throws(() => encodeWith(RESOLVED, answers), isArgument);
    assert.throws(() => reverseLookupName("a.example"), isArgument);
  });
});
