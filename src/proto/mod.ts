/** The protocol between a client and relays: channels, circuits, streams. */
export { acceptLink, type AcceptLinkOptions } from "./accept_link.ts";
export { Channel, type ChannelEvents } from "./channel.ts";
export { Circuit, type CircuitEvents } from "./circuit.ts";
export { fastHandshake, type HopHandshake, ntorHandshake } from "./circuit_handshake.ts";
export type { LinkInfo } from "./link_handshake.ts";
export type { LinkIdentity } from "./link_identity.ts";
export type { OpenLink } from "./link_party.ts";
export type { InboundLink } from "./link_responder.ts";
export { openChannel, type OpenChannelOptions } from "./open_channel.ts";
export { Stream } from "./stream.ts";
export type { ChannelTarget, CircuitTarget } from "./target.ts";
