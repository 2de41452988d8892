/**
 * The router status entries of a microdescriptor consensus, straight into columns (dir-spec 3.4.1, 3.9.2).
 *
 * Nearly all of a consensus is here, so this is the one place among the documents written for speed: lines are told
 * apart by their keyword's bytes, and lines that are mostly the same for all relays (`s`, `pr`) are interpreted once.
 */
import { ByteInterner } from "../../bytes/mod.ts";
import { readIpv6 } from "./ipv6.ts";
import { Protocols } from "./protocols.ts";
import { FLAG_BITS, MAX_NICKNAME_BYTES, MICRODESC_DIGEST_BYTES, RelayTable, RSA_ID_BYTES } from "./relay_table.ts";
import { parseInteger, type Scanner } from "./scanner.ts";

/** Six times the public network. */
const MAX_RELAYS = 60_000;
/** What a relay without a measured bandwidth counts as, in kilobytes per second, as in C tor. */
const UNKNOWN_BANDWIDTH = 30;

const SEEN_M = 1;
const SEEN_S = 2;
const SEEN_PR = 4;
const SEEN_W = 8;
const SEEN_A = 16;
const SEEN_V = 32;
const SEEN_P = 64;

/** How many entries `bytes` has, from offset `start`. */
function countEntries(bytes: Uint8Array, start: number): number {
  let count = 0;
  for (let at = start; at > 0 && at < bytes.length; at = bytes.indexOf(0x0a, at) + 1) {
    if (bytes[at] === 0x72 && bytes[at + 1] === 0x20) count++;
  }
  return count;
}

/** Whether the current line begins the footer. */
export function atFooter(scanner: Scanner): boolean {
  return scanner.is("directory-footer") || scanner.is("bandwidth-weights") || scanner.is("directory-signature");
}

/**
 * Reads all entries, from the current line (an `r` line, or already the footer) to the footer's first line, which is
 * the current one afterwards.
 */
export class RelayReader {
  readonly #scanner: Scanner;
  readonly #table: RelayTable;
  readonly #flagLines = new ByteInterner(64, 4096);
  readonly #flagSets: number[] = [];
  readonly #protocolLines = new ByteInterner(64, 8192);
  readonly #nicknames: Uint8Array;
  #nicknameBytes = 0;
  readonly #ipv6Rows: number[] = [];
  readonly #ipv6Ports: number[] = [];
  #ipv6Addresses = new Uint8Array(1024);
  #row = -1;
  #seen = 0;

  private constructor(scanner: Scanner) {
    const count = countEntries(scanner.bytes, scanner.lineStart);
    if (count > MAX_RELAYS) scanner.fail(`${count} relays, expected at most ${MAX_RELAYS}`);
    this.#scanner = scanner;
    this.#table = new RelayTable(count);
    this.#nicknames = new Uint8Array(count * MAX_NICKNAME_BYTES);
  }

  static read(scanner: Scanner): RelayTable {
    const reader = new RelayReader(scanner);
    reader.#readAll();
    return reader.#finish();
  }

