/**
 * The payload of RELAY and RELAY_EARLY cells (tor-spec 6.1): a header of eleven bytes, data, padding.
 *
 * The functions take a buffer and the offset of the payload in it and allocate nothing: relay crypto decrypts in
 * place and looks at `recognized` before it touches the rest.
 */
import { TunicError } from "../base/errors.ts";
import { malformed } from "../bytes/reader.ts";
import { PAYLOAD_LEN } from "./cell.ts";

/** Offsets of the header's fields from the payload's beginning. */
export const RELAY_COMMAND_AT = 0;
export const RELAY_RECOGNIZED_AT = 1;
export const RELAY_STREAM_ID_AT = 3;
export const RELAY_DIGEST_AT = 5;
export const RELAY_LENGTH_AT = 9;
export const RELAY_DATA_AT = 11;
/** Bytes of the digest field. */
export const RELAY_DIGEST_LEN = 4;
/** Bytes of the header. */
export const RELAY_HEADER_LEN = 11;
/** The most bytes of data that one relay message carries. */
export const RELAY_DATA_LEN = PAYLOAD_LEN - RELAY_HEADER_LEN;
/** Zero bytes between the data and random padding. */
export const RELAY_PADDING_GAP = 4;

/** Relay commands by their names in the specifications (tor-spec 6.1, proposals 324 and 329, rend-spec-v3). */
export const RelayCommand = {
  BEGIN: 1,
  DATA: 2,
  END: 3,
  CONNECTED: 4,
  SENDME: 5,
  EXTEND: 6,
  EXTENDED: 7,
  TRUNCATE: 8,
  TRUNCATED: 9,
  DROP: 10,
  RESOLVE: 11,
  RESOLVED: 12,
  BEGIN_DIR: 13,
  EXTEND2: 14,
  EXTENDED2: 15,
  CONFLUX_LINK: 19,
  CONFLUX_LINKED: 20,
  CONFLUX_LINKED_ACK: 21,
  CONFLUX_SWITCH: 22,
  ESTABLISH_INTRO: 32,
  ESTABLISH_RENDEZVOUS: 33,
  INTRODUCE1: 34,
  INTRODUCE2: 35,
  RENDEZVOUS1: 36,
  RENDEZVOUS2: 37,
  INTRO_ESTABLISHED: 38,
  RENDEZVOUS_ESTABLISHED: 39,
  INTRODUCE_ACK: 40,
  PADDING_NEGOTIATE: 41,
  PADDING_NEGOTIATED: 42,
  XOFF: 43,
  XON: 44,
} as const;

const NAMES = new Map<number, string>(Object.entries(RelayCommand).map(([name, command]) => [command, name]));

/** A relay command's name for messages; "relay command 77" for one that the specifications do not have. */
export function relayCommandName(command: number): string {
  return NAMES.get(command) ?? `relay command ${command}`;
}

export function relayCommand(buffer: Uint8Array, at: number): number {
  return buffer[at + RELAY_COMMAND_AT]!;
}

/** Zero where the message may be meant for this hop. */
export function relayRecognized(buffer: Uint8Array, at: number): number {
  return (buffer[at + RELAY_RECOGNIZED_AT]! << 8) | buffer[at + RELAY_RECOGNIZED_AT + 1]!;
}

/** Zero for messages about the whole circuit. */
export function relayStreamId(buffer: Uint8Array, at: number): number {
  return (buffer[at + RELAY_STREAM_ID_AT]! << 8) | buffer[at + RELAY_STREAM_ID_AT + 1]!;
}

/** Bytes of data as the header says; more than {@link RELAY_DATA_LEN} is a lie. */
export function relayLength(buffer: Uint8Array, at: number): number {
  return (buffer[at + RELAY_LENGTH_AT]! << 8) | buffer[at + RELAY_LENGTH_AT + 1]!;
}

/** The message's data as a view. Throws `malformed` where the header's length goes past the cell. */
export function relayData(buffer: Uint8Array, at: number): Uint8Array {
  const length = relayLength(buffer, at);
  if (length > RELAY_DATA_LEN) {
    const name = relayCommandName(relayCommand(buffer, at));
    throw malformed(`${name} message`, `a length of ${length} bytes, at most ${RELAY_DATA_LEN} fit`);
  }
  return buffer.subarray(at + RELAY_DATA_AT, at + RELAY_DATA_AT + length);
}

/** Writes the header with `recognized` and digest zero. */
export function writeRelayHeader(
  out: Uint8Array,
  at: number,
  command: number,
  streamId: number,
  length: number,
): void {
  out[at] = command;
  out[at + 1] = 0;
  out[at + 2] = 0;
  out[at + 3] = streamId >>> 8;
  out[at + 4] = streamId;
  out[at + 5] = 0;
  out[at + 6] = 0;
  out[at + 7] = 0;
  out[at + 8] = 0;
  out[at + 9] = length >>> 8;
  out[at + 10] = length;
}

/**
 * Writes a whole relay payload at `at`: header, data, four zero bytes, then what `random` gives (zeros without
 * it). Random padding makes digests unpredictable to those who ask for data and never read it (proposal 289).
 * Throws `argument` for more data than fits.
 */
export function writeRelayPayload(
  out: Uint8Array,
  at: number,
  command: number,
  streamId: number,
  data: Uint8Array,
  random?: (count: number) => Uint8Array,
): void {
  const length = data.length;
  if (length > RELAY_DATA_LEN) {
    const name = relayCommandName(command);
    const message = `Cannot write a ${name} message: ${length} bytes of data, at most ${RELAY_DATA_LEN} fit`;
    throw new TunicError(message, { kind: "argument", code: "message-too-long" });
  }
  writeRelayHeader(out, at, command, streamId, length);
  out.set(data, at + RELAY_DATA_AT);
  const end = at + PAYLOAD_LEN;
  const paddingAt = at + RELAY_DATA_AT + length;
  const randomAt = paddingAt + RELAY_PADDING_GAP;
  if (!random || randomAt >= end) {
    out.fill(0, paddingAt, end);
    return;
  }
  out.fill(0, paddingAt, randomAt);
  out.set(random(end - randomAt), randomAt);
}
