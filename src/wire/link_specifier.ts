/** Link specifiers: how to reach a relay and who it is, in EXTEND2 and in onion services' messages (tor-spec 5.1.2). */
import { TunicError } from "../base/errors.ts";
import { formatIp, parseIp } from "../bytes/ip.ts";
import type { Reader } from "../bytes/reader.ts";
import type { Writer } from "../bytes/writer.ts";

export type LinkSpecifier =
  | { readonly kind: "ipv4" | "ipv6"; readonly address: string; readonly port: number }
  /** SHA-1 of the RSA identity key, 20 bytes. */
  | { readonly kind: "rsa-id"; readonly id: Uint8Array }
  /** 32 bytes. */
  | { readonly kind: "ed25519-id"; readonly id: Uint8Array }
  /** Kept byte for byte, for they are to be passed on. */
  | { readonly kind: "unknown"; readonly type: number; readonly data: Uint8Array };

/** LSTYPE. */
export const LinkSpecifierType = { IPV4: 0, IPV6: 1, RSA_ID: 2, ED25519_ID: 3 } as const;

const { IPV4, IPV6, RSA_ID, ED25519_ID } = LinkSpecifierType;
const LENGTHS = new Map<number, number>([[IPV4, 6], [IPV6, 18], [RSA_ID, 20], [ED25519_ID, 32]]);

export interface LinkTarget {
  readonly addresses: readonly { readonly host: string; readonly port: number }[];
  readonly rsaId: Uint8Array;
  readonly ed25519Id: Uint8Array | undefined;
}

/**
 * A relay's specifiers in the order that all implementations send: IPv4, RSA identity, Ed25519 identity, IPv6; the
 * first address of each kind. Throws `argument` for an address that is neither.
 */
export function linkSpecifiersOf(target: LinkTarget): LinkSpecifier[] {
  let ipv4: LinkSpecifier | undefined;
  let ipv6: LinkSpecifier | undefined;
  for (const { host, port } of target.addresses) {
    if (addressBytes(host).length === 4) ipv4 ??= { kind: "ipv4", address: host, port };
    else ipv6 ??= { kind: "ipv6", address: host, port };
  }
  const specifiers: LinkSpecifier[] = ipv4 ? [ipv4] : [];
  specifiers.push({ kind: "rsa-id", id: target.rsaId });
  if (target.ed25519Id) specifiers.push({ kind: "ed25519-id", id: target.ed25519Id });
  if (ipv6) specifiers.push(ipv6);
  return specifiers;
}

/** Writes NSPEC and the specifiers, in the order given. */
export function encodeLinkSpecifiers(specifiers: readonly LinkSpecifier[], writer: Writer): void {
  writer.u8(specifiers.length);
  for (const specifier of specifiers) encodeOne(specifier, writer);
}

/** Reads NSPEC and the specifiers; throws `malformed` for a known one of wrong length or a second identity. */
export function decodeLinkSpecifiers(reader: Reader): LinkSpecifier[] {
  const specifiers: LinkSpecifier[] = [];
  const identities = new Set<number>();
  for (let count = reader.u8(); count > 0; count--) {
    const type = reader.u8();
    const length = reader.u8();
    const expected = LENGTHS.get(type);
    if (expected !== undefined && length !== expected) {
      reader.fail(`a link specifier of type ${type} with ${length} bytes, expected ${expected}`);
    }
    if (type === RSA_ID || type === ED25519_ID) {
      if (identities.has(type)) reader.fail(`more than one link specifier of type ${type}`);
      identities.add(type);
    }
    specifiers.push(decodeOne(type, length, reader));
  }
  return specifiers;
}

function encodeOne(specifier: LinkSpecifier, writer: Writer): void {
  switch (specifier.kind) {
    case "ipv4":
    case "ipv6": {
      const bytes = addressBytes(specifier.address);
      writer.u8(bytes.length === 4 ? IPV4 : IPV6).u8(bytes.length + 2).bytes(bytes).u16(specifier.port);
      break;
    }
    case "rsa-id":
      writer.u8(RSA_ID).u8(20).bytes(specifier.id);
      break;
    case "ed25519-id":
      writer.u8(ED25519_ID).u8(32).bytes(specifier.id);
      break;
    case "unknown":
      writer.u8(specifier.type).lengthPrefixed(1, (body) => body.bytes(specifier.data));
  }
}

function decodeOne(type: number, length: number, reader: Reader): LinkSpecifier {
  switch (type) {
    case IPV4:
    case IPV6: {
      const address = formatIp(reader.view(length - 2));
      return { kind: type === IPV4 ? "ipv4" : "ipv6", address, port: reader.u16() };
    }
    case RSA_ID:
      return { kind: "rsa-id", id: reader.copy(length) };
    case ED25519_ID:
      return { kind: "ed25519-id", id: reader.copy(length) };
    default:
      return { kind: "unknown", type, data: reader.copy(length) };
  }
}

function addressBytes(host: string): Uint8Array {
  const bytes = parseIp(host);
  if (!bytes) {
    throw new TunicError("Cannot write a link specifier: an address that is neither IPv4 nor IPv6", {
      kind: "argument",
      code: "bad-address",
    });
  }
  return bytes;
}
