/**
 * Relay messages of onion services (rend-spec-v3 3 and 4), as services, clients and the relays between them see them.
 *
 * RENDEZVOUS_ESTABLISHED has no body. Bytes after the fields are left for later versions and ignored, and so are
 * extensions that are not known.
 */
import { TunicError } from "../base/errors.ts";
import { concat } from "../bytes/bytes.ts";
import type { Codec } from "../bytes/codec.ts";
import { Reader } from "../bytes/reader.ts";
import { utf8 } from "../bytes/text.ts";
import { Writer } from "../bytes/writer.ts";
import { SHA3_256_LENGTH, sha3Mac } from "../crypto/digest.ts";
import { ED25519_LENGTH, ED25519_SIGNATURE_LENGTH, verifyEd25519 } from "../crypto/ed25519.ts";
import { equalSecrets } from "../crypto/secrets.ts";
import type { EdSigner } from "./ed_cert.ts";

/** AUTH_KEY_TYPE: the only one that is not of the past. */
const ED25519_SHA3_256 = 2;
const SIGNATURE_PREFIX = utf8("Tor establish-intro cell v1");
/** Zero in all messages but those of onion services of version 2. */
const LEGACY_KEY_ID_LEN = 20;

export const RENDEZVOUS_COOKIE_LEN = 20;

/** EXT_FIELD_TYPE of ESTABLISH_INTRO. */
export const EstablishIntroExtension = { DOS_PARAMETERS: 1 } as const;

export interface HsExtension {
  readonly type: number;
  /** At most 255 bytes. */
  readonly field: Uint8Array;
}

/** What a service asks an introduction point for. */
export interface IntroPointRequest {
  /** KP_hs_ipt_sid, which clients name the introduction point's circuit by: 32 bytes. */
  readonly authKey: Uint8Array;
  readonly extensions: readonly HsExtension[];
}

/** An ESTABLISH_INTRO whose MAC and signature nobody checked; {@link openEstablishIntro} does. */
export interface EstablishIntro extends IntroPointRequest {
  /** HANDSHAKE_AUTH: the MAC that only this circuit's ends can make, 32 bytes. */
  readonly handshakeAuth: Uint8Array;
  /** 64 bytes. */
  readonly signature: Uint8Array;
}

export const ESTABLISH_INTRO: Codec<EstablishIntro> = {
  what: "ESTABLISH_INTRO message",
  encode(value: EstablishIntro, writer: Writer): void {
    writeRequest(value, writer);
    writer.bytes(value.handshakeAuth).u16(ED25519_SIGNATURE_LENGTH).bytes(value.signature);
  },
  decode: (reader) => readEstablishIntro(reader).message,
};

/** The message that a service sends on the circuit whose handshake gave `kh`; `signer` has the authentication key. */
export function makeEstablishIntro(extensions: readonly HsExtension[], signer: EdSigner, kh: Uint8Array): Uint8Array {
  const writer = new Writer(160);
  writeRequest({ authKey: signer.publicKey, extensions }, writer);
  const request = writer.finish();
  const signed = concat(request, sha3Mac(kh, request));
  const signature = signer.sign(concat(SIGNATURE_PREFIX, signed));
  return concat(signed, Uint8Array.of(0, ED25519_SIGNATURE_LENGTH), signature);
}

/**
 * What an ESTABLISH_INTRO on the circuit whose handshake gave `kh` asks for. Throws `malformed`, and `crypto` where the
 * signature is not the authentication key's or the message was made for another circuit.
 */
export function openEstablishIntro(bytes: Uint8Array, kh: Uint8Array): IntroPointRequest {
  const { message, requestEnd, signedEnd } = readEstablishIntro(Reader.whole(bytes, ESTABLISH_INTRO.what));
  if (!verifyEd25519(message.signature, concat(SIGNATURE_PREFIX, bytes.subarray(0, signedEnd)), message.authKey)) {
    throw refused("bad-intro-signature", "its signature does not verify");
  }
  if (!equalSecrets(sha3Mac(kh, bytes.subarray(0, requestEnd)), message.handshakeAuth)) {
    throw refused("bad-intro-mac", "its MAC is wrong: it was made for another circuit");
  }
  return { authKey: message.authKey, extensions: message.extensions };
}

