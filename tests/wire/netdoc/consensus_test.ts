import { describe, test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { toHex } from "../../../src/bytes/mod.ts";
import { isTunicError } from "../../../src/base/errors.ts";
import { parseConsensus, signedPartSha3 } from "../../../src/wire/netdoc/consensus.ts";
import { parseCertificates } from "../../../src/wire/netdoc/authority_certificate.ts";
import type { Consensus } from "../../../src/wire/netdoc/consensus.ts";
import * as flags from "../../../src/wire/netdoc/relay_table.ts";
import excerpt from "../../vectors/netdoc_public_excerpt.json" with { type: "json" };
import malformed from "../../vectors/netdoc_malformed.json" with { type: "json" };
import dirmgr from "../../vectors/netdoc_dirmgr.json" with { type: "json" };
import {
  bytesOf,
  consensusText,
  hash,
  TEST_NOW,
  TestAuthority,
  type TestConsensus,
  testRelay,
} from "../../support/network_documents.ts";

const AUTHORITIES = [await TestAuthority.create()];
const CERTIFICATES = parseCertificates(bytesOf(AUTHORITIES[0]!.certificate()));

function verified(text: string): Consensus {
  const authorities = AUTHORITIES.map((authority) => authority.identity);
  const certificates = CERTIFICATES.map((certificate) => certificate.verify({ authorities, now: TEST_NOW }));
  return parseConsensus(bytesOf(text)).verify({ authorities, certificates, now: TEST_NOW });
}

function made(consensus: Partial<TestConsensus> = {}): string {
  return consensusText({ relays: [testRelay(1), testRelay(2), testRelay(3)], authorities: AUTHORITIES, ...consensus });
}

/** The body of `text` after `edit`, signed anew, so that only the edit can be what is wrong with it. */
function edited(edit: (body: string) => string): string {
  const text = made();
  const end = text.indexOf("directory-signature ") + "directory-signature ".length;
  const body = edit(text.slice(0, end));
  return body + AUTHORITIES[0]!.signature(body);
}

function refuses(text: string, expected?: RegExp): void {
  assert.throws(() => parseConsensus(bytesOf(text)), (error) => {
    assert.ok(isTunicError(error, "malformed"), String(error));
    if (expected) assert.match(error.message, expected);
    return true;
  });
}

describe("parseConsensus", () => {
  test("reads what a consensus of the public network says", () => {
    const unverified = parseConsensus(bytesOf(excerpt.consensus));
    assert.deepEqual(unverified.lifetime, {
      validAfter: Date.UTC(2026, 0, 29, 6),
      freshUntil: Date.UTC(2026, 0, 29, 7),
      validUntil: Date.UTC(2026, 0, 29, 9),
    });
    assert.deepEqual(unverified.signatures.map((signature) => signature.algorithm), ["sha256", "sha256"]);
    // The excerpt's own signature stands in for the network's, which do not cover an excerpt.
    const end = excerpt.consensus.indexOf("directory-signature ") + 20;
    const body = excerpt.consensus.slice(0, end);
    const consensus = verified(body + AUTHORITIES[0]!.signature(body));
    assert.equal(consensus.method, 33);
    assert.equal(consensus.voteDelayMs, 300_000);
    assert.equal(consensus.params.get("KISTSchedRunInterval"), 3);
    assert.equal(consensus.bandwidthWeights.get("Wbd"), 1237);
    assert.equal(consensus.clientVersions.split(",").length, 6);
    assert.ok(consensus.clientProtocols.required.supports("Link", 4));
    assert.ok(!consensus.clientProtocols.required.supports("Link", 5));
    assert.equal(consensus.sharedRandomCurrent!.reveals, 9);
    assert.equal(
      toHex(consensus.sharedRandomCurrent!.value),
      "5424549750cd0b78f5c6916c16484f051081f4ef9234ed5c09d7c01183ef79c4",
    );
    const { relays } = consensus;
    assert.equal(relays.size, 8);
    assert.equal(relays.orPorts[0], 8443);
    assert.equal(relays.ipv4[0], ((152 << 24) | (53 << 16) | (144 << 8) | 50) >>> 0);
    assert.equal(relays.bandwidths[0], 85000);
    assert.deepEqual([...relays.ipv6Rows], [0, 6]);
    assert.equal(toHex(relays.ipv6Addresses.subarray(0, 16)), "2a0a4cc000c12aac0000000000000001");
    assert.deepEqual([...relays.ipv6Ports], [8443, 9001]);
    assert.equal(
      relays.flags[4],
      flags.FLAG_BAD_EXIT | flags.FLAG_MIDDLE_ONLY | flags.FLAG_RUNNING |
        flags.FLAG_STABLE | flags.FLAG_VALID,
    );
    assert.equal(relays.protocolSets.length, 3);
    assert.equal(relays.indexOfRsaId(relays.rsaIds.subarray(60, 80)), 3);
    assert.equal(relays.indexOfRsaId(new Uint8Array(20)), -1);
    const nicknames = String.fromCharCode(...relays.nicknames);
    assert.equal(nicknames.slice(relays.nicknameEnds[6], relays.nicknameEnds[7]), "moria1");
  });

  test("leaves out what it does not know", () => {
    const consensus = verified(
      edited((body) =>
        body.replace("voting-delay", "x-new-item 1 2\n-----BEGIN NEWS-----\nAAAA\n-----END NEWS-----\nvoting-delay")
          .replace("\nv Tor", "\nstats a=1\nv Tor")
          .replace("s Exit Fast", "s Exit Experimental Fast")
          .replace("Bandwidth=1000", "New=x Bandwidth=1001 Unmeasured=1")
          .replace("directory-footer\n", "directory-footer\nx-more 1\n")
      ),
    );
    assert.equal(consensus.relays.size, 3);
    assert.equal(consensus.relays.bandwidths[0], 1001);
  });

  test("keeps only the first IPv6 address of a relay, and passes over addresses it cannot use", () => {
    const consensus = verified(
      edited((body) =>
        body.replace(
          /(\nr relay.*)/,
          "$1\na 10.0.0.9:1\na [::zz]:1\na [::1]:0\na [2001:db8::1]:443\na [2001:db8::2]:444",
        )
      ),
    );
    assert.deepEqual([...consensus.relays.ipv6Rows], [0]);
    assert.equal(consensus.relays.ipv6Ports[0], 443);
    assert.equal(consensus.relays.ipv6Position(0), 0);
    assert.equal(consensus.relays.ipv6Position(1), -1);
  });

  test("gives relays without a measured bandwidth a small one", () => {
    const consensus = verified(made({ relays: [testRelay(1, { bandwidth: undefined })] }));
    assert.equal(consensus.relays.bandwidths[0], 30);
  });

  test("accepts a network without relays, weights or parameters", () => {
    const consensus = verified(edited((body) => body.replace(/r relay[^]*directory-footer\nbandwidth.*\n/, "")));
    assert.equal(consensus.relays.size, 0);
    assert.equal(consensus.bandwidthWeights.size, 0);
  });

  test("refuses Arti's malformed consensuses, and reads the good one they were made from", () => {
    parseConsensus(bytesOf(dirmgr.consensus));
    const entries = Object.entries(malformed.badConsensuses);
    assert.equal(entries.length, 8);
    for (const [name, text] of entries) {
      assert.throws(() => parseConsensus(bytesOf(text)), (error) => isTunicError(error, "malformed"), name);
    }
  });

  const BROKEN: readonly [name: string, expected: RegExp, edit: (body: string) => string][] = [
    ["another kind of document", /does not begin/, (b) => b.replace("network-status-version", "network-status-versio")],
    ["the plain flavor", /flavor/, (b) => b.replace("3 microdesc", "3 ns")],
    ["no flavor", /flavor/, (b) => b.replace("3 microdesc", "3")],
    ["a vote", /vote/, (b) => b.replace("vote-status consensus", "vote-status vote")],
    ["two valid-after items", /two/, (b) => b.replace("valid-after", "valid-after 2026-01-29 06:00:00\nvalid-after")],
    ["no valid-until", /valid-until/, (b) => b.replace(/valid-until.*\n/, "")],
    ["times out of order", /out of order/, (b) => b.replace("valid-until 2026-01-29 09", "valid-until 2026-01-29 07")],
    ["a date that does not exist", /date/, (b) => b.replace("valid-after 2026-01-29", "valid-after 2026-02-30")],
    ["an hour that does not exist", /date/, (b) => b.replace("06:00:00", "24:00:00")],
    ["a negative time", /date/, (b) => b.replace("06:00:00", "-6:00:00")],
    ["a time of another form", /date/, (b) => b.replace("06:00:00", "06:00:0")],
    ["no authorities", /dir-source/, (b) => b.replace(/dir-source.*\n/, "")],
    ["parameters out of order", /order/, (b) => b.replace("params ", "params z=1 ")],
    ["a parameter twice", /twice/, (b) => b.replace("params ", "params A=1 A=2 ")],
    ["a parameter that is too large", /integer/, (b) => b.replace("params ", "params A=2147483648 ")],
    ["a parameter that is no number", /integer/, (b) => b.replace("params ", "params A=1x ")],
    ["a parameter without a name", /integer/, (b) => b.replace("params ", "params =1 ")],
    ["protocols beyond 63", /subprotocol/, (b) => b.replace("Link=4 Relay=2", "Link=4 Relay=64")],
    ["a relay's protocols beyond reason", /subprotocol/, (b) => b.replace("\npr ", "\npr Link=1-4294967295 ")],
    ["an identity too short", /identity/, (b) => b.replace(/(\nr relay\d )./, "$1")],
    ["an identity that is not base64", /identity/, (b) => b.replace(/(\nr relay\d )./, "$1-")],
    ["a relay without digest", /digest/, (b) => b.replace(/\nm .*/, "")],
    ["a relay without flags", /flags/, (b) => b.replace(/\ns .*/, "")],
    ["flags out of order", /order/, (b) => b.replace("\ns Exit Fast", "\ns Fast Exit")],
    ["a relay with two digests", /two "m"/, (b) => b.replace(/(\nm .*)/, "$1$1")],
    ["a relay with two versions", /two "v"/, (b) => b.replace(/(\nv .*)/, "$1$1")],
    ["an address of three numbers", /address/, (b) => b.replace(/ 10\.\d+\./, " 10.")],
    ["an address beyond 255", /address/, (b) => b.replace(/ 10\./, " 256.")],
    ["an address with a leading zero", /address/, (b) => b.replace(/ 10\./, " 010.")],
    ["a port beyond 65535", /ORPort/, (b) => b.replace(" 9001 ", " 65536 ")],
    ["a nickname too long", /nickname/, (b) => b.replace("r relay1", "r abcdefghijklmnopqrst")],
    ["a nickname with a dash", /nickname/, (b) => b.replace("r relay1", "r relay-1")],
    ["a bandwidth beyond 32 bits", /bandwidth/, (b) => b.replace("Bandwidth=1000", "Bandwidth=4294967296")],
    ["a relay twice", /order/, (b) => b.replace(/(\nr [^]*?)(?=\nr )/, "$1$1")],
    ["a weight that is no number", /integer/, (b) => b.replace("Wbd=1237", "Wbd=x")],
    ["two footers", /unexpected/, (b) => b.replace("directory-footer", "directory-footer\ndirectory-footer")],
    ["relays in the footer", /unexpected/, (b) => b.replace("bandwidth-weights", "r x\nbandwidth-weights")],
    ["an empty line", /keyword/, (b) => b.replace("\nvoting-delay", "\n\nvoting-delay")],
    ["a byte that no keyword has", /keyword/, (b) => b.replace("\nvoting-delay", "\nvoting\0delay")],
    ["a line beyond the limit", /longer/, (b) => b.replace("contact nobody", "contact " + "a".repeat(200_000))],
    ["an object that does not end", /object/, (b) => b.replace("contact nobody\n", "contact\n-----BEGIN A-----\n")],
    [
      "a relay inside an object",
      /unexpected|label|object/,
      (b) => b.replace("\nv Tor", "\nx\n-----BEGIN A-----\nr \n-----END A-----\nv Tor"),
    ],
  ];
  for (const [name, expected, edit] of BROKEN) {
    test(`refuses ${name}`, () => {
      const text = edited(edit);
      assert.notEqual(text, made());
      refuses(text, expected);
    });
  }

  test("refuses items after the signatures, unsigned ones, and too many", () => {
    refuses(made() + "params a=1\n", /follows the signatures/);
    refuses(made().replace(/directory-signature [^]*/, ""), /too early/);
    refuses(made().replace(/directory-signature [^]*/, "directory-signature\n"), /without arguments/);
    const signature = made().slice(made().indexOf("directory-signature "));
    refuses(made() + signature.repeat(64), /more than 64/);
    refuses(made().replace("BEGIN SIGNATURE", "BEGIN SIGN"), /object/);
  });

  test("refuses a document cut off after any line or in the middle of one", () => {
    const text = made();
    for (let end = text.indexOf("\n"); end >= 0 && end < text.length - 1; end = text.indexOf("\n", end + 1)) {
      refuses(text.slice(0, end));
      refuses(text.slice(0, end - 1));
      refuses(text.slice(0, end + 1));
    }
    refuses("");
  });

  test("refuses more relays than there could be", () => {
    refuses(edited((body) => body.replace("directory-footer", "r x\n".repeat(60_001) + "directory-footer")), /at most/);
  });

  test("throws nothing but malformed for arbitrary bytes", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
      assert.throws(() => parseConsensus(bytes), (error) => isTunicError(error, "malformed"));
    }));
  });

  test("reads or refuses every mutation, and never believes one that changes what was signed", () => {
    const text = bytesOf(made());
    const signedEnd = made().indexOf("directory-signature ") + 20;
    const authorities = AUTHORITIES.map((authority) => authority.identity);
    const certificates = CERTIFICATES.map((certificate) => certificate.verify({ authorities, now: TEST_NOW }));
    const mutation = fc.record({
      at: fc.nat(signedEnd - 1),
      remove: fc.nat(40),
      insert: fc.oneof(fc.uint8Array({ maxLength: 8 }), fc.constantFrom("\n", " ", "r ", "=").map(bytesOf)),
    });
    fc.assert(
      fc.property(mutation, ({ at, remove, insert }) => {
        const rest = text.subarray(at + remove);
        const mutated = new Uint8Array(at + insert.length + rest.length);
        mutated.set(text.subarray(0, at));
        mutated.set(insert, at);
        mutated.set(rest, at + insert.length);
        const same = mutated.length === text.length && mutated.every((byte, i) => byte === text[i]);
        try {
          parseConsensus(mutated).verify({ authorities, certificates, now: TEST_NOW });
          assert.ok(same, "a changed consensus was believed");
        } catch (error) {
          if (!same) assert.ok(isTunicError(error, "malformed", "crypto"), String(error));
          else throw error;
        }
      }),
      { numRuns: 500 },
    );
  });
});

test("signedPartSha3 covers the text up to the space after the first signature's keyword", () => {
  const text = made();
  const signed = text.slice(0, text.indexOf("directory-signature ") + 20);
  assert.equal(toHex(signedPartSha3(bytesOf(text))), toHex(hash("sha3-256", signed)));
  assert.throws(() => signedPartSha3(bytesOf("network-status-version 3\n")), (e) => isTunicError(e, "malformed"));
});
