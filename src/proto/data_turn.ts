/**
 * One turn of a circuit's end at sending DATA (tor-spec 6.2, 7.3, 7.4): streams that have some take part in rotation, as
 * far as their windows and the circuit's let them.
 */
import type { RandomSource } from "../runtime/random.ts";
import { PAYLOAD_LEN } from "../wire/cell.ts";
import {
  RELAY_DATA_AT,
  RELAY_DATA_LEN,
  RELAY_PADDING_GAP,
  RelayCommand,
  writeRelayHeader,
} from "../wire/relay_cell.ts";
import type { CircuitFlowControl } from "./flow_control.ts";
import type { OpenStreams } from "./open_streams.ts";
import type { DigestPoints } from "./relay_layer.ts";
import type { Stream } from "./stream.ts";

/** Cells of DATA per turn: as many as one TLS record of 16 KiB holds. */
export const CELLS_PER_TURN = 31;
/** Bytes left to random padding in a cell whose digest a SENDME must prove to know (proposal 289). */
const UNPREDICTABLE_BYTES = 16;

export interface DataTurn {
  /** Payloads one after the other, to be sealed with `points`: a part of the scratch buffer. */
  readonly payloads: Uint8Array;
  readonly points: DigestPoints;
  readonly served: ReadonlySet<Stream>;
}

/** Writes DATA payloads for `hop` into `scratch`, which holds {@link CELLS_PER_TURN} of them, and counts them. */
export function gatherData(
  hop: number,
  streams: OpenStreams,
  flow: CircuitFlowControl,
  random: RandomSource,
  scratch: Uint8Array,
): DataTurn {
  const points = new Set<number>();
  const served = new Set<Stream>();
  let at = 0;
  while (at < CELLS_PER_TURN * PAYLOAD_LEN && flow.sendable > 0) {
    const stream = streams.nextReady();
    if (stream?.hop !== hop) break;
    const isPoint = flow.sent();
    if (isPoint) points.add(at);
    const limit = isPoint ? RELAY_DATA_LEN - RELAY_PADDING_GAP - UNPREDICTABLE_BYTES : RELAY_DATA_LEN;
    const length = stream.takeData(scratch, at + RELAY_DATA_AT, limit);
    writeRelayHeader(scratch, at, RelayCommand.DATA, stream.id, length);
    pad(random, scratch, at + RELAY_DATA_AT + length, at + PAYLOAD_LEN);
    streams.served(stream);
    served.add(stream);
    at += PAYLOAD_LEN;
  }
  return {
    payloads: scratch.subarray(0, at),
    points: { isPoint: (_, offset) => points.has(offset), digest: (digest) => flow.expectDigest(digest) },
    served,
  };
}

/** Four zero bytes, then random ones (tor-spec 6.1). */
function pad(random: RandomSource, scratch: Uint8Array, start: number, end: number): void {
  const randomAt = Math.min(start + RELAY_PADDING_GAP, end);
  scratch.fill(0, start, randomAt);
  if (randomAt < end) scratch.set(random.random(end - randomAt), randomAt);
}
