/**
 * A client's circuit (tor-spec 5, 6 and 7): built hop by hop, carrying streams.
 *
 * It records how it behaves, never what it is for. DATA goes out in turns that the channel gives, so that
 * circuits share a channel fairly; everything else goes out at once. Whatever breaks the protocol closes the
 * circuit, and with it every stream, with the reason.
 */
import { Deferred } from "../base/deferred.ts";
import { abortError, isTunicError, throwIfAborted, toTunicError, TunicError } from "../base/errors.ts";
import { Emitter } from "../base/events.ts";
import { logger } from "../base/log.ts";
import { decodeWith, encodeWith } from "../bytes/codec.ts";
import { CREATED_FAST_LENGTH } from "../crypto/create_fast.ts";
import { RELAY_KEYS_LENGTH, splitRelayKeys } from "../crypto/kdf.ts";
import { wipe } from "../crypto/secrets.ts";
import type { RandomSource } from "../runtime/random.ts";
import { CellCommand, cellCommandName, PAYLOAD_LEN } from "../wire/cell.ts";
import { EXTEND2, EXTENDED2, SENDME } from "../wire/circuit_messages.ts";
import { CREATE2, CREATED2, DESTROY, DestroyReason, destroyReasonName, TRUNCATED } from "../wire/create_cells.ts";
import { linkSpecifiersOf } from "../wire/link_specifier.ts";
import {
  RelayCommand,
  relayCommand,
  relayCommandName,
  relayData,
  relayStreamId,
  writeRelayPayload,
} from "../wire/relay_cell.ts";
import type { CellSink, ChannelCircuit } from "./channel_circuit.ts";
import type { HopHandshake } from "./circuit_handshake.ts";
import { gatherData } from "./data_turn.ts";
import { type CircuitFlowControl, FixedCircuitWindow } from "./flow_control.ts";
import { ClientRelayCrypto, type OpenedCells } from "./relay_crypto.ts";
import type { Stream } from "./stream.ts";
import { StreamTable } from "./stream_table.ts";
import type { CircuitTarget } from "./target.ts";

const log = logger("circuit");

export interface CircuitOptions {
  readonly sink: CellSink;
  readonly circId: number;
  readonly random: RandomSource;
  /** The consensus parameter "circwindow". */
  readonly circuitWindow: number;
}

export interface CircuitEvents {
  /** Once; with the reason it is no longer usable. */
  closed: TunicError;
  /** The number of streams changed. */
  streams: number;
}

/** Cells of RELAY_EARLY that a circuit may send (tor-spec 5.6). */
const RELAY_EARLY_LIMIT = 8;
/** One hop's side of the conversation. */
interface Hop {
  readonly flow: CircuitFlowControl;
}

export class Circuit implements ChannelCircuit {
  readonly circId: number;
  readonly events: { on: Emitter<CircuitEvents>["on"] };
  readonly #emitter = new Emitter<CircuitEvents>();
  readonly #sink: CellSink;
  readonly #random: RandomSource;
  readonly #circuitWindow: number;
  readonly #crypto = new ClientRelayCrypto();
  readonly #hops: Hop[] = [];
  readonly #streams: StreamTable;
  #earlyLeft = RELAY_EARLY_LIMIT;
  /** The relay has heard of the circuit, so it must hear of its end. */
  #begun = false;
  /** The reply that building waits for: CREATED2, CREATED_FAST or EXTENDED2. */
  #awaited: { command: number; hop: number; reply: Deferred<Uint8Array> } | undefined;
  #error: TunicError | undefined;
  readonly #opened: OpenedCells;

