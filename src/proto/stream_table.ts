/** The streams and lookups of a client's circuit (tor-spec 6.2 to 6.4): how they are opened, and what answers them. */
import { Deferred } from "../base/deferred.ts";
import { abortError, throwIfAborted, TunicError } from "../base/errors.ts";
import { isInternalAddress } from "../bytes/ip.ts";
import { decodeWith, encodeWith } from "../bytes/codec.ts";
import { randomBelow, type RandomSource } from "../runtime/random.ts";
import { RelayCommand } from "../wire/relay_cell.ts";
import { RESOLVE, RESOLVED, type ResolvedAnswer } from "../wire/resolve_messages.ts";
import { BEGIN, type Begin, CONNECTED, END, type End, EndReason, endReasonName } from "../wire/stream_messages.ts";
import { OpenStreams, unknownStream } from "./open_streams.ts";
import { Stream } from "./stream.ts";

export interface StreamTableOptions {
  readonly random: RandomSource;
  readonly send: (hop: number, command: number, streamId: number, data: Uint8Array) => void;
  readonly wantTurn: () => void;
  readonly changed: (count: number) => void;
}

/** Beyond this a random free number is no longer found at once; the circuit should be replaced long before. */
const MAX_STREAM_IDS = 32_768;

interface Lookup {
  readonly hop: number;
  readonly answer: Deferred<readonly ResolvedAnswer[]>;
}

export class StreamTable {
  readonly #options: StreamTableOptions;
  /** Streams that are open or wait for CONNECTED. */
  readonly open: OpenStreams;
  readonly #opening = new Map<number, Deferred<Stream>>();
  readonly #lookups = new Map<number, Lookup>();
  /** Lookups nobody waits for any more. */
  readonly #abandoned = new Map<number, number>();

  constructor(options: StreamTableOptions) {
    this.#options = options;
    this.open = new OpenStreams({
      send: options.send,
      wantTurn: options.wantTurn,
      changed: () => this.#changed(),
      takesEarlyData: false,
      // Why is nothing the exit needs to know (tor-spec 6.3).
      endReason: () => EndReason.MISC,
    });
  }

  get count(): number {
    return this.open.size + this.#lookups.size;
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

  /** END, CONNECTED or RESOLVED. */
  onMessage(hop: number, command: number, id: number, data: Uint8Array): void {
    if (command === RelayCommand.RESOLVED) return this.#onResolved(hop, id, data);
    const ended = this.open.ended(hop, id);
    if (ended) {
      if (command === RelayCommand.END) return this.open.remove(id);
      if (ended.connected) throw unknownStream(command, id);
      ended.connected = true;
      return;
    }
    if (command === RelayCommand.END && this.#failLookup(hop, id, data)) return;
    const stream = this.open.get(hop, id);
    if (!stream) throw unknownStream(command, id);
    const opening = this.#opening.get(id);
    if (command === RelayCommand.CONNECTED) {
      if (!opening) throw unknownStream(command, id);
      stream.connectedAddress = decodeWith(CONNECTED, data).address;
      this.#opening.delete(id);
      stream.onConnected();
      opening.resolve(stream);
      return;
    }
    const end = decodeWith(END, data);
    this.open.remove(id);
    if (opening) {
      this.#opening.delete(id);
      opening.reject(endError("open a stream", end));
    }
    stream.onEnd(end.reason === EndReason.DONE ? undefined : endError("go on with a stream", end));
  }

  closeAll(error: TunicError): void {
    const opening = [...this.#opening.values()];
    const lookups = [...this.#lookups.values()];
    for (const table of [this.#opening, this.#lookups, this.#abandoned]) table.clear();
    for (const deferred of opening) deferred.reject(error);
    for (const lookup of lookups) lookup.answer.reject(error);
    this.open.closeAll(error);
  }

  async #open(hop: number, command: number, body: Uint8Array, signal: AbortSignal | undefined): Promise<Stream> {
    throwIfAborted(signal, "open a stream");
    const id = this.#newId();
    const stream = new Stream(this.open, id, hop);
    const connected = new Deferred<Stream>();
    const onAbort = (): void => {
      const error = abortError(signal!, "open a stream");
      if (this.#opening.delete(id)) stream.destroy(error);
      connected.reject(error);
    };
    // First, for a name may be too long for a message.
    this.#options.send(hop, command, id, body);
    signal?.addEventListener("abort", onAbort);
    this.#opening.set(id, connected);
    this.open.add(stream);
    try {
      return await connected.promise;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  #onResolved(hop: number, id: number, data: Uint8Array): void {
    if (this.#abandoned.get(id) === hop) return void this.#abandoned.delete(id);
    const lookup = this.#lookups.get(id);
    if (lookup?.hop !== hop) throw unknownStream(RelayCommand.RESOLVED, id);
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
    lookup.answer.reject(endError("resolve a name", decodeWith(END, data)));
    return true;
  }

  #newId(): number {
    const used = this.open.numbersInUse + this.#lookups.size + this.#abandoned.size;
    if (used >= MAX_STREAM_IDS) {
      throw new TunicError("Cannot open a stream: the circuit has used up its stream numbers", {
        kind: "limit",
        code: "stream-ids",
        retry: "elsewhere",
      });
    }
    for (;;) {
      const id = 1 + randomBelow(this.#options.random, 0xffff);
      if (!this.open.isInUse(id) && !this.#lookups.has(id) && !this.#abandoned.has(id)) return id;
    }
  }

  #changed(): void {
    this.#options.changed(this.count);
  }
}

/** Reasons that another exit would give too. */
const FINAL_REASONS: readonly number[] = [EndReason.CONNECTREFUSED, EndReason.DONE, EndReason.CONNRESET];

function endError(what: string, { reason, address }: End): TunicError {
  const name = endReasonName(reason);
  return new TunicError(`Cannot ${what}: the exit ended it (${name})`, {
    kind: "stream",
    code: `end-${name.toLowerCase().replaceAll(" ", "-")}`,
    retry: FINAL_REASONS.includes(reason) ? "never" : "elsewhere",
    context: { reason: name, isInternal: address !== undefined && isInternalAddress(address) },
  });
}
