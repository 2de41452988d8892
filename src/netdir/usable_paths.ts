/**
 * How much of the network a client could use with the microdescriptors it has (path-spec 1, dir-spec 5.3).
 *
 * Building circuits while few relays are known would tell whoever handed out their microdescriptors who uses them, so
 * clients wait until enough of all paths, weighted by bandwidth, could be chosen.
 */
import { FLAG_EXIT, FLAG_GUARD, FLAG_RUNNING } from "../wire/netdoc/relay_table.ts";
import type { Position } from "./bandwidth_weights.ts";
import type { NetDir } from "./net_dir.ts";

export interface UsablePaths {
  /** Shares of the bandwidth of each position whose relays have microdescriptors, 0 to 1. */
  readonly guard: number;
  readonly middle: number;
  readonly exit: number;
  /** Of paths: the product of the three. */
  readonly fraction: number;
  /** Whether a relay that lets streams out is known; without one only internal paths can be built. */
  readonly hasExits: boolean;
  /** Relays that could be used, and how many of them have microdescriptors. */
  readonly usable: number;
  readonly present: number;
}

/** Bandwidth of a position's relays, and how much of it has microdescriptors; relays too, in case all weigh nothing. */
class Share {
  #weight = 0;
  #presentWeight = 0;
  #relays = 0;
  #presentRelays = 0;

  add(weight: number, present: boolean): void {
    this.#weight += weight;
    this.#relays++;
    if (!present) return;
    this.#presentWeight += weight;
    this.#presentRelays++;
  }

  get relays(): number {
    return this.#relays;
  }

  get presentRelays(): number {
    return this.#presentRelays;
  }

  get fraction(): number {
    if (this.#relays === 0) return 0;
    return this.#weight > 0 ? this.#presentWeight / this.#weight : this.#presentRelays / this.#relays;
  }
}

export function usablePaths(netdir: NetDir): UsablePaths {
  const guards = new Share();
  const middles = new Share();
  const exits = new Share();
  const add = (share: Share, i: number, position: Position) =>
    share.add(netdir.weight(i, position), netdir.hasMicrodesc(i));
  for (let i = 0; i < netdir.size; i++) {
    if (!netdir.has(i, FLAG_RUNNING) || !netdir.supports(i, "Relay", 2)) continue;
    add(middles, i, "middle");
    if (netdir.has(i, FLAG_GUARD)) add(guards, i, "guard");
    // A relay that turns out to let nothing out, whatever its flag says, is no exit.
    if (netdir.has(i, FLAG_EXIT) && (!netdir.hasMicrodesc(i) || netdir.allowsSomeExit(i))) add(exits, i, "exit");
  }
  // Where there are no exits, paths end at any relay.
  const ends = exits.relays > 0 ? exits : middles;
  return {
    guard: guards.fraction,
    middle: middles.fraction,
    exit: ends.fraction,
    fraction: guards.fraction * middles.fraction * ends.fraction,
    hasExits: exits.presentRelays > 0,
    usable: middles.relays,
    present: middles.presentRelays,
  };
}