/** How many INTRODUCE2 the service wants a second, and at once; one of them zero: as many as there are. */
export interface IntroDosParameters {
  readonly ratePerSecond: number;
  readonly burst: number;
}

const DosParameter = { RATE_PER_SECOND: 1, BURST: 2 } as const;
const DOS_MAX = 0x7fff_ffff;

/** The field of an ESTABLISH_INTRO's extension of type DOS_PARAMETERS (rend-spec-v3 3.1.1.1). */
export const INTRO_DOS_PARAMETERS: Codec<IntroDosParameters> = {
  what: "denial-of-service extension",
  encode({ ratePerSecond, burst }: IntroDosParameters, writer: Writer): void {
    writer.u8(2).u8(DosParameter.RATE_PER_SECOND).u64(BigInt(ratePerSecond));
    writer.u8(DosParameter.BURST).u64(BigInt(burst));
  },
  decode(reader: Reader): IntroDosParameters {
    let ratePerSecond = 0;
    let burst = 0;
    for (let count = reader.u8(); count > 0; count--) {
      const type = reader.u8();
      const value = reader.u64();
      if (value > DOS_MAX) reader.fail(`a parameter of ${value}, expected at most ${DOS_MAX}`);
      if (type === DosParameter.RATE_PER_SECOND) ratePerSecond = Number(value);
      else if (type === DosParameter.BURST) burst = Number(value);
    }
    reader.rest();
    if (ratePerSecond > 0 && burst > 0 && burst < ratePerSecond) reader.fail("a burst that is below the rate");
    return { ratePerSecond, burst };
  },
};

export const INTRO_ESTABLISHED: Codec<{ readonly extensions: readonly HsExtension[] }> = {
  what: "INTRO_ESTABLISHED message",
  encode: ({ extensions }, writer) => writeExtensions(extensions, writer),
  decode(reader: Reader) {
    // Relays of old sent no body.
    const extensions = reader.remaining > 0 ? readExtensions(reader) : [];
    reader.rest();
    return { extensions };
  },
};

/** The part of an INTRODUCE1, or of the INTRODUCE2 it becomes, that an introduction point can read. */
export interface Introduce {
  /** Which introduction circuit is meant: 32 bytes. */
  readonly authKey: Uint8Array;
  readonly extensions: readonly HsExtension[];
  /** For the service alone; never empty. */
  readonly encrypted: Uint8Array;
}

export const INTRODUCE1: Codec<Introduce> = introduceCodec("INTRODUCE1 message");
export const INTRODUCE2: Codec<Introduce> = introduceCodec("INTRODUCE2 message");

/** STATUS of INTRODUCE_ACK. */
export const IntroduceStatus = { SUCCESS: 0, UNKNOWN_ID: 1, BAD_FORMAT: 2, CANNOT_RELAY: 3 } as const;

export interface IntroduceAck {
  /** One of {@link IntroduceStatus}, or unknown to us. */
  readonly status: number;
  readonly extensions: readonly HsExtension[];
}

export const INTRODUCE_ACK: Codec<IntroduceAck> = {
  what: "INTRODUCE_ACK message",
  encode({ status, extensions }: IntroduceAck, writer: Writer): void {
    writeExtensions(extensions, writer.u16(status));
  },
  decode(reader: Reader): IntroduceAck {
    const status = reader.u16();
    const extensions = readExtensions(reader);
    reader.rest();
    return { status, extensions };
  },
};

/** The rendezvous cookie, 20 bytes. */
export const ESTABLISH_RENDEZVOUS: Codec<Uint8Array> = {
  what: "ESTABLISH_RENDEZVOUS message",
  encode: (cookie, writer) => void writer.bytes(cookie),
  decode(reader: Reader): Uint8Array {
    const cookie = reader.copy(RENDEZVOUS_COOKIE_LEN);
    reader.rest();
    return cookie;
  },
};

