/** The relay's end of one hop's relay crypto (tor-spec 5.5.2, 6.1), cell by cell, written apart from the client's. */
import { AesCtr } from "../../src/crypto/aes_ctr.ts";
import { RunningDigest } from "../../src/crypto/digest.ts";
import type { RelayKeys } from "../../src/crypto/kdf.ts";
import { PAYLOAD_LEN } from "../../src/wire/cell.ts";
import {
  RELAY_DIGEST_AT,
  RELAY_DIGEST_LEN,
  RELAY_RECOGNIZED_AT,
  writeRelayPayload,
} from "../../src/wire/relay_cell.ts";

export class RelayHop {
  readonly #forward: AesCtr;
  readonly #backward: AesCtr;
  #forwardDigest = new RunningDigest("sha1");
  #backwardDigest = new RunningDigest("sha1");

  constructor(keys: RelayKeys) {
    this.#forward = new AesCtr(keys.kf);
    this.#backward = new AesCtr(keys.kb);
    this.#forwardDigest.update(keys.df);
    this.#backwardDigest.update(keys.db);
  }

  /** Takes one layer off a payload from the client; `digest` is there where the payload is for this hop. */
  open(payload: Uint8Array): { payload: Uint8Array; digest: Uint8Array | undefined } {
    const opened = this.#forward.apply(payload);
    if (opened[RELAY_RECOGNIZED_AT] !== 0 || opened[RELAY_RECOGNIZED_AT + 1] !== 0) {
      return { payload: opened, digest: undefined };
    }
    const fieldEnd = RELAY_DIGEST_AT + RELAY_DIGEST_LEN;
    const field = opened.slice(RELAY_DIGEST_AT, fieldEnd);
    const hashed = opened.slice();
    hashed.fill(0, RELAY_DIGEST_AT, fieldEnd);
    const running = this.#forwardDigest.fork();
    running.update(hashed);
    const digest = running.peek();
    if (field.some((byte, i) => byte !== digest[i])) return { payload: opened, digest: undefined };
    this.#forwardDigest = running;
    return { payload: hashed, digest };
  }

  /** A message of this hop with its digest, under this hop's layer; `digest` is the whole of it. */
  say(command: number, streamId: number, data: Uint8Array): { payload: Uint8Array; digest: Uint8Array } {
    const payload = new Uint8Array(PAYLOAD_LEN);
    writeRelayPayload(payload, 0, command, streamId, data);
    return this.seal(payload);
  }

  /** As {@link say}, of a payload that may break every rule. */
  seal(payload: Uint8Array): { payload: Uint8Array; digest: Uint8Array } {
    this.#backwardDigest.update(payload);
    const digest = this.#backwardDigest.peek();
    payload.set(digest.subarray(0, RELAY_DIGEST_LEN), RELAY_DIGEST_AT);
    return { payload: this.pass(payload), digest };
  }

  /** Puts this hop's layer on a payload that goes to the client. */
  pass(payload: Uint8Array): Uint8Array {
    return this.#backward.apply(payload);
  }
}
