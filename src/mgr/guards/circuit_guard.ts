/**
 * A guard lent to one circuit, and what the circuit's success means for its use (guard-spec, section 4.6: "every
 * origin circuit is now in one of these states").
 */
import { Deferred } from "../../base/deferred.ts";
import type { Guard } from "./guard.ts";
import type { GuardRestrictions } from "./restrictions.ts";

export type CircuitGuardState =
  /** Being built through a primary guard. */
  | "usable_on_completion"
  /** Being built through another guard, to see whether it works. */
  | "usable_if_no_better_guard"
  /** Built; not to be used until it is clear that no better guard works. */
  | "waiting_for_better_guard"
  | "complete"
  /** Failed, given up or closed. */
  | "closed";

/** What a circuit is for: `directory` ones of a single hop need no microdescriptor of their guard. */
export type GuardPurpose = "traffic" | "directory";

/** What the guard manager does with a circuit's reports. */
export interface CircuitGuardOwner {
  succeeded(circuit: CircuitGuard): void;
  failed(circuit: CircuitGuard): void;
  closed(circuit: CircuitGuard): void;
}

/**
 * Of each, exactly one of `onSuccess`, `onFailure` or `onClosed` is due when the first hop is decided; after
 * `onSuccess`, `onFailure` or `onClosed` when the circuit ends. Calls that come too late do nothing.
 */
export class CircuitGuard {
  readonly guard: Guard;
  readonly purpose: GuardPurpose;
  readonly restrictions: GuardRestrictions;
  readonly #owner: CircuitGuardOwner;
  readonly #usable = new Deferred<boolean>();
  #state: CircuitGuardState;
  #stateSince: number;

  constructor(
    owner: CircuitGuardOwner,
    guard: Guard,
    purpose: GuardPurpose,
    restrictions: GuardRestrictions,
    state: CircuitGuardState,
    nowMs: number,
  ) {
    this.#owner = owner;
    this.guard = guard;
    this.purpose = purpose;
    this.restrictions = restrictions;
    this.#state = state;
    this.#stateSince = nowMs;
  }

  /** RSA identity of the guard, 20 bytes. */
  get rsaId(): Uint8Array {
    return this.guard.rsaId;
  }

  /** Its index in the consensus that the guard manager was given last; -1 if that does not list it. */
  get relay(): number {
    return this.guard.relay;
  }

  get state(): CircuitGuardState {
    return this.#state;
  }

  /** Since when `state` has been what it is, in monotonic milliseconds. */
  get stateSince(): number {
    return this.#stateSince;
  }

  get isInProgress(): boolean {
    return this.#state === "usable_on_completion" || this.#state === "usable_if_no_better_guard";
  }

  /**
   * True once streams may be attached, false once it is clear that they never may: then the circuit is to be
   * closed. While it waits, it counts neither as built nor as in progress (section 4.11): another one should be
   * built for what it was meant for.
   */
  get usable(): Promise<boolean> {
    return this.#usable.promise;
  }

  /** The circuit is built through the guard, or for a directory request, answered by it. */
  onSuccess(): CircuitGuardState {
    if (this.isInProgress) this.#owner.succeeded(this);
    return this.#state;
  }

  /** The circuit failed in a way that says that the guard is not reachable. */
  onFailure(): void {
    if (this.#state !== "closed") this.#owner.failed(this);
  }

  /** The circuit is gone, or was never tried, for reasons that say nothing of the guard. */
  onClosed(): void {
    if (this.#state !== "closed") this.#owner.closed(this);
  }

  /** For the guard manager only. */
  become(state: CircuitGuardState, nowMs: number): void {
    this.#state = state;
    this.#stateSince = nowMs;
    if (state === "complete") this.#usable.resolve(true);
    if (state === "closed") this.#usable.resolve(false);
  }
}
