/**
 * Values of torrc entries: numbers, units, booleans, lists, addresses (tor(1); C tor's unitparse.c and
 * type_defs.c say which spellings count).
 *
 * Each parser throws a `config` error whose message is only "found …, expected …": whoever knows the option's
 * name and place adds them.
 */
import { TunicError } from "../base/errors.ts";
import { formatIp, parseIp } from "../bytes/ip.ts";
import { shown } from "./torrc.ts";

/** Found this, expected that. */
export function badValue(value: string, expected: string): TunicError {
  return new TunicError(`found ${shown(value)}, expected ${expected}`, { kind: "config", code: "bad-value" });
}

export function parseBoolean(value: string): boolean {
  if (value === "1") return true;
  if (value === "0") return false;
  throw badValue(value, "0 or 1");
}

/** `undefined` for "auto". */
export function parseAutoBoolean(value: string): boolean | undefined {
  if (value.toLowerCase() === "auto") return undefined;
  if (value === "1") return true;
  if (value === "0") return false;
  throw badValue(value, "0, 1 or auto");
}

/** A decimal number from `min` to `max`. */
export function parseInteger(value: string, min = -(2 ** 31), max = 2 ** 31 - 1): number {
  const number = /^-?\d{1,15}$/.test(value) ? Number(value) : NaN;
  if (!(number >= min && number <= max)) throw badValue(value, `a whole number from ${min} to ${max}`);
  return number;
}

export function parseDouble(value: string): number {
  const number = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?$/.test(value) ? Number(value) : NaN;
  if (!Number.isFinite(number)) throw badValue(value, "a number");
  return number;
}

/** What one of each unit is in the smallest. */
type Units = Readonly<Record<string, number | undefined>>;

const SECONDS: Units = {
  "": 1,
  second: 1,
  seconds: 1,
  minute: 60,
  minutes: 60,
  hour: 3600,
  hours: 3600,
  day: 86_400,
  days: 86_400,
  week: 604_800,
  weeks: 604_800,
  month: 2_629_728,
  months: 2_629_728,
};

const MILLISECONDS: Units = {
  "": 1,
  msec: 1,
  millisecond: 1,
  milliseconds: 1,
  second: 1000,
  seconds: 1000,
  minute: 60_000,
  minutes: 60_000,
  hour: 3_600_000,
  hours: 3_600_000,
  day: 86_400_000,
  days: 86_400_000,
  week: 604_800_000,
  weeks: 604_800_000,
};

/** Bytes by the names of powers of two: "KB", "kilobytes", "kbits" and so on. */
const BYTES: Units = (() => {
  const units: Record<string, number> = { "": 1, b: 1, byte: 1, bytes: 1, m: 2 ** 20 };
  for (const [i, [letter, word]] of [["k", "kilo"], ["m", "mega"], ["g", "giga"], ["t", "tera"]].entries()) {
    const size = 2 ** (10 * (i + 1));
    for (const name of [`${letter}b`, `${letter}byte`, `${letter}bytes`, `${word}byte`, `${word}bytes`]) {
      units[name] = size;
    }
    for (const name of [`${letter}bit`, `${letter}bits`, `${word}bit`, `${word}bits`]) units[name] = size / 8;
  }
  return units;
})();

/** A whole or decimal number and a unit; the product cut to a whole number. */
function parseUnits(value: string, units: Units, max: number, expected: string): number {
  const match = /^(\d{1,20}(?:\.\d{0,20})?)[ \t]*([a-zA-Z]*)$/.exec(value);
  const unit = match ? lookUp(units, match[2]!.toLowerCase()) : undefined;
  if (!match || unit === undefined) throw badValue(value, expected);
  const product = Math.floor(Number(match[1]) * unit);
  if (product > max) throw badValue(value, `${expected}, not more than ${max} in the smallest unit`);
  return product;
}

function lookUp(units: Units, name: string): number | undefined {
  return Object.hasOwn(units, name) ? units[name] : undefined;
}

/** Milliseconds of an interval in seconds, minutes, … months. */
export function parseIntervalMs(value: string): number {
  return 1000 * parseUnits(value, SECONDS, 2 ** 31 - 1, 'an interval such as "10 minutes"');
}

/** Milliseconds of an interval whose unit may be as small as a millisecond, and is where none is given. */
export function parseMillisecondInterval(value: string): number {
  return parseUnits(value, MILLISECONDS, 2 ** 31 - 1, 'an interval such as "100 msec"');
}

/** Bytes of a size such as "5 MB" or "1 Gbit". */
export function parseMemoryBytes(value: string): number {
  return parseUnits(value, BYTES, Number.MAX_SAFE_INTEGER, 'a size such as "5 MB"');
}

/** The parts between commas, trimmed, without empty ones. */
export function parseList(value: string): string[] {
  return value.split(",").map((part) => part.trim()).filter((part) => part !== "");
}

/** The parts between white space. */
export function parseWords(value: string): string[] {
  return value.split(/[ \t\n\r\v\f]+/).filter((part) => part !== "");
}

