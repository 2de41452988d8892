import { describe, test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { bandwidthWeights } from "../../../src/testnet/directory/bandwidth_weights.ts";
import vectors from "../../vectors/bandwidth_weights.json" with { type: "json" };

/** Numbers of the vectors include the one unit that method 26 adds to each. */
function weightsOf({ guard, middle, exit, both }: { guard: number; middle: number; exit: number; both: number }) {
  return bandwidthWeights({ guard: guard - 1, middle: middle - 1, exit: exit - 1, both: both - 1 });
}

describe("bandwidth weights", () => {
  for (const { name, totals, weights } of vectors.cases) {
    test(`as C tor has them: ${name}`, () => assert.equal(weightsOf(totals), weights ?? undefined));
  }

  test("a network without bandwidth has some all the same", () => {
    const weights = bandwidthWeights({ guard: 0, middle: 0, exit: 0, both: 0 });
    assert.match(weights!, /^Wbd=3333 Wbe=0 Wbg=0 Wbm=10000 /, "as C tor 0.4.9.11's authorities write");
  });

  test("another scale", () => {
    assert.match(bandwidthWeights({ guard: 9, middle: 0, exit: 9, both: 0 }, 100)!, /Wdb=100 Web=100 Wed=33 Wee=70/);
  });

  test("no relay is weighed more than once, whatever the bandwidths", () => {
    const amount = fc.integer({ min: 0, max: 1_000_000_000 });
    fc.assert(fc.property(amount, amount, amount, amount, (guard, middle, exit, both) => {
      const line = bandwidthWeights({ guard, middle, exit, both });
      if (line === undefined) return;
      const weights = new Map(line.split(" ").map((each) => each.split("=") as [string, string]));
      const sum = (...names: string[]) => names.reduce((total, name) => total + Number(weights.get(name)), 0);
      assert.equal(weights.size, 19);
      for (const [name, value] of weights) assert.ok(Number(value) >= 0 && Number(value) <= 10_000, name);
      for (const names of [["Wgg", "Wmg"], ["Wee", "Wme"], ["Wgd", "Wmd", "Wed"]]) {
        assert.ok(Math.abs(sum(...names) - 10_000) <= 10, `${names}: ${line}`);
      }
    }));
  });
});
