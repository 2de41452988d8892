/** The protocol between a client and relays: channels, circuits, streams. */
export { Channel, type ChannelEvents } from "./channel.ts";
export { Circuit, type CircuitEvents } from "./circuit.ts";
export { fastHandshake, type HopHandshake, ntorHandshake } from "./circuit_handshake.ts";
export { openChannel, type OpenChannelOptions } from "./open_channel.ts";
export { Stream } from "./stream.ts";
export type { ChannelTarget, CircuitTarget } from "./target.ts";
