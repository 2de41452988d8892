/**
 * Relay families, interned (dir-spec 2.1.1 "family", proposal 321).
 *
 * Family lists are nine tenths of the bytes of all microdescriptors, and members of one family write the same list:
 * each distinct list is kept once, as numbers of members that are kept once.
 */
import { ByteInterner, type Reader, type Writer } from "../bytes/mod.ts";
import { MAX_NICKNAME_BYTES } from "../wire/netdoc/relay_table.ts";
import { decodeHex } from "../wire/netdoc/scanner.ts";

/** The list without members, which most relays have. */
export const NO_FAMILY = 0;

const BY_RSA_ID = 1;
const BY_NICKNAME = 2;
const MEMBER_BYTES = 21;
const DOLLAR = 0x24;
const EQUALS = 0x3d;
const SPACE = 0x20;
const TAB = 0x09;
const TILDE = 0x7e;

export class Families {
  /** Members: a byte that says how they are named, then an RSA identity or a nickname in lower case. */
  readonly #members: ByteInterner;
  /** Family identities as text. */
  readonly #ids: ByteInterner;
  /** Lists of members or identities: ascending 32-bit numbers, in this machine's byte order. */
  readonly #lists: ByteInterner;
  readonly #member = new Uint8Array(MEMBER_BYTES);

  constructor() {
    this.#members = new ByteInterner(1024, 1024 * MEMBER_BYTES);
    this.#ids = new ByteInterner();
    this.#lists = new ByteInterner(256, 4096);
    this.#lists.intern(new Uint8Array(0));
  }

