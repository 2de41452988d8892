/**
 * Which relays a circuit goes through (path-spec, sections 2.2 and 2.2.1).
 *
 * The last hop is chosen first, by what it is needed for; then the guard, by the guard manager; then the middle. All
 * in proportion to the consensus' bandwidth weights, no two of one family or subnet. What is lacking is said.
 */
import { isTunicError, TunicError } from "../base/errors.ts";
import { equal } from "../bytes/bytes.ts";
import { parseIpv6 } from "../bytes/ip.ts";
import type { NetDir, Position } from "../netdir/net_dir.ts";
import type { ChannelTarget, CircuitTarget } from "../proto/target.ts";
import type { RandomSource } from "../runtime/random.ts";
import {
  FLAG_BAD_EXIT,
  FLAG_EXIT,
  FLAG_FAST,
  FLAG_RUNNING,
  FLAG_STABLE,
  FLAG_VALID,
} from "../wire/netdoc/relay_table.ts";
import type { CircuitGuard } from "./guards/circuit_guard.ts";
import type { GuardManager } from "./guards/guard_manager.ts";
import { areRelated } from "./guards/restrictions.ts";
import { chooseWeighted } from "./weighted_choice.ts";

/** torrc's LongLivedPorts: connections to them are made over relays with the Stable flag. */
export const LONG_LIVED_PORTS: readonly number[] = [
  21,
  22,
  706,
  1863,
  5050,
  5190,
  5222,
  5223,
  6523,
  6667,
  6697,
  8300,
];

/** How many last hops are tried where the guards there are do not go with them. */
const MAX_LAST_HOPS = 8;

const LIVE_FLAGS = FLAG_RUNNING | FLAG_VALID;

export interface PathOptions {
  /** torrc's EnforceDistinctSubnets, the same as the guard manager's; true by default. */
  readonly enforceDistinctSubnets?: boolean;
  readonly longLivedPorts?: readonly number[];
}

/** Where a stream is to go. */
export interface Destination {
  /** A name, or an IPv4 or IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
}

export interface PathConstraints {
  /** Only relays with the Stable flag; long-lived ports imply it. */
  readonly stable?: boolean;
  /** RSA identities of relays to do without, because they have just failed. */
  readonly exclude?: readonly Uint8Array[];
}

export interface Path {
  /** Must be told what becomes of the circuit. */
  readonly guard: CircuitGuard;
  /** Guard, middle and last hop. */
  readonly hops: readonly CircuitTarget[];
  /** Whether it may carry streams to long-lived ports. */
  readonly isStable: boolean;
}

/** A directory request's single hop. */
export interface DirectoryHop {
  readonly guard: CircuitGuard;
  readonly channel: ChannelTarget;
  /** All of the target, where its microdescriptor is known: CREATE_FAST is for the others. */
  readonly circuit: CircuitTarget | undefined;
}

/** What the last hop has to be. */
interface LastHop {
  readonly position: Position;
  /** Cheap: asked of every relay. */
  allows(netdir: NetDir, relay: number): boolean;
  /** "no exit accepts port 25", given that `netdir` has none. */
  lacking(netdir: NetDir): string;
}

export class PathSelector {
  readonly #random: RandomSource;
  readonly #guards: GuardManager;
  readonly #distinctSubnets: boolean;
  readonly #longLivedPorts: ReadonlySet<number>;
  #netdir: NetDir | undefined;

  constructor(random: RandomSource, guards: GuardManager, options: PathOptions = {}) {
    this.#random = random;
    this.#guards = guards;
    this.#distinctSubnets = options.enforceDistinctSubnets ?? true;
    this.#longLivedPorts = new Set(options.longLivedPorts ?? LONG_LIVED_PORTS);
  }

  /** Takes a new consensus, or one whose microdescriptors have become more, for itself and for the guards. */
  update(netdir: NetDir): void {
    this.#netdir = netdir;
    this.#guards.update(netdir);
  }

  /** Whether streams to this port should go over stable circuits. */
  needsStable(port: number): boolean {
    return this.#longLivedPorts.has(port);
  }

  /**
   * Whether the path's last hop, by the newest consensus, would take a stream there, and the path is stable enough
   * for it.
   */
  serves(path: Path, destination: Destination): boolean {
    const netdir = this.#netdir;
    const last = path.hops.at(-1);
    if (!netdir || !last || (this.needsStable(destination.port) && !path.isStable)) return false;
    const relay = netdir.indexOfRsaId(last.rsaId);
    return relay >= 0 && netdir.allowsExitTo(relay, destination.port, familyOf(destination.host));
  }

  /** Whether the path's last hop may connect to IPv6 addresses, on this port. */
  allowsIpv6(path: Path, port: number): boolean {
    const relay = this.#netdir?.indexOfRsaId(path.hops.at(-1)!.rsaId) ?? -1;
    return relay >= 0 && this.#netdir!.allowsExitTo(relay, port, "ipv6");
  }

