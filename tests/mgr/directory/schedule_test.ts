import { describe, test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { refreshTime, RetrySchedule } from "../../../src/mgr/directory/schedule.ts";
import { SeededRandom } from "../../support/seeded_random.ts";

describe("RetrySchedule", () => {
  test("draws each pause from between the base and three times the last one", () => {
    fc.assert(fc.property(fc.nat(), fc.constantFrom(0, 1_000, 6_000), (seed, base) => {
      const schedule = new RetrySchedule(new SeededRandom(seed), base, 600_000);
      const lower = Math.max(1_000, base);
      let last = 0;
      for (let i = 0; i < 30; i++) {
        const next = schedule.next();
        assert.ok(
          next >= lower && next <= Math.min(600_000, Math.max(lower + 1_000, last * 3)),
          `${next} after ${last}`,
        );
        last = next;
      }
    }));
  });

  test("grows to its cap, and starts again after a reset", () => {
    const schedule = new RetrySchedule(new SeededRandom(1), 0, 60_000);
    const pauses = Array.from({ length: 40 }, () => schedule.next());
    assert.equal(Math.max(...pauses), 60_000);
    schedule.reset();
    assert.ok(schedule.next() <= 2_000);
  });
});

describe("refreshTime", () => {
  const lifetime = fc.tuple(fc.nat(2 ** 40), fc.integer({ min: 1, max: 1e7 }), fc.integer({ min: 1, max: 1e8 })).map((
    [validAfter, fresh, rest],
  ) => ({ validAfter, freshUntil: validAfter + fresh, validUntil: validAfter + fresh + rest }));

  test("lies between the end of freshness and that of validity", () => {
    fc.assert(fc.property(lifetime, fc.nat(), (times, seed) => {
      const at = refreshTime(times, new SeededRandom(seed));
      assert.ok(at >= times.freshUntil && at <= times.validUntil);
    }));
  });

  test("is the specification's example", () => {
    // Valid from 1:00, fresh until 2:00, valid until 4:00: between 2:45 and 3:50 (3:50.6 to the second).
    const hour = 3_600_000;
    const times = Array.from(
      { length: 500 },
      (_, seed) =>
        refreshTime({ validAfter: hour, freshUntil: 2 * hour, validUntil: 4 * hour }, new SeededRandom(seed)),
    );
    assert.ok(Math.min(...times) >= 2.75 * hour && Math.min(...times) < 2.8 * hour);
    assert.ok(Math.max(...times) <= 2.75 * hour + 1.25 * hour * 7 / 8 && Math.max(...times) > 3.8 * hour);
  });
});
