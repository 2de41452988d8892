/**
 * Which directory to ask (dir-spec 5.1; path-spec, "directory guards").
 *
 * Without a consensus, fallback directories and authorities. With one, our guards, so that nobody else learns that we
 * are there; and only when those do not deliver, fallbacks and authorities again.
 */
import { toHex } from "../../bytes/text.ts";
import type { DirectoryAuthority, FallbackDirectory } from "../../netdir/authorities.ts";
import type { NetDir } from "../../netdir/net_dir.ts";
import type { Address } from "../../runtime/ports.ts";
import { randomBelow, randomFraction, type RandomSource } from "../../runtime/random.ts";
import type { CircuitGuard } from "../guards/circuit_guard.ts";
import type { GuardManager } from "../guards/guard_manager.ts";
import { isTunicError } from "../../base/errors.ts";
import type { DirectoryServer } from "./directory_client.ts";

export type SourceKind = "guard" | "fallback" | "authority";

/** A directory to ask, lent for one request; the request's outcome is due to {@link DirectorySource.done}. */
export class DirectorySource {
  readonly kind: SourceKind;
  readonly server: DirectoryServer;
  /** RSA identity in hex. */
  readonly id: string;
  readonly #guard: CircuitGuard | undefined;

  constructor(kind: SourceKind, server: DirectoryServer, guard?: CircuitGuard) {
    this.kind = kind;
    this.server = server;
    this.id = toHex(server.target.rsaId);
    this.#guard = guard;
  }

  /** `unreachable`: no circuit could be made to it; `unknown`: the request ended before that was clear. */
  done(outcome: "reached" | "unreachable" | "unknown"): void {
    if (outcome === "unreachable") return this.#guard?.onFailure();
    if (outcome === "reached") this.#guard?.onSuccess();
    this.#guard?.onClosed();
  }
}

export interface SourcesOptions {
  readonly random: RandomSource;
  readonly guards: GuardManager;
  readonly authorities: readonly DirectoryAuthority[];
  readonly fallbacks: readonly FallbackDirectory[];
}

/** Guards that may fail to deliver a document before others are asked: as many as are used as directories. */
const MAX_GUARDS = 3;

interface Listed {
  readonly id: string;
  readonly weight: number;
  readonly server: DirectoryServer;
}

export class DirectorySources {
  readonly #random: RandomSource;
  readonly #guards: GuardManager;
  readonly #authorities: readonly Listed[];
  readonly #fallbacks: readonly Listed[];
  /** The consensus that the guard manager's indexes are of; `undefined` while guards cannot be used. */
  netdir: NetDir | undefined;

  constructor(options: SourcesOptions) {
    this.#random = options.random;
    this.#guards = options.guards;
    this.#authorities = options.authorities.filter(({ address }) => address.port !== 0).map((authority) =>
      listed(addressesOf(authority), authority.rsaId, undefined, 1)
    );
    this.#fallbacks = options.fallbacks.map((fallback) =>
      listed(addressesOf(fallback), fallback.rsaId, fallback.ed25519Id, fallback.weight ?? 1)
    );
  }

  get hasFallbacks(): boolean {
    return this.#fallbacks.length > 0;
  }

  /** A series of choices for one document: none is made twice before all others have been. */
  round(): SourceRound {
    return new SourceRound({
      guard: (avoided) => this.#guard(avoided),
      fallback: (avoided) => this.#pick("fallback", this.#fallbacks, avoided),
      authority: (avoided) => this.#pick("authority", this.#authorities, avoided),
    });
  }

  #guard(avoided: ReadonlyMap<string, DirectorySource>): DirectorySource | undefined {
    const { netdir } = this;
    if (!netdir) return undefined;
    const exclude = [...avoided.values()].filter(({ kind }) => kind === "guard").map((one) => one.server.target.rsaId);
    if (exclude.length >= MAX_GUARDS) return undefined;
    let guard: CircuitGuard;
    try {
      guard = this.#guards.select({ purpose: "directory", restrictions: { exclude } });
    } catch (error) {
      if (isTunicError(error, "no-path")) return undefined;
      throw error;
    }
    const relay = netdir.indexOfRsaId(guard.rsaId);
    if (relay < 0) {
      guard.onClosed();
      return undefined;
    }
    const target = {
      addresses: netdir.addresses(relay),
      rsaId: netdir.rsaId(relay).slice(),
      ed25519Id: netdir.ed25519Id(relay),
    };
    return new DirectorySource("guard", { target, ntorKey: netdir.ntorKey(relay) }, guard);
  }

  #pick(
    kind: SourceKind,
    from: readonly Listed[],
    avoided: ReadonlyMap<string, DirectorySource>,
  ): DirectorySource | undefined {
    const left = from.filter(({ id }) => !avoided.has(id));
    const total = left.reduce((sum, { weight }) => sum + weight, 0);
    let at = randomFraction(this.#random) * total;
    const chosen = left.find(({ weight }) => (at -= weight) < 0) ??
      (left.length > 0 ? left[randomBelow(this.#random, left.length)] : undefined);
    return chosen && new DirectorySource(kind, chosen.server);
  }
}

type Choose = (avoided: ReadonlyMap<string, DirectorySource>) => DirectorySource | undefined;

export class SourceRound {
  readonly #choose: Readonly<Record<SourceKind, Choose>>;
  readonly #avoided = new Map<string, DirectorySource>();

  constructor(choose: Readonly<Record<SourceKind, Choose>>) {
    this.#choose = choose;
  }

  /** The next of the first of `kinds` that has one left; when none has, all are in play again. */
  next(kinds: readonly SourceKind[]): DirectorySource | undefined {
    const first = this.#next(kinds);
    if (first || this.#avoided.size === 0) return first;
    for (const [id, { kind }] of this.#avoided) if (kinds.includes(kind)) this.#avoided.delete(id);
    return this.#next(kinds);
  }

  /** Not again in this round: it is being asked already, or did not deliver. */
  avoid(source: DirectorySource): void {
    this.#avoided.set(source.id, source);
  }

  /** It may be asked again. */
  allow(source: DirectorySource): void {
    this.#avoided.delete(source.id);
  }

  /** The round begins anew. */
  reset(): void {
    this.#avoided.clear();
  }

  #next(kinds: readonly SourceKind[]): DirectorySource | undefined {
    for (const kind of kinds) {
      const source = this.#choose[kind](this.#avoided);
      if (source) return source;
    }
    return undefined;
  }
}

function listed(
  addresses: readonly Address[],
  rsaId: Uint8Array,
  ed25519Id: Uint8Array | undefined,
  weight: number,
): Listed {
  return { id: toHex(rsaId), weight, server: { target: { addresses, rsaId, ed25519Id } } };
}

function addressesOf({ address, ipv6 }: { readonly address: Address; readonly ipv6?: Address }): Address[] {
  return ipv6 ? [address, ipv6] : [address];
}
