/**
 * The streams of one circuit by their numbers (tor-spec 6.2 to 6.4): opening, open, and those that we have ended
 * while the far end may still be sending.
 */
import { Deferred } from "../base/deferred.ts";
import { abortError, throwIfAborted, TunicError } from "../base/errors.ts";
import { decodeWith, encodeWith } from "../bytes/codec.ts";
import { randomBelow, type RandomSource } from "../runtime/random.ts";
import { PAYLOAD_LEN } from "../wire/cell.ts";
import {
  RELAY_DATA_AT,
  RelayCommand,
  relayCommand,
  relayCommandName,
  relayData,
  relayStreamId,
} from "../wire/relay_cell.ts";
import { RESOLVE, RESOLVED, type ResolvedAnswer } from "../wire/resolve_messages.ts";
import { BEGIN, type Begin, CONNECTED, END, EndReason, endReasonName } from "../wire/stream_messages.ts";
import type { StreamWindow } from "./flow_control.ts";
import { Stream, type StreamCarrier } from "./stream.ts";

export interface StreamTableOptions {
  readonly random: RandomSource;
  readonly send: (hop: number, command: number, streamId: number, data: Uint8Array) => void;
  readonly wantTurn: () => void;
  readonly changed: (count: number) => void;
}

/** Beyond this a random free number is no longer found at once; the circuit should be replaced long before. */
const MAX_STREAM_IDS = 32_768;

/** What is remembered of a stream that we have ended: what the far end may still send (tor-spec 6.3). */
interface HalfClosed {
  readonly hop: number;
  readonly window: StreamWindow;
  connected: boolean;
}

interface Lookup {
  readonly hop: number;
  readonly answer: Deferred<readonly ResolvedAnswer[]>;
}

export class StreamTable implements StreamCarrier {
  readonly #options: StreamTableOptions;
  /** Open, or waiting for CONNECTED. */
  readonly #streams = new Map<number, Stream>();
  readonly #opening = new Map<number, Deferred<Stream>>();
  readonly #lookups = new Map<number, Lookup>();
  /** Streams we have ended: what comes for them is counted against their windows and dropped. */
  readonly #ended = new Map<number, HalfClosed>();
  /** Lookups nobody waits for any more. */
  readonly #abandoned = new Map<number, number>();
  /** Streams with data to send, in the order of their turns. */
  readonly #ready = new Set<Stream>();

  constructor(options: StreamTableOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#streams.size + this.#lookups.size;
  }

  get anyReady(): boolean {
    return this.#ready.size > 0;
  }

  async begin(hop: number, begin: Begin, signal: AbortSignal | undefined): Promise<Stream> {
    return await this.#open(hop, RelayCommand.BEGIN, encodeWith(BEGIN, begin), signal);
  }

  beginDirectory(hop: number, signal: AbortSignal | undefined): Promise<Stream> {
    return this.#open(hop, RelayCommand.BEGIN_DIR, new Uint8Array(0), signal);
  }