export interface Rendezvous1 {
  readonly cookie: Uint8Array;
  /** For the client: what RENDEZVOUS2 carries. */
  readonly handshakeInfo: Uint8Array;
}

export const RENDEZVOUS1: Codec<Rendezvous1> = {
  what: "RENDEZVOUS1 message",
  encode({ cookie, handshakeInfo }: Rendezvous1, writer: Writer): void {
    writer.bytes(cookie).bytes(handshakeInfo);
  },
  decode(reader: Reader): Rendezvous1 {
    return { cookie: reader.copy(RENDEZVOUS_COOKIE_LEN), handshakeInfo: reader.copy(reader.remaining) };
  },
};

/** HANDSHAKE_INFO. */
export const RENDEZVOUS2: Codec<Uint8Array> = {
  what: "RENDEZVOUS2 message",
  encode: (handshakeInfo, writer) => void writer.bytes(handshakeInfo),
  decode: (reader) => reader.copy(reader.remaining),
};

function introduceCodec(what: string): Codec<Introduce> {
  return {
    what,
    encode({ authKey, extensions, encrypted }: Introduce, writer: Writer): void {
      writeRequest({ authKey, extensions }, writer.zeros(LEGACY_KEY_ID_LEN));
      writer.bytes(encrypted);
    },
    decode(reader: Reader): Introduce {
      if (reader.view(LEGACY_KEY_ID_LEN).some((byte) => byte !== 0)) reader.fail("a key of version 2");
      const request = readRequest(reader);
      if (reader.remaining === 0) reader.fail("nothing for the service");
      return { ...request, encrypted: reader.copy(reader.remaining) };
    },
  };
}

/** With the offsets where the MAC's and the signature's part of the message end. */
function readEstablishIntro(reader: Reader): { message: EstablishIntro; requestEnd: number; signedEnd: number } {
  const request = readRequest(reader);
  const requestEnd = reader.position;
  const handshakeAuth = reader.copy(SHA3_256_LENGTH);
  const signedEnd = reader.position;
  const length = reader.u16();
  if (length !== ED25519_SIGNATURE_LENGTH) reader.fail(`a signature of ${length} bytes`);
  const signature = reader.copy(length);
  reader.rest();
  return { message: { ...request, handshakeAuth, signature }, requestEnd, signedEnd };
}

function writeRequest({ authKey, extensions }: IntroPointRequest, writer: Writer): void {
  writer.u8(ED25519_SHA3_256).u16(ED25519_LENGTH).bytes(authKey);
  writeExtensions(extensions, writer);
}

function readRequest(reader: Reader): IntroPointRequest {
  const type = reader.u8();
  if (type !== ED25519_SHA3_256) reader.fail(`a key of type ${type}, expected ${ED25519_SHA3_256}`);
  const length = reader.u16();
  if (length !== ED25519_LENGTH) reader.fail(`a key of ${length} bytes, expected ${ED25519_LENGTH}`);
  return { authKey: reader.copy(ED25519_LENGTH), extensions: readExtensions(reader) };
}

function writeExtensions(extensions: readonly HsExtension[], writer: Writer): void {
  if (extensions.length > 255) throw new RangeError(`${extensions.length} extensions, expected at most 255`);
  writer.u8(extensions.length);
  for (const { type, field } of extensions) writer.u8(type).lengthPrefixed(1, (body) => body.bytes(field));
}

function readExtensions(reader: Reader): HsExtension[] {
  const extensions: HsExtension[] = [];
  for (let count = reader.u8(); count > 0; count--) {
    const type = reader.u8();
    extensions.push({ type, field: reader.copy(reader.u8()) });
  }
  return extensions;
}

function refused(code: string, detail: string): TunicError {
  return new TunicError(`Cannot accept an ESTABLISH_INTRO message: ${detail}`, { kind: "crypto", code });
}
