/**
 * The onion layers of a client's circuit (tor-spec 5.5 and 6.1): AES-128-CTR per hop and direction, and a
 * running SHA-1 over what each hop and we say to each other.
 *
 * Built for batches. The payloads of many cells of one circuit lie one after the other in one buffer, so a
 * layer is one native call for all of them, and so is the digest. A batch that came from the last hop is
 * authenticated by the digest of its last cell: the digest runs over everything before it, so one comparison
 * covers every byte of the batch (but for the digest fields themselves, which say nothing else), and nothing of
 * the batch is delivered before that comparison has succeeded.
 */
import { TunicError } from "../base/errors.ts";
import { AesCtr } from "../crypto/aes_ctr.ts";
import { RunningDigest } from "../crypto/digest.ts";
import type { RelayKeys } from "../crypto/kdf.ts";
import { PAYLOAD_LEN } from "../wire/cell.ts";
import { RELAY_DIGEST_AT, RELAY_DIGEST_LEN, relayRecognized } from "../wire/relay_cell.ts";

/** What one hop and we share. */
class Layer {
  readonly forward: AesCtr;
  readonly backward: AesCtr;
  readonly forwardDigest: RunningDigest;
  backwardDigest: RunningDigest;

  constructor(keys: RelayKeys) {
    this.forward = new AesCtr(keys.kf);
    this.backward = new AesCtr(keys.kb);
    this.forwardDigest = new RunningDigest("sha1");
    this.forwardDigest.update(keys.df);
    this.backwardDigest = new RunningDigest("sha1");
    this.backwardDigest.update(keys.db);
  }
}

/** Gets authenticated payloads, in the order the cells came; called again for each hop that spoke. */
export interface OpenedCells {
  /** Whether the digest at this cell, if it is one of `hop`, is wanted (it goes into a SENDME). */
  isDigestPoint(hop: number, payloads: Uint8Array, offset: number): boolean;
  digest(hop: number, digest: Uint8Array): void;
  /** `payloads` holds `count` payloads from `hop`, decrypted, digest fields zeroed; the receiver's to keep. */
  deliver(hop: number, payloads: Uint8Array, count: number): void;
}

export class ClientRelayCrypto {
  readonly #layers: Layer[] = [];

  get hops(): number {
    return this.#layers.length;
  }

  addHop(keys: RelayKeys): void {
    this.#layers.push(new Layer(keys));
  }

  /**
   * Encrypts `count` payloads, which lie one after the other with zero in their recognized and digest fields,
   * for `hop`; the fields are filled in place. Answers the encrypted payloads.
   *
   * `wantDigest(i)` asks for the whole 20-byte digest at payload `i`, handed to `onDigest`.
   */
  seal(
    hop: number,
    payloads: Uint8Array,
    wantDigest: (index: number) => boolean,
    onDigest: (digest: Uint8Array) => void,
  ): Uint8Array {
    const running = this.#layers[hop]!.forwardDigest;
    for (let at = 0, index = 0; at < payloads.length; at += PAYLOAD_LEN, index++) {
      running.update(payloads.subarray(at, at + PAYLOAD_LEN));
      const digest = running.peek();
      const field = at + RELAY_DIGEST_AT;
      for (let i = 0; i < RELAY_DIGEST_LEN; i++) payloads[field + i] = digest[i]!;
      if (wantDigest(index)) onDigest(digest);
    }
    let sealed = payloads;
    for (let i = hop; i >= 0; i--) sealed = this.#layers[i]!.forward.apply(sealed);
    return sealed;
  }

  /**
   * Decrypts payloads that lie one after the other and hands them to `to`.
   *
   * Throws `crypto`, and the circuit must be closed, when a cell is nobody's or was changed on its way.
   */
  open(payloads: Uint8Array, to: OpenedCells): void {
    let batch = payloads;
    const last = this.#layers.length - 1;
    for (let hop = 0; hop < last; hop++) {
      batch = this.#layers[hop]!.backward.apply(batch);
      const early = this.#findRecognized(hop, batch);
      if (early >= 0) {
        // Rare: a hop before the last one speaks. What lies before its cell goes through the other layers first,
        // so that order and keystreams stay right; what lies after it is still to be looked at from this layer on.
        this.#openFrom(hop + 1, batch.subarray(0, early), to);
        this.#deliverOne(hop, batch, early, to);
        this.#openRest(hop, batch.subarray(early + PAYLOAD_LEN), to);
        return;
      }
    }
    this.#openLast(last, this.#layers[last]!.backward.apply(batch), to);
  }

