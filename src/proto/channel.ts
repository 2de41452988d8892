/**
 * A channel: one TLS connection to a relay, carrying the cells of many circuits (tor-spec 2 to 4).
 *
 * In: cells are cut out of what TLS delivers; the payloads of RELAY cells of one circuit that came together are
 * handed over together. Out: cells gather in a queue that is written once a turn of the event loop; circuits with
 * data get turns, in rotation, for as long as the socket takes more.
 */
import { Emitter } from "../base/events.ts";
import { toTunicError, TunicError } from "../base/errors.ts";
import { logger } from "../base/log.ts";
import type { Runtime, Timer, TlsSocket } from "../runtime/ports.ts";
import {
  CELL_HEADER_LEN,
  CELL_LEN,
  cellCircId,
  CellCommand,
  cellCommand,
  cellCommandName,
  cellLength,
  PAYLOAD_LEN,
  VAR_CELL_HEADER_LEN,
  writeCellHeader,
} from "../wire/cell.ts";
import type { CellSink, ChannelCircuit } from "./channel_circuit.ts";
import { Circuit } from "./circuit.ts";
import type { LinkInfo } from "./link_handshake.ts";

const log = logger("channel");

export interface ChannelOptions<Link> {
  readonly runtime: Runtime;
  readonly socket: TlsSocket;
  /** What the link handshake found out, and the bytes that came behind it. */
  readonly link: Link;
  /** Whether we opened the connection, which decides who uses which circuit numbers (tor-spec 5.1.1). */
  readonly isInitiator: boolean;
  /** Closes the channel after this long without a circuit. */
  readonly idleTimeoutMs: number;
  /**
   * Makes a circuit that the other side asks for by `command`, CREATE_FAST or CREATE2, under a number that is free;
   * without it, as in a client, circuits are asked for on our side only. It sends the answer; `undefined` if it refuses.
   */
  readonly accept?: (
    sink: CellSink,
    circId: number,
    command: number,
    payload: Uint8Array,
  ) => ChannelCircuit | undefined;
}

export interface ChannelEvents {
  /** Once; without an error if we closed it. */
  closed: TunicError | undefined;
}

/** Cells of one circuit that are handed over at once, and cells that are written at once: one TLS record's. */
const BATCH_CELLS = 31;
const BATCH_LENGTH = BATCH_CELLS * PAYLOAD_LEN;
/** Bytes waiting in the socket beyond which circuits get no turns. */
const SOCKET_HIGH_WATER = 128 * 1024;
/**
 * Bytes waiting in the socket beyond which the channel is closed. DATA stops long before; what is left are answers to
 * a relay that sends on and takes nothing.
 */
const SOCKET_LIMIT = 4 * 1024 * 1024;
/** How long an orderly close waits for the relay to take what is queued. */
const LINGER_MS = 500;
/** The longest cell a client has a use for after the handshake: VPADDING may be longer, and is refused. */
const MAX_CELL_LENGTH = 4096;
const KNOWN_COMMANDS: ReadonlySet<number> = new Set(Object.values(CellCommand));

/** Cells waiting to be written: payloads one after the other. */
interface Outgoing {
  readonly circId: number;
  readonly command: number;
  readonly payloads: Uint8Array;
}

/** A circuit on the channel, with the RELAY payloads gathered for it in this turn. */
interface Entry {
  readonly circuit: ChannelCircuit;
  batch: Uint8Array | undefined;
  filled: number;
}

export class Channel<Link extends { readonly rest: Uint8Array } = LinkInfo> implements CellSink {
  readonly link: Link;
  readonly events: { on: Emitter<ChannelEvents>["on"] };
  readonly #emitter = new Emitter<ChannelEvents>();
  readonly #options: ChannelOptions<Link>;
  readonly #runtime: Runtime;
  readonly #socket: TlsSocket;
  readonly #idleTimeoutMs: number;
  readonly #circuits = new Map<number, Entry>();
  /** Circuits with payloads in this turn. */
  readonly #touched: Entry[] = [];
  /** Batches to use again. */
  readonly #spare: Uint8Array[] = [];
  /** The beginning of a cell whose end has not come yet. */
  #partial: Uint8Array = new Uint8Array(0);