  constructor(options: CircuitOptions) {
    this.#sink = options.sink;
    this.circId = options.circId;
    this.#random = options.random;
    this.#circuitWindow = options.circuitWindow;
    this.events = { on: (name, listener) => this.#emitter.on(name, listener) };
    this.#streams = new StreamTable({
      random: options.random,
      send: (hop, command, streamId, data) => this.#sendMessage(hop, command, streamId, data),
      wantTurn: () => this.#sink.wantTurn(this),
      changed: (count) => this.#emitter.emit("streams", count),
    });
    this.#opened = {
      isDigestPoint: (hop, payloads, at) =>
        relayCommand(payloads, at) === RelayCommand.DATA && this.#hops[hop]!.flow.received(),
      digest: (hop, digest) =>
        this.#sendMessage(hop, RelayCommand.SENDME, 0, encodeWith(SENDME, { version: 1, digest })),
      deliver: (hop, payloads, count) => this.#deliver(hop, payloads, count),
    };
  }

  /** Number of hops that are built. */
  get hops(): number {
    return this.#hops.length;
  }

  /** Why it is closed; `undefined` while it is usable. */
  get closed(): TunicError | undefined {
    return this.#error;
  }

  /** Streams that are open or being opened. */
  get streamCount(): number {
    return this.#streams.count;
  }

  /** Adds the first hop: the relay at the channel's other end. Throws, and closes the circuit, on failure. */
  async create(handshake: HopHandshake, signal?: AbortSignal): Promise<void> {
    if (handshake.type === "fast") {
      const send = () => this.#sink.sendCell(this.circId, CellCommand.CREATE_FAST, handshake.client.onionSkin);
      await this.#addHop(handshake, CellCommand.CREATED_FAST, -1, send, signal);
      return;
    }
    const message = { handshakeType: handshake.type, handshake: handshake.client.onionSkin };
    const send = () => this.#sink.sendCell(this.circId, CellCommand.CREATE2, encodeWith(CREATE2, message));
    await this.#addHop(handshake, CellCommand.CREATED2, -1, send, signal);
  }

  /** Adds a hop behind the last one. Throws, and closes the circuit, on failure. */
  async extend(target: CircuitTarget, handshake: HopHandshake, signal?: AbortSignal): Promise<void> {
    if (handshake.type === "fast") throw new RangeError("CREATE_FAST is for first hops only");
    const last = this.#hops.length - 1;
    const body = encodeWith(EXTEND2, {
      linkSpecifiers: linkSpecifiersOf(target),
      handshakeType: handshake.type,
      handshake: handshake.client.onionSkin,
    });
    const send = () => this.#sendMessage(last, RelayCommand.EXTEND2, 0, body, CellCommand.RELAY_EARLY);
    await this.#addHop(handshake, RelayCommand.EXTENDED2, last, send, signal);
  }

  /**
   * Opens a stream from the last hop to `host`:`port`. Throws `stream` with the END reason, or what closed the
   * circuit. An abort sends END.
   */
  async openStream(host: string, port: number, flags: number, signal?: AbortSignal): Promise<Stream> {
    return await this.#streams.begin(this.#lastHop(), { host, port, flags }, signal);
  }

  /** Opens a stream to the last hop's directory server. */
  async openDirectory(signal?: AbortSignal): Promise<Stream> {
    return await this.#streams.beginDirectory(this.#lastHop(), signal);
  }

  /** Asks the last hop to look a name up; see `StreamTable.resolve`. */
  async resolve(name: string, signal?: AbortSignal): ReturnType<StreamTable["resolve"]> {
    return await this.#streams.resolve(this.#lastHop(), name, signal);
  }

  /** Closes the circuit and tells the first relay. */
  destroy(error: TunicError, reason: number = DestroyReason.NONE): void {
    if (this.#error) return;
    if (this.#begun) this.#sink.sendCell(this.circId, CellCommand.DESTROY, encodeWith(DESTROY, reason));
    this.onClosed(error);
  }

  /** The channel is gone, or the circuit over for another reason that needs no DESTROY. */
  onClosed(error: TunicError): void {
    if (this.#error) return;
    this.#error = error;
    this.#sink.release(this);
    this.#awaited?.reply.reject(error);
    this.#awaited = undefined;
    this.#streams.closeAll(error);
    this.#emitter.emit("closed", error);
    this.#emitter.clear();
  }

  onOverfull(error: TunicError): void {
    this.destroy(error);
  }

  /** Payloads of RELAY cells, one after the other. */
  onRelayPayloads(payloads: Uint8Array): void {
    if (this.#error) return;
    try {
      if (this.#hops.length === 0) throw violation("relay-too-early", "a RELAY cell before there was a hop");
      this.#crypto.open(payloads, this.#opened);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Any cell for this circuit that is not RELAY. */
  onCell(command: number, payload: Uint8Array): void {
    if (this.#error) return;
    try {
      switch (command) {
        case CellCommand.CREATED2:
        case CellCommand.CREATED_FAST:
          return this.#onReply(command, -1, payload);
        case CellCommand.DESTROY: {
          const reason = decodeWith(DESTROY, payload);
          return this.onClosed(closedByRelay("DESTROY", reason));
        }
        default:
          throw violation("unexpected-cell", `an unexpected ${cellCommandName(command)} cell`);
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /**
   * Sends DATA of streams that have some, in turn, as far as the windows go and one turn lasts. True if there is more
   * to send.
   */
  takeTurn(scratch: Uint8Array): boolean {
    if (this.#error) return false;
    try {
      return this.#takeTurn(scratch);
    } catch (error) {
      this.#fail(error);
      return false;
    }
  }

  #takeTurn(scratch: Uint8Array): boolean {
    const { open } = this.#streams;
    const hop = open.nextReady()?.hop;
    if (hop === undefined) return false;
    const { flow } = this.#hops[hop]!;
    const turn = gatherData(hop, open, flow, this.#random, scratch);
    if (turn.payloads.length > 0) {
      this.#sink.sendPayloads(this.circId, CellCommand.RELAY, this.#crypto.seal(hop, turn.payloads, turn.points));
    }
    for (const stream of turn.served) stream.afterTurn();
    // What the circuit's window stops goes on when a SENDME comes.
    return !this.#error && open.anyReady && flow.sendable > 0;
  }

  #lastHop(): number {
    if (this.#error) throw this.#error;
    if (this.#hops.length === 0) throw new RangeError("the circuit has no hop yet");
    return this.#hops.length - 1;
  }

  async #addHop(
    handshake: HopHandshake,
    command: number,
    hop: number,
    send: () => void,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (this.#error) throw this.#error;
    if (this.#awaited) throw new RangeError("a circuit can be extended by one hop at a time");
    const what = hop < 0 ? "create a circuit" : "extend a circuit";
    const reply = new Deferred<Uint8Array>();
    const onAbort = (): void => this.destroy(abortError(signal!, what), DestroyReason.NONE);
    signal?.addEventListener("abort", onAbort);
    try {
      throwIfAborted(signal, what);
      this.#awaited = { command, hop, reply };
      this.#begun = true;
      send();
      const answer = await reply.promise;
      // What came right behind the answer may have closed the circuit.
      if (this.#error) throw this.#error;
      const keyMaterial = handshake.client.finish(answer, RELAY_KEYS_LENGTH);
      this.#crypto.addHop(splitRelayKeys(keyMaterial));
      wipe(keyMaterial);
      this.#hops.push({ flow: new FixedCircuitWindow(this.#circuitWindow) });
    } catch (error) {
      this.#fail(error);
      throw this.#error;
    } finally {
      signal?.removeEventListener("abort", onAbort);
    }
  }

  #onReply(command: number, hop: number, reply: Uint8Array): void {
    const awaited = this.#awaited;
    if (!awaited || awaited.command !== command || awaited.hop !== hop) {
      throw violation("unexpected-reply", "an answer to a hop that was not asked for");
    }
    // A fixed cell has padding behind what it carries.
    const message = command === CellCommand.CREATED_FAST
      ? reply.slice(0, CREATED_FAST_LENGTH)
      : decodeWith(command === CellCommand.CREATED2 ? CREATED2 : EXTENDED2, reply);
    this.#awaited = undefined;
    awaited.reply.resolve(message);
  }

  #deliver(hop: number, payloads: Uint8Array, count: number): void {
    const end = count * PAYLOAD_LEN;
    for (let at = 0; at < end && !this.#error;) {
      if (relayCommand(payloads, at) === RelayCommand.DATA) {
        at = this.#streams.open.onData(hop, payloads, at, end);
      } else {
        this.#onMessage(hop, relayCommand(payloads, at), relayStreamId(payloads, at), relayData(payloads, at));
        at += PAYLOAD_LEN;
      }
    }
  }

  #onMessage(hop: number, command: number, streamId: number, data: Uint8Array): void {
    switch (command) {
      case RelayCommand.SENDME:
        if (streamId !== 0) return this.#streams.open.onSendme(hop, streamId);
        return this.#onCircuitSendme(hop, data);
      case RelayCommand.END:
      case RelayCommand.CONNECTED:
      case RelayCommand.RESOLVED:
        return this.#streams.onMessage(hop, command, streamId, data);
      case RelayCommand.EXTENDED2:
        requireCircuitMessage(command, streamId);
        return this.#onReply(command, hop, data);
      case RelayCommand.TRUNCATED: {
        requireCircuitMessage(command, streamId);
        // The rest of the circuit could be extended anew, but nobody does: what it carried is gone.
        return this.destroy(closedByRelay("TRUNCATED", decodeWith(TRUNCATED, data)));
      }
      case RelayCommand.DROP:
        return;
      default:
        // Newer relays may say more; what is not understood is not acted upon (as C tor does).
        log.debug("Ignored {command} from a relay", { command: relayCommandName(command) });
    }
  }

  #onCircuitSendme(hop: number, data: Uint8Array): void {
    const sendme = decodeWith(SENDME, data);
    this.#hops[hop]!.flow.acknowledged(sendme.version === 1 ? sendme.digest : undefined);
    if (this.#streams.open.anyReady) this.#sink.wantTurn(this);
  }

  #sendMessage(
    hop: number,
    command: number,
    streamId: number,
    data: Uint8Array,
    cell: number = CellCommand.RELAY,
  ): void {
    if (this.#error) return;
    if (cell === CellCommand.RELAY_EARLY && --this.#earlyLeft < 0) {
      throw violation("relay-early-limit", `more than ${RELAY_EARLY_LIMIT} extensions`);
    }
    const payload = new Uint8Array(PAYLOAD_LEN);
    writeRelayPayload(payload, 0, command, streamId, data, (count) => this.#random.random(count));
    this.#sink.sendPayloads(this.circId, cell, this.#crypto.seal(hop, payload));
  }

  /** Closes the circuit because of what a relay did, or because of a defect of ours. */
  #fail(error: unknown): void {
    const reason = isTunicError(error, "malformed")
      ? nonsense(error)
      : toTunicError(error, "Cannot go on with a circuit", { kind: "internal", code: "circuit-defect" });
    if (!this.#error) log.debug("Closed a circuit: {reason}", { reason: reason.message });
    this.destroy(reason);
  }
}

function requireCircuitMessage(command: number, streamId: number): void {
  if (streamId !== 0) throw violation("stream-id", `${relayCommandName(command)} with a stream`);
}

function closedByRelay(message: string, reason: number): TunicError {
  return new TunicError(`Cannot go on with a circuit: a relay sent ${message} (${destroyReasonName(reason)})`, {
    kind: "circuit",
    code: message.toLowerCase(),
    retry: "elsewhere",
    context: { reason: destroyReasonName(reason) },
  });
}

/** What one relay cannot say properly, another one may. */
function nonsense(cause: TunicError): TunicError {
  return new TunicError(`Cannot go on with a circuit: a relay sent nonsense: ${cause.message}`, {
    kind: "malformed",
    code: cause.code,
    retry: "elsewhere",
    context: cause.context,
    cause,
  });
}

function violation(code: string, found: string): TunicError {
  return new TunicError(`Cannot go on with a circuit: found ${found}`, { kind: "protocol", code, retry: "elsewhere" });
}
