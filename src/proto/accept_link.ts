/** Answers the link handshake of a connection that a relay accepted (tor-spec 4). */
import type { Runtime, TlsSocket } from "../runtime/ports.ts";
import type { LinkIdentity } from "./link_identity.ts";
import { type InboundLink, LinkResponder } from "./link_responder.ts";
import { shakeHands } from "./shake_hands.ts";

export interface AcceptLinkOptions {
  readonly identity: LinkIdentity;
  readonly ownAddresses: readonly string[];
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/**
 * To be called in the turn of `listenTls`'s `accept`. Resolves with the open link, the socket being paused for the
 * channel that takes it over; rejects, the socket destroyed, with what the handshake threw, `timeout`, `connection`
 * or the signal's reason.
 */
export function acceptLink(runtime: Runtime, socket: TlsSocket, options: AcceptLinkOptions): Promise<InboundLink> {
  const responder = new LinkResponder({
    identity: options.identity,
    ownAddresses: options.ownAddresses,
    now: () => runtime.clock.now(),
    random: (count) => runtime.random(count),
    peerAddress: socket.remote,
    exportKeyingMaterial: socket.exportKeyingMaterial,
  });
  return shakeHands(runtime, socket, responder, options);
}
