/**
 * Cells in the only order that a link handshake allows (tor-spec 4), cut out of a stream of bytes.
 *
 * A table says for each state which cells may come and what state follows; a cell that is not in it is refused as
 * soon as its command is there, before its payload is waited for. The order and each cell's size are all that is
 * known here, so that both ends of a link can share it.
 */
import { TunicError } from "../base/errors.ts";
import type { RunningDigest } from "../crypto/digest.ts";
import {
  CellCommand,
  cellCommandName,
  cellLength,
  CIRCID_LEN,
  EARLY_CIRCID_LEN,
  isVariableLength,
} from "../wire/cell.ts";

/** For each state the commands that may come, each with the state that it leads to; "open" has none. */
export type LinkStates<S extends string> = Readonly<Record<S, ReadonlyMap<number, S | "open">>>;

export interface LinkCell {
  readonly command: number;
  /** A copy. */
  readonly payload: Uint8Array;
}

/** The most bytes that the whole handshake may have, padding included. */
export const MAX_HANDSHAKE_BYTES = 128 * 1024;

/** The longest payloads of variable-length cells, well above what relays send; others are bounded by the whole. */
const MAX_PAYLOADS: ReadonlyMap<number, number> = new Map([
  [CellCommand.VERSIONS, 256],
  [CellCommand.CERTS, 16 * 1024],
  [CellCommand.AUTH_CHALLENGE, 1024],
  [CellCommand.AUTHENTICATE, 1024],
]);

export class LinkSequence<S extends string> {
  readonly #states: LinkStates<S>;
  readonly #log: RunningDigest | undefined;
  #state: S | "open";
  #circIdLen = EARLY_CIRCID_LEN;
  /** Bytes that came and were not taken yet are from `#at` to `#end`. */
  #buffer = new Uint8Array(2048);
  #at = 0;
  #end = 0;
  #taken = 0;

  /** `log` takes the bytes of all cells but AUTHENTICATE, as that is to contain it. */
  constructor(states: LinkStates<S>, start: S, log?: RunningDigest) {
    this.#states = states;
    this.#state = start;
    this.#log = log;
  }

  /** Adds bytes that came. */
  push(bytes: Uint8Array): void {
    if (this.#end + bytes.length > this.#buffer.length) {
      const pending = this.#buffer.subarray(this.#at, this.#end);
      const needed = pending.length + bytes.length;
      const buffer = needed > this.#buffer.length / 2 ? new Uint8Array(2 * needed) : this.#buffer;
      buffer.set(pending);
      this.#buffer = buffer;
      this.#at = 0;
      this.#end = pending.length;
    }
    this.#buffer.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  /**
   * The next cell that changes the state; `undefined` until more bytes come, or once open. Padding and VERSIONS
   * cells after the first are passed over. Throws `protocol` for a cell out of place or too long.
   */
  next(): LinkCell | undefined {
    while (this.#state !== "open") {
      const commandAt = this.#at + this.#circIdLen;
      if (commandAt >= this.#end) return undefined;
      const command = this.#buffer[commandAt]!;
      const following = this.#following(this.#state, command);
      const length = cellLength(this.#buffer, this.#at, this.#end, this.#circIdLen);
      if (length === 0) return undefined;
      const payloadAt = commandAt + (isVariableLength(command) ? 3 : 1);
      this.#checkHeader(command, this.#at + length - payloadAt, length);
      if (this.#at + length > this.#end) return undefined;
      if (command !== CellCommand.AUTHENTICATE) this.#log?.update(this.#buffer.subarray(this.#at, this.#at + length));
      const payload = this.#buffer.slice(payloadAt, this.#at + length);
      this.#at += length;
      this.#taken += length;
      if (following === this.#state) continue;
      this.#state = following;
      if (command === CellCommand.VERSIONS) this.#circIdLen = CIRCID_LEN;
      return { command, payload };
    }
    return undefined;
  }

  /** The bytes that were not taken. */
  rest(): Uint8Array {
    return this.#buffer.slice(this.#at, this.#end);
  }

  #following(state: S, command: number): S | "open" {
    const following = this.#states[state].get(command);
    if (following !== undefined) return following;
    const expected = [...this.#states[state].keys()].map(cellCommandName).join(" or ");
    const found = `a ${cellCommandName(command)} cell`;
    throw new TunicError(`Cannot set up the link: ${found} came while ${state}, expected ${expected}`, {
      kind: "protocol",
      code: "unexpected-cell",
      retry: "elsewhere",
      context: { command: cellCommandName(command), state },
    });
  }

  #checkHeader(command: number, payloadLength: number, length: number): void {
    const name = cellCommandName(command);
    const limit = MAX_PAYLOADS.get(command);
    if (limit !== undefined && payloadLength > limit) {
      throw refused("cell-too-long", `a ${name} cell has ${payloadLength} bytes, at most ${limit} are taken`);
    }
    if (this.#taken + length > MAX_HANDSHAKE_BYTES) {
      throw refused("handshake-too-long", `with a ${name} cell it has more than ${MAX_HANDSHAKE_BYTES} bytes`);
    }
    for (let i = 0; i < this.#circIdLen; i++) {
      if (this.#buffer[this.#at + i] !== 0) {
        throw refused("bad-circid", `a ${name} cell has a circuit's ID, expected 0`);
      }
    }
  }
}

function refused(code: string, detail: string): TunicError {
  return new TunicError(`Cannot set up the link: ${detail}`, { kind: "protocol", code, retry: "elsewhere" });
}
