/**
 * Faults of a test network, by wrappers around what its relays have of the machine: they strike at real connections
 * and clocks, can be switched while all of it runs, and are gone without a trace after {@link Faults.clear}.
 *
 * ```ts
 * net.faults.relay("r1").latencyMs = 50;
 * net.faults.link("r1", "r2").corruptCells = 0.05;
 * net.faults.relay("r3").refuse = true;
 * net.faults.clear();
 * ```
 *
 * A relay's faults strike at every connection it has, a link's at those between its two ends. A client takes part in
 * links, and has faults of its own, if it is launched with `runtime: net.faults.clientRuntime`.
 */
import { TunicError } from "../../base/errors.ts";
import { sha256 } from "../../crypto/digest.ts";
import type { LinkIdentity } from "../../proto/link_identity.ts";
import type { Address, Clock, Runtime } from "../../runtime/ports.ts";
import { CertifiedKeyType, EdCertType, encodeEdCert } from "../../wire/ed_cert.ts";
import { CertType } from "../../wire/link_cells.ts";
import type { RelayIdentity } from "../relay_identity.ts";
import { LinkFaults, RelayFaults } from "./fault_settings.ts";
import { FaultyNetwork } from "./faulty_network.ts";

/** By this name, links have clients at their end. */
const CLIENT = "client";
const CERT_LIFETIME_MS = 24 * 3_600_000;

export class Faults {
  readonly #runtime: Runtime;
  readonly #identities: ReadonlyMap<string, RelayIdentity>;
  readonly #relays = new Map<string, RelayFaults>();
  readonly #links = new Map<string, LinkFaults>();
  /** Who listens, by address. */
  readonly #listening = new Map<string, string>();
  /** Of clients that use {@link Faults.clientRuntime}, together. */
  readonly client: RelayFaults;
  /** The machine for a client with faults. */
  readonly clientRuntime: Runtime;
  /** By how much the clock by which the authorities make consensuses is ahead, from the next one on. */
  directoryClockSkewMs = 0;

  constructor(runtime: Runtime, identities: readonly RelayIdentity[]) {
    this.#runtime = runtime;
    this.#identities = new Map(identities.map((identity) => [identity.nickname, identity]));
    this.client = this.#newFaults();
    for (const { nickname } of identities) this.#relays.set(nickname, this.#newFaults());
    this.clientRuntime = this.#wrap(CLIENT, this.client);
  }

  /** Throws `argument` for a relay that there is not. */
  relay(nickname: string): RelayFaults {
    const faults = this.#relays.get(nickname);
    if (faults) return faults;
    throw new TunicError(`Cannot set faults of ${nickname}: the network has ${[...this.#relays.keys()].join(", ")}`, {
      kind: "argument",
      code: "no-such-relay",
    });
  }

  /** Of connections between two relays, whoever opened them; "client" for {@link Faults.clientRuntime}. As `relay`. */
  link(a: string, b: string): LinkFaults {
    for (const name of [a, b]) if (name !== CLIENT) this.relay(name);
    const key = linkKey(a, b);
    let faults = this.#links.get(key);
    if (!faults) this.#links.set(key, faults = new LinkFaults(this.#runtime.clock));
    return faults;
  }

  /** Heals everything. What was held back goes on; what was broken stays broken. */
  clear(): void {
    for (const faults of [this.client, ...this.#relays.values(), ...this.#links.values()]) faults.clear();
    this.directoryClockSkewMs = 0;
  }

  /** For the network: the machine as this relay has it. */
  runtimeOf(nickname: string): Runtime {
    return this.#wrap(nickname, this.relay(nickname));
  }

  /** For the network: the clock of the authorities' consensuses. */
  get directoryClock(): Clock {
    return this.#clock(() => this.directoryClockSkewMs);
  }

  /** For the network: the relay's keys, of which those that it shows on links are another's while faults say so. */
  identityOf(own: RelayIdentity): RelayIdentity {
    const linkIdentity = (): LinkIdentity => {
      const faults = this.relay(own.nickname);
      const other = faults.answersAs === undefined ? undefined : this.#identities.get(faults.answersAs);
      if (!other) return own.link;
      faults.countHit();
      return impostor(own, other, this.#runtime.clock.now() + CERT_LIFETIME_MS);
    };
    return {
      ...own,
      get link() {
        return linkIdentity();
      },
    };
  }

  #newFaults(): RelayFaults {
    return new RelayFaults(this.#runtime.clock, (nickname) => void this.relay(nickname));
  }

  #wrap(name: string, faults: RelayFaults): Runtime {
    const network = new FaultyNetwork({
      runtime: this.#runtime,
      faults,
      towards: (address) => {
        const peer = this.#listening.get(addressKey(address));
        return peer === undefined ? {} : { link: this.link(name, peer), peer: this.relay(peer) };
      },
      onListening: (address) => void this.#listening.set(addressKey(address), name),
    });
    return { ...this.#runtime, clock: this.#clock(() => faults.clockSkewMs), network };
  }

  #clock(skewMs: () => number): Clock {
    const { clock } = this.#runtime;
    return { now: () => clock.now() + skewMs(), monotonic: () => clock.monotonic() };
  }
}

/** `other` as it would answer if it had the TLS key of `own`: it lacks nothing but the right name. */
function impostor(own: RelayIdentity, other: RelayIdentity, expiresMs: number): LinkIdentity {
  const { tlsCertificate } = own.link;
  const linkCert = encodeEdCert({
    type: EdCertType.TLS_LINK,
    keyType: CertifiedKeyType.SHA256_OF_X509,
    certifiedKey: sha256(tlsCertificate),
    expiresMs,
    includeSigningKey: false,
  }, other.signingKey);
  const responderCerts = new Map(other.link.responderCerts).set(CertType.ED25519_LINK, linkCert);
  return { ...other.link, tlsCertificate, responderCerts };
}

function linkKey(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`;
}

function addressKey({ host, port }: Address): string {
  return `${host} ${port}`;
}
