/** Cells that make and end circuits (tor-spec 5.1, 5.1.5, 5.4). Bytes after the fields are padding and ignored. */
import type { Codec } from "../bytes/codec.ts";
import type { Reader } from "../bytes/reader.ts";
import type { Writer } from "../bytes/writer.ts";

/** HTYPE: which handshake a CREATE2 or EXTEND2 starts. */
export const HandshakeType = { TAP: 0, NTOR: 2, NTOR_V3: 3 } as const;

/** Bytes of X in CREATE_FAST, and of Y and of KH in CREATED_FAST. */
export const FAST_KEY_LEN = 20;

export interface Create2 {
  /** One of {@link HandshakeType}, or unknown to us. */
  readonly handshakeType: number;
  readonly handshake: Uint8Array;
}

export const CREATE2: Codec<Create2> = {
  what: "CREATE2 cell",
  encode(value: Create2, writer: Writer): void {
    writer.u16(value.handshakeType).lengthPrefixed(2, (body) => body.bytes(value.handshake));
  },
  decode(reader: Reader): Create2 {
    const handshakeType = reader.u16();
    const handshake = reader.copy(reader.u16());
    reader.rest();
    return { handshakeType, handshake };
  },
};

/** The server's handshake data. */
export const CREATED2: Codec<Uint8Array> = {
  what: "CREATED2 cell",
  encode(handshake: Uint8Array, writer: Writer): void {
    writer.lengthPrefixed(2, (body) => body.bytes(handshake));
  },
  decode(reader: Reader): Uint8Array {
    const handshake = reader.copy(reader.u16());
    reader.rest();
    return handshake;
  },
};

/** The client's key material X. */
export const CREATE_FAST: Codec<Uint8Array> = {
  what: "CREATE_FAST cell",
  encode(x: Uint8Array, writer: Writer): void {
    writer.bytes(x);
  },
  decode(reader: Reader): Uint8Array {
    const x = reader.copy(FAST_KEY_LEN);
    reader.rest();
    return x;
  },
};

export interface CreatedFast {
  /** Y. */
  readonly y: Uint8Array;
  /** KH: proof that the server derived the same keys. */
  readonly derivativeKeyData: Uint8Array;
}

export const CREATED_FAST: Codec<CreatedFast> = {
  what: "CREATED_FAST cell",
  encode(value: CreatedFast, writer: Writer): void {
    writer.bytes(value.y).bytes(value.derivativeKeyData);
  },
  decode(reader: Reader): CreatedFast {
    const y = reader.copy(FAST_KEY_LEN);
    const derivativeKeyData = reader.copy(FAST_KEY_LEN);
    reader.rest();
    return { y, derivativeKeyData };
  },
};

/** Why a circuit was closed: in DESTROY cells and TRUNCATED messages. */
export const DestroyReason = {
  NONE: 0,
  PROTOCOL: 1,
  INTERNAL: 2,
  REQUESTED: 3,
  HIBERNATING: 4,
  RESOURCELIMIT: 5,
  CONNECTFAILED: 6,
  OR_IDENTITY: 7,
  CHANNEL_CLOSED: 8,
  FINISHED: 9,
  TIMEOUT: 10,
  DESTROYED: 11,
  NOSUCHSERVICE: 12,
} as const;

const REASON_NAMES = new Map<number, string>(Object.entries(DestroyReason).map(([name, code]) => [code, name]));

/** A reason's name; "reason 77" for one that the specification does not have. */
export function destroyReasonName(reason: number): string {
  return REASON_NAMES.get(reason) ?? `reason ${reason}`;
}

/** The reason, one of {@link DestroyReason} or unknown to us; NONE where the byte is missing. */
export const DESTROY: Codec<number> = {
  what: "DESTROY cell",
  encode(reason: number, writer: Writer): void {
    writer.u8(reason);
  },
  decode: decodeReason,
};

/**
 * A TRUNCATED message's reason, as in DESTROY; NONE where the byte is missing (reading past an empty body is what
 * TROVE-2026-011 was about).
 */
export const TRUNCATED: Codec<number> = { what: "TRUNCATED message", encode: DESTROY.encode, decode: decodeReason };

function decodeReason(reader: Reader): number {
  const reason = reader.remaining > 0 ? reader.u8() : DestroyReason.NONE;
  reader.rest();
  return reason;
}
