/**
 * The microdescriptors known so far, as columns keyed by digest, so that they outlive the consensus that named them.
 *
 * Of each only what clients use is kept: 64 bytes of keys, and numbers of interned policies and families.
 */
import { TunicError } from "../base/errors.ts";
import { ByteInterner } from "../bytes/mod.ts";
import type { Microdesc } from "../wire/netdoc/microdesc.ts";
import { PortPolicy } from "../wire/netdoc/port_policy.ts";
import { MICRODESC_DIGEST_BYTES } from "../wire/netdoc/relay_table.ts";
import { Families, NO_FAMILY } from "./families.ts";

export const KEY_BYTES = 32;
/** Policies are numbered with 16 bits; the public network has a few hundred. */
const MAX_POLICY = 0xffff;

/** Exit policies, each kept once. */
export class Policies {
  readonly #texts: ByteInterner;
  readonly #policies: PortPolicy[];

  constructor() {
    this.#texts = new ByteInterner();
    this.#texts.intern(new Uint8Array(0));
    this.#policies = [PortPolicy.REJECT_ALL];
  }

  get size(): number {
    return this.#policies.length;
  }

  /** The policy's number: 0 for none, which allows nothing. Throws `malformed`, or `limit` where there are too many. */
  intern(text: Uint8Array | undefined): number {
    if (text === undefined || text.length === 0) return 0;
    const known = this.#texts.find(text);
    if (known >= 0) return known;
    if (this.#policies.length > MAX_POLICY) {
      throw new TunicError(`Cannot keep an exit policy: there are more than ${MAX_POLICY} different ones`, {
        kind: "limit",
        code: "too-many-policies",
      });
    }
    this.#policies.push(PortPolicy.parse(text));
    return this.#texts.intern(text);
  }

  get(number: number): PortPolicy {
    return this.#policies[number]!;
  }

  text(number: number): Uint8Array {
    return this.#texts.view(number);
  }
}

/** The columns, all of one length; exported for the snapshot's sake. */
export interface MicrodescColumns {
  ntorKeys: Uint8Array;
  /** 32 zeros where there is none. */
  ed25519Ids: Uint8Array;
  policies: Uint16Array;
  policies6: Uint16Array;
  families: Uint32Array;
  familyIds: Uint32Array;
  /** Minutes since 1970 of the newest consensus that names it. */
  lastListed: Uint32Array;
}

export class MicrodescStore {
  readonly families: Families;
  readonly policies: Policies;
  readonly #digests: ByteInterner;
  #columns: MicrodescColumns;

  /**
   * `expected`: how many microdescriptors there will be, a guess. The other two are for a store that is restored,
   * with {@link MicrodescStore.restore}.
   */
  constructor(expected = 64, families = new Families(), policies = new Policies()) {
    this.families = families;
    this.policies = policies;
    this.#digests = new ByteInterner(expected, expected * MICRODESC_DIGEST_BYTES);
    this.#columns = emptyColumns(expected);
  }

