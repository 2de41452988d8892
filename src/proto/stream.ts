/**
 * One TCP stream through a circuit (tor-spec 6.2, 6.3), as a {@link Duplex}.
 *
 * Back-pressure is the stream window's: while the user has paused, no SENDME goes out and the relay stops after
 * 500 cells; while the window or the circuit is full, `write` answers false. tor has no half-closed streams: `end`
 * sends what is queued, then END, and that closes both directions, as in C tor.
 */
import { type Duplex, type DuplexHandlers, IGNORE } from "../base/duplex.ts";
import type { TunicError } from "../base/errors.ts";
import { StreamWindow } from "./flow_control.ts";

/** What a stream needs of the circuit that carries it. */
export interface StreamCarrier {
  /** The stream has data and may send: `takeData` should be called when the circuit's turn comes. */
  streamReady(stream: Stream): void;
  sendStreamSendme(stream: Stream): void;
  /** Sends END, with a reason that follows from `error`, and forgets the stream. */
  endStream(stream: Stream, error: TunicError | undefined): void;
}

/** Bytes that may wait in a stream before `write` asks for a pause: as much as the circuit takes in a few turns. */
const HIGH_WATER = 64 * 1024;
const LOW_WATER = 32 * 1024;

export class Stream implements Duplex {
  readonly id: number;
  /** The hop at the far end. */
  readonly hop: number;
  /** Counts the cells of both directions. */
  readonly window = new StreamWindow();
  readonly #carrier: StreamCarrier;
  #handlers: DuplexHandlers = IGNORE;
  #listening = false;
  #paused = false;
  #connected = false;
  #closed = false;
  #ending = false;

  readonly #outgoing: Uint8Array[] = [];
  #outgoingOffset = 0;
  #queued = 0;
  #wantsDrain = false;

  /** Data that came while paused, with the number of cells each piece came in. */
  readonly #incoming: { bytes: Uint8Array; cells: number }[] = [];
  /** Set once the far end has sent END: what to close with when all data has been delivered. */
  #remoteEnd: { error: TunicError | undefined } | undefined;

  /** Called once, when the stream has closed, whoever handles its data. */
  onClosed: ((error: TunicError | undefined) => void) | undefined;
  /** The address that the exit connected to, once it has and where it says so. */
  connectedAddress: string | undefined;
  /** Bytes the user sent and got, for statistics. */
  bytesWritten = 0;
  bytesRead = 0;

  constructor(carrier: StreamCarrier, id: number, hop: number) {
    this.#carrier = carrier;
    this.id = id;
    this.hop = hop;
  }

  get handlers(): DuplexHandlers {
    return this.#handlers;
  }

  set handlers(handlers: DuplexHandlers) {
    this.#handlers = handlers;
    if (this.#listening) return;
    this.#listening = true;
    this.#deliverIncoming();
  }

  get queued(): number {
    return this.#queued;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Whether the far end has said CONNECTED. */
  get connected(): boolean {
    return this.#connected;
  }

  /** Whether there is something that the windows of this stream let go. */
  get sendable(): boolean {
    return this.#connected && this.#queued > 0 && this.window.sendable > 0 && !this.#closed;
  }

  write(bytes: Uint8Array): boolean {
    if (this.#closed || this.#ending || this.#remoteEnd) return true;
    if (bytes.length === 0) return this.#queued < HIGH_WATER;
    this.#outgoing.push(bytes);
    this.#queued += bytes.length;
    if (this.sendable) this.#carrier.streamReady(this);
    if (this.#queued < HIGH_WATER) return true;
    this.#wantsDrain = true;
    return false;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#deliverIncoming();
  }

  end(): void {
    if (this.#closed || this.#ending) return;
    this.#ending = true;
    if (this.#queued === 0) this.#finish();
  }

  destroy(error?: TunicError): void {
    if (this.#closed) return;
    if (!this.#remoteEnd) this.#carrier.endStream(this, error);
    this.#close(error);
  }

  /**
   * Copies at most `limit` bytes of queued data into `payload` from `offset` on and counts a cell; answers the
   * number of bytes. Called by the circuit, which has seen `sendable`.
   */
  takeData(payload: Uint8Array, offset: number, limit: number): number {
    let taken = 0;
    while (taken < limit) {
      const chunk = this.#outgoing[0];
      if (!chunk) break;
      const length = Math.min(limit - taken, chunk.length - this.#outgoingOffset);
      payload.set(chunk.subarray(this.#outgoingOffset, this.#outgoingOffset + length), offset + taken);
      taken += length;
      this.#outgoingOffset += length;
      if (this.#outgoingOffset === chunk.length) {
        this.#outgoing.shift();
        this.#outgoingOffset = 0;
      }
    }
    this.#queued -= taken;
    this.bytesWritten += taken;
    this.window.sent();
    return taken;
  }

  /** After the circuit has taken what it wanted in its turn. */
  afterTurn(): void {
    if (this.#closed) return;
    if (this.#ending && this.#queued === 0) this.#finish();
    else if (this.#wantsDrain && this.#queued < LOW_WATER) {
      this.#wantsDrain = false;
      this.#handlers.drain();
    }
  }

  /** The far end has connected: data may go out. */
  onConnected(): void {
    this.#connected = true;
    if (this.sendable) this.#carrier.streamReady(this);
  }

  /** Takes the data of `cells` DATA cells. */
  onData(bytes: Uint8Array, cells: number): void {
    if (this.#closed) return;
    if (!this.#paused && this.#listening && this.#incoming.length === 0) return this.#deliver(bytes, cells);
    // A small view would keep the whole batch of cells that it lies in.
    const kept = bytes.length < bytes.buffer.byteLength / 2 ? bytes.slice() : bytes;
    this.#incoming.push({ bytes: kept, cells });
  }

  /** The window has opened. */
  onSendme(): void {
    if (this.sendable) this.#carrier.streamReady(this);
  }

  /** The far end has closed; without an error it was orderly. Data that came before is delivered first. */
  onEnd(error: TunicError | undefined): void {
    if (this.#closed || this.#remoteEnd) return;
    this.#remoteEnd = { error };
    this.#deliverIncoming();
  }

  /** The circuit is gone. */
  onCircuitClosed(error: TunicError): void {
    this.onEnd(error);
  }

  #deliverIncoming(): void {
    while (this.#incoming.length > 0 && this.#listening && !this.#paused && !this.#closed) {
      const { bytes, cells } = this.#incoming.shift()!;
      this.#deliver(bytes, cells);
    }
    if (this.#remoteEnd && this.#incoming.length === 0 && this.#listening && !this.#closed) {
      const { error } = this.#remoteEnd;
      if (!error) this.#handlers.end();
      this.#close(error);
    }
  }

  #deliver(bytes: Uint8Array, cells: number): void {
    this.bytesRead += bytes.length;
    if (bytes.length > 0) this.#handlers.data(bytes);
    for (let due = this.window.taken(cells); due > 0 && !this.#closed && !this.#remoteEnd; due--) {
      this.#carrier.sendStreamSendme(this);
    }
  }

  #finish(): void {
    if (!this.#remoteEnd) this.#carrier.endStream(this, undefined);
    this.#close(undefined);
  }

  #close(error: TunicError | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#outgoing.length = 0;
    this.#incoming.length = 0;
    this.#queued = 0;
    const handlers = this.#handlers;
    this.#handlers = IGNORE;
    handlers.close(error);
    this.onClosed?.(error);
  }
}
