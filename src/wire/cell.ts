/**
 * Cells: the unit of communication on a link (tor-spec 3).
 *
 * A fixed cell is CircID, command and 509 bytes of payload; a variable-length cell has a length of two bytes in
 * front of its payload. CircIDs have four bytes on the link versions spoken here (4 and 5), and two bytes until
 * both VERSIONS cells are through. The functions work on a buffer and an offset and allocate nothing, for the
 * channel cuts cells out of what TLS delivers.
 */
import { TunicError } from "../base/errors.ts";

/** Bytes of a CircID on link versions 4 and up. */
export const CIRCID_LEN = 4;
/** Bytes of a CircID before the link version is agreed upon. */
export const EARLY_CIRCID_LEN = 2;
/** Bytes of a fixed cell's payload. */
export const PAYLOAD_LEN = 509;
/** Where a fixed cell's payload begins. */
export const CELL_HEADER_LEN = CIRCID_LEN + 1;
/** Where a variable-length cell's payload begins. */
export const VAR_CELL_HEADER_LEN = CIRCID_LEN + 3;
/** Bytes of a fixed cell. */
export const CELL_LEN = CELL_HEADER_LEN + PAYLOAD_LEN;
/** The most bytes that a variable-length cell's payload can have. */
export const MAX_VAR_PAYLOAD_LEN = 0xffff;

/** Cell commands by their names in the specification. */
export const CellCommand = {
  PADDING: 0,
  CREATE: 1,
  CREATED: 2,
  RELAY: 3,
  DESTROY: 4,
  CREATE_FAST: 5,
  CREATED_FAST: 6,
  VERSIONS: 7,
  NETINFO: 8,
  RELAY_EARLY: 9,
  CREATE2: 10,
  CREATED2: 11,
  PADDING_NEGOTIATE: 12,
  VPADDING: 128,
  CERTS: 129,
  AUTH_CHALLENGE: 130,
  AUTHENTICATE: 131,
  AUTHORIZE: 132,
} as const;

const NAMES = new Map<number, string>(Object.entries(CellCommand).map(([name, command]) => [command, name]));

/** A command's name for messages; "command 77" for one that the specification does not have. */
export function cellCommandName(command: number): string {
  return NAMES.get(command) ?? `command ${command}`;
}

/** Whether cells with this command carry their length. */
export function isVariableLength(command: number): boolean {
  return command === CellCommand.VERSIONS || command >= 128;
}

/** CircID of the cell at `at`. */
export function cellCircId(buffer: Uint8Array, at: number): number {
  return ((buffer[at]! << 24) | (buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) | buffer[at + 3]!) >>> 0;
}

/** Command of the cell at `at`. */
export function cellCommand(buffer: Uint8Array, at: number): number {
  return buffer[at + CIRCID_LEN]!;
}

/**
 * Length in bytes of the whole cell that begins at `at`, of which bytes up to `end` are there; 0 where these are
 * too few to tell. The cell is complete if the answer is neither 0 nor more than `end - at`.
 */
export function cellLength(buffer: Uint8Array, at: number, end: number, circIdLen = CIRCID_LEN): number {
  const commandAt = at + circIdLen;
  if (commandAt >= end) return 0;
  if (!isVariableLength(buffer[commandAt]!)) return circIdLen + 1 + PAYLOAD_LEN;
  if (commandAt + 3 > end) return 0;
  return circIdLen + 3 + ((buffer[commandAt + 1]! << 8) | buffer[commandAt + 2]!);
}

/**
 * Writes a fixed cell's CircID and command at `at`; the payload begins {@link CELL_HEADER_LEN} bytes after it.
 */
export function writeCellHeader(out: Uint8Array, at: number, circId: number, command: number): void {
  out[at] = circId >>> 24;
  out[at + 1] = circId >>> 16;
  out[at + 2] = circId >>> 8;
  out[at + 3] = circId;
  out[at + 4] = command;
}

/**
 * Writes a fixed cell into `out` at `at`, its payload filled up with zeros, and returns where it ends.
 * `out` must have {@link CELL_LEN} bytes from there. Throws `argument` for a payload that does not fit.
 */
export function encodeCell(
  out: Uint8Array,
  at: number,
  circId: number,
  command: number,
  payload: Uint8Array,
): number {
  if (payload.length > PAYLOAD_LEN) throw tooLong(command, payload.length, PAYLOAD_LEN);
  const end = at + CELL_LEN;
  if (end > out.length) throw new RangeError(`a cell at ${at} does not fit ${out.length} bytes`);
  writeCellHeader(out, at, circId, command);
  const payloadAt = at + CELL_HEADER_LEN;
  out.set(payload, payloadAt);
  out.fill(0, payloadAt + payload.length, end);
  return end;
}

/** A fixed cell as an array of its own. Throws `argument` for a payload that does not fit. */
export function fixedCell(circId: number, command: number, payload: Uint8Array): Uint8Array {
  const cell = new Uint8Array(CELL_LEN);
  encodeCell(cell, 0, circId, command, payload);
  return cell;
}

/**
 * A variable-length cell as an array of its own. `circIdLen` is 2 for the first VERSIONS cell. Throws `argument`
 * for a payload that does not fit.
 */
export function variableCell(
  circId: number,
  command: number,
  payload: Uint8Array,
  circIdLen = CIRCID_LEN,
): Uint8Array {
  if (payload.length > MAX_VAR_PAYLOAD_LEN) throw tooLong(command, payload.length, MAX_VAR_PAYLOAD_LEN);
  const cell = new Uint8Array(circIdLen + 3 + payload.length);
  for (let i = 0; i < circIdLen; i++) cell[i] = circId >>> (8 * (circIdLen - 1 - i));
  cell[circIdLen] = command;
  cell[circIdLen + 1] = payload.length >>> 8;
  cell[circIdLen + 2] = payload.length;
  cell.set(payload, circIdLen + 3);
  return cell;
}

function tooLong(command: number, length: number, limit: number): TunicError {
  const message = `Cannot write a ${
    cellCommandName(command)
  } cell: its payload has ${length} bytes, at most ${limit} fit`;
  return new TunicError(message, { kind: "argument", code: "cell-too-long" });
}
