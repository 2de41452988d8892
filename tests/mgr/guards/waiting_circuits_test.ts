import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { type GuardRecord } from "../../../src/state/guard_records.ts";
import {
  confirmPrimaries,
  DAY,
  failPrimaries,
  GUARDS,
  idOf,
  MINUTE,
  outcome,
  SECOND,
  traffic,
  type World,
  world,
} from "../../support/guard_world.ts";
import { GUARD_FLAGS, makeNetwork, relays, rsaIdOf } from "../../support/network.ts";
import { SimulatedTime } from "../../support/simulated_time.ts";

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