  #outgoing: Outgoing[] = [];
  #outgoingCells = 0;
  #flushing = false;
  #blocked = false;
  /** Circuits that want turns, in the order they get them. */
  readonly #wanting = new Set<ChannelCircuit>();
  readonly #scratch = new Uint8Array(BATCH_LENGTH);

  #idle: Timer | undefined;
  #linger: Timer | undefined;
  #closed = false;
  #error: TunicError | undefined;

  constructor(options: ChannelOptions<Link>) {
    this.#options = options;
    this.#runtime = options.runtime;
    this.#socket = options.socket;
    this.link = options.link;
    this.#idleTimeoutMs = options.idleTimeoutMs;
    this.events = { on: (name, listener) => this.#emitter.on(name, listener) };
    this.#socket.handlers = {
      data: (bytes) => this.#guard(() => this.#onData(bytes)),
      drain: () => {
        this.#blocked = false;
        this.#schedule();
      },
      end: () => this.#socket.destroy(),
      close: (error) => {
        this.#linger?.cancel();
        this.#onClosed(error);
      },
    };
    this.#watchIdle();
    if (options.link.rest.length > 0) this.#guard(() => this.#onData(options.link.rest));
    this.#socket.resume();
  }

  get closed(): boolean {
    return this.#closed;
  }

  get circuitCount(): number {
    return this.#circuits.size;
  }

  /** Bytes waiting to go out: cells queued here and in the socket. */
  get queued(): number {
    return this.#outgoingCells * CELL_LEN + this.#socket.queued;
  }