  /** Fills an empty store with `columns`, which it takes over; answers false where a digest occurs twice. */
  restore(digests: Uint8Array, columns: MicrodescColumns): boolean {
    this.#columns = columns;
    for (let at = 0; at < digests.length; at += MICRODESC_DIGEST_BYTES) {
      if (this.#digests.intern(digests, at, at + MICRODESC_DIGEST_BYTES) * MICRODESC_DIGEST_BYTES !== at) return false;
    }
    return true;
  }

  get size(): number {
    return this.#digests.size;
  }

  /** Its place in the columns, or -1; `digest` lies at `digests[at]`. */
  find(digests: Uint8Array, at = 0): number {
    return this.#digests.find(digests, at, at + MICRODESC_DIGEST_BYTES);
  }

  digest(slot: number): Uint8Array {
    return this.#digests.view(slot);
  }

  /** Keeps what is used of `microdesc`, whose text has the SHA-256 `digest`; answers its place. */
  add(digest: Uint8Array, microdesc: Microdesc, listed: number): number {
    const policy = this.policies.intern(microdesc.policy);
    const policy6 = this.policies.intern(microdesc.policy6);
    const family = microdesc.family === undefined ? NO_FAMILY : this.families.internMembers(microdesc.family);
    const familyIds = microdesc.familyIds === undefined ? NO_FAMILY : this.families.internIds(microdesc.familyIds);
    const slot = this.#slot(digest);
    if (slot < 0) return this.find(digest);
    const columns = this.#columns;
    columns.ntorKeys.set(microdesc.ntorKey, slot * KEY_BYTES);
    if (microdesc.ed25519Id !== undefined) columns.ed25519Ids.set(microdesc.ed25519Id, slot * KEY_BYTES);
    columns.policies[slot] = policy;
    columns.policies6[slot] = policy6;
    columns.families[slot] = family;
    columns.familyIds[slot] = familyIds;
    this.touch(slot, listed);
    return slot;
  }

  /** Notes that a consensus valid from `listed` (ms since 1970) names it. */
  touch(slot: number, listed: number): void {
    const minutes = Math.floor(listed / 60_000);
    if (minutes > this.#columns.lastListed[slot]!) this.#columns.lastListed[slot] = minutes;
  }

  /** 32 bytes, a copy. */
  ntorKey(slot: number): Uint8Array {
    return this.#columns.ntorKeys.slice(slot * KEY_BYTES, (slot + 1) * KEY_BYTES);
  }

  /** 32 bytes, a copy; `undefined` where the microdescriptor has none. */
  ed25519Id(slot: number): Uint8Array | undefined {
    const id = this.#columns.ed25519Ids.slice(slot * KEY_BYTES, (slot + 1) * KEY_BYTES);
    return id.some((byte) => byte !== 0) ? id : undefined;
  }

  policy(slot: number): PortPolicy {
    return this.policies.get(this.#columns.policies[slot]!);
  }

  policy6(slot: number): PortPolicy {
    return this.policies.get(this.#columns.policies6[slot]!);
  }

  /** Numbers of its lists in {@link MicrodescStore.families}. */
  family(slot: number): number {
    return this.#columns.families[slot]!;
  }

  familyIds(slot: number): number {
    return this.#columns.familyIds[slot]!;
  }

  lastListed(slot: number): number {
    return this.#columns.lastListed[slot]! * 60_000;
  }

  /**
   * A store of those that a consensus named at `since` (ms since 1970) or later, without anything that only others
   * needed. This one stays as it is, for whoever still looks at it.
   */
  pruned(since: number): MicrodescStore {
    const kept: number[] = [];
    for (let slot = 0; slot < this.size; slot++) if (this.lastListed(slot) >= since) kept.push(slot);
    const store = new MicrodescStore(kept.length);
    const families = new Map<number, number>();
    const familyIds = new Map<number, number>();
    for (const slot of kept) {
      const copy = store.#slot(this.digest(slot));
      const from = this.#columns;
      const to = store.#columns;
      copyKey(from.ntorKeys, slot, to.ntorKeys, copy);
      copyKey(from.ed25519Ids, slot, to.ed25519Ids, copy);
      to.policies[copy] = store.policies.intern(this.policies.text(from.policies[slot]!));
      to.policies6[copy] = store.policies.intern(this.policies.text(from.policies6[slot]!));
      to.families[copy] = translate(
        families,
        from.families[slot]!,
        (list) => store.families.adoptMembers(this.families, list),
      );
      to.familyIds[copy] = translate(
        familyIds,
        from.familyIds[slot]!,
        (list) => store.families.adoptIds(this.families, list),
      );
      to.lastListed[copy] = from.lastListed[slot]!;
    }
    return store;
  }

  /** The columns as they are, longer than `size`; only the snapshot may look. */
  get columns(): Readonly<MicrodescColumns> {
    return this.#columns;
  }

  /** A new row for `digest`, or -1 where it has one. */
  #slot(digest: Uint8Array): number {
    const size = this.size;
    const slot = this.#digests.intern(digest);
    if (slot < size) return -1;
    if (slot >= this.#columns.policies.length) this.#grow();
    return slot;
  }

  #grow(): void {
    const from = this.#columns;
    const length = from.policies.length;
    const to = emptyColumns(Math.max(64, length + (length >>> 1)));
    to.ntorKeys.set(from.ntorKeys);
    to.ed25519Ids.set(from.ed25519Ids);
    to.policies.set(from.policies);
    to.policies6.set(from.policies6);
    to.families.set(from.families);
    to.familyIds.set(from.familyIds);
    to.lastListed.set(from.lastListed);
    this.#columns = to;
  }
}

/** Columns for `length` microdescriptors, all zero. */
export function emptyColumns(length: number): MicrodescColumns {
  return {
    ntorKeys: new Uint8Array(length * KEY_BYTES),
    ed25519Ids: new Uint8Array(length * KEY_BYTES),
    policies: new Uint16Array(length),
    policies6: new Uint16Array(length),
    families: new Uint32Array(length),
    familyIds: new Uint32Array(length),
    lastListed: new Uint32Array(length),
  };
}

function copyKey(from: Uint8Array, fromSlot: number, to: Uint8Array, toSlot: number): void {
  to.set(from.subarray(fromSlot * KEY_BYTES, (fromSlot + 1) * KEY_BYTES), toSlot * KEY_BYTES);
}

function translate(known: Map<number, number>, list: number, adopt: (list: number) => number): number {
  let translated = known.get(list);
  if (translated === undefined) known.set(list, translated = adopt(list));
  return translated;
}