export function parsePort(value: string, min = 1): number {
  const port = /^\d{1,5}$/.test(value) ? Number(value) : NaN;
  if (!(port >= min && port <= 65535)) throw badValue(value, `a port from ${min} to 65535`);
  return port;
}

export interface HostPort {
  /** An address in its canonical text, without brackets. */
  readonly host: string;
  readonly port: number;
  readonly family: 4 | 6;
}

/** `192.0.2.1:443` or `[2001:db8::1]:443`. */
export function parseAddressPort(value: string): HostPort {
  const match = /^(?:\[([^\]]*)\]|([^:]*)):([^:]*)$/.exec(value);
  const bytes = match ? parseIp(match[1] ?? match[2]!) : undefined;
  const bracketed = match?.[1] !== undefined;
  if (!match || !bytes || bracketed !== (bytes.length === 16)) {
    throw badValue(value, "an address and a port such as 192.0.2.1:443 or [2001:db8::1]:443");
  }
  return { host: formatIp(bytes), port: parsePort(match[3]!), family: bytes.length === 4 ? 4 : 6 };
}

/** Exactly `bytes` bytes in hex. */
export function parseHexDigits(value: string, bytes: number): Uint8Array {
  if (value.length !== 2 * bytes || !/^[0-9a-fA-F]*$/.test(value)) throw badValue(value, `${2 * bytes} hex digits`);
  return Uint8Array.from({ length: bytes }, (_, i) => parseInt(value.slice(2 * i, 2 * i + 2), 16));
}

/** Addresses and ports that a policy speaks of: `127.0.0.0/8:80-443`, `[::1]`, `*:*`, `private`, `*4`, `*6`. */
export interface AddressPattern {
  readonly family: "any" | "ipv4" | "ipv6" | "private";
  /** The network's address, 4 or 16 bytes; `undefined` where it is all or `private`. */
  readonly network: Uint8Array | undefined;
  /** Leading bits of `network` that count. */
  readonly prefixBits: number;
  readonly minPort: number;
  readonly maxPort: number;
}

export function parseAddressPattern(value: string): AddressPattern {
  const match = /^(\[[^\]]*\](?:\/\d{1,3})?|[^:]*)(?::(.*))?$/.exec(value);
  if (!match) throw badValue(value, PATTERN);
  const [minPort, maxPort] = parsePortRange(match[2] ?? "*", value);
  const word = match[1]!.toLowerCase();
  const family = WORDS[word];
  if (family) return { family, network: undefined, prefixBits: 0, minPort, maxPort };
  const parts = /^(?:\[([^\]]*)\]|([^/]*))(?:\/(.*))?$/.exec(match[1]!);
  const network = parts ? parseIp(parts[1] ?? parts[2]!) : undefined;
  if (!parts || !network || (parts[1] !== undefined) !== (network.length === 16)) throw badValue(value, PATTERN);
  const prefixBits = parsePrefix(parts[3], network.length, value);
  return { family: network.length === 4 ? "ipv4" : "ipv6", network, prefixBits, minPort, maxPort };
}

const PATTERN = "an address pattern such as 192.0.2.0/24:80, [2001:db8::]/32:*, private:* or *:443";

const WORDS: Readonly<Record<string, AddressPattern["family"] | undefined>> = {
  "*": "any",
  "*4": "ipv4",
  "*6": "ipv6",
  private: "private",
};

function parsePortRange(text: string, value: string): [number, number] {
  if (text === "*") return [1, 65535];
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const min = Number(match?.[1]);
  const max = Number(match?.[2] ?? match?.[1]);
  if (!match || min > max || max > 65535) throw badValue(value, `${PATTERN}, with ports as *, N or N-M`);
  return [min, max];
}

/** Bits of "/24" or, for IPv4, of a mask such as "/255.255.255.0". */
function parsePrefix(text: string | undefined, bytes: number, value: string): number {
  if (text === undefined) return 8 * bytes;
  if (/^\d{1,3}$/.test(text) && Number(text) <= 8 * bytes) return Number(text);
  const mask = bytes === 4 ? parseIp(text) : undefined;
  const bits = mask ? [...mask].map((byte) => byte.toString(2).padStart(8, "0")).join("") : "";
  if (!/^1*0*$/.test(bits) || bits === "") throw badValue(value, PATTERN);
  return bits.lastIndexOf("1") + 1;
}

/** One rule of a policy: `accept`, `reject`, or the forms for one address family (`accept6`, `reject6`). */
export interface PolicyRule {
  readonly accept: boolean;
  readonly pattern: AddressPattern;
}

/** Rules between commas, in order; one without a word is an accept (ReachableAddresses is written so). */
export function parsePolicy(value: string): PolicyRule[] {
  return parseList(value).map((rule) => {
    const match = /^(?:(accept|reject)(6)?[ \t]+)?(\S+)$/i.exec(rule);
    if (!match) throw badValue(rule, `"accept" or "reject" and ${PATTERN}`);
    const pattern = parseAddressPattern(match[3]!);
    const narrowed = match[2] && pattern.family === "any" ? { ...pattern, family: "ipv6" as const } : pattern;
    return { accept: match[1]?.toLowerCase() !== "reject", pattern: narrowed };
  });
}
