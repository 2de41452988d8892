/** Whether counts are what weights let expect. */
import assert from "node:assert/strict";

/** Standard deviations: chance alone goes beyond in three of a million tests. */
const Z = 4.5;

/**
 * Pearson's chi-squared test, with the limit of Wilson and Hilferty's approximation: `counts` are in proportion to
 * `weights`, and zero where these are.
 */
export function assertDistribution(counts: readonly number[], weights: readonly number[]): void {
  const draws = counts.reduce((sum, count) => sum + count, 0);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let chiSquared = 0;
  let categories = 0;
  for (const [i, weight] of weights.entries()) {
    const expected = draws * weight / total;
    if (weight <= 0) {
      assert.equal(counts[i], 0, `category ${i} was drawn although it weighs nothing`);
      continue;
    }
    categories++;
    chiSquared += (counts[i]! - expected) ** 2 / expected;
  }
  const freedom = categories - 1;
  const limit = freedom * (1 - 2 / (9 * freedom) + Z * Math.sqrt(2 / (9 * freedom))) ** 3;
  assert.ok(chiSquared <= limit, `chi-squared is ${chiSquared}, expected at most ${limit} in ${categories} categories`);
}
