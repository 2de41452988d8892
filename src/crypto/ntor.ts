/**
 * The ntor handshake (tor-spec section 5.1.4): the client learns keys that only it and the relay with a
 * given identity and onion key know; the relay learns nothing about the client. Names are the specification's.
 */
import { TunicError } from "../base/errors.ts";
import { concat, equal } from "../bytes/bytes.ts";
import { utf8 } from "../bytes/text.ts";
import { hmacSha256, SHA1_LENGTH, SHA256_LENGTH } from "./digest.ts";
import { checkHandshakeLength, type ClientHandshake, handshakeFinished, type ServerHandshake } from "./handshake.ts";
import { hkdfSha256 } from "./kdf.ts";
import { equalSecrets, type RandomSource, wipe } from "./secrets.ts";
import { generateX25519, X25519_LENGTH, type X25519PrivateKey } from "./x25519.ts";

const ID_LENGTH = SHA1_LENGTH;
const H_LENGTH = SHA256_LENGTH;
const G_LENGTH = X25519_LENGTH;

/** Bytes of NODEID | KEYID | CLIENT_KP. */
export const NTOR_ONION_SKIN_LENGTH = ID_LENGTH + H_LENGTH + G_LENGTH;
/** Bytes of SERVER_KP | AUTH. */
export const NTOR_REPLY_LENGTH = G_LENGTH + H_LENGTH;

const PROTOID = utf8("ntor-curve25519-sha256-1");
const T_MAC = utf8("ntor-curve25519-sha256-1:mac");
const T_KEY = utf8("ntor-curve25519-sha256-1:key_extract");
const T_VERIFY = utf8("ntor-curve25519-sha256-1:verify");
const M_EXPAND = utf8("ntor-curve25519-sha256-1:key_expand");
const SERVER = utf8("Server");

/** What identifies a relay to the handshake. */
export interface NtorRelay {
  /** ID: SHA-1 of the RSA identity key, 20 bytes. */
  readonly rsaId: Uint8Array;
  /** B: the onion key, 32 bytes. */
  readonly ntorKey: Uint8Array;
}

/** The client's half. */
export class NtorClient implements ClientHandshake {
  readonly onionSkin: Uint8Array;
  readonly #relay: NtorRelay;
  #x: X25519PrivateKey | undefined;

  private constructor(relay: NtorRelay, x: X25519PrivateKey) {
    if (relay.rsaId.length !== ID_LENGTH || relay.ntorKey.length !== G_LENGTH) {
      throw new RangeError("a relay's identity must have 20 bytes and its onion key 32");
    }
    this.#relay = relay;
    this.#x = x;
    this.onionSkin = concat(relay.rsaId, relay.ntorKey, x.publicKey);
  }

  static start(source: RandomSource, relay: NtorRelay): NtorClient {
    return new NtorClient(relay, generateX25519(source));
  }

  finish(reply: Uint8Array, keyLength: number): Uint8Array {
    const x = this.#x;
    if (x === undefined) throw handshakeFinished();
    this.#x = undefined;
    checkHandshakeLength("relay's ntor reply", reply, NTOR_REPLY_LENGTH);
    const Y = reply.subarray(0, G_LENGTH);
    const { rsaId, ntorKey } = this.#relay;
    const secretInput = ntorSecretInput(x.sharedSecret(Y), x.sharedSecret(ntorKey), rsaId, ntorKey, x.publicKey, Y);
    try {
      const expected = ntorAuth(secretInput, rsaId, ntorKey, x.publicKey, Y);
      if (!equalSecrets(expected, reply.subarray(G_LENGTH))) {
        throw new TunicError("Cannot finish the ntor handshake: the relay's AUTH is wrong: it does not hold the key", {
          kind: "crypto",
          code: "bad-ntor-mac",
          retry: "elsewhere",
        });
      }
      return hkdfSha256(secretInput, T_KEY, M_EXPAND, keyLength);
    } finally {
      wipe(secretInput);
    }
  }
}

/**
 * The relay's half: answers `onionSkin` with the one of `onionKeys` (the present one and those before it) that the
 * client used. Throws `malformed`, or `crypto` where the client means another relay or key.
 */
export function ntorServer(
  source: RandomSource,
  rsaId: Uint8Array,
  onionKeys: readonly X25519PrivateKey[],
  onionSkin: Uint8Array,
  keyLength: number,
): ServerHandshake {
  checkHandshakeLength("client's ntor handshake", onionSkin, NTOR_ONION_SKIN_LENGTH);
  const keyId = onionSkin.subarray(ID_LENGTH, ID_LENGTH + H_LENGTH);
  const X = onionSkin.subarray(ID_LENGTH + H_LENGTH);
  const b = onionKeys.find((key) => equal(key.publicKey, keyId));
  if (b === undefined || !equal(onionSkin.subarray(0, ID_LENGTH), rsaId)) {
    throw new TunicError("Cannot answer the ntor handshake: it is for another relay or an onion key of the past", {
      kind: "crypto",
      code: "unknown-ntor-key",
    });
  }
  const y = generateX25519(source);
  const secretInput = ntorSecretInput(y.sharedSecret(X), b.sharedSecret(X), rsaId, b.publicKey, X, y.publicKey);
  const reply = concat(y.publicKey, ntorAuth(secretInput, rsaId, b.publicKey, X, y.publicKey));
  const keyMaterial = hkdfSha256(secretInput, T_KEY, M_EXPAND, keyLength);
  wipe(secretInput);
  return { reply, keyMaterial };
}

/** secret_input = EXP(Y,x) | EXP(B,x) | ID | B | X | Y | PROTOID, or with EXP(X,y) | EXP(X,b) at the relay. */
function ntorSecretInput(
  xy: Uint8Array,
  xb: Uint8Array,
  ID: Uint8Array,
  B: Uint8Array,
  X: Uint8Array,
  Y: Uint8Array,
): Uint8Array {
  const secretInput = concat(xy, xb, ID, B, X, Y, PROTOID);
  wipe(xy, xb);
  return secretInput;
}

/** AUTH = H(verify | ID | B | Y | X | PROTOID | "Server", t_mac), where verify = H(secret_input, t_verify). */
function ntorAuth(secretInput: Uint8Array, ID: Uint8Array, B: Uint8Array, X: Uint8Array, Y: Uint8Array): Uint8Array {
  const verify = hmacSha256(T_VERIFY, secretInput);
  return hmacSha256(T_MAC, verify, ID, B, Y, X, PROTOID, SERVER);
}
