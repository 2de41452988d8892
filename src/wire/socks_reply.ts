/**
 * Answers to SOCKS requests, and which answer follows from which error.
 *
 * Reply codes: RFC 1928 section 6; the extended ones for onion services: proposal 304. The codes for a stream's END
 * reasons are those that C tor gives.
 */
import { isTunicError, type TunicError } from "../base/errors.ts";
import { parseIp } from "../bytes/ip.ts";
import { utf8 } from "../bytes/text.ts";
import { Writer } from "../bytes/writer.ts";
import type { EndReason } from "./stream_messages.ts";

export const SocksReply = {
  SUCCEEDED: 0x00,
  GENERAL_FAILURE: 0x01,
  NOT_ALLOWED: 0x02,
  NETWORK_UNREACHABLE: 0x03,
  HOST_UNREACHABLE: 0x04,
  CONNECTION_REFUSED: 0x05,
  TTL_EXPIRED: 0x06,
  COMMAND_NOT_SUPPORTED: 0x07,
  ADDRESS_TYPE_NOT_SUPPORTED: 0x08,
  /** Extended: the onion service's descriptor cannot be had. */
  ONION_NOT_FOUND: 0xf0,
  /** Extended: not an address that an onion service can have. */
  ONION_BAD_ADDRESS: 0xf6,
} as const;

const GRANTED4 = 0x5a;
const REJECTED4 = 0x5b;

/**
 * The last message of a handshake. `bound` is what goes into the address field, the answer of a RESOLVE or
 * RESOLVE_PTR: an address, or a name (in version 5 only). Version 4 knows no reasons.
 */
export function encodeSocksReply(version: 4 | 5, reply: number, bound = "0.0.0.0"): Uint8Array {
  const address = parseIp(bound);
  const writer = new Writer(10);
  if (version === 4) {
    if (address?.length !== 4) throw new RangeError("SOCKS 4 carries IPv4 addresses only");
    return writer.u8(0).u8(reply === SocksReply.SUCCEEDED ? GRANTED4 : REJECTED4).u16(0).bytes(address).finish();
  }
  writer.u8(5).u8(reply).u8(0);
  if (address) writer.u8(address.length === 4 ? 1 : 4).bytes(address);
  else writer.u8(3).lengthPrefixed(1, (inner) => void inner.bytes(utf8(bound)));
  return writer.u16(0).finish();
}

/** The reply code for whatever a request failed with; extended codes only where the listener has `ExtendedErrors`. */
export function socksReplyFor(error: unknown, extendedErrors: boolean): number {
  if (!isTunicError(error)) return SocksReply.GENERAL_FAILURE;
  if (extendedErrors && error.code === "onion-unsupported") return SocksReply.ONION_NOT_FOUND;
  if (extendedErrors && error.code === "onion-bad-address") return SocksReply.ONION_BAD_ADDRESS;
  switch (error.kind) {
    case "stream":
      return replyForEnd(error);
    case "resolve":
      return SocksReply.HOST_UNREACHABLE;
    case "timeout":
      return SocksReply.TTL_EXPIRED;
    case "directory":
    case "connection":
      return SocksReply.NETWORK_UNREACHABLE;
    default:
      return SocksReply.GENERAL_FAILURE;
  }
}

function replyForEnd(error: TunicError): number {
  switch (error.context.reason as keyof typeof EndReason) {
    case "RESOLVEFAILED":
    case "NOROUTE":
      return SocksReply.HOST_UNREACHABLE;
    // DONE before CONNECTED: the far end closed before it was there.
    case "CONNECTREFUSED":
    case "DONE":
    case "CONNRESET":
      return SocksReply.CONNECTION_REFUSED;
    case "EXITPOLICY":
      return SocksReply.NOT_ALLOWED;
    case "TIMEOUT":
      return SocksReply.TTL_EXPIRED;
    default:
      return SocksReply.GENERAL_FAILURE;
  }
}
