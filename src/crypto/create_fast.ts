/**
 * The CREATE_FAST handshake (tor-spec section 5.1.5): no public keys, for a first hop whose link already proved
 * who the relay is.
 */
import { TunicError } from "../base/errors.ts";
import { concat } from "../bytes/bytes.ts";
import { SHA1_LENGTH } from "./digest.ts";
import { checkHandshakeLength, type ClientHandshake, handshakeFinished, type ServerHandshake } from "./handshake.ts";
import { kdfTor } from "./kdf.ts";
import { equalSecrets, type RandomSource, wipe } from "./secrets.ts";

/** Bytes of X. */
export const CREATE_FAST_LENGTH = SHA1_LENGTH;
/** Bytes of Y | KH. */
export const CREATED_FAST_LENGTH = 2 * SHA1_LENGTH;

/** The client's half. */
export class CreateFastClient implements ClientHandshake {
  readonly onionSkin: Uint8Array;
  #x: Uint8Array | undefined;

  private constructor(x: Uint8Array) {
    this.#x = x;
    this.onionSkin = x.slice();
  }

  static start(source: RandomSource): CreateFastClient {
    return new CreateFastClient(source.random(CREATE_FAST_LENGTH));
  }

  finish(reply: Uint8Array, keyLength: number): Uint8Array {
    const x = this.#x;
    if (x === undefined) throw handshakeFinished();
    this.#x = undefined;
    checkHandshakeLength("CREATED_FAST reply", reply, CREATED_FAST_LENGTH);
    const { kh, keyMaterial } = derive(x, reply.subarray(0, SHA1_LENGTH), keyLength);
    wipe(x);
    if (!equalSecrets(kh, reply.subarray(SHA1_LENGTH))) {
      throw new TunicError("Cannot finish the CREATE_FAST handshake: the relay's derivative key data (KH) is wrong", {
        kind: "crypto",
        code: "bad-create-fast-kh",
        retry: "elsewhere",
      });
    }
    return keyMaterial;
  }
}

/** The relay's half. */
export function createFastServer(source: RandomSource, onionSkin: Uint8Array, keyLength: number): ServerHandshake {
  checkHandshakeLength("CREATE_FAST handshake", onionSkin, CREATE_FAST_LENGTH);
  const y = source.random(SHA1_LENGTH);
  const { kh, keyMaterial } = derive(onionSkin, y, keyLength);
  return { reply: concat(y, kh), keyMaterial };
}

/** KH and what follows it, from K0 = X | Y. */
function derive(x: Uint8Array, y: Uint8Array, keyLength: number): { kh: Uint8Array; keyMaterial: Uint8Array } {
  const k0 = concat(x, y);
  const k = kdfTor(k0, SHA1_LENGTH + keyLength);
  wipe(k0);
  const result = { kh: k.slice(0, SHA1_LENGTH), keyMaterial: k.slice(SHA1_LENGTH) };
  wipe(k);
  return result;
}
