/**
 * A view of the network: one verified consensus and the microdescriptors known so far.
 *
 * Relays are numbers from 0 to `size - 1`, in the consensus' order, so that whoever chooses among them loops over
 * columns. All questions that paths depend on are answered here (path-spec 2.2); the policy of choosing is elsewhere.
 */
import { TunicError } from "../base/errors.ts";
import { formatIp, toHexUpper } from "../bytes/mod.ts";
import { sha256 } from "../crypto/digest.ts";
import type { CircuitTarget } from "../proto/target.ts";
import type { Address } from "../runtime/ports.ts";
import type { Consensus } from "../wire/netdoc/consensus.ts";
import { parseMicrodescs } from "../wire/netdoc/microdesc.ts";
import type { PortPolicy } from "../wire/netdoc/port_policy.ts";
import {
  FLAG_BAD_EXIT,
  FLAG_NO_ED_CONSENSUS,
  MICRODESC_DIGEST_BYTES,
  RSA_ID_BYTES,
} from "../wire/netdoc/relay_table.ts";
import { BandwidthWeights, type Position } from "./bandwidth_weights.ts";
import { DigestIndex } from "./digest_index.ts";
import { NO_FAMILY } from "./families.ts";
import type { MicrodescStore } from "./microdesc_store.ts";
import { NetParams } from "./net_params.ts";
import { type UsablePaths, usablePaths } from "./usable_paths.ts";

export type { Position };

/** What became of a batch of microdescriptors. */
export interface AddedMicrodescs {
  readonly added: number;
  /** Not asked for: their digest is not in the consensus, or they were here already. Dropped. */
  readonly unwanted: number;
  /** Named by the consensus but unreadable: their relays cannot be used, and they are not missing any more. */
  readonly malformed: number;
}

const MISSING = -1;
const UNREADABLE = -2;

export class NetDir {
  readonly consensus: Consensus;
  readonly store: MicrodescStore;
  readonly params: NetParams;
  readonly #weights: BandwidthWeights;
  readonly #byDigest: DigestIndex;
  /** Where in the store each relay's microdescriptor is, or why it is not. */
  readonly #slots: Int32Array;
  #missing: number;
  readonly #usesFamilyLists: boolean;
  readonly #usesFamilyIds: boolean;

  /** Takes what `store` has of the microdescriptors that the consensus names, and marks them as listed. */
  constructor(consensus: Consensus, store: MicrodescStore) {
    this.consensus = consensus;
    this.store = store;
    this.params = new NetParams(consensus.params);
    this.#weights = new BandwidthWeights(consensus.bandwidthWeights, this.params);
    this.#usesFamilyLists = this.params.get("use-family-lists", { default: 1, min: 0, max: 1 }) === 1;
    this.#usesFamilyIds = this.params.get("use-family-ids", { default: 1, min: 0, max: 1 }) === 1;
    const { relays } = consensus;
    this.#byDigest = new DigestIndex(relays.microdescDigests, relays.size);
    this.#slots = new Int32Array(relays.size);
    this.#missing = relays.size;
    for (let i = 0; i < relays.size; i++) {
      const slot = store.find(relays.microdescDigests, i * MICRODESC_DIGEST_BYTES);
      this.#slots[i] = slot;
      if (slot < 0) continue;
      store.touch(slot, consensus.validAfter);
      this.#missing--;
    }
  }

  /** How many relays the consensus lists. */
  get size(): number {
    return this.#slots.length;
  }

  get validAfter(): number {
    return this.consensus.validAfter;
  }

  get freshUntil(): number {
    return this.consensus.freshUntil;
  }

  get validUntil(): number {
    return this.consensus.validUntil;
  }

  /** Its bit set of FLAG_… (wire/netdoc/relay_table.ts). */
  flags(i: number): number {
    return this.consensus.relays.flags[i]!;
  }

  /** Whether it has all of the flags in the bit set. */
  has(i: number, flags: number): boolean {
    return (this.consensus.relays.flags[i]! & flags) === flags;
  }

