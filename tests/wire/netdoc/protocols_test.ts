import { describe, test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { isTunicError } from "../../../src/base/errors.ts";
import { Protocols } from "../../../src/wire/netdoc/protocols.ts";
import { PortPolicy } from "../../../src/wire/netdoc/port_policy.ts";
import { bytesOf } from "../../support/network_documents.ts";

const malformed = (error: unknown) => isTunicError(error, "malformed");

describe("Protocols", () => {
  const parse = (text: string) => Protocols.parse(bytesOf(text));

  test("reads single versions, ranges, lists and none", () => {
    const protocols = parse("Link=1-3,5 Relay=63 Nothing= LinkAuth=1,3");
    assert.deepEqual([0, 1, 2, 3, 4, 5, 6].filter((v) => protocols.supports("Link", v)), [1, 2, 3, 5]);
    assert.ok(protocols.supports("Relay", 63));
    assert.ok(!protocols.supports("Relay", 31));
    assert.ok(!protocols.supports("Relay", 64));
    assert.ok(!protocols.supports("Relay", -1));
    assert.ok(!protocols.supports("Nothing", 0));
    assert.ok(!protocols.supports("Lin", 1));
    assert.ok(!parse("").supports("Link", 1));
    assert.ok(parse("Link=1 ").supports("Link", 1));
  });

  test("says what is missing from another", () => {
    assert.deepEqual(parse("Link=4 Relay=2-3").missingFrom(parse("Link=4-5 Relay=3")), ["Relay=2"]);
    assert.deepEqual(parse("Link=4").missingFrom(Protocols.NONE), ["Link=4"]);
    assert.deepEqual(Protocols.NONE.missingFrom(parse("Link=4")), []);
  });

  test("refuses anything else", () => {
    const broken = ["Link", "=1", "Link=64", "Link=3-1", "Link=a", "Link=1-", "Link=-1", "Link=1,,2", "Link=1 Link=2"];
    for (const text of broken) assert.throws(() => parse(text), malformed, text);
    assert.throws(() => parse(Array.from({ length: 101 }, (_, i) => `P${i}=1`).join(" ")), malformed);
    assert.throws(() => parse("P".repeat(101) + "=1"), malformed);
  });

  test("throws nothing but malformed", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("Link", "=", "1", "-", ",", " ", "9999999999", "\0")), (parts) => {
        try {
          parse(parts.join(""));
        } catch (error) {
          assert.ok(malformed(error), String(error));
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe("PortPolicy", () => {
  const parse = (text: string) => PortPolicy.parse(bytesOf(text));

  test("allows exactly the ports it lists, or all others", () => {
    const ranges = fc.array(fc.tuple(fc.integer({ min: 1, max: 65535 }), fc.nat(5000)), {
      minLength: 1,
      maxLength: 20,
    });
    fc.assert(fc.property(ranges, fc.boolean(), fc.integer({ min: 1, max: 65535 }), (list, accepts, port) => {
      const bounds = list.map(([low, length]) => [low, Math.min(65535, low + length)] as const);
      const ports = bounds.map(([low, high]) => low === high ? `${low}` : `${low}-${high}`).join(",");
      const listed = bounds.some(([low, high]) => port >= low && port <= high);
      assert.equal(parse(`${accepts ? "accept" : "reject"} ${ports}`).allows(port), listed === accepts);
    }));
  });

  test("knows when it rejects everything", () => {
    assert.ok(parse("reject 1-65535").rejectsAll);
    assert.ok(PortPolicy.REJECT_ALL.rejectsAll);
    assert.ok(!PortPolicy.REJECT_ALL.allows(80));
    for (const text of ["accept 1-65535", "reject 1-65534", "reject 2-65535", "accept 80"]) {
      assert.ok(!parse(text).rejectsAll, text);
    }
  });

  test("refuses anything else", () => {
    const broken = [
      "",
      "accept",
      "accept ",
      "allow 80",
      "accept 0",
      "accept 65536",
      "accept 80-79",
      "accept 80,",
      "accept ,80",
    ];
    for (const text of [...broken, "accept a", "accept 80 443", "accept -80", "accept " + "1,".repeat(1001) + "1"]) {
      assert.throws(() => parse(text), malformed, text.slice(0, 40));
    }
  });

  test("throws nothing but malformed", () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom("1", "-", ",", " ", "65535", "x")), (parts) => {
        try {
          parse("accept " + parts.join(""));
        } catch (error) {
          assert.ok(malformed(error), String(error));
        }
      }),
      { numRuns: 1000 },
    );
  });
});
