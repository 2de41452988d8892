/**
 * Which circuits through guards that are not primary may be used: UPDATE_WAITING (guard-spec, sections 4.3 and 4.9).
 *
 * In one point proposal 337's rule holds instead: a primary guard that a circuit may not have (it is of the exit's
 * family, say) does not keep the circuit waiting, for no better guard is to be expected of it.
 */
import type { CircuitGuard } from "./circuit_guard.ts";
import type { Guard } from "./guard.ts";
import type { GuardParameters } from "./parameters.ts";
import type { GuardRestrictions } from "./restrictions.ts";

export interface WaitingContext {
  readonly now: number;
  readonly parameters: GuardParameters;
  /** SAMPLED_GUARDS, in order. */
  readonly sampled: readonly Guard[];
  readonly primary: readonly Guard[];
  obeys(guard: Guard, restrictions: GuardRestrictions): boolean;
}

/** Completes and closes what is due among `circuits`; a closed circuit's owner has to forget it. */
export function updateWaitingCircuits(circuits: Iterable<CircuitGuard>, context: WaitingContext): void {
  const all = [...circuits];
  const waiting = all.filter((circuit) => circuit.state === "waiting_for_better_guard");
  for (const circuit of waiting) {
    const deadline = circuit.stateSince + context.parameters.nonprimaryGuardIdleTimeoutMs;
    if (circuit.guard.isRemoved || context.now >= deadline) circuit.become("closed", context.now);
    else if (isBestForNow(circuit, all, context)) circuit.become("complete", context.now);
  }
}

/** When {@link updateWaitingCircuits} may have something to do without anything else having happened. */
export function nextWaitingDeadline(
  circuits: Iterable<CircuitGuard>,
  { now, parameters }: Pick<WaitingContext, "now" | "parameters">,
): number | undefined {
  let next = Infinity;
  let isWaiting = false;
  for (const { state, stateSince } of circuits) {
    if (state === "waiting_for_better_guard") {
      isWaiting = true;
      next = Math.min(next, stateSince + parameters.nonprimaryGuardIdleTimeoutMs);
    } else if (state === "usable_if_no_better_guard") {
      const stopsBlocking = stateSince + parameters.nonprimaryGuardConnectTimeoutMs;
      if (stopsBlocking > now) next = Math.min(next, stopsBlocking);
    }
  }
  return isWaiting ? next : undefined;
}

function isBestForNow(circuit: CircuitGuard, all: readonly CircuitGuard[], context: WaitingContext): boolean {
  const { restrictions } = circuit;
  const betterMayWork = context.primary.some((guard) =>
    guard !== circuit.guard && guard.isReachable !== "no" && context.obeys(guard, restrictions)
  );
  if (betterMayWork) return false;
  return !all.some((other) =>
    mayBlock(other, context) && context.obeys(other.guard, restrictions) &&
    hasHigherPriority(other.guard, circuit.guard, context.sampled)
  );
}

function mayBlock({ state, stateSince }: CircuitGuard, { now, parameters }: WaitingContext): boolean {
  switch (state) {
    case "complete":
    case "waiting_for_better_guard":
      return true;
    case "usable_if_no_better_guard":
      return now < stateSince + parameters.nonprimaryGuardConnectTimeoutMs;
    default:
      return false;
  }
}

/** Whether we would rather use `a` than `b`, were both reachable (section 4.3). */
export function hasHigherPriority(a: Guard, b: Guard, sampled: readonly Guard[]): boolean {
  if (a === b) return false;
  if (a.isConfirmed !== b.isConfirmed) return a.isConfirmed;
  if (a.isConfirmed) return sampled.indexOf(a) < sampled.indexOf(b);
  if (a.isPending !== b.isPending) return a.isPending;
  return a.isPending && a.lastTriedConnect < b.lastTriedConnect;
}
