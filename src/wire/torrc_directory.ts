/** Lines of `DirAuthority` and `FallbackDir` (tor(1)); the built-in lists are written the same way. */
import { parseIpv4 } from "../bytes/ip.ts";
import {
  badValue,
  type HostPort,
  parseAddressPort,
  parseDouble,
  parseHexDigits,
  parsePort,
  parseWords,
} from "./torrc_values.ts";

export interface DirAuthorityLine {
  readonly nickname: string;
  readonly host: string;
  /** 0 where no `orport=` is given. */
  readonly orPort: number;
  readonly dirPort: number;
  readonly ipv6: HostPort | undefined;
  /** 20 bytes. */
  readonly rsaId: Uint8Array;
  /** 20 bytes; without it the line names no authority for the consensus. */
  readonly v3ident: Uint8Array | undefined;
  readonly bridge: boolean;
  readonly weight: number;
  /** Parts that have no effect, each as a message. */
  readonly warnings: readonly string[];
}

/** `[nickname] [flags] address:dirport fingerprint`, the fingerprint with or without spaces. */
export function parseDirAuthority(value: string): DirAuthorityLine {
  const words = parseWords(value);
  const nickname = /^[a-zA-Z0-9]{1,19}$/.test(words[0] ?? "") ? words.shift()! : "unnamed";
  const flags = new Map<string, string>();
  const warnings: string[] = [];
  let bridge = false;
  while (words.length > 0 && !/^\d/.test(words[0]!)) {
    const word = words.shift()!;
    const [, name = "", content = ""] = /^([^=]*=?)(.*)$/.exec(word) ?? [];
    const key = name.toLowerCase();
    if (key === "bridge") bridge = true;
    else if (key === "hs" || key === "no-hs" || key === "no-v2") continue;
    else if (key === "upload=" || key === "download=" || key === "vote=") checkDirectoryUrl(content);
    else if (!AUTHORITY_FLAGS.includes(key)) warnings.push(`unknown flag ${JSON.stringify(word)}`);
    else if (flags.has(key)) throw badValue(word, `${name} once a line`);
    else flags.set(key, content);
  }
  const [addressPort, ...fingerprint] = words;
  if (addressPort === undefined || fingerprint.length === 0) {
    throw badValue(value, "[nickname] [flags] address:port fingerprint");
  }
  const address = parseAddressPort(addressPort);
  if (!parseIpv4(address.host)) throw badValue(addressPort, "an IPv4 address and a port");
  const v3ident = flags.get("v3ident=");
  return {
    nickname,
    host: address.host,
    dirPort: address.port,
    orPort: optional(flags.get("orport="), (text) => parsePort(text)) ?? 0,
    ipv6: optional(flags.get("ipv6="), parseIpv6Port),
    rsaId: parseHexDigits(fingerprint.join(""), 20),
    v3ident: v3ident === undefined ? undefined : parseHexDigits(v3ident, 20),
    bridge,
    weight: optional(flags.get("weight="), parseWeight) ?? 1,
    warnings,
  };
}

const AUTHORITY_FLAGS = ["orport=", "v3ident=", "ipv6=", "weight="];

export interface FallbackDirLine {
  readonly host: string;
  readonly orPort: number;
  readonly ipv6: HostPort | undefined;
  /** 20 bytes. */
  readonly rsaId: Uint8Array;
  readonly weight: number;
}

/** `address[:dirport] orport=N id=FINGERPRINT [ipv6=[address]:orport] [weight=W]`, in any order. */
export function parseFallbackDir(value: string): FallbackDirLine {
  const flags = new Map<string, string>();
  const positional: string[] = [];
  for (const word of parseWords(value)) {
    const equals = word.indexOf("=");
    if (equals < 0) positional.push(word);
    else flags.set(word.slice(0, equals).toLowerCase(), word.slice(equals + 1));
  }
  const orPort = flags.get("orport");
  const id = flags.get("id");
  const [address] = positional;
  if (positional.length !== 1 || address === undefined) {
    throw badValue(value, "address[:port] orport=N id=fingerprint, with one address");
  }
  if (orPort === undefined) throw badValue(value, "orport=N on the line");
  if (id === undefined) throw badValue(value, "id=fingerprint on the line");
  const rsaId = parseHexDigits(id, 20);
  if (rsaId.every((byte) => byte === 0)) throw badValue(id, "a fingerprint that is not all zero");
  return {
    host: /:\d+$/.test(address) ? parseAddressPort(address).host : parseAddressPort(`${address}:1`).host,
    orPort: parsePort(orPort),
    ipv6: optional(flags.get("ipv6"), parseIpv6Port),
    rsaId,
    weight: optional(flags.get("weight"), parseWeight) ?? 1,
  };
}

function optional<T>(text: string | undefined, parse: (text: string) => T): T | undefined {
  return text === undefined ? undefined : parse(text);
}

function parseIpv6Port(text: string): HostPort {
  const address = parseAddressPort(text);
  if (address.family !== 6) throw badValue(text, "[an IPv6 address]:port");
  return address;
}

function parseWeight(text: string): number {
  const weight = parseDouble(text);
  if (weight < 0) throw badValue(text, "a weight of 0 or more");
  return weight;
}

/** `http://address:port/`, which only relays use: checked, not kept. */
function checkDirectoryUrl(url: string): void {
  const match = /^http:\/\/([^/]*)\/?$/.exec(url);
  if (!match) throw badValue(url, "http://address:port/");
  parseAddressPort(match[1]!);
}