  /** The list's number, from the arguments of a `family` line. Entries that are neither kind of name are left out. */
  internMembers(line: Uint8Array): number {
    const members: number[] = [];
    for (let start = skipBlanks(line, 0), end; start < line.length; start = skipBlanks(line, end)) {
      end = skipWord(line, start);
      const length = this.#readMember(line, start, end);
      if (length > 0) members.push(this.#members.intern(this.#member, 0, length));
    }
    return this.#internList(members);
  }

  /** The list's number, from the arguments of a `family-ids` line. */
  internIds(line: Uint8Array): number {
    const ids: number[] = [];
    for (let start = skipBlanks(line, 0), end; start < line.length; start = skipBlanks(line, end)) {
      end = skipWord(line, start);
      ids.push(this.#ids.intern(line, start, end));
    }
    return this.#internList(ids);
  }

  /** Whether list `list` of members names the relay with this identity and nickname. */
  names(list: number, rsaId: Uint8Array, nickname: Uint8Array): boolean {
    if (list === NO_FAMILY) return false;
    const numbers = this.#numbers(list);
    this.#member[0] = BY_RSA_ID;
    this.#member.set(rsaId, 1);
    if (contains(numbers, this.#members.find(this.#member))) return true;
    this.#member[0] = BY_NICKNAME;
    for (let i = 0; i < nickname.length; i++) this.#member[1 + i] = lowerCase(nickname[i]!);
    return contains(numbers, this.#members.find(this.#member, 0, 1 + nickname.length));
  }

  /** Whether two lists of identities have one in common. */
  share(a: number, b: number): boolean {
    if (a === NO_FAMILY || b === NO_FAMILY) return false;
    if (a === b) return true;
    const left = this.#numbers(a);
    const right = this.#numbers(b);
    for (let i = 0, j = 0; i < left.length && j < right.length;) {
      if (left[i] === right[j]) return true;
      if (left[i]! < right[j]!) i++;
      else j++;
    }
    return false;
  }

  /** The number here of list `list` of members of `other`. */
  adoptMembers(other: Families, list: number): number {
    return this.#internList(Array.from(other.#numbers(list), (n) => this.#members.intern(other.#members.view(n))));
  }

  /** The number here of list `list` of identities of `other`. */
  adoptIds(other: Families, list: number): number {
    return this.#internList(Array.from(other.#numbers(list), (n) => this.#ids.intern(other.#ids.view(n))));
  }

  encode(writer: Writer): void {
    for (const strings of [this.#members, this.#ids]) {
      writer.u32(strings.size);
      for (let n = 0; n < strings.size; n++) writer.lengthPrefixed(2, (inner) => void inner.bytes(strings.view(n)));
    }
    writer.u32(this.#lists.size);
    for (let list = 0; list < this.#lists.size; list++) {
      const numbers = this.#numbers(list);
      writer.u32(numbers.length);
      for (const number of numbers) writer.u32(number);
    }
  }

  /** Reads what {@link encode} wrote. Throws `malformed`. */
  static decode(reader: Reader): Families {
    const families = new Families();
    for (const strings of [families.#members, families.#ids]) {
      const count = reader.u32();
      for (let n = 0; n < count; n++) {
        if (strings.intern(reader.view(reader.u16())) !== n) reader.fail("a name twice");
      }
    }
    const count = reader.u32();
    for (let list = 0; list < count; list++) {
      const length = reader.u32();
      if (length * 4 > reader.remaining) reader.fail("a list longer than the rest");
      const numbers = new Uint32Array(length);
      for (let i = 0; i < length; i++) {
        const number = reader.u32();
        if (i > 0 && number <= numbers[i - 1]!) reader.fail("a list out of order");
        numbers[i] = number;
      }
      if (families.#internNumbers(numbers) !== list) reader.fail("a list twice");
    }
    return families;
  }

  /** Whether there is a list `list` that can be one of members. */
  isMemberList(list: number): boolean {
    return this.#isList(list, this.#members.size);
  }

  /** Whether there is a list `list` that can be one of identities. */
  isIdList(list: number): boolean {
    return this.#isList(list, this.#ids.size);
  }

  #isList(list: number, names: number): boolean {
    if (list >= this.#lists.size) return false;
    const largest = this.#numbers(list).at(-1);
    return largest === undefined || largest < names;
  }

  /** Leaves the member that `line[start, end)` names in `#member` and answers its length, 0 if it names none. */
  #readMember(line: Uint8Array, start: number, end: number): number {
    const member = this.#member;
    if (isNickname(line, start, end)) {
      member[0] = BY_NICKNAME;
      for (let i = start; i < end; i++) member[1 + i - start] = lowerCase(line[i]!);
      return 1 + end - start;
    }
    const hex = line[start] === DOLLAR ? start + 1 : start;
    const after = line[hex + 40];
    const isId = end - hex === 40 || (end - hex > 40 && (after === EQUALS || after === TILDE));
    if (!isId || !decodeHex(line, hex, member, 1, 20)) return 0;
    member[0] = BY_RSA_ID;
    return MEMBER_BYTES;
  }

  #internList(numbers: readonly number[]): number {
    if (numbers.length === 0) return NO_FAMILY;
    const sorted = Uint32Array.from(numbers).sort();
    let length = 1;
    for (let i = 1; i < sorted.length; i++) if (sorted[i] !== sorted[length - 1]) sorted[length++] = sorted[i]!;
    return this.#internNumbers(sorted.subarray(0, length));
  }

  #internNumbers(sorted: Uint32Array): number {
    return this.#lists.intern(new Uint8Array(sorted.buffer, sorted.byteOffset, sorted.byteLength));
  }

  /** The list's numbers, as a view: every list takes a multiple of four bytes, so each begins at one. */
  #numbers(list: number): Uint32Array {
    const bytes = this.#lists.view(list);
    return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  }
}

function isBlank(byte: number): boolean {
  return byte === SPACE || byte === TAB;
}

function skipBlanks(line: Uint8Array, at: number): number {
  while (at < line.length && isBlank(line[at]!)) at++;
  return at;
}

function skipWord(line: Uint8Array, at: number): number {
  while (at < line.length && !isBlank(line[at]!)) at++;
  return at;
}

function contains(sorted: Uint32Array, number: number): boolean {
  let low = 0;
  let high = sorted.length - 1;
  while (low <= high) {
    const middle = (low + high) >>> 1;
    const found = sorted[middle]!;
    if (found === number) return true;
    if (found < number) low = middle + 1;
    else high = middle - 1;
  }
  return false;
}

function isNickname(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start > MAX_NICKNAME_BYTES) return false;
  for (let i = start; i < end; i++) {
    const byte = lowerCase(bytes[i]!);
    if (!((byte >= 0x61 && byte <= 0x7a) || (byte >= 0x30 && byte <= 0x39))) return false;
  }
  return true;
}

function lowerCase(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte;
}