  /** In kilobytes per second, by the authorities' measure. */
  bandwidth(i: number): number {
    return this.consensus.relays.bandwidths[i]!;
  }

  /** Its bandwidth, weighted for the position: relays are to be chosen in proportion to this. */
  weight(i: number, position: Position): number {
    const { relays } = this.consensus;
    return relays.bandwidths[i]! * this.#weights.factor(relays.flags[i]!, position);
  }

  hasMicrodesc(i: number): boolean {
    return this.#slots[i]! >= 0;
  }

  /** The relay with this RSA identity, or -1. */
  indexOfRsaId(rsaId: Uint8Array): number {
    return this.consensus.relays.indexOfRsaId(rsaId);
  }

  /** 20 bytes, a view: not to be written to. */
  rsaId(i: number): Uint8Array {
    return this.consensus.relays.rsaIds.subarray(i * RSA_ID_BYTES, (i + 1) * RSA_ID_BYTES);
  }

  /** 32 bytes; `undefined` without a microdescriptor, or where the authorities do not agree on it. */
  ed25519Id(i: number): Uint8Array | undefined {
    const slot = this.#slots[i]!;
    return slot < 0 || this.has(i, FLAG_NO_ED_CONSENSUS) ? undefined : this.store.ed25519Id(slot);
  }

  /** 32 bytes; `undefined` without a microdescriptor. */
  ntorKey(i: number): Uint8Array | undefined {
    const slot = this.#slots[i]!;
    return slot < 0 ? undefined : this.store.ntorKey(slot);
  }