  /** Goes on with payloads that layers before `hop` have decrypted. */
  #openFrom(hop: number, payloads: Uint8Array, to: OpenedCells): void {
    if (payloads.length === 0) return;
    this.#openRest(hop, this.#layers[hop]!.backward.apply(payloads), to);
  }

  /** Goes on with payloads that layers up to `hop` have decrypted, one of them perhaps from `hop`. */
  #openRest(hop: number, payloads: Uint8Array, to: OpenedCells): void {
    if (payloads.length === 0) return;
    if (hop === this.#layers.length - 1) return this.#openLast(hop, payloads, to);
    const early = this.#findRecognized(hop, payloads);
    if (early < 0) return this.#openFrom(hop + 1, payloads, to);
    this.#openFrom(hop + 1, payloads.subarray(0, early), to);
    this.#deliverOne(hop, payloads, early, to);
    this.#openRest(hop, payloads.subarray(early + PAYLOAD_LEN), to);
  }

  /** Delivers the payload at `at`, which {@link #findRecognized} has just found. */
  #deliverOne(hop: number, payloads: Uint8Array, at: number, to: OpenedCells): void {
    const payload = payloads.slice(at, at + PAYLOAD_LEN);
    if (to.isDigestPoint(hop, payload, 0)) to.digest(hop, this.#layers[hop]!.backwardDigest.peek());
    to.deliver(hop, payload, 1);
  }

  /**
   * Offset of the first payload that `hop` itself sent, or -1; takes it into the hop's digest. A stranger's
   * payload looks recognized once in 65,536 times, so the digest decides each time.
   */
  #findRecognized(hop: number, payloads: Uint8Array): number {
    for (let at = 0; at < payloads.length; at += PAYLOAD_LEN) {
      if (relayRecognized(payloads, at) !== 0) continue;
      const layer = this.#layers[hop]!;
      const cell = payloads.slice(at, at + PAYLOAD_LEN);
      const received = takeDigestField(cell, 0);
      const digest = layer.backwardDigest.fork();
      digest.update(cell);
      if (!startsWith(digest.peek(), received)) continue;
      layer.backwardDigest = digest;
      payloads.set(cell, at);
      return at;
    }
    return -1;
  }

  /** Authenticates payloads that must all be of the last hop, and delivers them. */
  #openLast(hop: number, payloads: Uint8Array, to: OpenedCells): void {
    const running = this.#layers[hop]!.backwardDigest;
    const count = payloads.length / PAYLOAD_LEN;
    let hashed = 0;
    for (let index = 0; index < count; index++) {
      const at = index * PAYLOAD_LEN;
      if (relayRecognized(payloads, at) !== 0) throw notOurs("a cell that no hop recognizes");
      const received = takeDigestField(payloads, at);
      const wanted = to.isDigestPoint(hop, payloads, at);
      if (!wanted && index < count - 1) continue;
      const end = at + PAYLOAD_LEN;
      running.update(payloads.subarray(hashed, end));
      hashed = end;
      const digest = running.peek();
      if (!startsWith(digest, received)) throw notOurs("a digest that does not match");
      if (wanted) to.digest(hop, digest);
    }
    to.deliver(hop, payloads, count);
  }
}

/** Reads the digest field at a payload and zeroes it, as the digest is computed (tor-spec 6.1). */
function takeDigestField(payloads: Uint8Array, at: number): number {
  const i = at + RELAY_DIGEST_AT;
  const value = (payloads[i]! << 24) | (payloads[i + 1]! << 16) | (payloads[i + 2]! << 8) | payloads[i + 3]!;
  payloads[i] =
    payloads[i + 1] =
    payloads[i + 2] =
    payloads[i + 3] =
      0;
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
