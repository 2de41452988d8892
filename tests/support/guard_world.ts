/** A guard manager in a made-up network and simulated time, and what tests do with it. */
import assert from "node:assert/strict";
import { isTunicError } from "../../src/base/errors.ts";
import type { CircuitGuard } from "../../src/mgr/guards/circuit_guard.ts";
import { GuardManager, type GuardManagerOptions } from "../../src/mgr/guards/guard_manager.ts";
import type { NetDir } from "../../src/netdir/net_dir.ts";
import { GUARD_FLAGS, makeNetwork, MIDDLE_FLAGS, numberOf, relays } from "./network.ts";
import { SeededRandom } from "./seeded_random.ts";
import { settle, SimulatedTime } from "./simulated_time.ts";

export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

export const GUARDS = relays(1, 100, { flags: GUARD_FLAGS });
export const OTHERS = relays(1001, 20, { flags: MIDDLE_FLAGS });

export interface World {
  readonly time: SimulatedTime;
  readonly guards: GuardManager;
  readonly changes: () => number;
}

export function world(
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

export function traffic(guards: GuardManager): CircuitGuard {
  return guards.select({ purpose: "traffic" });
}

export function idOf(circuit: CircuitGuard): number {
  return numberOf(circuit.rsaId);
}

/** Fails the three primary guards and gives their numbers. */
export function failPrimaries(guards: GuardManager): number[] {
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
export function confirmPrimaries(guards: GuardManager): void {
  for (let i = 0; i < 100 && guards.snapshot.confirmed < 3; i++) {
    const circuit = guards.select({ purpose: "directory" });
    circuit.onSuccess();
    circuit.onClosed();
  }
  assert.equal(guards.snapshot.confirmed, 3);
}

export async function outcome(circuit: CircuitGuard): Promise<boolean | "open"> {
  await settle();
  return await Promise.race([circuit.usable, settle().then(() => "open" as const)]);
}

export function refuses(action: () => unknown, code: string): void {
  assert.throws(action, (error) => isTunicError(error, "no-path") && error.code === code, code);
}