  /** The relay's answers, errors among them, as they came. */
  async resolve(hop: number, name: string, signal: AbortSignal | undefined): Promise<readonly ResolvedAnswer[]> {
    throwIfAborted(signal, "resolve a name");
    const message = encodeWith(RESOLVE, name);
    const id = this.#newId();
    const answer = new Deferred<readonly ResolvedAnswer[]>();
    const onAbort = (): void => {
      // A lookup has no stream that END could end: its answer is dropped when it comes.
      if (this.#lookups.delete(id)) this.#abandoned.set(id, hop);
      answer.reject(abortError(signal!, "resolve a name"));
      this.#changed();
    };
    // First, for a name may be too long for a message.
    this.#options.send(hop, RelayCommand.RESOLVE, id, message);
    signal?.addEventListener("abort", onAbort);
    this.#lookups.set(id, { hop, answer });
    this.#changed();
    try {
      return await answer.promise;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
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

  endStream(stream: Stream): void {
    if (!this.#streams.delete(stream.id)) return;
    this.#ready.delete(stream);
    const { hop, window, connected } = stream;
    this.#ended.set(stream.id, { hop, window, connected });
    // Why is nothing the exit needs to know (tor-spec 6.3).
    this.#options.send(stream.hop, RelayCommand.END, stream.id, encodeWith(END, { reason: EndReason.MISC }));
    this.#changed();
  }

  /**
   * Takes the DATA cell at `at` and those behind it, up to `end`, that are of the same stream; answers where the
   * next cell begins. The data is moved together in place, so that the user gets one array for the whole run.
   */
  onData(hop: number, payloads: Uint8Array, at: number, end: number): number {
    const id = relayStreamId(payloads, at);
    const stream = this.#streams.get(id);
    const known = stream ?? this.#ended.get(id);
    if (known?.hop !== hop || !known.connected) throw stranger(RelayCommand.DATA, id);
    const start = at + RELAY_DATA_AT;
    let filled = start;
    let cells = 0;
    do {
      const data = relayData(payloads, at);
      known.window.received();
      if (cells > 0) {
        payloads.copyWithin(
          filled,
          data.byteOffset - payloads.byteOffset,
          data.byteOffset - payloads.byteOffset + data.length,
        );
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
    if (known?.hop !== hop) throw stranger(RelayCommand.SENDME, id);
    known.window.acknowledged();
    stream?.onSendme();
  }

  /** END, CONNECTED or RESOLVED. */
  onMessage(hop: number, command: number, id: number, data: Uint8Array): void {
    if (command === RelayCommand.RESOLVED) return this.#onResolved(hop, id, data);
    const ended = this.#ended.get(id);
    if (ended?.hop === hop) {
      if (command === RelayCommand.END) return void this.#ended.delete(id);
      if (ended.connected) throw stranger(command, id);
      ended.connected = true;
      return;
    }
    if (command === RelayCommand.END && this.#failLookup(hop, id, data)) return;
    const stream = this.#streams.get(id);
    if (!stream || stream.hop !== hop) throw stranger(command, id);
    const opening = this.#opening.get(id);
    if (command === RelayCommand.CONNECTED) {
      if (!opening) throw stranger(command, id);
      stream.connectedAddress = decodeWith(CONNECTED, data).address;
      this.#opening.delete(id);
      stream.onConnected();
      opening.resolve(stream);
      return;
    }
    const { reason } = decodeWith(END, data);
    this.#streams.delete(id);
    this.#ready.delete(stream);
    this.#changed();
    if (opening) {
      this.#opening.delete(id);
      opening.reject(endError("open a stream", reason));
    }
    stream.onEnd(reason === EndReason.DONE ? undefined : endError("go on with a stream", reason));
  }

  closeAll(error: TunicError): void {
    const streams = [...this.#streams.values()];
    const opening = [...this.#opening.values()];
    const lookups = [...this.#lookups.values()];
    for (const table of [this.#streams, this.#opening, this.#lookups, this.#ended, this.#abandoned]) table.clear();
    this.#ready.clear();
    for (const deferred of opening) deferred.reject(error);
    for (const lookup of lookups) lookup.answer.reject(error);
    for (const stream of streams) stream.onCircuitClosed(error);
  }

  async #open(hop: number, command: number, body: Uint8Array, signal: AbortSignal | undefined): Promise<Stream> {
    throwIfAborted(signal, "open a stream");
    const id = this.#newId();
    const stream = new Stream(this, id, hop);
    const connected = new Deferred<Stream>();
    const onAbort = (): void => {
      const error = abortError(signal!, "open a stream");
      if (this.#opening.delete(id)) stream.destroy(error);
      connected.reject(error);
    };
    // First, for a name may be too long for a message.
    this.#options.send(hop, command, id, body);
    signal?.addEventListener("abort", onAbort);
    this.#streams.set(id, stream);
    this.#opening.set(id, connected);
    this.#changed();
    try {
      return await connected.promise;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  #onResolved(hop: number, id: number, data: Uint8Array): void {
    if (this.#abandoned.get(id) === hop) return void this.#abandoned.delete(id);
    const lookup = this.#lookups.get(id);
    if (lookup?.hop !== hop) throw stranger(RelayCommand.RESOLVED, id);
    const answers = decodeWith(RESOLVED, data);
    this.#lookups.delete(id);
    this.#changed();
    lookup.answer.resolve(answers);
  }

  /** A relay may answer RESOLVE with END. */
  #failLookup(hop: number, id: number, data: Uint8Array): boolean {
    if (this.#abandoned.get(id) === hop) return this.#abandoned.delete(id);
    const lookup = this.#lookups.get(id);
    if (lookup?.hop !== hop) return false;
    this.#lookups.delete(id);
    this.#changed();
    lookup.answer.reject(endError("resolve a name", decodeWith(END, data).reason));
    return true;
  }

  #newId(): number {
    const used = this.#streams.size + this.#lookups.size + this.#ended.size + this.#abandoned.size;
    if (used >= MAX_STREAM_IDS) {
      throw new TunicError("Cannot open a stream: the circuit has used up its stream numbers", {
        kind: "limit",
        code: "stream-ids",
        retry: "elsewhere",
      });
    }
    for (;;) {
      const id = 1 + randomBelow(this.#options.random, 0xffff);
      const taken = this.#streams.has(id) || this.#lookups.has(id) || this.#ended.has(id) || this.#abandoned.has(id);
      if (!taken) return id;
    }
  }

  #changed(): void {
    this.#options.changed(this.count);
  }
}

/** Reasons that another exit would give too. */
const FINAL_REASONS: readonly number[] = [EndReason.CONNECTREFUSED, EndReason.DONE, EndReason.CONNRESET];

function endError(what: string, reason: number): TunicError {
  const name = endReasonName(reason);
  return new TunicError(`Cannot ${what}: the exit ended it (${name})`, {
    kind: "stream",
    code: `end-${name.toLowerCase().replaceAll(" ", "-")}`,
    retry: FINAL_REASONS.includes(reason) ? "never" : "elsewhere",
    context: { reason: name },
  });
}

function stranger(command: number, id: number): TunicError {
  return new TunicError(
    `Cannot go on with a circuit: found ${relayCommandName(command)} for stream ${id}, which is not open`,
    { kind: "protocol", code: "unknown-stream", retry: "elsewhere" },
  );
}
