/**
 * A circuit as a relay has it (tor-spec 5 and 6): one layer taken off on the way from the client, put on on the way
 * back, and what is meant for this relay done.
 *
 * Batches pass through as batches: one call of the cipher for all cells that came together.
 */
import { isTunicError, toTunicError, TunicError } from "../base/errors.ts";
import { logger } from "../base/log.ts";
import { decodeWith, encodeWith } from "../bytes/codec.ts";
import { equal } from "../bytes/bytes.ts";
import type { CircuitKeys } from "../crypto/kdf.ts";
import type { Runtime } from "../runtime/ports.ts";
import { CellCommand, cellCommandName, PAYLOAD_LEN } from "../wire/cell.ts";
import { EXTEND2, type Extend2, EXTENDED2, SENDME } from "../wire/circuit_messages.ts";
import { CREATE2, CREATED2, DESTROY, DestroyReason, TRUNCATED } from "../wire/create_cells.ts";
import type { LinkSpecifier } from "../wire/link_specifier.ts";
import {
  RelayCommand,
  relayCommand,
  relayCommandName,
  relayData,
  relayRecognized,
  relayStreamId,
  writeRelayPayload,
} from "../wire/relay_cell.ts";
import type { Channel } from "./channel.ts";
import type { CellSink, ChannelCircuit } from "./channel_circuit.ts";
import { gatherData } from "./data_turn.ts";
import { type CircuitFlowControl, FixedCircuitWindow } from "./flow_control.ts";
import { type DigestPoints, RelayLayer } from "./relay_layer.ts";
import { type ExitService, RelayStreams } from "./relay_streams.ts";
import type { ChannelTarget } from "./target.ts";

const log = logger("relay");

/** What circuits need of the relay they pass through. */
export interface RelayServices {
  readonly runtime: Runtime;
  /** The relay's own RSA identity. */
  readonly rsaId: Uint8Array;
  readonly exit: ExitService;
  /** A channel to the next relay, whose identities it has proved. */
  connect(target: ChannelTarget): Promise<CellSink & Pick<Channel, "register">>;
  /** Relay messages of other protocols (rend-spec-v3); false where the command is not one of them. */
  onOtherMessage?(circuit: RelayCircuit, command: number, data: Uint8Array): boolean;
}

/** Cells of RELAY_EARLY that a circuit may carry (tor-spec 5.6). */
const RELAY_EARLY_LIMIT = 8;

export class RelayCircuit implements ChannelCircuit {
  readonly circId: number;
  /** KH of the handshake: known to the client and this relay alone, and to them for this circuit alone. */
  readonly kh: Uint8Array;
  readonly #services: RelayServices;
  readonly #sink: CellSink;
  /** Identity of the relay on the client's side; `undefined` for a client. */
  readonly #previousId: Uint8Array | undefined;
  readonly #layer: RelayLayer;
  readonly #flow: CircuitFlowControl;
  readonly #points: DigestPoints;
  readonly #streams: RelayStreams;
  #next: NextHop | undefined;
  /** The EXTEND2 whose channel is awaited. */
  #extending: Extend2 | undefined;
  #earlyLeft = RELAY_EARLY_LIMIT;
  #error: TunicError | undefined;
  /** Called once when the circuit is over. */
  onEnd: ((error: TunicError) => void) | undefined;

