/** How a hop is added to a circuit: which cell asks, and how its answer becomes keys (tor-spec 5.1). */
import type { ClientHandshake } from "../crypto/handshake.ts";
import { CreateFastClient } from "../crypto/create_fast.ts";
import { NtorClient } from "../crypto/ntor.ts";
import type { RandomSource } from "../runtime/random.ts";
import { HandshakeType } from "../wire/create_cells.ts";
import type { CircuitTarget } from "./target.ts";

/** The client's half of a handshake with one hop, and how it is named on the wire. */
export interface HopHandshake {
  /** The handshake type of CREATE2 and EXTEND2; "fast" for CREATE_FAST, on first hops only. */
  readonly type: number | "fast";
  readonly client: ClientHandshake;
}

/** Without the relay's onion key: for a first hop whose channel has proved who it is, to fetch directories. */
export function fastHandshake(random: RandomSource): HopHandshake {
  return { type: "fast", client: CreateFastClient.start(random) };
}

export function ntorHandshake(random: RandomSource, target: CircuitTarget): HopHandshake {
  return { type: HandshakeType.NTOR, client: NtorClient.start(random, target) };
}
