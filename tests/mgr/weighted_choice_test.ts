import { describe, test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { chooseWeighted } from "../../src/mgr/weighted_choice.ts";
import { assertDistribution } from "../support/statistics.ts";
import { SeededRandom } from "../support/seeded_random.ts";

function counted(weights: readonly number[], accepts: (i: number) => boolean, draws: number): number[] {
  const random = new SeededRandom(11);
  const counts = weights.map(() => 0);
  for (let i = 0; i < draws; i++) {
    counts[chooseWeighted(random, { size: weights.length, weight: (j) => weights[j]!, accepts })]!++;
  }
  return counts;
}

describe("a weighted choice", () => {
  test("is in proportion to the weights", () => {
    const weights = [1, 2, 3, 0, 4, -1, 10, 0.5, 29.5];
    assertDistribution(counted(weights, () => true, 20_000), weights.map((weight) => Math.max(0, weight)));
  });

  test("is in proportion among those accepted, however few they are", () => {
    const weights = Array.from({ length: 50 }, (_, i) => i + 1);
    const some = (i: number) => i % 2 === 0;
    assertDistribution(counted(weights, some, 20_000), weights.map((weight, i) => some(i) ? weight : 0));
    const few = (i: number) => i === 0 || i === 2;
    assertDistribution(counted([...weights, 100_000], few, 5_000), [...weights, 0].map((w, i) => few(i) ? w : 0));
  });

  test("is even where all weights are zero", () => {
    assertDistribution(counted([0, 0, -1, 0], () => true, 10_000), [1, 1, 0, 1]);
  });

  test("notices that its test can fail", () => {
    assert.throws(() => assertDistribution([5_300, 4_700], [1, 1]));
    assert.throws(() => assertDistribution([9_999, 1], [1, 0]));
  });

  test("answers -1 where there is nothing to choose, and else one that is accepted", () => {
    const random = new SeededRandom(1);
    assert.equal(chooseWeighted(random, { size: 0, weight: () => 1, accepts: () => true }), -1);
    assert.equal(chooseWeighted(random, { size: 9, weight: () => -1, accepts: () => true }), -1);
    assert.equal(chooseWeighted(random, { size: 9, weight: () => 5, accepts: () => false }), -1);
    const weight = fc.oneof(fc.constant(-1), fc.constant(0), fc.double({ min: 0, max: 1e12, noNaN: true }));
    fc.assert(
      fc.property(fc.array(weight, { maxLength: 20 }), fc.nat(2 ** 20), (weights, mask) => {
        const accepts = (i: number) => (mask >> i & 1) === 1;
        const chosen = chooseWeighted(random, { size: weights.length, weight: (i) => weights[i]!, accepts });
        const possible = weights.some((one, i) => one >= 0 && accepts(i));
        assert.equal(chosen >= 0, possible);
        if (chosen >= 0) assert.ok(weights[chosen]! >= 0 && accepts(chosen));
      }),
      { numRuns: 500 },
    );
  });
});
