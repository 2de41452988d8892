/** Cells that set a link up and keep it padded (tor-spec 4.1–4.5, 7.2; padding-spec 2.1). */
import type { Codec } from "../bytes/codec.ts";
import { formatIp, parseIp } from "../bytes/ip.ts";
import type { Reader } from "../bytes/reader.ts";
import type { Writer } from "../bytes/writer.ts";
import { TunicError } from "../base/errors.ts";

/** The link versions that a party speaks; this cell alone takes no padding. */
export const VERSIONS: Codec<readonly number[]> = {
  what: "VERSIONS cell",
  encode(versions: readonly number[], writer: Writer): void {
    for (const version of versions) writer.u16(version);
  },
  decode(reader: Reader): readonly number[] {
    if (reader.remaining % 2 !== 0) reader.fail(`an odd number (${reader.remaining}) of bytes`);
    const versions: number[] = [];
    while (reader.remaining > 0) versions.push(reader.u16());
    return versions;
  },
};

/** Types of certificates in a CERTS cell (tor-spec 4.2, cert-spec A.1). */
export const CertType = {
  RSA_LINK: 1,
  RSA_ID: 2,
  RSA_AUTH: 3,
  ED25519_SIGNING: 4,
  ED25519_LINK: 5,
  ED25519_AUTH: 6,
  RSA_ED25519_CROSS: 7,
} as const;

/** Certificates by type, not looked into yet; the bodies are views of the cell. */
export type Certs = ReadonlyMap<number, Uint8Array>;

export const CERTS: Codec<Certs> = {
  what: "CERTS cell",
  encode(certs: Certs, writer: Writer): void {
    writer.u8(certs.size);
    for (const [type, body] of certs) writer.u8(type).lengthPrefixed(2, (inner) => inner.bytes(body));
  },
  decode(reader: Reader): Certs {
    const certs = new Map<number, Uint8Array>();
    for (let count = reader.u8(); count > 0; count--) {
      const type = reader.u8();
      const body = reader.view(reader.u16());
      if (certs.has(type)) reader.fail(`more than one certificate of type ${type}`);
      certs.set(type, body);
    }
    reader.rest();
    return certs;
  },
};

export interface AuthChallenge {
  /** 32 bytes. */
  readonly challenge: Uint8Array;
  readonly methods: readonly number[];
}

export const AUTH_CHALLENGE: Codec<AuthChallenge> = {
  what: "AUTH_CHALLENGE cell",
  encode(value: AuthChallenge, writer: Writer): void {
    writer.bytes(value.challenge).u16(value.methods.length);
    for (const method of value.methods) writer.u16(method);
  },
  decode(reader: Reader): AuthChallenge {
    const challenge = reader.copy(32);
    const list = reader.sub(2 * reader.u16(), "methods of an AUTH_CHALLENGE cell");
    const methods: number[] = [];
    while (list.remaining > 0) methods.push(list.u16());
    reader.rest();
    return { challenge, methods };
  },
};

/** How an initiator may prove who it is (tor-spec 4.4). */
export const AuthType = { RSA_SHA256_TLSSECRET: 1, ED25519_SHA256_RFC5705: 3 } as const;

export interface Authenticate {
  readonly type: number;
  /** A view of the cell. */
  readonly authentication: Uint8Array;
}

export const AUTHENTICATE: Codec<Authenticate> = {
  what: "AUTHENTICATE cell",
  encode(value: Authenticate, writer: Writer): void {
    writer.u16(value.type).lengthPrefixed(2, (inner) => inner.bytes(value.authentication));
  },
  decode(reader: Reader): Authenticate {
    const type = reader.u16();
    const authentication = reader.view(reader.u16());
    reader.rest();
    return { type, authentication };
  },
};

export interface Netinfo {
  /** Seconds since 1970, or 0 from those who do not tell. */
  readonly timestamp: number;
  /** The receiver's address as the sender sees it; `undefined` where it is unspecified or unintelligible. */
  readonly otherAddress: string | undefined;
  /** The sender's own addresses, none for a client. Unintelligible ones are left out. */
  readonly myAddresses: readonly string[];
}

const ATYPE_IPV4 = 4;
const ATYPE_IPV6 = 6;

export const NETINFO: Codec<Netinfo> = {
  what: "NETINFO cell",
  encode(value: Netinfo, writer: Writer): void {
    writer.u32(value.timestamp);
    encodeAddress(value.otherAddress ?? "0.0.0.0", writer);
    writer.u8(value.myAddresses.length);
    for (const address of value.myAddresses) encodeAddress(address, writer);
  },
  decode(reader: Reader): Netinfo {
    const timestamp = reader.u32();
    const otherAddress = decodeAddress(reader);
    const myAddresses: string[] = [];
    for (let count = reader.u8(); count > 0; count--) {
      const address = decodeAddress(reader);
      if (address !== undefined) myAddresses.push(address);
    }
    reader.rest();
    return { timestamp, otherAddress, myAddresses };
  },
};

/** Padding negotiation of link version 5. */
export interface PaddingNegotiate {
  readonly command: "start" | "stop";
  /** Bounds of the sender's wish for the padding timeout; 0 and 0 where it has none. */
  readonly lowMs: number;
  readonly highMs: number;
}

const PADDING_STOP = 1;
const PADDING_START = 2;

export const PADDING_NEGOTIATE: Codec<PaddingNegotiate> = {
  what: "PADDING_NEGOTIATE cell",
  encode(value: PaddingNegotiate, writer: Writer): void {
    writer.u8(0).u8(value.command === "start" ? PADDING_START : PADDING_STOP).u16(value.lowMs).u16(value.highMs);
  },
  decode(reader: Reader): PaddingNegotiate {
    const version = reader.u8();
    if (version !== 0) reader.fail(`version ${version}, expected 0`);
    const code = reader.u8();
    if (code !== PADDING_START && code !== PADDING_STOP) reader.fail(`command ${code}, expected 1 or 2`);
    const lowMs = reader.u16();
    const highMs = reader.u16();
    reader.rest();
    return { command: code === PADDING_START ? "start" : "stop", lowMs, highMs };
  },
};

function encodeAddress(address: string, writer: Writer): void {
  const bytes = parseIp(address);
  if (!bytes) {
    throw new TunicError("Cannot write a NETINFO cell: an address that is neither IPv4 nor IPv6", {
      kind: "argument",
      code: "bad-address",
    });
  }
  writer.u8(bytes.length === 4 ? ATYPE_IPV4 : ATYPE_IPV6).u8(bytes.length).bytes(bytes);
}

/** An unknown type or a length that does not fit it makes the address ignored, not the cell malformed. */
function decodeAddress(reader: Reader): string | undefined {
  const type = reader.u8();
  const bytes = reader.view(reader.u8());
  const known = (type === ATYPE_IPV4 && bytes.length === 4) || (type === ATYPE_IPV6 && bytes.length === 16);
  const unspecified = bytes.every((byte) => byte === 0);
  return known && !unspecified ? formatIp(bytes) : undefined;
}
