/**
 * One layer of an onion (tor-spec 5.5 and 6.1), as the client or as the relay holds it: AES-128-CTR and a running SHA-1
 * for each direction.
 *
 * Built for batches: the payloads of many cells lie one after the other in one buffer, so a layer is one native call
 * for all of them, and so is the digest.
 */
import { TunicError } from "../base/errors.ts";
import { AesCtr } from "../crypto/aes_ctr.ts";
import { RunningDigest } from "../crypto/digest.ts";
import type { RelayKeys } from "../crypto/kdf.ts";
import { PAYLOAD_LEN } from "../wire/cell.ts";
import { RELAY_DIGEST_AT, RELAY_DIGEST_LEN, relayRecognized } from "../wire/relay_cell.ts";

/** Asked and told about the digests at cells that a SENDME must name. */
export interface DigestPoints {
  /** Whether the whole digest at the payload that begins at `at` is wanted. */
  isPoint(payloads: Uint8Array, at: number): boolean;
  digest(digest: Uint8Array): void;
}

export class RelayLayer {
  readonly #encryption: AesCtr;
  readonly #decryption: AesCtr;
  readonly #sent: RunningDigest;
  #received: RunningDigest;

  /** `side`: whose layer this is; what one sends the other receives. */
  constructor(keys: RelayKeys, side: "client" | "relay") {
    const forward = { cipher: new AesCtr(keys.kf), digest: seeded(keys.df) };
    const backward = { cipher: new AesCtr(keys.kb), digest: seeded(keys.db) };
    const [out, back] = side === "client" ? [forward, backward] : [backward, forward];
    this.#encryption = out.cipher;
    this.#sent = out.digest;
    this.#decryption = back.cipher;
    this.#received = back.digest;
  }

  /** Payloads on their way out, encrypted with this layer: a new array. */
  encrypt(payloads: Uint8Array): Uint8Array {
    return this.#encryption.apply(payloads);
  }

  /** Payloads that came in, with this layer taken off: a new array. */
  decrypt(payloads: Uint8Array): Uint8Array {
    return this.#decryption.apply(payloads);
  }

  /** Fills the digest fields of payloads that have zero there and in their recognized fields. */
  sign(payloads: Uint8Array, points?: DigestPoints): void {
    for (let at = 0; at < payloads.length; at += PAYLOAD_LEN) {
      this.#sent.update(payloads.subarray(at, at + PAYLOAD_LEN));
      const digest = this.#sent.peek();
      const field = at + RELAY_DIGEST_AT;
      for (let i = 0; i < RELAY_DIGEST_LEN; i++) payloads[field + i] = digest[i]!;
      if (points?.isPoint(payloads, at)) points.digest(digest);
    }
  }

  /**
   * Offset of the first payload, decrypted, that the other side signed for this layer, or -1; takes it into the running
   * digest and zeroes its digest field. A stranger's payload looks recognized once in 65,536 times, so the digest
   * decides each time.
   */
  findRecognized(payloads: Uint8Array): number {
    for (let at = 0; at < payloads.length; at += PAYLOAD_LEN) {
      if (relayRecognized(payloads, at) !== 0) continue;
      const payload = payloads.slice(at, at + PAYLOAD_LEN);
      const field = takeDigestField(payload, 0);
      const digest = this.#received.fork();
      digest.update(payload);
      if (!startsWith(digest.peek(), field)) continue;
      this.#received = digest;
      payloads.set(payload, at);
      return at;
    }
    return -1;
  }

  /** The digest over everything received so far. */
  receivedDigest(): Uint8Array {
    return this.#received.peek();
  }

  /**
   * Checks payloads, decrypted, all of which the other side must have signed for this layer, and zeroes their digest
   * fields. The digest runs over everything before it, so the last one answers for every byte of the batch (but for the
   * digest fields themselves, which say nothing else). Throws `crypto`: then nothing of the batch may be used.
   */
  verify(payloads: Uint8Array, points: DigestPoints): void {
    let hashed = 0;
    for (let at = 0; at < payloads.length; at += PAYLOAD_LEN) {
      if (relayRecognized(payloads, at) !== 0) throw notOurs("a cell that no hop recognizes");
      const field = takeDigestField(payloads, at);
      const isPoint = points.isPoint(payloads, at);
      const end = at + PAYLOAD_LEN;
      if (!isPoint && end < payloads.length) continue;
      this.#received.update(payloads.subarray(hashed, end));
      hashed = end;
      const digest = this.#received.peek();
      if (!startsWith(digest, field)) throw notOurs("a digest that does not match");
      if (isPoint) points.digest(digest);
    }
  }
}

function seeded(seed: Uint8Array): RunningDigest {
  const digest = new RunningDigest("sha1");
  digest.update(seed);
  return digest;
}

/** Reads the digest field at a payload and zeroes it, as the digest is computed (tor-spec 6.1). */
function takeDigestField(payloads: Uint8Array, at: number): number {
  const i = at + RELAY_DIGEST_AT;
  const value = (payloads[i]! << 24) | (payloads[i + 1]! << 16) | (payloads[i + 2]! << 8) | payloads[i + 3]!;
  payloads.fill(0, i, i + RELAY_DIGEST_LEN);
  return value;
}

function startsWith(digest: Uint8Array, field: number): boolean {
  return ((digest[0]! << 24) | (digest[1]! << 16) | (digest[2]! << 8) | digest[3]!) === field;
}

function notOurs(found: string): TunicError {
  return new TunicError(`Cannot open a relay cell: found ${found}`, {
    kind: "crypto",
    code: "bad-relay-digest",
    retry: "elsewhere",
  });
}