  constructor(
    services: RelayServices,
    sink: CellSink,
    circId: number,
    keys: CircuitKeys,
    previousId: Uint8Array | undefined,
    circuitWindow: number,
  ) {
    this.#services = services;
    this.#sink = sink;
    this.circId = circId;
    this.kh = keys.kh;
    this.#previousId = previousId;
    this.#layer = new RelayLayer(keys, "relay");
    this.#flow = new FixedCircuitWindow(circuitWindow);
    this.#points = {
      isPoint: (payloads, at) => relayCommand(payloads, at) === RelayCommand.DATA && this.#flow.received(),
      digest: (digest) => this.send(RelayCommand.SENDME, 0, encodeWith(SENDME, { version: 1, digest })),
    };
    this.#streams = new RelayStreams({
      timers: services.runtime.timers,
      exit: services.exit,
      send: (command, streamId, data) => this.send(command, streamId, data),
      wantTurn: () => sink.wantTurn(this),
    });
  }

  get closed(): TunicError | undefined {
    return this.#error;
  }

  /** Whether something is beyond this relay, or about to be: it is not the circuit's end. */
  get goesOn(): boolean {
    return this.#next !== undefined || this.#extending !== undefined || this.joined !== undefined;
  }

  onRelayPayloads(payloads: Uint8Array): void {
    this.#guard(() => this.#open(this.#layer.decrypt(payloads), CellCommand.RELAY));
  }

  onCell(command: number, payload: Uint8Array): void {
    this.#guard(() => {
      switch (command) {
        case CellCommand.RELAY_EARLY:
          if (--this.#earlyLeft < 0) {
            throw violation("relay-early-limit", "more RELAY_EARLY cells than a circuit may have");
          }
          return this.#open(this.#layer.decrypt(payload), CellCommand.RELAY_EARLY);
        case CellCommand.DESTROY:
          // Its reason goes no further: it could carry a mark along the path (tor-spec 5.4).
          return this.#end(ended("the client's side closed it"), undefined, DestroyReason.DESTROYED);
        default:
          throw violation("unexpected-cell", `an unexpected ${cellCommandName(command)} cell`);
      }
    });
  }

  takeTurn(scratch: Uint8Array): boolean {
    let more = false;
    this.#guard(() => {
      const { open } = this.#streams;
      const turn = gatherData(0, open, this.#flow, this.#services.runtime, scratch);
      if (turn.payloads.length > 0) {
        this.#layer.sign(turn.payloads, turn.points);
        this.#sink.sendPayloads(this.circId, CellCommand.RELAY, this.#layer.encrypt(turn.payloads));
      }
      for (const stream of turn.served) stream.afterTurn();
      more = !this.#error && open.anyReady && this.#flow.sendable > 0;
    });
    return more;
  }

  onOverfull(error: TunicError): void {
    this.destroy(error, DestroyReason.RESOURCELIMIT);
  }

  onClosed(error: TunicError): void {
    this.#end(error, undefined, DestroyReason.CHANNEL_CLOSED);
  }

  /** Sends a relay message to the client. */
  send(command: number, streamId: number, data: Uint8Array): void {
    if (this.#error) return;
    const payload = new Uint8Array(PAYLOAD_LEN);
    writeRelayPayload(payload, 0, command, streamId, data, (count) => this.#services.runtime.random(count));
    this.#layer.sign(payload);
    this.#sink.sendPayloads(this.circId, CellCommand.RELAY, this.#layer.encrypt(payload));
  }

  /** Payloads from beyond this relay: from the next one, or from another circuit joined to this one. */
  sendThrough(payloads: Uint8Array): void {
    if (this.#error) return;
    this.#sink.sendPayloads(this.circId, CellCommand.RELAY, this.#layer.encrypt(payloads));
  }

  /** Where payloads that are not for this relay go; without a next hop or a joined circuit there is nowhere. */
  joined: { sendThrough(payloads: Uint8Array): void } | undefined;

  /** Closes the circuit in both directions. */
  destroy(error: TunicError, reason: number): void {
    this.#end(error, reason, reason);
  }

  /** Payloads with our layer off. */
  #open(payloads: Uint8Array, command: number): void {
    if (!this.#next && !this.joined && allRecognized(payloads)) {
      this.#layer.verify(payloads, this.#points);
      return this.#deliver(payloads, command);
    }
    // One after the other, for a cell of ours may change where those behind it go.
    for (let rest = payloads; rest.length > 0 && !this.#error;) {
      const own = this.#layer.findRecognized(rest);
      const foreign = own < 0 ? rest : rest.subarray(0, own);
      if (foreign.length > 0) this.#pass(foreign, command);
      if (own < 0) return;
      const payload = rest.slice(own, own + PAYLOAD_LEN);
      if (this.#points.isPoint(payload, 0)) this.#points.digest(this.#layer.receivedDigest());
      this.#deliver(payload, command);
      rest = rest.subarray(own + PAYLOAD_LEN);
    }
  }

  #pass(payloads: Uint8Array, command: number): void {
    if (this.#next) this.#next.send(command, payloads);
    else if (this.joined) this.joined.sendThrough(payloads);
    else throw violation("unrecognized", "a cell that nobody recognizes at the circuit's end");
  }

  #deliver(payloads: Uint8Array, cell: number): void {
    for (let at = 0; at < payloads.length && !this.#error;) {
      const command = relayCommand(payloads, at);
      if (command === RelayCommand.DATA) {
        at = this.#streams.open.onData(0, payloads, at, payloads.length);
        continue;
      }
      this.#onMessage(command, relayStreamId(payloads, at), relayData(payloads, at), cell);
      at += PAYLOAD_LEN;
    }
  }

  #onMessage(command: number, streamId: number, data: Uint8Array, cell: number): void {
    switch (command) {
      case RelayCommand.BEGIN:
      case RelayCommand.BEGIN_DIR:
      case RelayCommand.RESOLVE:
      case RelayCommand.END:
        return this.#streams.onMessage(command, streamId, data);
      case RelayCommand.SENDME:
        if (streamId !== 0) return this.#streams.open.onSendme(0, streamId);
        return this.#onCircuitSendme(data);
      case RelayCommand.EXTEND2:
        if (cell !== CellCommand.RELAY_EARLY) throw violation("extend-not-early", "EXTEND2 outside a RELAY_EARLY cell");
        return this.#extend(decodeWith(EXTEND2, data));
      case RelayCommand.TRUNCATE:
        this.#next?.destroy(DestroyReason.REQUESTED);
        this.#next = undefined;
        this.#extending = undefined;
        return this.send(RelayCommand.TRUNCATED, 0, encodeWith(TRUNCATED, DestroyReason.REQUESTED));
      case RelayCommand.DROP:
        return;
      default:
        if (this.#services.onOtherMessage?.(this, command, data)) return;
        log.debug("Ignored {command}", { command: relayCommandName(command) });
    }
  }

  #onCircuitSendme(data: Uint8Array): void {
    const sendme = decodeWith(SENDME, data);
    this.#flow.acknowledged(sendme.version === 1 ? sendme.digest : undefined);
    if (this.#streams.open.anyReady) this.#sink.wantTurn(this);
  }

  #extend(extend: Extend2): void {
    if (this.goesOn) {
      throw violation("extend-twice", "EXTEND2 on a circuit that goes on");
    }
    const target = targetOf(extend.linkSpecifiers);
    const back = this.#previousId && equal(target.rsaId, this.#previousId);
    if (back || equal(target.rsaId, this.#services.rsaId)) {
      throw violation("extend-back", "EXTEND2 to where it came from");
    }
    this.#extending = extend;
    this.#services.connect(target).then((channel) => {
      if (this.#extending === extend) this.#goOn(channel, extend);
    }).catch((error) => {
      if (this.#extending !== extend) return;
      this.destroy(asTunicError(error), extendFailure(error));
    });
  }

  #goOn(channel: CellSink & Pick<Channel, "register">, extend: Extend2): void {
    const next = channel.register((circId) =>
      new NextHop(circId, channel, {
        onCreated: (reply) => this.send(RelayCommand.EXTENDED2, 0, encodeWith(EXTENDED2, reply)),
        onPayloads: (payloads) => this.sendThrough(payloads),
        onEnded: (error, reason) => this.destroy(error, reason),
      })
    );
    this.#next = next;
    this.#extending = undefined;
    next.create(extend);
  }

  #guard(action: () => void): void {
    if (this.#error) return;
    try {
      action();
    } catch (error) {
      const reason = asTunicError(error);
      log.debug("Closed a circuit: {reason}", { reason: reason.message });
      this.destroy(reason, destroyReasonOf(reason));
    }
  }

  /** `towardsClient`, `onwards`: the reasons of DESTROY; `undefined` where none is due. */
  #end(error: TunicError, towardsClient: number | undefined, onwards: number): void {
    if (this.#error) return;
    this.#error = error;
    this.#extending = undefined;
    if (towardsClient !== undefined) {
      this.#sink.sendCell(this.circId, CellCommand.DESTROY, encodeWith(DESTROY, towardsClient));
    }
    this.#sink.release(this);
    this.#next?.destroy(onwards);
    this.#next = undefined;
    this.#streams.closeAll(error);
    this.onEnd?.(error);
  }
}

