/**
 * A relay's ends of streams (tor-spec 6.2 to 6.4): what BEGIN, BEGIN_DIR and RESOLVE ask for is had from an
 * {@link ExitService}, and bytes are carried between it and the circuit.
 */
import { type Duplex, IGNORE } from "../base/duplex.ts";
import { isTunicError, toTunicError, TunicError } from "../base/errors.ts";
import { decodeWith, encodeWith } from "../bytes/codec.ts";
import type { Timers } from "../runtime/ports.ts";
import { RELAY_DATA_LEN, RelayCommand } from "../wire/relay_cell.ts";
import { RESOLVE, RESOLVED, type ResolvedAnswer } from "../wire/resolve_messages.ts";
import { BEGIN, type Begin, CONNECTED, EndReason } from "../wire/stream_messages.ts";
import { OpenStreams, unknownStream } from "./open_streams.ts";
import { Stream } from "./stream.ts";

/** What a relay offers to the streams that end at it. */
export interface ExitService {
  /**
   * Connects to where the exit policy allows. Throws `policy` for what it does not allow, `resolve` for a name that is
   * none, `connection` or `timeout`. `address` is the one it connected to; an aborted attempt rejects, or is closed.
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

/** How long the far side may take for what is left of an ended stream, and then to close its half. */
const LINGER_MS = 5_000;
/** Streams and lookups of one circuit at a time. */
const MAX_STREAMS = 4_096;
/** Answers of the shortest kind that fit one message. */
const MAX_ANSWERS = 49;
/** Seconds for which a failed lookup may be remembered. */
const ERROR_TTL_S = 60;
/** A relay's circuits have one end: there are no other hops to tell apart. */
const HOP = 0;

export class RelayStreams {
  readonly open: OpenStreams;
  readonly #options: RelayStreamsOptions;
  readonly #connecting = new Map<Stream, AbortController>();
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

  /** BEGIN, BEGIN_DIR, RESOLVE or END. Throws `protocol` for a number that is in use. */
  onMessage(command: number, id: number, data: Uint8Array): void {
    if (command === RelayCommand.END) return this.#onEnd(id);
    if (id === 0 || this.open.get(HOP, id)) throw unknownStream(command, id);
    // A number that we have ended may be used anew by those who have seen our END.
    this.open.remove(id);
    if (command === RelayCommand.RESOLVE) return void this.#resolve(id, data);
    // Whatever becomes of it, data may already be on its way, and is counted.
    const stream = this.#add(id);
    try {
      if (this.open.size + this.#lookups > MAX_STREAMS) throw tooMany();
      if (command === RelayCommand.BEGIN) return void this.#connect(stream, decodeWith(BEGIN, data));
      const directory = this.#options.exit.openDirectory();
      if (!directory) throw noDirectory();
      this.#connected(stream, directory, new Uint8Array(0));
    } catch (error) {
      stream.destroy(asTunicError(error));
    }
  }

  /** The circuit is gone. */
  closeAll(error: TunicError): void {
    for (const attempt of this.#connecting.values()) attempt.abort(error);
    for (const stream of this.open.closeAll(error)) this.#linger(stream);
  }

  #add(id: number): Stream {
    const stream = new Stream(this.open, id, HOP);
    this.open.add(stream);
    return stream;
  }

  async #connect(stream: Stream, begin: Begin): Promise<void> {
    const attempt = new AbortController();
    this.#connecting.set(stream, attempt);
    stream.onClosed = () => attempt.abort();
    let far: Duplex | undefined;
    try {
      const answer = await this.#options.exit.connect(begin, attempt.signal);
      far = answer.duplex;
      if (attempt.signal.aborted) far.destroy();
      else this.#connected(stream, far, encodeWith(CONNECTED, { address: answer.address, ttl: 0 }));
    } catch (error) {
      far?.destroy();
      stream.destroy(asTunicError(error));
    } finally {
      this.#connecting.delete(stream);
    }
  }

  /** Tells the client, and carries bytes until the stream or the far side closes. */
  #connected(stream: Stream, far: Duplex, message: Uint8Array): void {
    const { send, timers } = this.#options;
    let farClosed = false;
    send(RelayCommand.CONNECTED, stream.id, message);
    stream.onConnected();
    stream.onClosed = undefined;
    far.handlers = {
      data: (bytes) => {
        if (!stream.write(bytes)) far.pause();
      },
      drain: () => stream.resume(),
      end: () => stream.end(),
      close: (error) => {
        farClosed = true;
        if (error) stream.destroy(error);
        else stream.end();
      },
    };
    stream.handlers = {
      data: (bytes) => {
        if (!far.write(bytes)) stream.pause();
      },
      drain: () => far.resume(),
      end: () => far.end(),
      close: () => {
        if (farClosed) return;
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
    stream.onEnd(undefined);
    this.#linger(stream);
  }

  /** The client will send no more. What is left is delivered, unless the far side takes too long, or is not there. */
  #linger(stream: Stream): void {
    if (!stream.connected) stream.destroy();
    if (stream.closed) return;
    const timer = this.#options.timers.after(LINGER_MS, () => stream.destroy());
    stream.onClosed = () => timer.cancel();
  }

  async #resolve(id: number, data: Uint8Array): Promise<void> {
    let message: Uint8Array;
    this.#lookups++;
    try {
      if (this.open.size + this.#lookups > MAX_STREAMS) throw tooMany();
      message = resolvedMessage(await this.#options.exit.resolve(decodeWith(RESOLVE, data)));
    } catch (error) {
      const transient = !isTunicError(error, "resolve", "malformed") || error.retry !== "never";
      message = encodeWith(RESOLVED, [{ kind: "error", transient, ttl: ERROR_TTL_S }]);
    } finally {
      this.#lookups--;
    }
    this.#options.send(RelayCommand.RESOLVED, id, message);
  }
}

/** As many of the answers as one message can carry; throws `resolve` where there is none. */
function resolvedMessage(answers: readonly ResolvedAnswer[]): Uint8Array {
  for (let count = Math.min(answers.length, MAX_ANSWERS); count > 0; count--) {
    const message = encodeWith(RESOLVED, answers.slice(0, count));
    if (message.length <= RELAY_DATA_LEN) return message;
  }
  throw new TunicError("Cannot resolve a name: found no address", { kind: "resolve", code: "no-answer" });
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
    case "directory":
      return EndReason.NOTDIRECTORY;
    case "malformed":
      return EndReason.TORPROTOCOL;
    default:
      return EndReason.MISC;
  }
}

function asTunicError(error: unknown): TunicError {
  return toTunicError(error, "Cannot open a stream", { kind: "internal", code: "relay-defect" });
}

function tooMany(): TunicError {
  return new TunicError(`Cannot open a stream: the circuit has ${MAX_STREAMS} of them`, {
    kind: "limit",
    code: "circuit-full",
  });
}

function noDirectory(): TunicError {
  return new TunicError("Cannot open a stream: the relay has no directory", {
    kind: "directory",
    code: "no-directory",
  });
}
