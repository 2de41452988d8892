import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { fromBase64, toHex, toHexUpper, utf8 } from "../../../src/bytes/text.ts";
import { sha3_256 } from "../../../src/crypto/digest.ts";
import { ROUNDS, SharedRandom, sharedRandomValue } from "../../../src/testnet/directory/shared_random.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const MIDNIGHT = Date.UTC(2026, 0, 29);
const participants = ["a", "b", "c"].map((name) => ({
  identity: sha3_256(utf8(name)).subarray(0, 20),
  seed: sha3_256(utf8(`seed ${name}`)),
}));
const at = (validAfter: number) => ({ validAfter, freshUntil: validAfter + HOUR });

describe("shared random values", () => {
  test("follow from reveals and the one before as in C tor (src/test/sr_srv_calc_ref.py)", () => {
    const commitments = ["A", "B", "C"].map((letter, i) => ({
      identity: new Uint8Array(20).fill(letter.charCodeAt(0)),
      reveal: letter.repeat(56),
      hashedReveal: Uint8Array.of(i),
    }));
    const previous = utf8("Z".repeat(32));
    const { reveals, value } = sharedRandomValue(commitments.toReversed(), previous);
    assert.equal(reveals, 3);
    assert.equal(toHexUpper(value), "2A9B1D6237DAB312A40F575DA85C147663E7ED3F80E9555395F15B515C74253D");
    assert.notDeepEqual(sharedRandomValue(commitments, undefined).value, value);
  });

  test("the current one becomes the previous one when a run of 24 rounds ends", () => {
    const random = new SharedRandom(participants);
    const first = random.round(at(MIDNIGHT));
    for (let round = 1; round < ROUNDS; round++) {
      const { previous, current } = random.round(at(MIDNIGHT + round * HOUR));
      assert.deepEqual({ previous, current }, { previous: first.previous, current: first.current });
    }
    const next = random.round(at(MIDNIGHT + DAY));
    assert.deepEqual(next.previous, first.current);
    assert.notDeepEqual(next.current.value, first.current.value);
  });

  test("commitments come first, and what is revealed belongs to them", () => {
    const random = new SharedRandom(participants);
    const lines = (validAfter: number) =>
      random.round(at(validAfter)).voteLines.split("\n").filter((line) => line.startsWith("shared-rand-commit "));
    const committed = lines(MIDNIGHT + 11 * HOUR);
    const revealed = lines(MIDNIGHT + 12 * HOUR);
    assert.equal(committed.length, 3);
    for (const [i, line] of revealed.entries()) {
      assert.ok(line.startsWith(`${committed[i]} `));
      const [, , , , commit, reveal] = line.split(" ");
      assert.equal(commit!.length, 56);
      const [hidden, shown] = [fromBase64(commit!), fromBase64(reveal!)];
      assert.equal(toHex(hidden.subarray(0, 8)), toHex(shown.subarray(0, 8)));
      assert.deepEqual(hidden.subarray(8), sha3_256(utf8(reveal!)));
    }
  });

  test("other seeds, other values; the same seeds, the same", () => {
    const value = (seeds: typeof participants) => toHex(new SharedRandom(seeds).round(at(MIDNIGHT)).current.value);
    assert.equal(value(participants), value(participants));
    assert.notEqual(value(participants.map((each) => ({ ...each, seed: utf8("another") }))), value(participants));
  });
});
