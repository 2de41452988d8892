import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { equalSecrets, wipe } from "../../src/crypto/secrets.ts";

describe("secrets", () => {
  test("equalSecrets sees every byte and the length", () => {
    const secret = Uint8Array.from({ length: 32 }, (_, i) => i);
    assert.equal(equalSecrets(secret, secret.slice()), true);
    assert.equal(equalSecrets(new Uint8Array(), new Uint8Array()), true);
    for (let at = 0; at < 32; at++) {
      const other = secret.slice();
      other[at]! ^= 1;
      assert.equal(equalSecrets(secret, other), false);
      assert.equal(equalSecrets(secret, secret.subarray(0, at)), false);
    }
  });

  test("wipe overwrites everything it is given, and only the view", () => {
    const [a, b] = [new Uint8Array(4).fill(1), new Uint8Array(4).fill(2)];
    wipe(a, b.subarray(1, 3));
    assert.deepEqual([...a, ...b], [0, 0, 0, 0, 2, 0, 0, 2]);
  });
});