  /** A client's circuit with no hops yet. Throws `connection` on a closed channel. */
  newCircuit(circuitWindow: number): Circuit {
    return this.register((circId) => new Circuit({ sink: this, circId, random: this.#runtime, circuitWindow }));
  }

  /** A circuit of our side under a new number. Throws `connection` on a closed channel. */
  register<C extends ChannelCircuit>(make: (circId: number) => C): C {
    if (this.#closed) throw this.#error ?? channelClosed("it was closed");
    const circuit = make(this.#newCircId());
    this.#add(circuit);
    return circuit;
  }

  /** Closes the connection and every circuit on it. */
  close(error?: TunicError): void {
    if (this.#closed) return;
    this.#error ??= error;
    this.#onClosed(undefined);
    // Orderly: what is queued, DESTROY cells among it, goes out first, if the relay takes it soon.
    if (error) this.#socket.destroy();
    else this.#linger = this.#runtime.timers.after(LINGER_MS, () => this.#socket.destroy());
    this.#socket.end();
  }

  sendCell(circId: number, command: number, payload: Uint8Array): void {
    const whole = new Uint8Array(PAYLOAD_LEN);
    whole.set(payload);
    this.sendPayloads(circId, command, whole);
  }

  sendPayloads(circId: number, command: number, payloads: Uint8Array): void {
    if (this.#closed) return;
    this.#outgoing.push({ circId, command, payloads });
    this.#outgoingCells += payloads.length / PAYLOAD_LEN;
    this.#schedule();
  }

  wantTurn(circuit: ChannelCircuit): void {
    this.#wanting.add(circuit);
    this.#schedule();
  }

  release(circuit: ChannelCircuit): void {
    const entry = this.#circuits.get(circuit.circId);
    if (entry) this.#recycle(entry);
    this.#circuits.delete(circuit.circId);
    this.#wanting.delete(circuit);
    if (this.#circuits.size === 0) this.#watchIdle();
  }

  #add(circuit: ChannelCircuit): void {
    this.#circuits.set(circuit.circId, { circuit, batch: undefined, filled: 0 });
    this.#idle?.cancel();
    this.#idle = undefined;
  }

  #watchIdle(): void {
    if (this.#closed) return;
    this.#idle?.cancel();
    this.#idle = this.#runtime.timers.after(this.#idleTimeoutMs, () => {
      if (this.#circuits.size === 0) this.close();
    });
  }

  #schedule(): void {
    if (this.#flushing || this.#closed) return;
    this.#flushing = true;
    this.#runtime.timers.soon(() => {
      this.#flushing = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#closed) return;
    while (!this.#blocked && this.#wanting.size > 0) {
      for (const circuit of this.#wanting) {
        this.#wanting.delete(circuit);
        if (circuit.takeTurn(this.#scratch)) this.#wanting.add(circuit);
        if (this.#outgoingCells >= BATCH_CELLS) break;
      }
      this.#write();
    }
    this.#write();
    if (this.#socket.queued > SOCKET_LIMIT) this.close(notTaken(this.#socket.queued));
  }

  /** Hands everything queued to the socket, as one piece. */
  #write(): void {
    if (this.#outgoingCells === 0) return;
    const bytes = new Uint8Array(this.#outgoingCells * CELL_LEN);
    let at = 0;
    for (const { circId, command, payloads } of this.#outgoing) {
      for (let from = 0; from < payloads.length; from += PAYLOAD_LEN, at += CELL_LEN) {
        writeCellHeader(bytes, at, circId, command);
        bytes.set(payloads.subarray(from, from + PAYLOAD_LEN), at + CELL_HEADER_LEN);
      }
    }
    this.#outgoing = [];
    this.#outgoingCells = 0;
    if (!this.#socket.write(bytes) && this.#socket.queued > SOCKET_HIGH_WATER) this.#blocked = true;
  }

  #onData(bytes: Uint8Array): void {
    let at = 0;
    if (this.#partial.length > 0) {
      at = this.#completePartial(bytes);
      if (at < 0) return;
    }
    const end = bytes.length;
    while (at < end) {
      const length = this.#cellLength(bytes, at, end);
      if (length === 0 || length > end - at) break;
      this.#onCell(bytes, at, length);
      at += length;
    }
    this.#deliverBatches();
    this.#partial = at < end ? bytes.slice(at) : this.#partial.subarray(0, 0);
  }

  /** Joins the rest of a cell to its beginning; answers how many of `bytes` that took, -1 for all without an end. */
  #completePartial(bytes: Uint8Array): number {
    const had = this.#partial.length;
    // Enough to know the length, then enough to have the cell.
    let joined = join(this.#partial, bytes.subarray(0, VAR_CELL_HEADER_LEN));
    const length = this.#cellLength(joined, 0, joined.length);
    if (length === 0) {
      this.#partial = joined;
      return -1;
    }
    const missing = length - had;
    joined = join(this.#partial, bytes.subarray(0, missing));
    if (joined.length < length) {
      this.#partial = joined;
      return -1;
    }
    this.#partial = this.#partial.subarray(0, 0);
    this.#onCell(joined, 0, length);
    return missing;
  }

  #cellLength(bytes: Uint8Array, at: number, end: number): number {
    const length = cellLength(bytes, at, end);
    if (length > MAX_CELL_LENGTH) {
      throw violation("cell-too-long", `a ${cellCommandName(cellCommand(bytes, at))} cell of ${length} bytes`);
    }
    return length;
  }

  #onCell(bytes: Uint8Array, at: number, length: number): void {
    const command = cellCommand(bytes, at);
    const circId = cellCircId(bytes, at);
    if (command === CellCommand.RELAY) {
      const entry = this.#circuits.get(circId);
      // Cells for a circuit that we have just closed may be on their way.
      if (entry) this.#gather(entry, bytes, at + CELL_HEADER_LEN);
      return;
    }
    switch (command) {
      case CellCommand.PADDING:
      case CellCommand.VPADDING:
        return;
      case CellCommand.CREATED2:
      case CellCommand.CREATED_FAST:
      case CellCommand.DESTROY:
        return this.#onCircuitCell(circId, command, bytes.subarray(at + CELL_HEADER_LEN, at + length));
      case CellCommand.RELAY_EARLY:
        // It goes towards relays only: towards a client it would mark a path (tor-spec 5.6).
        if (!this.#options.accept) break;
        return this.#onCircuitCell(circId, command, bytes.subarray(at + CELL_HEADER_LEN, at + length));
      case CellCommand.CREATE_FAST:
      case CellCommand.CREATE2:
        if (!this.#options.accept) break;
        return this.#onCreate(circId, command, bytes.subarray(at + CELL_HEADER_LEN, at + length));
      case CellCommand.PADDING_NEGOTIATE:
        if (!this.#options.accept) break;
        return;
      default:
        // What a later version may send is dropped (tor-spec 3).
        if (!KNOWN_COMMANDS.has(command)) return;
    }
    throw violation("unexpected-cell", `an unexpected ${cellCommandName(command)} cell`);
  }

  #onCircuitCell(circId: number, command: number, payload: Uint8Array): void {
    const entry = this.#circuits.get(circId);
    if (!entry) return;
    // Cells keep their order: what came before a DESTROY is delivered before it.
    this.#deliverBatch(entry);
    entry.circuit.onCell(command, payload);
  }

  #onCreate(circId: number, command: number, payload: Uint8Array): void {
    const isInitiators = circId >>> 31 === 1;
    if (circId === 0 || isInitiators === this.#options.isInitiator || this.#circuits.has(circId)) {
      throw violation("circuit-number", `a ${cellCommandName(command)} cell with a number that is not to be used`);
    }
    const circuit = this.#options.accept!(this, circId, command, payload);
    if (circuit) this.#add(circuit);
  }

  #gather(entry: Entry, bytes: Uint8Array, payloadAt: number): void {
    if (!entry.batch) {
      entry.batch = this.#spare.pop() ?? new Uint8Array(BATCH_LENGTH);
      entry.filled = 0;
      this.#touched.push(entry);
    } else if (entry.filled === BATCH_LENGTH) {
      entry.circuit.onRelayPayloads(entry.batch);
      entry.filled = 0;
      // The circuit may have closed on what it got.
      if (!entry.batch) return;
    }
    entry.batch.set(bytes.subarray(payloadAt, payloadAt + PAYLOAD_LEN), entry.filled);
    entry.filled += PAYLOAD_LEN;
  }

  #deliverBatches(): void {
    for (let entry = this.#touched.pop(); entry; entry = this.#touched.pop()) {
      this.#deliverBatch(entry);
      this.#recycle(entry);
    }
  }

  #deliverBatch(entry: Entry): void {
    if (!entry.batch || entry.filled === 0) return;
    const { filled } = entry;
    entry.filled = 0;
    entry.circuit.onRelayPayloads(entry.batch.subarray(0, filled));
  }

  #recycle(entry: Entry): void {
    if (entry.batch && this.#spare.length < 4) this.#spare.push(entry.batch);
    entry.batch = undefined;
    entry.filled = 0;
  }

  #guard(action: () => void): void {
    if (this.#closed) return;
    try {
      action();
    } catch (error) {
      const reason = toTunicError(error, "Cannot go on with a channel", { kind: "internal", code: "channel-defect" });
      log.debug("Closed a channel: {reason}", { reason: reason.message });
      this.close(reason);
    }
  }

  #onClosed(error: TunicError | undefined): void {
    if (this.#closed) return;
    this.#error ??= error;
    this.#write();
    this.#closed = true;
    this.#idle?.cancel();
    const reason = channelClosed(this.#error?.message ?? "it was closed", this.#error);
    for (const { circuit } of [...this.#circuits.values()]) circuit.onClosed(reason);
    this.#circuits.clear();
    this.#wanting.clear();
    this.#outgoing = [];
    this.#outgoingCells = 0;
    this.#spare.length = 0;
    this.#emitter.emit("closed", this.#error);
    this.#emitter.clear();
  }

  /** A random number, with the highest bit set if we opened the connection (tor-spec 5.1.1). */
  #newCircId(): number {
    for (;;) {
      const [a, b, c, d] = this.#runtime.random(4);
      const first = this.#options.isInitiator ? a! | 0x80 : a! & 0x7f;
      const circId = (first << 24 | b! << 16 | c! << 8 | d!) >>> 0;
      if (circId !== 0 && !this.#circuits.has(circId)) return circId;
    }
  }
}

function join(a: Uint8Array, b: Uint8Array): Uint8Array {
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}

function channelClosed(detail: string, cause?: TunicError): TunicError {
  return new TunicError(`Cannot go on with a circuit: its channel is closed: ${detail}`, {
    kind: "connection",
    code: "channel-closed",
    retry: "elsewhere",
    cause,
  });
}

function notTaken(queued: number): TunicError {
  return new TunicError(`Cannot go on with a channel: the relay takes nothing, ${queued} bytes wait for it`, {
    kind: "limit",
    code: "relay-takes-nothing",
    retry: "elsewhere",
  });
}

function violation(code: string, found: string): TunicError {
  return new TunicError(`Cannot go on with a channel: found ${found}`, { kind: "protocol", code, retry: "elsewhere" });
}
