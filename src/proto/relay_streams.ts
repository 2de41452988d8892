/**
 * A relay's ends of streams (tor-spec 6.2 to 6.4): what BEGIN, BEGIN_DIR and RESOLVE ask for is had from an
 * {@link ExitService}, and bytes are carried between it and the circuit.
 */
import { type Duplex, IGNORE } from "../base/duplex.ts";
import { isTunicError, type TunicError } from "../base/errors.ts";
import { decodeWith, encodeWith } from "../bytes/codec.ts";
import type { Timers } from "../runtime/ports.ts";
import { RelayCommand } from "../wire/relay_cell.ts";
import { RESOLVE, RESOLVED, type ResolvedAnswer } from "../wire/resolve_messages.ts";
import { BEGIN, type Begin, CONNECTED, END, EndReason } from "../wire/stream_messages.ts";
import { OpenStreams, unknownStream } from "./open_streams.ts";
import { Stream } from "./stream.ts";

/** What a relay offers to the streams that end at it. */
export interface ExitService {
  /**
   * Connects to where the exit policy allows. Throws `policy` for what it does not allow, `resolve` for a name that is
   * none, `connection` or `timeout`.
   */
  connect(begin: Begin, signal: AbortSignal): Promise<{ readonly duplex: Duplex; readonly address: string }>;
  /** The relay's directory server at the other end of a stream; `undefined` if it has none. */
  openDirectory(): Duplex | undefined;
  /** Answers for a name, or for an address under in-addr.arpa or ip6.arpa. */
  resolve(name: string): Promise<readonly ResolvedAnswer[]>;
}

export interface RelayStreamsOptions {
  readonly timers: Timers;
  readonly exit: ExitService;
  readonly send: (command: number, streamId: number, data: Uint8Array) => void;
  readonly wantTurn: () => void;
}

/** How long the far side may take to close its half after the stream has ended. */
const LINGER_MS = 5_000;
/** Streams and lookups of one circuit at a time. */
const MAX_STREAMS = 4_096;
/** A relay's circuits have one end: there are no other hops to tell apart. */
const HOP = 0;

export class RelayStreams {
  readonly open: OpenStreams;
  readonly #options: RelayStreamsOptions;
  readonly #connecting = new Map<number, AbortController>();
  #lookups = 0;

  constructor(options: RelayStreamsOptions) {
    this.#options = options;
    this.open = new OpenStreams({
      send: (_, command, streamId, data) => options.send(command, streamId, data),
      wantTurn: options.wantTurn,
      changed: () => {},
      takesEarlyData: true,
      endReason: (error) => error ? endReasonOf(error) : EndReason.DONE,
    });
  }

  /** BEGIN, BEGIN_DIR, RESOLVE or END. Throws `malformed`, or `protocol` for a number that is in use. */
  onMessage(command: number, id: number, data: Uint8Array): void {
    if (command === RelayCommand.END) return this.#onEnd(id);
    if (id === 0 || this.open.get(HOP, id)) throw unknownStream(command, id);
    if (this.open.size + this.#lookups >= MAX_STREAMS) return this.#refuse(id, EndReason.RESOURCELIMIT);
    // A number that we have ended may be used anew by those who have seen our END.
    this.open.remove(id);
    switch (command) {
      case RelayCommand.RESOLVE:
        return void this.#resolve(id, decodeWith(RESOLVE, data));
      case RelayCommand.BEGIN:
        return this.#begin(id, decodeWith(BEGIN, data));
      default: {
        const directory = this.#options.exit.openDirectory();
        if (!directory) return this.#refuse(id, EndReason.NOTDIRECTORY);
        const stream = this.#add(id);
        this.#connected(stream, directory, new Uint8Array(0));
      }
    }
  }

  /** The circuit is gone. */
  closeAll(error: TunicError): void {
    for (const attempt of this.#connecting.values()) attempt.abort(error);
    this.#connecting.clear();
    this.open.closeAll(error);
  }

  #add(id: number): Stream {
    const stream = new Stream(this.open, id, HOP);
    this.open.add(stream);
    return stream;
  }

  #refuse(id: number, reason: number): void {
    this.#options.send(RelayCommand.END, id, encodeWith(END, { reason }));
  }

  #begin(id: number, begin: Begin): void {
    const stream = this.#add(id);
    const attempt = new AbortController();
    this.#connecting.set(id, attempt);
    stream.onClosed = () => attempt.abort();
    this.#options.exit.connect(begin, attempt.signal).then(({ duplex, address }) => {
      this.#connecting.delete(id);
      if (stream.closed) return duplex.destroy();
      this.#connected(stream, duplex, encodeWith(CONNECTED, { address, ttl: 0 }));
    }, (error) => {
      this.#connecting.delete(id);
      if (!stream.closed) stream.destroy(error);
    });
  }

  /** Tells the client, and carries bytes until the stream or the far side closes. */
  #connected(stream: Stream, far: Duplex, message: Uint8Array): void {
    const { send, timers } = this.#options;
    send(RelayCommand.CONNECTED, stream.id, message);
    stream.onConnected();
    stream.onClosed = undefined;
    far.handlers = {
      data: (bytes) => {
        if (!stream.write(bytes)) far.pause();
      },
      drain: () => stream.resume(),
      end: () => stream.end(),
      close: (error) => error ? stream.destroy(error) : stream.end(),
    };
    stream.handlers = {
      data: (bytes) => {
        if (!far.write(bytes)) stream.pause();
      },
      drain: () => far.resume(),
      end: () => far.end(),
      close: () => {
        // What the client sent still goes out; what comes back has nowhere to go.
        const linger = timers.after(LINGER_MS, () => far.destroy());
        far.handlers = { ...IGNORE, close: () => linger.cancel() };
        far.resume();
        far.end();
      },
    };
  }

  #onEnd(id: number): void {
    const stream = this.open.get(HOP, id);
    this.open.remove(id);
    if (!stream) return;
    this.#connecting.get(id)?.abort();
    this.#connecting.delete(id);
    stream.onEnd(undefined);
    // Nobody listens yet to one that is still connecting.
    if (!stream.connected) stream.destroy();
  }

  async #resolve(id: number, name: string): Promise<void> {
    this.#lookups++;
    let answers: readonly ResolvedAnswer[];
    try {
      answers = await this.#options.exit.resolve(name);
    } catch (error) {
      const transient = !isTunicError(error, "resolve") || error.retry !== "never";
      answers = [{ kind: "error", transient, ttl: 60 }];
    } finally {
      this.#lookups--;
    }
    this.#options.send(RelayCommand.RESOLVED, id, encodeWith(RESOLVED, answers));
  }
}

/** What a client is told of why its stream ended. */
function endReasonOf(error: TunicError): number {
  switch (error.kind) {
    case "policy":
      return EndReason.EXITPOLICY;
    case "resolve":
      return EndReason.RESOLVEFAILED;
    case "timeout":
      return EndReason.TIMEOUT;
    case "connection":
      if (error.code === "refused") return EndReason.CONNECTREFUSED;
      return error.code === "reset" ? EndReason.CONNRESET : EndReason.MISC;
    case "limit":
      return EndReason.RESOURCELIMIT;
    default:
      return EndReason.MISC;
  }
}
