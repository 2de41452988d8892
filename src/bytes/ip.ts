/**
 * IP addresses as text and as bytes (RFC 4291 section 2.2, RFC 5952).
 *
 * Strict: four decimal numbers without leading zeros, or eight groups of at most four hex digits with one `::`;
 * no zone, no brackets, no names.
 */

/** 4 or 16 bytes, or `undefined` if `text` is no address. */
export function parseIp(text: string): Uint8Array | undefined {
  return text.includes(":") ? parseIpv6(text) : parseIpv4(text);
}

export function parseIpv4(text: string): Uint8Array | undefined {
  const parts = text.split(".", 5);
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (const [i, part] of parts.entries()) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part)) return undefined;
    const value = Number(part);
    if (value > 255) return undefined;
    bytes[i] = value;
  }
  return bytes;
}

export function parseIpv6(text: string): Uint8Array | undefined {
  if (text.length > 45) return undefined;
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = groups(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? groups(halves[1]!, true) : [];
  if (!head || !tail) return undefined;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const bytes = new Uint8Array(16);
  const all = [...head, ...new Array<number>(missing).fill(0), ...tail];
  for (const [i, group] of all.entries()) {
    bytes[2 * i] = group >> 8;
    bytes[2 * i + 1] = group & 0xff;
  }
  return bytes;
}

/** Groups of 16 bits; the last may be an IPv4 address where `dotted`. */
function groups(text: string, dotted: boolean): number[] | undefined {
  if (text === "") return [];
  const values: number[] = [];
  const parts = text.split(":");
  for (const [i, part] of parts.entries()) {
    if (dotted && i === parts.length - 1 && part.includes(".")) {
      const v4 = parseIpv4(part);
      if (!v4) return undefined;
      values.push((v4[0]! << 8) | v4[1]!, (v4[2]! << 8) | v4[3]!);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      values.push(parseInt(part, 16));
    } else {
      return undefined;
    }
  }
  return values;
}

/** The canonical text of 4 or 16 bytes, without brackets. */
export function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const values = Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! << 8) | bytes[2 * i + 1]!);
  let start = -1;
  let longest = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && values[end] === 0) end++;
    if (end - i > longest) [start, longest] = [i, end - i];
  }
  const hex = (from: number, to: number) => values.slice(from, to).map((value) => value.toString(16)).join(":");
  return start < 0 ? hex(0, 8) : `${hex(0, start)}::${hex(start + longest, 8)}`;
}

/** Whether `text` is an address that belongs to no public network. */
export function isInternalAddress(text: string): boolean {
  const address = parseIp(text);
  if (!address) return false;
  if (address.length === 4) return isInternal4(address);
  const mapped = address.subarray(0, 10).every((byte) => byte === 0) && address[10] === 0xff && address[11] === 0xff;
  if (mapped) return isInternal4(address.subarray(12));
  const [a, b] = [address[0]!, address[1]!];
  // fc00::/7, fe80::/10, fec0::/10, ::/127
  return (a & 0xfe) === 0xfc || (a === 0xfe && b >= 0x80) ||
    (address.subarray(0, 15).every((byte) => byte === 0) && address[15]! < 2);
}

function isInternal4(address: Uint8Array): boolean {
  const [a, b] = [address[0]!, address[1]!];
  return a === 0 || a === 10 || a === 127 || (a === 100 && b >= 64 && b < 128) || (a === 169 && b === 254) ||
    (a === 172 && b >= 16 && b < 32) || (a === 192 && b === 168);
}
