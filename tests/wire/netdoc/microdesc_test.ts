import { describe, test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { toHex } from "../../../src/bytes/mod.ts";
import { isTunicError } from "../../../src/base/errors.ts";
import { type Microdesc, parseMicrodesc, parseMicrodescs } from "../../../src/wire/netdoc/microdesc.ts";
import { PortPolicy } from "../../../src/wire/netdoc/port_policy.ts";
import malformed from "../../vectors/netdoc_malformed.json" with { type: "json" };
import { bytesOf, hash } from "../../support/network_documents.ts";
import { microdescText } from "../../../src/testnet/directory/microdesc_text.ts";

const TEXT = microdescText({
  ntorKey: hash("sha256", "ntor"),
  ed25519Id: hash("sha256", "ed25519"),
  family: "$0102030405060708090A0B0C0D0E0F1011121314 somebody",
  familyIds: "ed25519:abc",
  policy: "accept 80",
  policy6: "reject 25",
});

const text = (bytes: Uint8Array | undefined) => bytes && String.fromCharCode(...bytes);
const good = (all: string): Microdesc[] =>
  [...parseMicrodescs(bytesOf(all.replace(/@.*\n/g, "")))].map((one) => one.microdesc ?? assert.fail("malformed"));

describe("parseMicrodesc", () => {
  test("reads what clients use", () => {
    const microdesc = parseMicrodesc(bytesOf(TEXT));
    assert.deepEqual(microdesc.ntorKey, hash("sha256", "ntor"));
    assert.deepEqual(microdesc.ed25519Id, hash("sha256", "ed25519"));
    assert.equal(text(microdesc.family), "$0102030405060708090A0B0C0D0E0F1011121314 somebody");
    assert.equal(text(microdesc.familyIds), "ed25519:abc");
    assert.equal(text(microdesc.policy), "accept 80");
    assert.equal(text(microdesc.policy6), "reject 25");
  });

  test("needs only an ntor key, and leaves out what it does not know", () => {
    const bare = parseMicrodesc(bytesOf(microdescText({ ntorKey: hash("sha256", "x") }) + "a [::1]:1\nnew thing\n"));
    assert.deepEqual(bare, {
      ntorKey: hash("sha256", "x"),
      ed25519Id: undefined,
      family: undefined,
      familyIds: undefined,
      policy: undefined,
      policy6: undefined,
    });
  });

  test("refuses items twice, missing or ill-formed", () => {
    const broken = [
      TEXT.replace(/ntor-onion-key.*\n/, ""),
      TEXT.replace(/(ntor-onion-key .{20}).*/, "$1"),
      TEXT.replace(/(ntor-onion-key ).(.*)/, "$1*$2"),
      TEXT.replace(/(ntor-onion-key .*)/, "$1AAAA"),
      ...["ntor-onion-key", "id", "family", "family-ids", "p", "p6"].map((keyword) =>
        TEXT.replace(new RegExp(`(\n${keyword} .*)`), "$1$1")
      ),
      TEXT.replace(/id ed25519 .*/, "id ed25519 AAAA"),
      TEXT.replace(/id ed25519 .*/, "id ed25519"),
      TEXT.replace("p accept 80", "p allow 80"),
      TEXT.replace("p accept 80", "p accept 80-"),
      TEXT.replace("onion-key\n", "onion-key extra\n"),
      TEXT.replace("onion-key\n", "onion-key\nonion-key\n"),
      TEXT.slice(0, -1),
      "",
    ];
    for (const one of broken) {
      assert.notEqual(one, TEXT);
      assert.throws(() => parseMicrodesc(bytesOf(one)), (error) => isTunicError(error, "malformed"), one);
    }
  });

  test("agrees with Arti on its examples", () => {
    const [first, second, third, fourth] = malformed.goodMicrodescs.map(good);
    assert.equal(first!.length, 1);
    assert.equal(second!.length, 4);
    assert.equal(third!.length, 1);
    assert.equal(fourth!.length, 2);
    const [microdesc] = second!;
    assert.equal(toHex(microdesc!.ntorKey), "5e895d65304a3a1894616660143f7af5757fe08bc18045c7855ee8debb9e6c47");
    assert.equal(toHex(microdesc!.ed25519Id!), "2d85fdc88e6c1bcfb46897fca1dba6d1354f93261d68a79e0b5bc170dd923084");
    for (const policy of [microdesc!.policy, microdesc!.policy6]) {
      assert.ok(PortPolicy.parse(policy!).allows(993));
      assert.ok(!PortPolicy.parse(policy!).allows(25));
    }
    assert.equal(text(fourth![0]!.familyIds), "");
    assert.equal(
      text(fourth![1]!.familyIds),
      "ed25519:dXMgdGhlIHRyaXVtcGguICAgIC1UaG9tYXMgUGFpbmU other:Example",
    );
  });

  test("refuses Arti's malformed ones", () => {
    const { "wrong-id": unknownId, ...bad } = malformed.badMicrodescs;
    assert.equal(Object.keys(bad).length, 3);
    for (const [name, one] of Object.entries(bad)) {
      assert.throws(() => parseMicrodesc(bytesOf(one)), (error) => isTunicError(error, "malformed"), name);
    }
    // An identity of another kind is passed over, as the specification wants; Arti insists on an Ed25519 one.
    assert.equal(parseMicrodesc(bytesOf(unknownId)).ed25519Id, undefined);
  });
});

describe("parseMicrodescs", () => {
  test("takes texts apart without losing a byte", () => {
    const texts = ["a", "b", "c"].map((name) => microdescText({ ntorKey: hash("sha256", name) }));
    const found = [...parseMicrodescs(bytesOf(texts.join("")))];
    assert.deepEqual(found.map((one) => text(one.text)), texts);
    assert.equal([...parseMicrodescs(new Uint8Array(0))].length, 0);
  });

  test("goes on after one that is malformed", () => {
    const all = TEXT + TEXT.replace("p accept", "p never") + TEXT;
    assert.deepEqual([...parseMicrodescs(bytesOf(all))].map((one) => one.microdesc !== undefined), [true, false, true]);
  });

  test("refuses a text that begins with anything else", () => {
    for (const start of ["x\n", "\n", "onion-key2\n", "@last-listed 2020-01-27 18:52:09\n"]) {
      assert.throws(() => [...parseMicrodescs(bytesOf(start + TEXT))], (error) => isTunicError(error, "malformed"));
    }
  });

  test("throws nothing but malformed, and covers every byte it does not refuse", () => {
    const piece = fc.oneof(fc.constantFrom(TEXT, "onion-key\n", "p accept 1\n", "-----BEGIN A-----\n"), fc.string());
    fc.assert(fc.property(fc.array(piece), (pieces) => {
      const bytes = bytesOf(pieces.join(""));
      try {
        const found = [...parseMicrodescs(bytes)].map((one) => text(one.text)).join("");
        assert.equal(found, text(bytes));
      } catch (error) {
        assert.ok(isTunicError(error, "malformed"), String(error));
      }
    }));
  });
});
