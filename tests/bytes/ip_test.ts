import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { formatIp, parseIp } from "../../src/bytes/ip.ts";

describe("IP addresses", () => {
  for (
    const [text, canonical] of [
      ["127.0.0.1", "127.0.0.1"],
      ["0.0.0.0", "0.0.0.0"],
      ["::", "::"],
      ["::1", "::1"],
      ["2001:DB8::1", "2001:db8::1"],
      ["1:0:0:2:0:0:0:3", "1:0:0:2::3"],
      ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
      ["::ffff:192.0.2.1", "::ffff:c000:201"],
      ["fe80::", "fe80::"],
    ] as const
  ) {
    test(`${text} is ${canonical}`, () => {
      const bytes = parseIp(text);
      assert.ok(bytes);
      assert.equal(formatIp(bytes), canonical);
    });
  }

  for (
    const text of [
      "",
      "1.2.3",
      "1.2.3.4.5",
      "256.1.1.1",
      "01.2.3.4",
      "1.2.3.4 ",
      "localhost",
      ":",
      ":::",
      "1::2::3",
      "1:2:3:4:5:6:7",
      "1:2:3:4:5:6:7:8:9",
      "1:2:3:4:5:6:7:8::",
      "12345::",
      "::1.2.3",
      "1.2.3.4::",
      "[::1]",
      "fe80::1%eth0",
      "g::",
    ]
  ) {
    test(`${JSON.stringify(text)} is no address`, () => assert.equal(parseIp(text), undefined));
  }

  test("what is formatted parses to the same bytes", () => {
    fc.assert(fc.property(
      fc.oneof(
        fc.uint8Array({ minLength: 4, maxLength: 4 }),
        fc.uint8Array({ minLength: 16, maxLength: 16 }),
        fc.array(fc.constantFrom(0, 0, 0, 1), { minLength: 16, maxLength: 16 }).map((a) => Uint8Array.from(a)),
      ),
      (bytes) => assert.deepEqual(parseIp(formatIp(bytes)), Uint8Array.from(bytes)),
    ));
  });
});