  nickname(i: number): string {
    return String.fromCharCode(...this.#nickname(i));
  }

  /** As an unsigned number. */
  ipv4(i: number): number {
    return this.consensus.relays.ipv4[i]!;
  }

  orPort(i: number): number {
    return this.consensus.relays.orPorts[i]!;
  }

  /** 16 bytes, a view, with the port; `undefined` where it has none. */
  ipv6(i: number): { readonly address: Uint8Array; readonly port: number } | undefined {
    const { relays } = this.consensus;
    const at = relays.ipv6Position(i);
    if (at < 0) return undefined;
    return { address: relays.ipv6Addresses.subarray(at * 16, at * 16 + 16), port: relays.ipv6Ports[at]! };
  }

  /** Its OR addresses, IPv4 first. */
  addresses(i: number): Address[] {
    const ipv4 = this.ipv4(i);
    const bytes = Uint8Array.of(ipv4 >>> 24, ipv4 >>> 16, ipv4 >>> 8, ipv4);
    const addresses: Address[] = [{ host: formatIp(bytes), port: this.orPort(i) }];
    const ipv6 = this.ipv6(i);
    if (ipv6 !== undefined) addresses.push({ host: formatIp(ipv6.address), port: ipv6.port });
    return addresses;
  }

  /** Whether it says that streams to `port` may leave there; never so for a relay with the BadExit flag. */
  allowsExitTo(i: number, port: number, family: "ipv4" | "ipv6" = "ipv4"): boolean {
    const policy = this.#policy(i, family);
    return policy !== undefined && !this.has(i, FLAG_BAD_EXIT) && policy.allows(port);
  }

  /** Whether it lets streams to some port leave, over IPv4 or IPv6. */
  allowsSomeExit(i: number): boolean {
    return [this.#policy(i, "ipv4"), this.#policy(i, "ipv6")].some((policy) => policy?.rejectsAll === false);
  }

  /** Whether both say that they are run by the same people. Relays without microdescriptor say nothing. */
  sameFamily(a: number, b: number): boolean {
    if (a === b) return true;
    const slotA = this.#slots[a]!;
    const slotB = this.#slots[b]!;
    if (slotA < 0 || slotB < 0) return false;
    const { store } = this;
    const { families } = store;
    if (this.#usesFamilyIds && families.share(store.familyIds(slotA), store.familyIds(slotB))) return true;
    return this.#usesFamilyLists && store.family(slotB) !== NO_FAMILY &&
      families.names(store.family(slotA), this.rsaId(b), this.#nickname(b)) &&
      families.names(store.family(slotB), this.rsaId(a), this.#nickname(a));
  }

  /** Whether their addresses share the first 16 bits of IPv4 or the first 32 bits of IPv6. */
  sameSubnet(a: number, b: number): boolean {
    if (this.ipv4(a) >>> 16 === this.ipv4(b) >>> 16) return true;
    const { relays } = this.consensus;
    const positionA = relays.ipv6Position(a);
    const positionB = positionA < 0 ? -1 : relays.ipv6Position(b);
    if (positionB < 0) return false;
    for (let i = 0; i < 4; i++) {
      if (relays.ipv6Addresses[positionA * 16 + i] !== relays.ipv6Addresses[positionB * 16 + i]) return false;
    }
    return true;
  }

  /** Whether it supports this version of the subprotocol. */
  supports(i: number, protocol: string, version: number): boolean {
    const { relays } = this.consensus;
    return relays.protocolSets[relays.protocols[i]!]!.supports(protocol, version);
  }

  /** All that is needed to extend a circuit to it. Throws `directory` without a microdescriptor. */
  target(i: number): CircuitTarget {
    const ntorKey = this.ntorKey(i);
    if (ntorKey === undefined) {
      throw new TunicError(`Cannot use relay $${toHexUpper(this.rsaId(i))}: its microdescriptor is missing`, {
        kind: "directory",
        code: "missing-microdescriptor",
        retry: "later",
      });
    }
    return { addresses: this.addresses(i), rsaId: this.rsaId(i).slice(), ed25519Id: this.ed25519Id(i), ntorKey };
  }

  /** How many microdescriptors are still to be fetched. */
  get missingCount(): number {
    return this.#missing;
  }

  /** Digests of microdescriptors still to be fetched, at most `limit`, from the relay `from` on. */
  missingMicrodescs(limit = Infinity, from = 0): Uint8Array[] {
    const { microdescDigests } = this.consensus.relays;
    const missing: Uint8Array[] = [];
    for (let i = from; i < this.size && missing.length < limit; i++) {
      if (this.#slots[i] !== MISSING) continue;
      missing.push(microdescDigests.subarray(i * MICRODESC_DIGEST_BYTES, (i + 1) * MICRODESC_DIGEST_BYTES));
    }
    return missing;
  }

  /** Takes in the text of microdescriptors: those that the consensus names by its digest. Throws `malformed`. */
  addMicrodescs(text: Uint8Array): AddedMicrodescs {
    let added = 0;
    let unwanted = 0;
    let malformed = 0;
    for (const { text: one, microdesc } of parseMicrodescs(text)) {
      const digest = sha256(one);
      const wanted = this.#byDigest.rows(digest).filter((row) => this.#slots[row] === MISSING);
      if (wanted.length === 0) {
        unwanted++;
        continue;
      }
      const slot = microdesc === undefined ? UNREADABLE : this.store.add(digest, microdesc, this.validAfter);
      for (const row of wanted) this.#slots[row] = slot;
      this.#missing -= wanted.length;
      if (microdesc === undefined) malformed++;
      else added++;
    }
    return { added, unwanted, malformed };
  }

  /** How much of the network can be used with the microdescriptors so far. */
  usablePaths(): UsablePaths {
    return usablePaths(this);
  }

  /** The share of all paths, weighted by bandwidth, whose relays all have microdescriptors: 0 to 1. */
  fractionUsable(): number {
    return this.usablePaths().fraction;
  }

  #policy(i: number, family: "ipv4" | "ipv6"): PortPolicy | undefined {
    const slot = this.#slots[i]!;
    if (slot < 0) return undefined;
    return family === "ipv4" ? this.store.policy(slot) : this.store.policy6(slot);
  }

  #nickname(i: number): Uint8Array {
    const { nicknameEnds, nicknames } = this.consensus.relays;
    return nicknames.subarray(i === 0 ? 0 : nicknameEnds[i - 1]!, nicknameEnds[i]!);
  }
}