  /** A path to an exit that takes streams to `destination`. Throws `no-path`. */
  exitPath(destination: Destination, constraints: PathConstraints = {}): Path {
    const { port } = destination;
    const family = familyOf(destination.host);
    const stable = constraints.stable || this.needsStable(port);
    return this.#path({
      position: "exit",
      allows: (netdir, relay) => netdir.allowsExitTo(relay, port, family),
      lacking: (netdir) =>
        `no exit accepts port ${port}${family === "ipv6" ? " over IPv6" : ""}: none of ${countExits(netdir)} does`,
    }, { ...constraints, stable });
  }

  /** A path to an exit that resolves names: one that lets some stream out. Throws `no-path`. */
  resolvePath(constraints: PathConstraints = {}): Path {
    return this.#path({
      position: "exit",
      allows: (netdir, relay) => !netdir.has(relay, FLAG_BAD_EXIT) && netdir.allowsSomeExit(relay),
      lacking: (netdir) => `no exit resolves names: none of ${countExits(netdir)} lets anything out`,
    }, constraints);
  }

  /** A path that stays within the network, to any relay. Throws `no-path`. */
  internalPath(constraints: PathConstraints = {}): Path {
    return this.#path({
      position: "middle",
      allows: () => true,
      lacking: (netdir) => `no relay can be the last hop: none of ${netdir.size} will do`,
    }, constraints);
  }

  /** A guard to ask for directory documents, none of `exclude` (by RSA identity). Throws `no-path`. */
  directoryHop(exclude: readonly Uint8Array[] = []): DirectoryHop {
    const guard = this.#guards.select({ purpose: "directory", restrictions: { exclude } });
    const netdir = this.#netdir!;
    const { relay } = guard;
    const circuit = netdir.hasMicrodesc(relay) ? netdir.target(relay) : undefined;
    const channel = circuit ??
      { addresses: netdir.addresses(relay), rsaId: guard.rsaId, ed25519Id: netdir.ed25519Id(relay) };
    return { guard, channel, circuit };
  }

  #path(lastHop: LastHop, { stable = false, exclude = [] }: PathConstraints): Path {
    const netdir = this.#netdir;
    if (!netdir) throw noPath("no-directory", "there is no consensus yet");
    const tried: number[] = [];
    const isExcluded = (relay: number) => exclude.some((rsaId) => equal(rsaId, netdir.rsaId(relay)));
    let error: unknown;
    while (tried.length < MAX_LAST_HOPS) {
      const last = this.#choose(netdir, lastHop.position, stable, {
        allows: (relay) => lastHop.allows(netdir, relay),
        accepts: (relay) => !tried.includes(relay) && !isExcluded(relay) && netdir.supports(relay, "FlowCtrl", 1),
      });
      if (last < 0) throw error ?? noPath("no-exit", lastHop.lacking(netdir), { missing: netdir.missingCount });
      tried.push(last);
      try {
        return this.#pathTo(netdir, last, stable, isExcluded);
      } catch (cause) {
        if (!isTunicError(cause, "no-path") || cause.retry !== "elsewhere") throw cause;
        error = cause;
      }
    }
    throw error;
  }

  #pathTo(netdir: NetDir, last: number, stable: boolean, isExcluded: (relay: number) => boolean): Path {
    const guard = this.#guards.select({
      purpose: "traffic",
      restrictions: { unrelatedTo: [netdir.rsaId(last).slice()] },
    });
    const middle = this.#choose(netdir, "middle", stable, {
      allows: () => true,
      accepts: (relay) =>
        !areRelated(netdir, this.#distinctSubnets, relay, last) &&
        !areRelated(netdir, this.#distinctSubnets, relay, guard.relay) && !isExcluded(relay),
    });
    if (middle < 0) {
      guard.onClosed();
      throw noPath(
        "no-middle",
        `none of ${netdir.size} relays can stand between guard and last hop: all are excluded, or of their families or subnets`,
        { missing: netdir.missingCount },
        "elsewhere",
      );
    }
    return {
      guard,
      hops: [netdir.target(guard.relay), netdir.target(middle), netdir.target(last)],
      // Where stable relays were asked for and there are not enough, this is as stable as it gets.
      isStable: stable || [guard.relay, middle, last].every((relay) => netdir.has(relay, FLAG_STABLE)),
    };
  }

  /** A relay for `position`; where no fast (and stable) one will do, any. -1 if there is none at all. */
  #choose(
    netdir: NetDir,
    position: Position,
    stable: boolean,
    wanted: { allows(relay: number): boolean; accepts(relay: number): boolean },
  ): number {
    for (const extra of [FLAG_FAST | (stable ? FLAG_STABLE : 0), 0]) {
      const flags = LIVE_FLAGS | extra;
      const relay = chooseWeighted(this.#random, {
        size: netdir.size,
        weight: (i) =>
          netdir.has(i, flags) && netdir.hasMicrodesc(i) && wanted.allows(i) ? netdir.weight(i, position) : -1,
        accepts: (i) => netdir.supports(i, "Relay", 2) && wanted.accepts(i),
      });
      if (relay >= 0) return relay;
    }
    return -1;
  }
}

/** Names are resolved by the exit, which is asked by its IPv4 policy, as C tor does. */
function familyOf(host: string): "ipv4" | "ipv6" {
  return parseIpv6(host) === undefined ? "ipv4" : "ipv6";
}

function countExits(netdir: NetDir): string {
  let exits = 0;
  let known = 0;
  for (let i = 0; i < netdir.size; i++) {
    if (!netdir.has(i, FLAG_EXIT) || netdir.has(i, FLAG_BAD_EXIT)) continue;
    exits++;
    if (netdir.hasMicrodesc(i)) known++;
  }
  return `${exits} exits (${known} with microdescriptors)`;
}

function noPath(
  code: string,
  reason: string,
  context: Record<string, unknown> = {},
  retry: "later" | "elsewhere" = "later",
): TunicError {
  return new TunicError(`Cannot choose a path: ${reason}`, { kind: "no-path", code, retry, context });
}
