/**
 * The streams of one end of a circuit by their numbers (tor-spec 6.2, 6.3), client's or relay's: who has data to send,
 * whose data has come, and what the far end may still send for those that we have ended.
 */
import { TunicError } from "../base/errors.ts";
import { encodeWith } from "../bytes/codec.ts";
import { PAYLOAD_LEN } from "../wire/cell.ts";
import {
  RELAY_DATA_AT,
  RelayCommand,
  relayCommand,
  relayCommandName,
  relayData,
  relayStreamId,
} from "../wire/relay_cell.ts";
import { END } from "../wire/stream_messages.ts";
import type { StreamWindow } from "./flow_control.ts";
import type { Stream, StreamCarrier } from "./stream.ts";

export interface OpenStreamsOptions {
  readonly send: (hop: number, command: number, streamId: number, data: Uint8Array) => void;
  readonly wantTurn: () => void;
  /** A stream has come or gone. */
  readonly changed: () => void;
  /** Whether DATA may come before CONNECTED has gone out, as it may to a relay (tor-spec 6.2). */
  readonly takesEarlyData: boolean;
  /** The END reason for a stream that we end, because of `error` or in good order. */
  readonly endReason: (error: TunicError | undefined) => number;
}

/** What is remembered of a stream that we have ended: what the far end may still send. */
interface HalfClosed {
  readonly hop: number;
  readonly window: StreamWindow;
  connected: boolean;
}

export class OpenStreams implements StreamCarrier {
  readonly #options: OpenStreamsOptions;
  readonly #streams = new Map<number, Stream>();
  /** Streams we have ended: what comes for them is counted against their windows and dropped. */
  readonly #ended = new Map<number, HalfClosed>();
  /** Streams with data to send, in the order of their turns. */
  readonly #ready = new Set<Stream>();

  constructor(options: OpenStreamsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#streams.size;
  }

  /** Numbers that are taken: those of open streams, and those that the far end may still mean. */
  get numbersInUse(): number {
    return this.#streams.size + this.#ended.size;
  }

  get anyReady(): boolean {
    return this.#ready.size > 0;
  }

  isInUse(id: number): boolean {
    return this.#streams.has(id) || this.#ended.has(id);
  }

  add(stream: Stream): void {
    this.#streams.set(stream.id, stream);
    this.#options.changed();
  }

  /** The open stream of this number, if it is one of `hop`. */
  get(hop: number, id: number): Stream | undefined {
    const stream = this.#streams.get(id);
    return stream?.hop === hop ? stream : undefined;
  }

  /** What is remembered of the stream of this number, if we have ended it and it was one of `hop`. */
  ended(hop: number, id: number): { connected: boolean } | undefined {
    const ended = this.#ended.get(id);
    return ended?.hop === hop ? ended : undefined;
  }

  /** The far end has ended the stream: its number is free. */
  remove(id: number): void {
    const stream = this.#streams.get(id);
    this.#ended.delete(id);
    if (!stream) return;
    this.#streams.delete(id);
    this.#ready.delete(stream);
    this.#options.changed();
  }

  /** The stream whose turn it is; the caller tells by `served` that it had it. */
  nextReady(): Stream | undefined {
    for (const stream of this.#ready) {
      if (stream.sendable) return stream;
      this.#ready.delete(stream);
    }
    return undefined;
  }

  served(stream: Stream): void {
    this.#ready.delete(stream);
    if (stream.sendable) this.#ready.add(stream);
  }

  streamReady(stream: Stream): void {
    this.#ready.add(stream);
    this.#options.wantTurn();
  }

  sendStreamSendme(stream: Stream): void {
    this.#options.send(stream.hop, RelayCommand.SENDME, stream.id, new Uint8Array(0));
  }

  endStream(stream: Stream, error: TunicError | undefined): void {
    if (!this.#streams.delete(stream.id)) return;
    this.#ready.delete(stream);
    const { hop, window, connected } = stream;
    this.#ended.set(stream.id, { hop, window, connected });
    const reason = this.#options.endReason(error);
    this.#options.send(stream.hop, RelayCommand.END, stream.id, encodeWith(END, { reason }));
    this.#options.changed();
  }

  /**
   * Takes the DATA cell at `at` and those behind it, up to `end`, that are of the same stream; answers where the
   * next cell begins. The data is moved together in place, so that the user gets one array for the whole run.
   */
  onData(hop: number, payloads: Uint8Array, at: number, end: number): number {
    const id = relayStreamId(payloads, at);
    const stream = this.#streams.get(id);
    const known = stream ?? this.#ended.get(id);
    if (known?.hop !== hop || !(known.connected || this.#options.takesEarlyData)) {
      throw unknownStream(RelayCommand.DATA, id);
    }
    const start = at + RELAY_DATA_AT;
    let filled = start;
    let cells = 0;
    do {
      const data = relayData(payloads, at);
      known.window.received();
      if (cells > 0) {
        const from = data.byteOffset - payloads.byteOffset;
        payloads.copyWithin(filled, from, from + data.length);
      }
      filled += data.length;
      cells++;
      at += PAYLOAD_LEN;
    } while (at < end && relayCommand(payloads, at) === RelayCommand.DATA && relayStreamId(payloads, at) === id);
    stream?.onData(payloads.subarray(start, filled), cells);
    return at;
  }

  onSendme(hop: number, id: number): void {
    const stream = this.#streams.get(id);
    const known = stream ?? this.#ended.get(id);
    if (known?.hop !== hop) throw unknownStream(RelayCommand.SENDME, id);
    known.window.acknowledged();
    stream?.onSendme();
  }

  /** The circuit is gone; answers the streams there were, some of which may still have data to deliver. */
  closeAll(error: TunicError): readonly Stream[] {
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    this.#ended.clear();
    this.#ready.clear();
    for (const stream of streams) stream.onCircuitClosed(error);
    return streams;
  }
}

/** A message for a stream that there is not: the circuit cannot go on. */
export function unknownStream(command: number, id: number): TunicError {
  return new TunicError(
    `Cannot go on with a circuit: found ${relayCommandName(command)} for stream ${id}, which is not open`,
    { kind: "protocol", code: "unknown-stream", retry: "elsewhere" },
  );
}
