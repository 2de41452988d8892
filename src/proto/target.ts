/** What is known of a relay before anybody talks to it. */
import type { Address } from "../runtime/ports.ts";

/** A relay to open a channel to. */
export interface ChannelTarget {
  /** OR addresses, preferred first. */
  readonly addresses: readonly Address[];
  /** RSA identity: SHA-1 of its key, 20 bytes. The link handshake fails unless the relay proves it. */
  readonly rsaId: Uint8Array;
  /** Ed25519 identity, 32 bytes; `undefined` where it is not known yet (fallback directories). */
  readonly ed25519Id: Uint8Array | undefined;
}

/** A relay to extend a circuit to. */
export interface CircuitTarget extends ChannelTarget {
  /** Curve25519 onion key, 32 bytes. */
  readonly ntorKey: Uint8Array;
}
