/**
 * Flow control by windows (tor-spec 7.4, and 7.3.1 for authenticated SENDMEs).
 *
 * A circuit asks {@link CircuitFlowControl} and knows nothing of windows, so that congestion control can take
 * its place; streams have plain windows. What a peer sends beyond its window is a protocol violation: the
 * circuit is closed, nothing is buffered.
 */
import { TunicError } from "../base/errors.ts";
import { equal } from "../bytes/bytes.ts";

export interface CircuitFlowControl {
  /** How many DATA cells may be sent now. */
  readonly sendable: number;
  /** Counts a DATA cell about to be sent; true if its digest must be given to `expectDigest`. */
  sent(): boolean;
  /** The digest that the SENDME for what was sent so far must carry. */
  expectDigest(digest: Uint8Array): void;
  /** A SENDME came; throws `protocol` or `crypto` if it is not the one expected. */
  acknowledged(digest: Uint8Array | undefined): void;
  /** Counts a DATA cell received; true if a SENDME is due with the digest at this cell. */
  received(): boolean;
}

const CIRCUIT_INCREMENT = 100;

/**
 * The fixed circuit window: 1,000 cells unless the consensus says less, acknowledged by the hundred.
 *
 * What comes is acknowledged as it comes, for what one stream does not take must not stop the others. So the peer
 * cannot go beyond this window; the streams' windows are what bounds the data kept here.
 */
export class FixedCircuitWindow implements CircuitFlowControl {
  #sendable: number;
  #sentSincePoint = 0;
  readonly #expected: Uint8Array[] = [];
  #receivedSincePoint = 0;

  /** `size`: the consensus parameter "circwindow", 100 to 1,000 cells. */
  constructor(size: number) {
    this.#sendable = size;
  }

  get sendable(): number {
    return this.#sendable;
  }

  sent(): boolean {
    this.#sendable--;
    if (++this.#sentSincePoint < CIRCUIT_INCREMENT) return false;
    this.#sentSincePoint = 0;
    return true;
  }

  expectDigest(digest: Uint8Array): void {
    this.#expected.push(digest);
  }

  acknowledged(digest: Uint8Array | undefined): void {
    const expected = this.#expected.shift();
    if (!expected) {
      throw violation("sendme-unexpected", "a circuit SENDME for cells that were not sent");
    }
    if (digest === undefined || !equal(digest, expected)) {
      throw new TunicError("Cannot accept a SENDME: its digest is not that of the cell it acknowledges", {
        kind: "crypto",
        code: "bad-sendme-digest",
        retry: "elsewhere",
      });
    }
    this.#sendable += CIRCUIT_INCREMENT;
  }

  received(): boolean {
    if (++this.#receivedSincePoint < CIRCUIT_INCREMENT) return false;
    this.#receivedSincePoint = 0;
    return true;
  }
}

const STREAM_WINDOW = 500;
const STREAM_INCREMENT = 50;

/** A stream's windows: 500 cells, acknowledged by fifty once the user has taken them. */
export class StreamWindow {
  #sendable = STREAM_WINDOW;
  #receivable = STREAM_WINDOW;
  #taken = 0;

  get sendable(): number {
    return this.#sendable;
  }

  sent(): void {
    this.#sendable--;
  }

  acknowledged(): void {
    if (this.#sendable + STREAM_INCREMENT > STREAM_WINDOW) {
      throw violation("sendme-unexpected", "a stream SENDME for cells that were not sent");
    }
    this.#sendable += STREAM_INCREMENT;
  }

  /** Counts a DATA cell received. */
  received(): void {
    if (--this.#receivable < 0) throw violation("stream-window", "more DATA cells than the stream window allows");
  }

  /** Counts cells whose data the user took; answers how many SENDMEs are due. */
  taken(cells: number): number {
    this.#taken += cells;
    const due = Math.floor(this.#taken / STREAM_INCREMENT);
    this.#taken -= due * STREAM_INCREMENT;
    this.#receivable += due * STREAM_INCREMENT;
    return due;
  }
}

function violation(code: string, found: string): TunicError {
  return new TunicError(`Cannot go on with a circuit: found ${found}`, { kind: "protocol", code, retry: "elsewhere" });
}
