/**
 * The onion layers of a client's circuit (tor-spec 5.5 and 6.1): each hop's own, put on and taken off in order.
 *
 * What comes from the last hop, nearly everything, goes through all layers as one batch and is authenticated as one.
 */
import type { RelayKeys } from "../crypto/kdf.ts";
import { PAYLOAD_LEN } from "../wire/cell.ts";
import { type DigestPoints, RelayLayer } from "./relay_layer.ts";

/** Gets authenticated payloads, in the order the cells came; called again for each hop that spoke. */
export interface OpenedCells {
  /** Whether the digest at this cell, if it is one of `hop`, is wanted (it goes into a SENDME). */
  isDigestPoint(hop: number, payloads: Uint8Array, offset: number): boolean;
  digest(hop: number, digest: Uint8Array): void;
  /** `payloads` holds `count` payloads from `hop`, decrypted, digest fields zeroed; the receiver's to keep. */
  deliver(hop: number, payloads: Uint8Array, count: number): void;
}

export class ClientRelayCrypto {
  readonly #layers: RelayLayer[] = [];

  get hops(): number {
    return this.#layers.length;
  }

  addHop(keys: RelayKeys): void {
    this.#layers.push(new RelayLayer(keys, "client"));
  }

  /**
   * Signs payloads, which lie one after the other with zero in their recognized and digest fields, for `hop`, and
   * answers them encrypted.
   */
  seal(hop: number, payloads: Uint8Array, points?: DigestPoints): Uint8Array {
    this.#layers[hop]!.sign(payloads, points);
    let sealed = payloads;
    for (let i = hop; i >= 0; i--) sealed = this.#layers[i]!.encrypt(sealed);
    return sealed;
  }

  /**
   * Decrypts payloads that lie one after the other and hands them to `to`.
   *
   * Throws `crypto`, and the circuit must be closed, when a cell is nobody's or was changed on its way.
   */
  open(payloads: Uint8Array, to: OpenedCells): void {
    this.#openFrom(0, payloads, to);
  }

  /** Goes on with payloads that layers before `hop` have decrypted. */
  #openFrom(hop: number, payloads: Uint8Array, to: OpenedCells): void {
    if (payloads.length > 0) this.#openAt(hop, this.#layers[hop]!.decrypt(payloads), to);
  }

  /** Goes on with payloads that layers up to `hop` have decrypted. */
  #openAt(hop: number, payloads: Uint8Array, to: OpenedCells): void {
    if (payloads.length === 0) return;
    const layer = this.#layers[hop]!;
    if (hop === this.#layers.length - 1) {
      layer.verify(payloads, {
        isPoint: (batch, at) => to.isDigestPoint(hop, batch, at),
        digest: (digest) => to.digest(hop, digest),
      });
      to.deliver(hop, payloads, payloads.length / PAYLOAD_LEN);
      return;
    }
    const own = layer.findRecognized(payloads);
    if (own < 0) return this.#openFrom(hop + 1, payloads, to);
    // Rare: a hop before the last one speaks. What lies before its cell goes through the other layers first, so that
    // order and keystreams stay right; what lies behind it is still to be looked at from this layer on.
    this.#openFrom(hop + 1, payloads.subarray(0, own), to);
    const payload = payloads.slice(own, own + PAYLOAD_LEN);
    if (to.isDigestPoint(hop, payload, 0)) to.digest(hop, layer.receivedDigest());
    to.deliver(hop, payload, 1);
    this.#openAt(hop, payloads.subarray(own + PAYLOAD_LEN), to);
  }
}
