import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { isTunicError } from "../../../src/base/errors.ts";
import { guardRecords } from "../../../src/state/guard_records.ts";
import {
  DAY,
  failPrimaries,
  GUARDS,
  idOf,
  OTHERS,
  refuses,
  SECOND,
  traffic,
  world,
} from "../../support/guard_world.ts";
import { GUARD_FLAGS, makeNetwork, numberOf, relays, type TestRelay } from "../../support/network.ts";
import { SimulatedTime } from "../../support/simulated_time.ts";

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
