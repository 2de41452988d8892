/** What the guard algorithm needs to know of the network: a part of NetDir. */
import {
  FLAG_FAST,
  FLAG_GUARD,
  FLAG_RUNNING,
  FLAG_STABLE,
  FLAG_V2DIR,
  FLAG_VALID,
} from "../../wire/netdoc/relay_table.ts";
import type { ConsensusParameters } from "./parameters.ts";

/** Relays are indexes, 0 … `size` - 1, that mean nothing in another consensus. */
export interface GuardDirectory {
  readonly size: number;
  /** Milliseconds since 1970. */
  readonly validAfter: number;
  readonly validUntil: number;
  readonly params: ConsensusParameters;
  flags(relay: number): number;
  weight(relay: number, position: "guard"): number;
  hasMicrodesc(relay: number): boolean;
  /** -1 where the consensus does not list it. */
  indexOfRsaId(rsaId: Uint8Array): number;
  rsaId(relay: number): Uint8Array;
  nickname(relay: number): string;
  sameFamily(a: number, b: number): boolean;
  sameSubnet(a: number, b: number): boolean;
}

/** For how long before and after its validity a consensus still counts (path-spec, 2.1.0: REASONABLY_LIVE_TIME). */
const REASONABLY_LIVE_MS = 24 * 3_600_000;

const GUARD_FLAGS = FLAG_GUARD | FLAG_STABLE | FLAG_FAST | FLAG_V2DIR | FLAG_RUNNING | FLAG_VALID;

/** Whether `relay` is in the set GUARDS (section 4.0). */
export function isPossibleGuard(directory: GuardDirectory, relay: number): boolean {
  return (directory.flags(relay) & GUARD_FLAGS) === GUARD_FLAGS;
}

/** Whether guards may be added and removed by this consensus. */
export function isReasonablyLive(directory: GuardDirectory, nowMs: number): boolean {
  return nowMs >= directory.validAfter - REASONABLY_LIVE_MS && nowMs <= directory.validUntil + REASONABLY_LIVE_MS;
}
