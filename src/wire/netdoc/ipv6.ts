/**
 * IPv6 addresses from bytes to bytes (RFC 4291 section 2.2), without the strings that `bytes/ip.ts` needs: a consensus
 * has thousands.
 */
import { hexDigit } from "./scanner.ts";

/**
 * Reads the address `bytes[start, end)` into `into[at, at + 16)`. False where it is none; an IPv4 address at the end,
 * which nobody announces, is none.
 */
export function readIpv6(bytes: Uint8Array, start: number, end: number, into: Uint8Array, at: number): boolean {
  let groups = 0;
  let gap = -1;
  let i = start;
  if (bytes[i] === COLON) {
    if (i + 1 >= end || bytes[i + 1] !== COLON) return false;
    gap = 0;
    i += 2;
  }
  while (i < end) {
    if (groups === 8) return false;
    let value = 0;
    const first = i;
    for (; i < end && bytes[i] !== COLON; i++) {
      const digit = hexDigit(bytes[i]!);
      if (digit < 0 || i - first === 4) return false;
      value = (value << 4) | digit;
    }
    if (i === first) return false;
    into[at + 2 * groups] = value >>> 8;
    into[at + 2 * groups + 1] = value;
    groups++;
    if (i === end) break;
    if (++i === end) return false;
    if (bytes[i] === COLON) {
      if (gap >= 0) return false;
      gap = groups;
      i++;
    }
  }
  if (gap < 0) return groups === 8;
  if (groups === 8) return false;
  const tail = at + 2 * gap;
  into.copyWithin(at + 16 - 2 * (groups - gap), tail, at + 2 * groups);
  into.fill(0, tail, tail + 2 * (8 - groups));
  return true;
}

const COLON = 0x3a;
