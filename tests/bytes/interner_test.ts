import { describe, test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { ByteInterner } from "../../src/bytes/interner.ts";

describe("ByteInterner", () => {
  test("names equal strings alike, different ones apart, and gives them back", () => {
    const strings = fc.array(fc.uint8Array({ maxLength: 6 }), { maxLength: 200 });
    fc.assert(fc.property(strings, fc.nat(4), (all, expected) => {
      const interner = new ByteInterner(expected, expected);
      const model = new Map<string, number>();
      for (const bytes of all) {
        const key = bytes.join();
        assert.equal(interner.find(bytes), model.get(key) ?? -1);
        const number = interner.intern(bytes);
        if (!model.has(key)) model.set(key, model.size);
        assert.equal(number, model.get(key));
      }
      assert.equal(interner.size, model.size);
      for (const [key, number] of model) assert.equal(interner.view(number).join(), key);
    }));
  });

  test("copies what it keeps, and reads only the part it is shown", () => {
    const interner = new ByteInterner();
    const bytes = Uint8Array.of(1, 2, 3, 4);
    assert.equal(interner.intern(bytes, 1, 3), 0);
    bytes.fill(0);
    assert.deepEqual([...interner.view(0)], [2, 3]);
    assert.equal(interner.find(Uint8Array.of(2, 3)), 0);
    assert.equal(interner.find(Uint8Array.of(2, 3), 0, 1), -1);
  });
});