  #readAll(): void {
    const scanner: Scanner = this.#scanner;
    const { bytes } = scanner;
    do {
      const start = scanner.lineStart;
      const length = scanner.keywordEnd - start;
      const first = bytes[start]!;
      if (length === 1) {
        if (first === 0x72) this.#r();
        else if (first === 0x61) this.#a();
        else if (first === 0x6d) this.#m();
        else if (first === 0x73) this.#s();
        else if (first === 0x77) this.#w();
        else if (first === 0x76) this.#once(SEEN_V);
        else if (first === 0x70) this.#once(SEEN_P);
      } else if (length === 2) {
        if (first === 0x70 && bytes[start + 1] === 0x72) this.#pr();
      } else if (length >= 16 && atFooter(scanner)) {
        this.#endEntry();
        return;
      }
    } while (scanner.next());
    scanner.fail("the document ends without a footer");
  }

  #finish(): RelayTable {
    const table = this.#table;
    // A line that looks like an entry inside an object was counted but is none.
    if (this.#row + 1 !== table.size) this.#scanner.fail("entries in unexpected places");
    table.nicknames = this.#nicknames.slice(0, this.#nicknameBytes);
    table.ipv6Rows = Uint16Array.from(this.#ipv6Rows);
    table.ipv6Ports = Uint16Array.from(this.#ipv6Ports);
    table.ipv6Addresses = this.#ipv6Addresses.slice(0, this.#ipv6Rows.length * 16);
    return table;
  }

  #once(bit: number): void {
    if ((this.#seen & bit) !== 0) this.#scanner.fail(`a relay has two "${this.#scanner.keyword()}" items`);
    this.#seen |= bit;
  }

  #endEntry(): void {
    if (this.#row < 0) return;
    const scanner: Scanner = this.#scanner;
    if ((this.#seen & SEEN_M) === 0) scanner.fail("a relay has no microdescriptor digest");
    if ((this.#seen & SEEN_S) === 0) scanner.fail("a relay has no flags");
    if ((this.#seen & SEEN_W) === 0) this.#table.bandwidths[this.#row] = UNKNOWN_BANDWIDTH;
    this.#table.nicknameEnds[this.#row] = this.#nicknameBytes;
  }

  /** `r` nickname identity date time IPv4 ORPort DirPort */
  #r(): void {
    this.#endEntry();
    const scanner: Scanner = this.#scanner;
    const table = this.#table;
    const row = ++this.#row;
    if (row >= table.size) scanner.fail("entries in unexpected places");
    this.#seen = 0;
    scanner.needArgument("nickname");
    this.#nickname(scanner.argumentStart, scanner.argumentEnd);
    scanner.needBase64("identity", table.rsaIds, row * RSA_ID_BYTES, RSA_ID_BYTES);
    if (row > 0 && !this.#isAfterPrevious(row)) scanner.fail("relays are not in order of their identities");
    // The time of publication means nothing any more; its place is kept.
    scanner.needArgument("date");
    scanner.needArgument("time");
    scanner.needArgument("address");
    table.ipv4[row] = this.#ipv4(scanner.argumentStart, scanner.argumentEnd);
    table.orPorts[row] = scanner.needInteger("ORPort", 0, 65535);
    scanner.needInteger("DirPort", 0, 65535);
  }

  #nickname(start: number, end: number): void {
    const { bytes } = this.#scanner;
    if (end - start > MAX_NICKNAME_BYTES) this.#scanner.fail(`a nickname is longer than ${MAX_NICKNAME_BYTES} bytes`);
    for (let i = start; i < end; i++) {
      const byte = bytes[i]!;
      const letter = byte | 0x20;
      if (!((letter >= 0x61 && letter <= 0x7a) || (byte >= 0x30 && byte <= 0x39))) {
        this.#scanner.fail("a nickname has characters other than letters and digits");
      }
      this.#nicknames[this.#nicknameBytes++] = byte;
    }
  }

  #isAfterPrevious(row: number): boolean {
    const ids = this.#table.rsaIds;
    const at = row * RSA_ID_BYTES;
    for (let i = at; i < at + RSA_ID_BYTES; i++) {
      const difference = ids[i]! - ids[i - RSA_ID_BYTES]!;
      if (difference !== 0) return difference > 0;
    }
    return false;
  }

  #ipv4(start: number, end: number): number {
    const { bytes } = this.#scanner;
    let address = 0;
    let at = start;
    for (let part = 0; part < 4; part++) {
      const first = at;
      let value = 0;
      while (at < end && at - first < 3 && bytes[at]! >= 0x30 && bytes[at]! <= 0x39) {
        value = value * 10 + bytes[at++]! - 0x30;
      }
      const ended = part === 3 ? at === end : at < end && bytes[at] === 0x2e;
      if (at === first || value > 255 || !ended || (bytes[first] === 0x30 && at - first > 1)) {
        this.#scanner.fail("an address is not four numbers");
      }
      address = address * 256 + value;
      at++;
    }
    return address;
  }

  /** `a` address:port; only the first IPv6 address counts, anything else is passed over. */
  #a(): void {
    const scanner: Scanner = this.#scanner;
    scanner.needArgument("address");
    const start = scanner.argumentStart;
    const end = scanner.argumentEnd;
    const { bytes } = scanner;
    if (bytes[start] !== 0x5b || (this.#seen & SEEN_A) !== 0 || end - start > 60) return;
    const close = bytes.indexOf(0x5d, start);
    if (close < 0 || close + 1 >= end || bytes[close + 1] !== 0x3a) return;
    const port = parseInteger(bytes, close + 2, end);
    if (port === undefined || port < 1 || port > 65535) return;
    const at = this.#ipv6Rows.length * 16;
    if (at === this.#ipv6Addresses.length) {
      const larger = new Uint8Array(at * 2);
      larger.set(this.#ipv6Addresses);
      this.#ipv6Addresses = larger;
    }
    if (!readIpv6(bytes, start + 1, close, this.#ipv6Addresses, at)) return;
    this.#seen |= SEEN_A;
    this.#ipv6Rows.push(this.#row);
    this.#ipv6Ports.push(port);
  }

  #m(): void {
    this.#once(SEEN_M);
    const at = this.#row * MICRODESC_DIGEST_BYTES;
    this.#scanner.needBase64("microdescriptor digest", this.#table.microdescDigests, at, MICRODESC_DIGEST_BYTES);
  }

  #s(): void {
    this.#once(SEEN_S);
    const scanner: Scanner = this.#scanner;
    const line = this.#flagLines.intern(scanner.bytes, scanner.keywordEnd, scanner.lineEnd);
    if (line === this.#flagSets.length) {
      let flags = 0;
      let previous = "";
      while (scanner.nextArgument()) {
        const flag = scanner.argument();
        if (flag <= previous) scanner.fail("a relay's flags are not in order");
        previous = flag;
        flags |= FLAG_BITS.get(flag) ?? 0;
      }
      this.#flagSets.push(flags);
    }
    this.#table.flags[this.#row] = this.#flagSets[line]!;
  }

  #pr(): void {
    this.#once(SEEN_PR);
    const scanner: Scanner = this.#scanner;
    const { protocolSets } = this.#table;
    const start = Math.min(scanner.keywordEnd + 1, scanner.lineEnd);
    const line = this.#protocolLines.intern(scanner.bytes, start, scanner.lineEnd);
    // The first set is the one of relays without this line.
    if (line + 1 === protocolSets.length) {
      if (protocolSets.length > 0xffff) scanner.fail("too many different lists of protocols");
      protocolSets.push(Protocols.parse(scanner.bytes, start, scanner.lineEnd));
    }
    this.#table.protocols[this.#row] = line + 1;
  }

  #w(): void {
    this.#once(SEEN_W);
    const scanner: Scanner = this.#scanner;
    const { bytes } = scanner;
    let bandwidth = UNKNOWN_BANDWIDTH;
    while (scanner.nextArgument()) {
      const start = scanner.argumentStart;
      if (!isBandwidth(bytes, start)) continue;
      const value = parseInteger(bytes, start + BANDWIDTH.length, scanner.argumentEnd);
      if (value === undefined || value < 0 || value > 0xffff_ffff) scanner.fail("a bandwidth is not a 32-bit number");
      bandwidth = value;
    }
    this.#table.bandwidths[this.#row] = bandwidth;
  }
}

const BANDWIDTH = [..."Bandwidth="].map((c) => c.charCodeAt(0));

function isBandwidth(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < BANDWIDTH.length; i++) if (bytes[at + i] !== BANDWIDTH[i]) return false;
  return true;
}
