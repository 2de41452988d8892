import { describe, test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { formatIp, parseIpv6 } from "../../../src/bytes/ip.ts";
import { readIpv6 } from "../../../src/wire/netdoc/ipv6.ts";
import { bytesOf } from "../../support/network_documents.ts";

function read(text: string): Uint8Array | undefined {
  const into = new Uint8Array(20).fill(0xaa);
  const bytes = bytesOf(`[${text}]:443`);
  const ok = readIpv6(bytes, 1, 1 + text.length, into, 2);
  assert.deepEqual([...into.subarray(0, 2), ...into.subarray(18)], [0xaa, 0xaa, 0xaa, 0xaa], "wrote elsewhere");
  return ok ? into.slice(2, 18) : undefined;
}

describe("readIpv6", () => {
  test("reads back every address, shortened or not", () => {
    const sparse = fc.array(fc.constantFrom(0, 0, 1, 255), { minLength: 16, maxLength: 16 });
    fc.assert(fc.property(sparse, (values) => {
      const address = Uint8Array.from(values);
      assert.deepEqual(read(formatIp(address)), address);
      const full = Array.from({ length: 8 }, (_, i) => ((values[2 * i]! << 8) | values[2 * i + 1]!).toString(16));
      assert.deepEqual(read(full.join(":").toUpperCase()), address);
    }));
  });

  test("agrees with the parser of text on everything else", () => {
    const piece = fc.constantFrom("::", ":", "0", "1", "ff", "abcd", "00000", "g", "[");
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 18 }), (pieces) => {
        const text = pieces.join("");
        assert.deepEqual(read(text), parseIpv6(text), text);
      }),
      { numRuns: 5000 },
    );
    for (const text of ["", ":", "::", "1::", "::1", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:8::"]) {
      assert.deepEqual(read(text), parseIpv6(text), text);
    }
    assert.equal(read("::1.2.3.4"), undefined);
  });
});
