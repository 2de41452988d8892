/** What the handshakes that make a circuit's hop have in common. */
import { TunicError } from "../base/errors.ts";

/** The client's half of a handshake, waiting for the relay's reply. */
export interface ClientHandshake {
  /** What goes into the CREATE, CREATE2 or EXTEND2 message. */
  readonly onionSkin: Uint8Array;
  /**
   * Takes the relay's reply and gives `keyLength` bytes of key material. Throws `malformed` for a reply of the
   * wrong length and `crypto` for one that does not prove the relay's identity. Can be called once.
   */
  finish(reply: Uint8Array, keyLength: number): Uint8Array;
}

/** What the relay's half gives. */
export interface ServerHandshake {
  /** What goes into the CREATED, CREATED2 or EXTENDED2 message. */
  readonly reply: Uint8Array;
  readonly keyMaterial: Uint8Array;
}

export function checkHandshakeLength(what: string, bytes: Uint8Array, expected: number): void {
  if (bytes.length === expected) return;
  throw new TunicError(`Cannot read the ${what}: ${bytes.length} bytes, expected ${expected}`, {
    kind: "malformed",
    code: "handshake-length",
    retry: "elsewhere",
  });
}

export function handshakeFinished(): TunicError {
  return new TunicError("Cannot finish the handshake: it was finished before", {
    kind: "internal",
    code: "handshake-finished",
  });
}
