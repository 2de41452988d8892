import { describe, test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { isTunicError } from "../../../src/base/errors.ts";
import type { CircuitGuard } from "../../../src/mgr/guards/circuit_guard.ts";
import { Guard } from "../../../src/mgr/guards/guard.ts";
import { GuardManager } from "../../../src/mgr/guards/guard_manager.ts";
import { guardRecords } from "../../../src/state/guard_records.ts";
import {
  failPrimaries,
  HOUR,
  idOf,
  MINUTE,
  outcome,
  refuses,
  SECOND,
  traffic,
  world,
} from "../../support/guard_world.ts";
import { GUARD_FLAGS, makeNetwork, numberOf, relays, rsaIdOf, type TestRelay } from "../../support/network.ts";
import { SeededRandom } from "../../support/seeded_random.ts";
import { SimulatedTime } from "../../support/simulated_time.ts";

describe("selecting a guard", () => {
  test("without a consensus there is none", () => {
    const { guards } = world({}, makeNetwork([]));
    refuses(() => traffic(guards), "no-guards");
    const random = new SeededRandom(1);
    const time = new SimulatedTime();
    const fresh = new GuardManager(
      { clock: time.clock, timers: time.timers, random: (count) => random.random(count) },
      { version: "x" },
    );
    refuses(() => traffic(fresh), "no-directory");
    assert.equal(fresh.nextRetryAt, undefined);
    assert.deepEqual(fresh.missingMicrodescriptors, []);
  });

  test("traffic uses the first primary guard; directory requests spread over three", () => {
    const { guards } = world();
    const first = traffic(guards);
    assert.equal(first.onSuccess(), "complete");
    for (let i = 0; i < 50; i++) assert.equal(idOf(traffic(guards)), idOf(first));
    const directories = new Set<number>();
    for (let i = 0; i < 100; i++) directories.add(idOf(guards.select({ purpose: "directory" })));
    assert.equal(directories.size, 3);
    assert.ok(directories.has(idOf(first)));
  });

  test("success through a primary guard confirms it and lets the circuit be used at once", async () => {
    const { guards, changes } = world();
    const circuit = traffic(guards);
    const before = changes();
    assert.equal(guards.snapshot.confirmed, 0);
    assert.equal(circuit.onSuccess(), "complete");
    assert.equal(await outcome(circuit), true);
    assert.equal(guards.snapshot.confirmed, 1);
    assert.equal(changes(), before + 1);
    assert.equal(circuit.onSuccess(), "complete");
    traffic(guards).onSuccess();
    assert.equal(changes(), before + 1, "nothing new to save");
  });

  test("a failed guard gives way to the next primary guard, and comes back when it is due", async () => {
    const { guards, time } = world();
    const first = traffic(guards);
    first.onFailure();
    assert.equal(await outcome(first), false);
    const second = traffic(guards);
    assert.notEqual(idOf(second), idOf(first));
    assert.equal(second.state, "usable_on_completion");
    await time.advance(29 * SECOND);
    assert.notEqual(idOf(traffic(guards)), idOf(first));
    await time.advance(2 * SECOND);
    assert.equal(idOf(traffic(guards)), idOf(first));
  });

  test("a confirmed guard is preferred even to an unconfirmed primary one sampled before it", async () => {
    const { guards, time } = world();
    const first = traffic(guards);
    first.onFailure();
    const second = traffic(guards);
    second.onSuccess();
    await time.advance(31 * SECOND);
    assert.equal(idOf(traffic(guards)), idOf(second));
  });

  test("with the primary guards down others are explored, one circuit for each", () => {
    const { guards } = world();
    const down = failPrimaries(guards);
    const explored = new Set<number>();
    for (let i = 0; i < 5; i++) {
      const circuit = traffic(guards);
      assert.equal(circuit.state, "usable_if_no_better_guard");
      explored.add(idOf(circuit));
    }
    assert.equal(explored.size, 5);
    assert.ok(down.every((id) => !explored.has(id)));
    const order = guards.records.map((record) => numberOf(record.rsaId)).filter((id) => !down.includes(id));
    assert.deepEqual([...explored], order.slice(0, 5), "in sample order");
  });

  test("when every guard is being tried, the first of them is tried once more rather than nothing", () => {
    const { guards } = world({}, makeNetwork(relays(1, 5, { flags: GUARD_FLAGS })));
    failPrimaries(guards);
    const [a, b, c] = [traffic(guards), traffic(guards), traffic(guards)];
    assert.notEqual(idOf(a), idOf(b));
    assert.equal(idOf(c), idOf(a));
  });

  test("a circuit given up before its time lets another try its guard", () => {
    const { guards } = world();
    failPrimaries(guards);
    const circuit = traffic(guards);
    assert.notEqual(idOf(traffic(guards)), idOf(circuit));
    circuit.onClosed();
    assert.equal(idOf(traffic(guards)), idOf(circuit));
  });

  test("when all are down that is said once, and then all are tried again", () => {
    const { guards } = world({}, makeNetwork(relays(1, 5, { flags: GUARD_FLAGS })));
    const first = idOf(traffic(guards));
    for (let i = 0; i < 5; i++) traffic(guards).onFailure();
    assert.ok(guards.nextRetryAt! >= 30 * SECOND);
    assert.equal(guards.snapshot.usableFiltered, 0);
    refuses(() => traffic(guards), "all-guards-down");
    assert.equal(guards.nextRetryAt, undefined);
    assert.equal(idOf(traffic(guards)), first);
  });

  test("news that the network is back makes all guards worth a try", () => {
    const { guards } = world();
    const first = idOf(traffic(guards));
    failPrimaries(guards);
    assert.equal(guards.snapshot.usablePrimary, 0);
    guards.markAllMaybeReachable();
    assert.equal(guards.snapshot.usablePrimary, 3);
    assert.equal(idOf(traffic(guards)), first);
  });

  test("guards without microdescriptor serve directory requests only", () => {
    const bare = makeNetwork(relays(1, 40, { flags: GUARD_FLAGS, described: false }));
    const { guards } = world({}, bare);
    refuses(() => traffic(guards), "guards-without-microdescriptor");
    const circuit = guards.select({ purpose: "directory" });
    assert.equal(circuit.onSuccess(), "complete");
    assert.deepEqual(guards.missingMicrodescriptors.length, 1);
    guards.update(makeNetwork(relays(1, 40, { flags: GUARD_FLAGS })));
    assert.deepEqual(guards.missingMicrodescriptors, []);
    assert.equal(idOf(traffic(guards)), idOf(circuit));
  });

  test("retries become rarer, within the limits of either schedule", () => {
    const schedules = [
      { primary: true, base: 30 * SECOND, cap: 6 * HOUR },
      { primary: false, base: 10 * MINUTE, cap: 36 * HOUR },
    ];
    for (const { primary, base, cap } of schedules) {
      const random = new SeededRandom(7);
      const guard = new Guard(world().guards.records[0]!);
      guard.setPrimary(primary, random, 0);
      const delays: number[] = [];
      for (let now = 0; delays.length < 100; now = guard.retryAt ?? now) {
        guard.considerRetry(now - 1);
        assert.equal(guard.isReachable, now === 0 ? "maybe" : "no");
        guard.considerRetry(now);
        assert.equal(guard.isReachable, "maybe");
        guard.failed(random, now);
        delays.push(guard.retryAt! - now);
      }
      assert.ok(delays[0]! < base + 2 * SECOND);
      for (const [i, delay] of delays.entries()) {
        assert.ok(delay >= base && delay <= cap, `${delay}`);
        if (i > 0) assert.ok(delay <= 3 * delays[i - 1]! + SECOND);
      }
      assert.equal(Math.max(...delays), cap);
      guard.succeeded();
      guard.failed(random, 0);
      assert.ok(guard.retryAt! < base + 2 * SECOND, "success begins the schedule anew");
    }
  });

  test("a guard that becomes primary while it is down is retried as such", () => {
    const random = new SeededRandom(7);
    const guard = new Guard(world().guards.records[0]!);
    guard.failed(random, 0);
    assert.ok(guard.retryAt! >= 10 * MINUTE);
    guard.setPrimary(true, random, MINUTE);
    assert.ok(guard.retryAt! >= 90 * SECOND && guard.retryAt! <= 92 * SECOND);
  });

  test("many circuits that fail together count as one failure", async () => {
    const { guards, time } = world();
    const circuits = Array.from({ length: 20 }, () => traffic(guards));
    for (const circuit of circuits) circuit.onFailure();
    await time.advance(31 * SECOND);
    assert.equal(idOf(traffic(guards)), idOf(circuits[0]!));
  });
});

describe("restrictions", () => {
  test("a guard is never the exit, of its family, or of its subnet", () => {
    const own = relays(1, 30, { flags: GUARD_FLAGS }).map((relay) => ({
      ...relay,
      family: relay.number <= 10 ? [500] : [],
      ...relay.number > 10 && relay.number <= 20 ? { ipv4: `99.99.0.${relay.number}` } : {},
    }));
    const exit: TestRelay = { number: 500, ipv4: "99.99.1.1", family: own.slice(0, 10).map((relay) => relay.number) };
    for (let seed = 0; seed < 50; seed++) {
      const { guards } = world({}, makeNetwork([...own, exit]), seed);
      const id = idOf(guards.select({ purpose: "traffic", restrictions: { unrelatedTo: [rsaIdOf(500)] } }));
      assert.ok(id > 20 && id <= 30, `${id}`);
      const first = idOf(traffic(guards));
      assert.notEqual(
        idOf(guards.select({ purpose: "traffic", restrictions: { unrelatedTo: [rsaIdOf(first)] } })),
        first,
      );
    }
    const { guards } = world({ enforceDistinctSubnets: false }, makeNetwork([...own.slice(0, 20), exit]));
    const id = idOf(guards.select({ purpose: "traffic", restrictions: { unrelatedTo: [rsaIdOf(500)] } }));
    assert.ok(id > 10 && id <= 20);
  });

  test("a restriction that all guards break is an error that asks for another path", () => {
    const own = relays(1, 5, { flags: GUARD_FLAGS }).map((relay) => ({ ...relay, family: [500] }));
    const exit: TestRelay = { number: 500, family: own.map((relay) => relay.number) };
    const { guards } = world({}, makeNetwork([...own, exit]));
    assert.throws(
      () => guards.select({ purpose: "traffic", restrictions: { unrelatedTo: [rsaIdOf(500)] } }),
      (error) => isTunicError(error, "no-path") && error.code === "no-suitable-guard" && error.retry === "elsewhere",
    );
    assert.equal(guards.snapshot.circuitsInProgress, 0);
  });

  test("an exit that is the first guard does not bring in more than the second", () => {
    const { guards } = world();
    const all = guards.records.map((record) => numberOf(record.rsaId));
    const chosen = new Set<number>();
    for (let i = 0; i < 50; i++) {
      chosen.add(idOf(guards.select({ purpose: "traffic", restrictions: { unrelatedTo: [rsaIdOf(all[0]!)] } })));
    }
    assert.deepEqual([...chosen], [all[1]]);
  });

  test("excluded guards are not used", () => {
    const { guards } = world();
    const exclude = guards.records.slice(0, 2).map((record) => record.rsaId);
    for (let i = 0; i < 20; i++) {
      const circuit = guards.select({ purpose: "directory", restrictions: { exclude } });
      assert.ok(exclude.every((id) => numberOf(id) !== idOf(circuit)));
    }
  });

  test("a primary guard that a circuit may not have does not keep it waiting", async () => {
    const own = relays(1, 6, { flags: GUARD_FLAGS });
    const { guards } = world({}, makeNetwork(own));
    const primaries = guards.records.slice(0, 3).map((record) => record.rsaId);
    const circuit = guards.select({ purpose: "traffic", restrictions: { unrelatedTo: primaries } });
    assert.equal(circuit.state, "usable_if_no_better_guard");
    circuit.onSuccess();
    assert.equal(await outcome(circuit), true);
  });
});

describe("the guard manager under random events", () => {
  test("keeps its invariants", () => {
    const event = fc.record({
      kind: fc.constantFrom("select", "success", "failure", "closed", "time", "consensus", "retry"),
      pick: fc.nat(1000),
    });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 80 }), fc.nat(), (events, seed) => {
        const { guards, time } = world({}, undefined, seed);
        let count = 90;
        const network = () =>
          makeNetwork(relays(1 + seed % 50, count, { flags: GUARD_FLAGS }), { validAfter: time.clock.now() });
        guards.update(network());
        const circuits: CircuitGuard[] = [];
        for (const { kind, pick } of events) {
          const circuit = circuits[pick % Math.max(1, circuits.length)];
          if (kind === "select") {
            try {
              circuits.push(guards.select({ purpose: pick % 3 === 0 ? "directory" : "traffic" }));
            } catch (error) {
              assert.ok(isTunicError(error, "no-path"));
            }
          } else if (kind === "success") circuit?.onSuccess();
          else if (kind === "failure") circuit?.onFailure();
          else if (kind === "closed") circuit?.onClosed();
          else if (kind === "time") time.setClock(time.clock.now() + pick * HOUR);
          else if (kind === "retry") guards.markAllMaybeReachable();
          else {
            count = 30 + pick % 60;
            guards.update(network());
          }
          const { sampled, filtered, usableFiltered, confirmed, primary, usablePrimary } = guards.snapshot;
          // What was sampled from a larger network may exceed what would be sampled from this one.
          assert.ok(sampled <= 20, `${sampled} sampled`);
          assert.ok(filtered <= sampled && usableFiltered <= filtered && confirmed <= sampled);
          assert.ok(primary <= 3 && usablePrimary <= primary);
          assert.equal(new Set(guards.records.map((record) => numberOf(record.rsaId))).size, sampled);
          assert.deepEqual(guardRecords.decode(guardRecords.encode(guards.records)), guards.records);
        }
        for (const circuit of circuits) circuit.onClosed();
        assert.equal(guards.snapshot.circuitsInProgress + guards.snapshot.circuitsWaiting, 0);
        assert.equal(time.waiting, 0);
      }),
      { numRuns: 60 },
    );
  });
});
