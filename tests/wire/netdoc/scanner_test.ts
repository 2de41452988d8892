import { describe, test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { isTunicError } from "../../../src/base/errors.ts";
import { decodeBase64, MAX_LINE_BYTES, parseInteger, Scanner } from "../../../src/wire/netdoc/scanner.ts";
import { base64, bytesOf } from "../../support/network_documents.ts";

const scan = (text: string) => new Scanner(bytesOf(text), "a test");
const malformed = (error: unknown) => isTunicError(error, "malformed");

describe("Scanner", () => {
  test("walks over items and their arguments", () => {
    const scanner = scan("one  a\tb \ntwo\n");
    assert.ok(scanner.next());
    assert.ok(scanner.is("one"));
    assert.ok(!scanner.is("on"));
    assert.ok(!scanner.is("ones"));
    assert.equal(scanner.needText("first"), "a");
    assert.equal(scanner.needText("second"), "b");
    assert.ok(!scanner.nextArgument());
    assert.throws(() => scanner.needText("third"), malformed);
    assert.ok(scanner.next());
    assert.equal(scanner.keyword(), "two");
    assert.ok(!scanner.nextArgument());
    assert.ok(!scanner.next());
  });

  test("reads objects that are asked for and skips others", () => {
    const object = "-----BEGIN THING-----\nAAEC\nAw==\n-----END THING-----\n";
    const scanner = scan(`a\n${object}b\n${object}c\n`);
    scanner.next();
    scanner.next();
    assert.ok(scanner.is("b"));
    assert.deepEqual(scanner.needObject("THING"), Uint8Array.of(0, 1, 2, 3));
    scanner.next();
    assert.ok(scanner.is("c"));
    assert.throws(() => scanner.needObject("THING"), malformed);
  });

  test("refuses what is no item", () => {
    const broken = [
      "a",
      "\n",
      " a\n",
      "a\0\n",
      "ä\n",
      "a_b\n",
      "-----BEGIN A-----\n-----END A-----\n",
      `${"k".repeat(65)}\n`,
    ];
    for (const text of broken) assert.throws(() => scan(text).next(), malformed, JSON.stringify(text));
  });

  test("refuses objects that are ill-formed", () => {
    const broken = [
      "-----BEGIN A-----\nAAAA\n-----END B-----\n",
      "-----BEGIN A-----\nAAAA\n",
      "-----BEGIN A----\nAAAA\n-----END A-----\n",
      "-----BEGIN A-----\nAA*A\n-----END A-----\n",
      "-----BEGIN A-----\nAA=A\n-----END A-----\n",
      "-----BEGIN A-----\nA\n-----END A-----\n",
      "-----BEGIN A-----\nAB==\n-----END A-----\n",
      `-----BEGIN A-----\n${("A".repeat(64) + "\n").repeat(600)}-----END A-----\n`,
      "-----BEGIN -----\n-----END -----\n",
      "next\n",
      "",
    ];
    for (const text of broken) {
      const scanner = scan("a\n" + text);
      scanner.next();
      assert.throws(() => scanner.needObject("A"), malformed, text.slice(0, 80));
    }
  });

  test("bounds the length of lines", () => {
    assert.ok(scan("a " + "b".repeat(MAX_LINE_BYTES - 2) + "\n").next());
    assert.throws(() => scan("a " + "b".repeat(MAX_LINE_BYTES - 1) + "\n").next(), malformed);
  });

  test("does not look beyond the range it was given", () => {
    const bytes = bytesOf("a 1\nb 2\nc 3\n");
    const scanner = new Scanner(bytes, "a test", 4, 8);
    assert.ok(scanner.next());
    assert.equal(scanner.keyword(), "b");
    assert.ok(!scanner.next());
    assert.throws(() => new Scanner(bytes, "a test", 4, 7).next(), malformed);
  });

  test("reads integers within their limits", () => {
    const read = (text: string) => {
      const scanner = scan(`a ${text}\n`);
      scanner.next();
      return scanner.needInteger("number", 1, 100);
    };
    assert.equal(read("100"), 100);
    for (const text of ["0", "101", "-1", "1e1", "0x1", "", "١", "99999999999999999999"]) {
      assert.throws(() => read(text), malformed, text);
    }
    assert.equal(parseInteger(bytesOf("-12"), 0, 3), -12);
    assert.equal(parseInteger(bytesOf("-"), 0, 1), undefined);
  });

  test("reads times as Date.parse does, and none that do not exist", () => {
    const read = (text: string) => {
      const scanner = scan(`a ${text}\n`);
      scanner.next();
      return scanner.needTime("time");
    };
    fc.assert(fc.property(fc.date({ min: new Date(0), max: new Date("9999-12-31"), noInvalidDate: true }), (date) => {
      const text = date.toISOString().slice(0, 19);
      assert.equal(read(text.replace("T", " ")), Date.parse(text + "Z"));
    }));
    for (const text of ["2025-02-29 00:00:00", "2026-13-01 00:00:00", "2026-00-01 00:00:00", "2026-01-01", "x y"]) {
      assert.throws(() => read(text), malformed, text);
    }
  });

  test("reads base64 with and without padding, of the right length only", () => {
    fc.assert(fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), (bytes) => {
      const read = (text: string, length: number) => {
        const scanner = scan(`a ${text}\n`);
        scanner.next();
        const into = new Uint8Array(length);
        scanner.needBase64("value", into, 0, length);
        return into;
      };
      const text = base64(bytes);
      assert.deepEqual(read(text, bytes.length), bytes);
      assert.deepEqual(read(text.padEnd(Math.ceil(text.length / 4) * 4, "="), bytes.length), bytes);
      assert.throws(() => read(text, bytes.length + 1), malformed);
      assert.throws(() => read(text + "A", bytes.length), malformed);
    }));
    assert.ok(!decodeBase64(bytesOf("AB"), 0, 2, new Uint8Array(1), 0), "stray bits");
  });
});
