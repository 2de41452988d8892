/**
 * The relays of a consensus as columns: no object per relay (dir-spec 3.4.1, router status entries).
 *
 * Rows are in the consensus' order, which is ascending by RSA identity, so that a row is found by bisection.
 */
import { Protocols } from "./protocols.ts";

/** Bits of a relay's flags; flags that are not here are not kept. */
export const FLAG_AUTHORITY = 1 << 0;
export const FLAG_BAD_EXIT = 1 << 1;
export const FLAG_EXIT = 1 << 2;
export const FLAG_FAST = 1 << 3;
export const FLAG_GUARD = 1 << 4;
export const FLAG_HSDIR = 1 << 5;
export const FLAG_MIDDLE_ONLY = 1 << 6;
export const FLAG_NO_ED_CONSENSUS = 1 << 7;
export const FLAG_RUNNING = 1 << 8;
export const FLAG_STABLE = 1 << 9;
export const FLAG_STALE_DESC = 1 << 10;
export const FLAG_SYBIL = 1 << 11;
export const FLAG_V2DIR = 1 << 12;
export const FLAG_VALID = 1 << 13;

export const FLAG_BITS: ReadonlyMap<string, number> = new Map([
  ["Authority", FLAG_AUTHORITY],
  ["BadExit", FLAG_BAD_EXIT],
  ["Exit", FLAG_EXIT],
  ["Fast", FLAG_FAST],
  ["Guard", FLAG_GUARD],
  ["HSDir", FLAG_HSDIR],
  ["MiddleOnly", FLAG_MIDDLE_ONLY],
  ["NoEdConsensus", FLAG_NO_ED_CONSENSUS],
  ["Running", FLAG_RUNNING],
  ["Stable", FLAG_STABLE],
  ["StaleDesc", FLAG_STALE_DESC],
  ["Sybil", FLAG_SYBIL],
  ["V2Dir", FLAG_V2DIR],
  ["Valid", FLAG_VALID],
]);

export const RSA_ID_BYTES = 20;
export const MICRODESC_DIGEST_BYTES = 32;

/** Capacity of the longest nickname. */
export const MAX_NICKNAME_BYTES = 19;

export class RelayTable {
  readonly size: number;
  /** 20 bytes a relay. */
  readonly rsaIds: Uint8Array;
  /** 32 bytes a relay: SHA-256 of its microdescriptor. */
  readonly microdescDigests: Uint8Array;
  readonly ipv4: Uint32Array;
  readonly orPorts: Uint16Array;
  readonly flags: Uint16Array;
  /** In kilobytes per second, by the authorities' measure. */
  readonly bandwidths: Uint32Array;
  /** Indexes into `protocolSets`. */
  readonly protocols: Uint16Array;
  /** Where each nickname ends in `nicknames`; it begins where the one before ends. */
  readonly nicknameEnds: Uint32Array;
  nicknames: Uint8Array;
  /** Distinct sets of supported subprotocols; the first is empty, for relays that do not say. */
  readonly protocolSets: Protocols[] = [Protocols.NONE];
  /** Rows that have an IPv6 address, ascending; `ipv6Addresses` and `ipv6Ports` go with them. */
  ipv6Rows: Uint16Array = new Uint16Array(0);
  ipv6Addresses: Uint8Array = new Uint8Array(0);
  ipv6Ports: Uint16Array = new Uint16Array(0);

  constructor(size: number) {
    this.size = size;
    this.rsaIds = new Uint8Array(size * RSA_ID_BYTES);
    this.microdescDigests = new Uint8Array(size * MICRODESC_DIGEST_BYTES);
    this.ipv4 = new Uint32Array(size);
    this.orPorts = new Uint16Array(size);
    this.flags = new Uint16Array(size);
    this.bandwidths = new Uint32Array(size);
    this.protocols = new Uint16Array(size);
    this.nicknameEnds = new Uint32Array(size);
    this.nicknames = new Uint8Array(0);
  }

  /** The relay's row, or -1. */
  indexOfRsaId(rsaId: Uint8Array): number {
    if (rsaId.length !== RSA_ID_BYTES) return -1;
    let low = 0;
    let high = this.size - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const order = this.#compareRsaId(middle, rsaId);
      if (order === 0) return middle;
      if (order < 0) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** Position in the IPv6 columns of `row`, or -1. */
  ipv6Position(row: number): number {
    let low = 0;
    let high = this.ipv6Rows.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const found = this.ipv6Rows[middle]!;
      if (found === row) return middle;
      if (found < row) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  #compareRsaId(row: number, rsaId: Uint8Array): number {
    const at = row * RSA_ID_BYTES;
    for (let i = 0; i < RSA_ID_BYTES; i++) {
      const difference = this.rsaIds[at + i]! - rsaId[i]!;
      if (difference !== 0) return difference;
    }
    return 0;
  }
}
