/**
 * Relay messages about a stream: BEGIN, CONNECTED, END (tor-spec 6.2, 6.3).
 *
 * BEGIN_DIR has no body and DATA no format. Bytes after the fields are left for later versions and ignored.
 */
import { TunicError } from "../base/errors.ts";
import type { Codec } from "../bytes/codec.ts";
import { formatIp, parseIp } from "../bytes/ip.ts";
import type { Reader } from "../bytes/reader.ts";
import { latin1 } from "../bytes/text.ts";
import type { Writer } from "../bytes/writer.ts";

/** Flags of a BEGIN message. */
export const BeginFlag = { IPV6_OKAY: 1, IPV4_NOT_OKAY: 2, IPV6_PREFERRED: 4 } as const;

export interface Begin {
  /** A name or an IP address without brackets; empty towards an onion service. Written in lower case. */
  readonly host: string;
  /** 1–65535. */
  readonly port: number;
  /** Bits of {@link BeginFlag}. */
  readonly flags: number;
}

export const BEGIN: Codec<Begin> = {
  what: "BEGIN message",
  encode(value: Begin, writer: Writer): void {
    const host = value.host.toLowerCase();
    const ipv6 = host.includes(":");
    if (ipv6 ? parseIp(host) === undefined : !isHostText(host)) {
      throw unfit("BEGIN", "a host that is no name or address");
    }
    if (!isPort(value.port)) throw unfit("BEGIN", `port ${value.port}, expected 1 to 65535`);
    writeText(`${ipv6 ? `[${host}]` : host}:${value.port}\0`, writer);
    if (value.flags !== 0) writer.u32(value.flags);
  },
  decode(reader: Reader): Begin {
    const text = readNulTerminated(reader);
    const match = /^(?:\[([^\[\]]*)\]|([^:\[\]]*)):([0-9]{1,5})$/.exec(text);
    if (!match) reader.fail("its target is not address:port");
    const [, bracketed, plain, portText] = match;
    if (bracketed !== undefined && parseIp(bracketed)?.length !== 16) reader.fail("brackets around no IPv6 address");
    const port = Number(portText);
    if (!isPort(port)) reader.fail(`port ${port}, expected 1 to 65535`);
    const flags = reader.remaining >= 4 ? reader.u32() : 0;
    reader.rest();
    return { host: (bracketed ?? plain)!.toLowerCase(), port, flags };
  },
};

export interface Connected {
  /** The address that the exit connected to; none for directory streams and onion services. */
  readonly address: string | undefined;
  /** Seconds for which the address may be remembered, where the exit says. */
  readonly ttl: number | undefined;
}

export const CONNECTED: Codec<Connected> = {
  what: "CONNECTED message",
  encode(value: Connected, writer: Writer): void {
    if (value.address === undefined) return;
    const bytes = parseIp(value.address);
    if (!bytes) throw unfit("CONNECTED", "an address that is neither IPv4 nor IPv6");
    if (bytes.length === 16) writer.u32(0).u8(6);
    writer.bytes(bytes).u32(value.ttl ?? 0);
  },
  decode(reader: Reader): Connected {
    if (reader.remaining === 0) return { address: undefined, ttl: undefined };
    let bytes = reader.view(4);
    if (bytes.every((byte) => byte === 0)) {
      const type = reader.u8();
      if (type !== 6) reader.fail(`address type ${type}, expected 6`);
      bytes = reader.view(16);
    }
    const address = formatIp(bytes);
    const ttl = reader.remaining >= 4 ? reader.u32() : undefined;
    reader.rest();
    return { address, ttl };
  },
};

/** Why a stream was closed. */
export const EndReason = {
  MISC: 1,
  RESOLVEFAILED: 2,
  CONNECTREFUSED: 3,
  EXITPOLICY: 4,
  DESTROY: 5,
  DONE: 6,
  TIMEOUT: 7,
  NOROUTE: 8,
  HIBERNATING: 9,
  INTERNAL: 10,
  RESOURCELIMIT: 11,
  CONNRESET: 12,
  TORPROTOCOL: 13,
  NOTDIRECTORY: 14,
} as const;

const END_NAMES = new Map<number, string>(Object.entries(EndReason).map(([name, code]) => [code, name]));

/** A reason's name; "reason 77" for one that the specification does not have. */
export function endReasonName(reason: number): string {
  return END_NAMES.get(reason) ?? `reason ${reason}`;
}

export interface End {
  /** One of {@link EndReason}, or unknown to us. */
  readonly reason: number;
  /** With EXITPOLICY: the address that the exit refused, where it says. */
  readonly address?: string;
  /** With `address`: seconds for which it may be remembered. */
  readonly ttl?: number;
}

const NO_TTL = 0xffff_ffff;

export const END: Codec<End> = {
  what: "END message",
  encode(value: End, writer: Writer): void {
    writer.u8(value.reason);
    if (value.reason !== EndReason.EXITPOLICY || value.address === undefined) return;
    const bytes = parseIp(value.address);
    if (!bytes) throw unfit("END", "an address that is neither IPv4 nor IPv6");
    writer.bytes(bytes).u32(value.ttl ?? NO_TTL);
  },
  decode(reader: Reader): End {
    // An END without its reason counts as MISC; reading past the body is what TROVE-2026-011 was about.
    const reason = reader.remaining > 0 ? reader.u8() : EndReason.MISC;
    const length = reader.remaining;
    const addressLength = length === 4 || length === 8 ? 4 : length === 16 || length === 20 ? 16 : 0;
    if (reason !== EndReason.EXITPOLICY || addressLength === 0) {
      reader.rest();
      return { reason };
    }
    const address = formatIp(reader.view(addressLength));
    return { reason, address, ttl: reader.remaining > 0 ? reader.u32() : NO_TTL };
  },
};

/** Text up to a NUL, printable ASCII; throws `malformed` where the NUL is missing. */
export function readNulTerminated(reader: Reader): string {
  let text = "";
  for (let byte = reader.u8(); byte !== 0; byte = reader.u8()) {
    if (byte <= 0x20 || byte >= 0x7f) reader.fail("a byte that is not printable ASCII");
    text += String.fromCharCode(byte);
  }
  return text;
}

/** `length` bytes as printable ASCII, which names are made of. */
export function readText(reader: Reader, length: number): string {
  const text = latin1(reader.view(length));
  if (!isHostText(text)) reader.fail("a name with a byte that no name has");
  return text;
}

/** Whether `text` may stand where a name or IPv4 address is expected: printable ASCII without separators. */
export function isHostText(text: string): boolean {
  return /^[\x21-\x39\x3b-\x5a\x5c\x5e-\x7e]*$/.test(text);
}

/** Writes text that {@link isHostText} or the like has found to be ASCII. */
export function writeText(text: string, writer: Writer): void {
  for (let i = 0; i < text.length; i++) writer.u8(text.charCodeAt(i));
}

/** An `argument` error about a value that the message cannot carry. */
export function unfit(message: string, detail: string): TunicError {
  return new TunicError(`Cannot write a ${message} message: ${detail}`, { kind: "argument", code: "bad-address" });
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65535;
}