interface NextHopEvents {
  onCreated(reply: Uint8Array): void;
  onPayloads(payloads: Uint8Array): void;
  /** Once, if it was not we who closed it; with the reason that the client's side is to be told. */
  onEnded(error: TunicError, reason: number): void;
}

/** The circuit's other side: on the channel to the next relay. */
class NextHop implements ChannelCircuit {
  readonly circId: number;
  readonly #sink: CellSink;
  readonly #events: NextHopEvents;
  #created = false;
  #over = false;

  constructor(circId: number, sink: CellSink, events: NextHopEvents) {
    this.circId = circId;
    this.#sink = sink;
    this.#events = events;
  }

  create({ handshakeType, handshake }: Extend2): void {
    this.#sink.sendCell(this.circId, CellCommand.CREATE2, encodeWith(CREATE2, { handshakeType, handshake }));
  }

  send(command: number, payloads: Uint8Array): void {
    this.#sink.sendPayloads(this.circId, command, payloads);
  }

  destroy(reason: number): void {
    if (this.#over) return;
    this.#over = true;
    this.#sink.sendCell(this.circId, CellCommand.DESTROY, encodeWith(DESTROY, reason));
    this.#sink.release(this);
  }

  onRelayPayloads(payloads: Uint8Array): void {
    if (!this.#over && this.#created) this.#events.onPayloads(payloads);
  }

  onCell(command: number, payload: Uint8Array): void {
    if (this.#over) return;
    try {
      if (command === CellCommand.CREATED2 && !this.#created) {
        const reply = decodeWith(CREATED2, payload);
        this.#created = true;
        return this.#events.onCreated(reply);
      }
      if (command !== CellCommand.DESTROY) {
        throw violation("unexpected-cell", `an unexpected ${cellCommandName(command)} cell`);
      }
      this.#over = true;
      this.#sink.release(this);
      this.#events.onEnded(ended("the next relay closed it"), DestroyReason.DESTROYED);
    } catch (error) {
      const reason = asTunicError(error);
      this.#fail(reason, destroyReasonOf(reason));
    }
  }

  takeTurn(): boolean {
    return false;
  }

  onOverfull(error: TunicError): void {
    if (!this.#over) this.#fail(error, DestroyReason.RESOURCELIMIT);
  }

  onClosed(error: TunicError): void {
    if (this.#over) return;
    this.#over = true;
    this.#events.onEnded(error, DestroyReason.CHANNEL_CLOSED);
  }

  #fail(error: TunicError, reason: number): void {
    this.destroy(reason);
    this.#events.onEnded(error, reason);
  }
}

/** Throws `protocol` where an address or the RSA identity is missing (tor-spec 5.1.2). */
function targetOf(specifiers: readonly LinkSpecifier[]): ChannelTarget {
  const addresses = specifiers.flatMap((specifier) =>
    specifier.kind === "ipv4" || specifier.kind === "ipv6" ? [{ host: specifier.address, port: specifier.port }] : []
  );
  const rsaId = specifiers.find((specifier) => specifier.kind === "rsa-id");
  const ed25519Id = specifiers.find((specifier) => specifier.kind === "ed25519-id");
  if (addresses.length === 0 || rsaId?.kind !== "rsa-id") {
    throw violation("extend-target", "EXTEND2 without an address or an RSA identity");
  }
  return { addresses, rsaId: rsaId.id, ed25519Id: ed25519Id?.kind === "ed25519-id" ? ed25519Id.id : undefined };
}

/** Whether every payload may be for this relay; a stranger's looks so once in 65,536 times. */
function allRecognized(payloads: Uint8Array): boolean {
  for (let at = 0; at < payloads.length; at += PAYLOAD_LEN) {
    if (relayRecognized(payloads, at) !== 0) return false;
  }
  return true;
}

function extendFailure(error: unknown): number {
  if (isTunicError(error, "identity")) return DestroyReason.OR_IDENTITY;
  return isTunicError(error, "limit") ? DestroyReason.RESOURCELIMIT : DestroyReason.CONNECTFAILED;
}

function destroyReasonOf(error: TunicError): number {
  return error.kind === "internal" ? DestroyReason.INTERNAL : DestroyReason.PROTOCOL;
}

function asTunicError(error: unknown): TunicError {
  return toTunicError(error, "Cannot go on with a circuit", { kind: "internal", code: "relay-defect" });
}

function ended(detail: string): TunicError {
  return new TunicError(`Cannot go on with a circuit: ${detail}`, { kind: "circuit", code: "destroyed" });
}

function violation(code: string, found: string): TunicError {
  return new TunicError(`Cannot go on with a circuit: found ${found}`, { kind: "protocol", code });
}
