/**
 * Relay messages about a circuit: EXTEND2, EXTENDED2, SENDME (tor-spec 5.1.2, 7.3; proposal 289).
 *
 * TRUNCATED shares its reasons with DESTROY in create_cells.ts; TRUNCATE and DROP have no body. Bytes after the
 * fields are left for later versions and ignored.
 */
import type { Codec } from "../bytes/codec.ts";
import type { Reader } from "../bytes/reader.ts";
import type { Writer } from "../bytes/writer.ts";
import { CREATED2 } from "./create_cells.ts";
import { decodeLinkSpecifiers, encodeLinkSpecifiers, type LinkSpecifier } from "./link_specifier.ts";

export interface Extend2 {
  readonly linkSpecifiers: readonly LinkSpecifier[];
  /** One of `HandshakeType`. */
  readonly handshakeType: number;
  readonly handshake: Uint8Array;
}

export const EXTEND2: Codec<Extend2> = {
  what: "EXTEND2 message",
  encode(value: Extend2, writer: Writer): void {
    encodeLinkSpecifiers(value.linkSpecifiers, writer);
    writer.u16(value.handshakeType).lengthPrefixed(2, (body) => body.bytes(value.handshake));
  },
  decode(reader: Reader): Extend2 {
    const linkSpecifiers = decodeLinkSpecifiers(reader);
    const handshakeType = reader.u16();
    const handshake = reader.copy(reader.u16());
    reader.rest();
    return { linkSpecifiers, handshakeType, handshake };
  },
};

/** The server's handshake data, as in CREATED2. */
export const EXTENDED2: Codec<Uint8Array> = { ...CREATED2, what: "EXTENDED2 message" };

/** Bytes of the digest in a SENDME of version 1. */
export const SENDME_DIGEST_LEN = 20;

export type Sendme =
  | { readonly version: 0 }
  /** `digest`: the running digest of the cell that made the sender write this. */
  | { readonly version: 1; readonly digest: Uint8Array };

export const SENDME: Codec<Sendme> = {
  what: "SENDME message",
  encode(value: Sendme, writer: Writer): void {
    // Version 0 is written as it was before there were versions: with no body.
    if (value.version === 1) writer.u8(1).u16(SENDME_DIGEST_LEN).bytes(value.digest);
  },
  decode(reader: Reader): Sendme {
    const version = reader.remaining > 0 ? reader.u8() : 0;
    if (version === 0) {
      reader.rest();
      return { version };
    }
    if (version !== 1) reader.fail(`version ${version}, expected 0 or 1`);
    const length = reader.u16();
    if (length < SENDME_DIGEST_LEN) reader.fail(`a digest of ${length} bytes, expected ${SENDME_DIGEST_LEN}`);
    const digest = reader.view(length).slice(0, SENDME_DIGEST_LEN);
    reader.rest();
    return { version: 1, digest };
  },
};
