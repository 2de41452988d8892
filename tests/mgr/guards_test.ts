import { describe, test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import type { CircuitGuard } from "../../src/mgr/guards/circuit_guard.ts";
import { Guard } from "../../src/mgr/guards/guard.ts";
import { GuardManager, type GuardManagerOptions } from "../../src/mgr/guards/guard_manager.ts";
import type { NetDir } from "../../src/netdir/net_dir.ts";
import { type GuardRecord, guardRecords } from "../../src/state/guard_records.ts";
import {
  GUARD_FLAGS,
  makeNetwork,
  MIDDLE_FLAGS,
  numberOf,
  relays,
  rsaIdOf,
  type TestRelay,
} from "../support/network.ts";
import { SeededRandom } from "../support/seeded_random.ts";
import { settle, SimulatedTime } from "../support/simulated_time.ts";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const GUARDS = relays(1, 100, { flags: GUARD_FLAGS });
const OTHERS = relays(1001, 20, { flags: MIDDLE_FLAGS });

interface World {
  readonly time: SimulatedTime;
  readonly guards: GuardManager;
  readonly changes: () => number;
}

function world(
  options: Partial<GuardManagerOptions> = {},
  netdir: NetDir | undefined = makeNetwork([...GUARDS, ...OTHERS]),
  seed = 1,
  time = new SimulatedTime(),
): World {
  const random = new SeededRandom(seed);
  let changes = 0;
  const guards = new GuardManager(
    { clock: time.clock, timers: time.timers, random: (count) => random.random(count) },
    { version: "tunic test", onChange: () => changes++, ...options },
  );
  if (netdir) guards.update(netdir);
  return { time, guards, changes: () => changes };
}

function traffic(guards: GuardManager): CircuitGuard {
  return guards.select({ purpose: "traffic" });
}

function idOf(circuit: CircuitGuard): number {
  return numberOf(circuit.rsaId);
}

/** Fails the three primary guards and gives their numbers. */
function failPrimaries(guards: GuardManager): number[] {
  const failed: number[] = [];
  for (let i = 0; i < 3; i++) {
    const circuit = traffic(guards);
    assert.equal(circuit.state, "usable_on_completion");
    failed.push(idOf(circuit));
    circuit.onFailure();
  }
  assert.equal(new Set(failed).size, 3);
  return failed;
}

/** Confirms the three primary guards. */
function confirmPrimaries(guards: GuardManager): void {
  for (let i = 0; i < 100 && guards.snapshot.confirmed < 3; i++) {
    const circuit = guards.select({ purpose: "directory" });
    circuit.onSuccess();
    circuit.onClosed();
  }
  assert.equal(guards.snapshot.confirmed, 3);
}

async function outcome(circuit: CircuitGuard): Promise<boolean | "open"> {
  await settle();
  return await Promise.race([circuit.usable, settle().then(() => "open" as const)]);
}

function refuses(action: () => unknown, code: string): void {
  assert.throws(action, (error) => isTunicError(error, "no-path") && error.code === code, code);
}

describe("the guard sample", () => {
  test("takes only relays with all the flags a guard needs, in proportion to their weights", () => {
    const counts = new Map<number, number>();
    const heavy: TestRelay[] = [
      ...relays(1, 30, { flags: GUARD_FLAGS, bandwidth: 1000 }),
      ...relays(101, 30, { flags: GUARD_FLAGS, bandwidth: 3000 }),
      ...GUARD_FLAGS.map((flag, i) => ({
        number: 201 + i,
        flags: GUARD_FLAGS.filter((one) => one !== flag),
        bandwidth: 1_000_000,
      })),
    ];
    const netdir = makeNetwork(heavy);
    for (let seed = 0; seed < 400; seed++) {
      const { guards } = world({}, netdir, seed);
      const first = numberOf(guards.records[0]!.rsaId);
      counts.set(first, (counts.get(first) ?? 0) + 1);
      assert.ok(guards.records.every((record) => numberOf(record.rsaId) < 200));
    }
    const heavyShare = [...counts].filter(([id]) => id > 100).reduce((sum, [, count]) => sum + count, 0) / 400;
    assert.ok(Math.abs(heavyShare - 0.75) < 0.08, `${heavyShare}`);
  });

  test("has 20 guards at first, grows as they fail, and never beyond its maximum", () => {
    const { guards } = world();
    assert.equal(guards.snapshot.sampled, 20);
    assert.equal(guards.snapshot.primary, 3);
    for (let i = 0; i < 300; i++) {
      try {
        traffic(guards).onFailure();
      } catch (error) {
        assert.ok(isTunicError(error, "no-path"));
      }
      assert.ok(guards.snapshot.sampled <= 20, "100 guards, 20 %");
    }
    const many = world({}, makeNetwork(relays(1, 250, { flags: GUARD_FLAGS })));
    for (let i = 0; i < 40; i++) traffic(many.guards).onFailure();
    assert.equal(many.guards.snapshot.sampled, 50, "250 guards, 20 %");
    const most = world({}, makeNetwork(relays(1, 1000, { flags: GUARD_FLAGS })));
    for (let i = 0; i < 55; i++) traffic(most.guards).onFailure();
    assert.equal(most.guards.snapshot.sampled, 60);
  });

  test("has all guards of a small network, each once", () => {
    const { guards } = world({}, makeNetwork(relays(1, 7, { flags: GUARD_FLAGS })));
    assert.deepEqual(guards.records.map((record) => numberOf(record.rsaId)).sort(), [1, 2, 3, 4, 5, 6, 7]);
  });

  test("follows the parameters of the consensus, and the overrides before them", () => {
    const params = { "guard-min-filtered-sample-size": 5, "guard-n-primary-guards": 2 };
    const netdir = makeNetwork(GUARDS, { params });
    const { sampled, primary } = world({}, netdir).guards.snapshot;
    assert.deepEqual({ sampled, primary }, { sampled: 5, primary: 2 });
    assert.equal(world({ parameters: { nPrimaryGuards: 4 } }, netdir).guards.snapshot.primary, 4);
  });

  test("dates are in the past, by at most a tenth of the lifetime, and differ", () => {
    const { guards, time } = world();
    const now = time.clock.now();
    const dates = guards.records.map((record) => record.addedOn);
    for (const date of dates) {
      assert.ok(date <= now && date >= now - 12 * DAY - SECOND);
      assert.equal(date % SECOND, 0);
    }
    assert.ok(new Set(dates).size > 15);
    assert.ok(Math.min(...dates) < now - 6 * DAY);
  });

  test("a guard that is unlisted is not used, and forgotten after 20 days; one that comes back is used again", () => {
    const { guards, time, changes } = world();
    const first = traffic(guards);
    first.onSuccess();
    const lost = idOf(first);
    const without = (validAfter: number) =>
      makeNetwork([...GUARDS.filter((relay) => relay.number !== lost), ...OTHERS], { validAfter });
    const before = changes();
    guards.update(without(time.clock.now()));
    assert.ok(changes() > before);
    const record = guards.records.find((one) => numberOf(one.rsaId) === lost)!;
    assert.equal(record.isListed, false);
    assert.ok(
      record.firstUnlistedAt! <= time.clock.now() && record.firstUnlistedAt! >= time.clock.now() - 4 * DAY - SECOND,
    );
    assert.notEqual(idOf(traffic(guards)), lost);
    assert.equal(guards.snapshot.confirmed, 1);
    guards.update(makeNetwork(GUARDS, { validAfter: time.clock.now() }));
    assert.equal(idOf(traffic(guards)), lost);
    assert.equal(guards.records.find((one) => numberOf(one.rsaId) === lost)!.firstUnlistedAt, undefined);
    guards.update(without(time.clock.now()));
    time.setClock(time.clock.now() + 15 * DAY);
    guards.update(without(time.clock.now()));
    assert.ok(guards.records.some((one) => numberOf(one.rsaId) === lost));
    time.setClock(time.clock.now() + 6 * DAY);
    guards.update(without(time.clock.now()));
    assert.ok(!guards.records.some((one) => numberOf(one.rsaId) === lost));
    assert.equal(guards.snapshot.confirmed, 0);
  });

  test("guards expire: unconfirmed ones after 120 days, confirmed ones 60 days after their confirmation", () => {
    const { guards, time } = world();
    time.setClock(time.clock.now() + 105 * DAY);
    guards.update(makeNetwork(GUARDS, { validAfter: time.clock.now() }));
    const circuit = traffic(guards);
    circuit.onSuccess();
    const confirmed = idOf(circuit);
    const original = new Set(guards.records.map((record) => numberOf(record.rsaId)));
    time.setClock(time.clock.now() + 20 * DAY);
    guards.update(makeNetwork(GUARDS, { validAfter: time.clock.now() }));
    const old = guards.records.filter((record) => record.addedOn < time.clock.now() - 12 * DAY - SECOND);
    assert.deepEqual(old.map((record) => numberOf(record.rsaId)), [confirmed]);
    assert.ok(original.has(confirmed));
    assert.equal(guards.snapshot.sampled, 20);
    assert.equal(idOf(traffic(guards)), confirmed);
    time.setClock(time.clock.now() + 41 * DAY);
    guards.update(makeNetwork(GUARDS, { validAfter: time.clock.now() }));
    assert.ok(!guards.records.some((record) => record.confirmedOn !== undefined));
  });

  test("a consensus of long ago changes nothing", () => {
    const { guards, time } = world();
    const before = guards.records;
    guards.update(makeNetwork(OTHERS, { validAfter: time.clock.now() - 10 * DAY }));
    assert.deepEqual(guards.records, before);
    refuses(() => traffic(guards), "no-guards");
  });

  test("dates of a wrong clock are put right", () => {
    const { guards, time } = world();
    traffic(guards).onSuccess();
    const records = guards.records;
    const earlier = new SimulatedTime(time.clock.now() - 400 * DAY);
    const other = world({ records }, makeNetwork(GUARDS, { validAfter: earlier.clock.now() }), 2, earlier);
    for (const { addedOn, confirmedOn } of other.guards.records) {
      assert.ok(addedOn <= earlier.clock.now());
      assert.ok((confirmedOn ?? 0) <= earlier.clock.now());
    }
    assert.equal(other.guards.records.length, 20);
  });

  test("the configuration's filter applies after sampling", () => {
    const even = (netdir: { rsaId(relay: number): Uint8Array }, relay: number) =>
      numberOf(netdir.rsaId(relay)) % 2 === 0;
    const { guards } = world({ filter: even });
    assert.equal(idOf(traffic(guards)) % 2, 0);
    const { sampled, filtered } = guards.snapshot;
    assert.ok(filtered < sampled);
    refuses(() => traffic(world({ filter: () => false }).guards), "no-guards");
  });

  test("survives a restart: the same guards in the same order, confirmed ones first", () => {
    const { guards } = world();
    const failed = failPrimaries(guards);
    const circuit = traffic(guards);
    circuit.onSuccess();
    const bytes = guardRecords.encode(guards.records);
    const again = world({ records: guardRecords.decode(bytes) }, undefined, 99);
    assert.deepEqual(again.guards.records, guards.records);
    again.guards.update(makeNetwork([...GUARDS, ...OTHERS]));
    assert.equal(idOf(traffic(again.guards)), idOf(circuit));
    assert.deepEqual(again.guards.records, guards.records);
    assert.equal(again.changes(), 0);
    const first = again.guards.select({ purpose: "traffic" });
    first.onFailure();
    assert.ok(failed.includes(idOf(traffic(again.guards))), "what was unreachable is forgotten");
  });
});

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

describe("circuits through guards that are not primary", () => {
  test("are used at once if their guard becomes primary by it, for want of confirmed ones", async () => {
    const { guards } = world();
    const down = failPrimaries(guards);
    const circuit = traffic(guards);
    assert.ok(!down.includes(idOf(circuit)));
    assert.equal(circuit.onSuccess(), "complete");
    assert.equal(await outcome(circuit), true);
  });

  test("with three confirmed primary guards down, the first success after a silence has them tried again", async () => {
    const { guards, time } = world();
    confirmPrimaries(guards);
    await time.advance(11 * MINUTE);
    const down = failPrimaries(guards);
    const circuit = traffic(guards);
    assert.equal(circuit.onSuccess(), "waiting_for_better_guard");
    assert.equal(await outcome(circuit), "open");
    assert.equal(guards.snapshot.usablePrimary, 3);
    assert.deepEqual(failPrimaries(guards), down);
    assert.equal(await outcome(circuit), true, "now they are down beyond doubt");
    assert.equal(circuit.state, "complete");
  });

  test("without a silence they are used at once", async () => {
    const { guards, time } = world();
    confirmPrimaries(guards);
    await time.advance(MINUTE);
    failPrimaries(guards);
    const circuit = traffic(guards);
    circuit.onSuccess();
    assert.equal(await outcome(circuit), true);
  });

  test("a primary guard that comes back is used again; what waited is closed after ten minutes", async () => {
    const { guards, time } = world();
    confirmPrimaries(guards);
    await time.advance(11 * MINUTE);
    const down = failPrimaries(guards);
    const waiting = traffic(guards);
    assert.equal(waiting.onSuccess(), "waiting_for_better_guard");
    const back = traffic(guards);
    assert.equal(idOf(back), down[0]);
    assert.equal(back.onSuccess(), "complete");
    assert.equal(idOf(traffic(guards)), down[0]);
    await time.advance(10 * MINUTE - SECOND);
    assert.equal(await outcome(waiting), "open");
    assert.equal(guards.snapshot.circuitsWaiting, 1);
    await time.advance(2 * SECOND);
    assert.equal(await outcome(waiting), false);
    assert.equal(waiting.state, "closed");
    assert.equal(time.waiting, 0);
  });

  test("a better guard's circuit in progress is waited for, but not for more than 15 seconds", async () => {
    const { guards, time } = confirmedInOrder();
    const better = traffic(guards);
    const worse = traffic(guards);
    assert.equal(better.state, "usable_if_no_better_guard");
    assert.equal(worse.state, "usable_if_no_better_guard");
    assert.equal(worse.onSuccess(), "waiting_for_better_guard");
    assert.equal(await outcome(worse), "open");
    await time.advance(14 * SECOND);
    assert.equal(await outcome(worse), "open");
    await time.advance(2 * SECOND);
    assert.equal(await outcome(worse), true);
  });

  test("a better guard's failure, or its circuit's end, sets the waiting one free", async () => {
    for (const end of ["onFailure", "onClosed"] as const) {
      const { guards } = confirmedInOrder();
      const better = traffic(guards);
      const worse = traffic(guards);
      worse.onSuccess();
      assert.equal(await outcome(worse), "open");
      better[end]();
      assert.equal(await outcome(worse), true);
    }
  });

  test("a better guard's success keeps the worse one waiting until it ends", async () => {
    const { guards } = confirmedInOrder();
    const better = traffic(guards);
    const worse = traffic(guards);
    worse.onSuccess();
    better.onSuccess();
    assert.equal(await outcome(better), true);
    assert.equal(await outcome(worse), "open");
    better.onClosed();
    assert.equal(await outcome(worse), true);
  });

  test("a better circuit that breaks the waiting one's restrictions does not block it", async () => {
    const { guards } = confirmedInOrder();
    const better = traffic(guards);
    const worse = guards.select({ purpose: "traffic", restrictions: { unrelatedTo: [better.rsaId] } });
    worse.onSuccess();
    assert.equal(await outcome(worse), true);
  });

  test("nothing happens after the end", async () => {
    const { guards, time } = confirmedInOrder();
    const waiting = traffic(guards);
    const other = traffic(guards);
    other.onSuccess();
    guards.close();
    assert.equal(await outcome(waiting), false);
    assert.equal(await outcome(other), false);
    assert.equal(time.waiting, 0);
    other.onFailure();
    other.onClosed();
    assert.equal(waiting.onSuccess(), "closed");
  });

  test("a guard that leaves the sample takes its waiting circuits along", async () => {
    const { guards, time } = confirmedInOrder();
    const better = traffic(guards);
    const worse = traffic(guards);
    worse.onSuccess();
    assert.equal(await outcome(worse), "open");
    time.setClock(time.clock.now() + 400 * DAY);
    guards.update(makeNetwork(relays(301, 30, { flags: GUARD_FLAGS }), { validAfter: time.clock.now() }));
    assert.equal(await outcome(worse), false);
    assert.equal(better.relay, -1);
    assert.equal(better.onSuccess(), "closed");
  });

  test("exploration is remembered no longer than the circuits live", () => {
    const { guards } = confirmedInOrder();
    for (let i = 0; i < 10; i++) traffic(guards).onClosed();
    assert.equal(guards.snapshot.circuitsInProgress, 0);
    assert.equal(guards.snapshot.circuitsWaiting, 0);
  });

  /** Six confirmed guards; the three primary ones have just failed, and the network was there a moment ago. */
  function confirmedInOrder(): World {
    const time = new SimulatedTime();
    const date = time.clock.now() - DAY;
    const records: GuardRecord[] = [1, 2, 3, 4, 5, 6].map((number) => ({
      rsaId: rsaIdOf(number),
      nickname: undefined,
      addedOn: date,
      addedBy: "test",
      isListed: true,
      firstUnlistedAt: undefined,
      confirmedOn: date,
      unknown: {},
    }));
    const one = world({ records }, makeNetwork(GUARDS), 3, time);
    const alive = traffic(one.guards);
    alive.onSuccess();
    alive.onClosed();
    assert.deepEqual(failPrimaries(one.guards), [1, 2, 3]);
    return one;
  }
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
