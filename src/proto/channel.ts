/**
 * A channel: one TLS connection to a relay, carrying the cells of many circuits (tor-spec 2 to 4).
 *
 * In: cells are cut out of what TLS delivers; the payloads of RELAY cells of one circuit that came together are
 * handed over together. Out: cells gather in a queue that is written once a turn of the event loop, for as long as the
 * socket takes more, and circuits with data of their own get turns, in rotation. What other relays send through us
 * follows no turns: a circuit for which too much waits is closed.
 */
import { Emitter } from "../base/events.ts";
import { toTunicError, TunicError } from "../base/errors.ts";
import { logger } from "../base/log.ts";
import { encodeWith } from "../bytes/codec.ts";
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
} from "../wire/cell.ts";
import { DESTROY, DestroyReason } from "../wire/create_cells.ts";
import { CellQueue } from "./cell_queue.ts";
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
/** Cells that are written as one piece. */
const WRITE_CELLS = 4 * BATCH_CELLS;
/** Bytes waiting in the socket beyond which it gets no more. */
const SOCKET_HIGH_WATER = 128 * 1024;
/** Cells waiting for one circuit beyond which it is closed; windows hold the honest to less (C tor's default). */
const MAX_CIRCUIT_CELLS = 2_500;
/** Bytes waiting for all circuits beyond which those with the most are closed. */
const MAX_QUEUED = 32 * 1024 * 1024;
/** A circuit with fewer cells waiting is not what takes the room. */
const FEW_CELLS = 50;
/** Circuits on one channel. */
const MAX_CIRCUITS = 8_192;
/** How long an orderly close waits for the relay to take what is queued. */
const LINGER_MS = 500;
/** The longest cell a client has a use for after the handshake: VPADDING may be longer, and is refused. */
const MAX_CELL_LENGTH = 4096;
const KNOWN_COMMANDS: ReadonlySet<number> = new Set(Object.values(CellCommand));

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

  readonly #outgoing = new CellQueue();
  /** Numbers of circuits for which more waits than may. */
  readonly #overfull = new Set<number>();
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
    return this.#outgoing.cells * CELL_LEN + this.#socket.queued;
  }

  /** A client's circuit with no hops yet. Throws as `register` does. */
  newCircuit(circuitWindow: number): Circuit {
    return this.register((circId) => new Circuit({ sink: this, circId, random: this.#runtime, circuitWindow }));
  }

  /** A circuit of our side under a new number. Throws `connection` on a closed channel, `limit` on a full one. */
  register<C extends ChannelCircuit>(make: (circId: number) => C): C {
    if (this.#closed) throw this.#error ?? channelClosed("it was closed");
    if (this.#circuits.size >= MAX_CIRCUITS) throw full();
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
    if (this.#outgoing.push(circId, command, payloads) > MAX_CIRCUIT_CELLS) this.#overfull.add(circId);
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
    while (!this.#closed && !this.#blocked && (this.#wanting.size > 0 || this.#outgoing.cells > 0)) {
      for (const circuit of this.#wanting) {
        this.#wanting.delete(circuit);
        if (circuit.takeTurn(this.#scratch)) this.#wanting.add(circuit);
        if (this.#outgoing.cells >= BATCH_CELLS) break;
      }
      this.#write();
    }
    this.#limitQueues();
  }

  /** Hands cells to the socket, as one piece. */
  #write(): void {
    if (this.#outgoing.cells === 0) return;
    if (!this.#socket.write(this.#outgoing.take(WRITE_CELLS)) && this.#socket.queued > SOCKET_HIGH_WATER) {
      this.#blocked = true;
    }
  }

  /** Closes the circuits for which too much waits, and the channel where that is not what fills it. */
  #limitQueues(): void {
    for (const circId of this.#overfull) {
      if (this.#outgoing.cellsOf(circId) > MAX_CIRCUIT_CELLS) this.#closeOverfull(circId);
    }
    this.#overfull.clear();
    while (!this.#closed && this.queued > MAX_QUEUED) {
      const circId = this.#fullest();
      if (circId === undefined) return this.close(notTaken(this.queued));
      this.#closeOverfull(circId);
    }
  }

  /** The circuit for which the most waits, unless even that is little. */
  #fullest(): number | undefined {
    let most = FEW_CELLS;
    let fullest: number | undefined;
    for (const circId of this.#circuits.keys()) {
      const cells = this.#outgoing.cellsOf(circId);
      if (cells <= most) continue;
      most = cells;
      fullest = circId;
    }
    return fullest;
  }

  #closeOverfull(circId: number): void {
    const entry = this.#circuits.get(circId);
    if (!entry) return;
    const error = notTaken(this.#outgoing.cellsOf(circId) * CELL_LEN);
    log.debug("Closed a circuit: {reason}", { reason: error.message });
    this.#outgoing.drop(circId);
    entry.circuit.onOverfull(error);
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
    if (this.#circuits.size >= MAX_CIRCUITS) {
      return this.sendCell(circId, CellCommand.DESTROY, encodeWith(DESTROY, DestroyReason.RESOURCELIMIT));
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
    while (!this.#error && this.#outgoing.cells > 0) this.#write();
    this.#closed = true;
    this.#idle?.cancel();
    const reason = channelClosed(this.#error?.message ?? "it was closed", this.#error);
    for (const { circuit } of [...this.#circuits.values()]) circuit.onClosed(reason);
    this.#circuits.clear();
    this.#wanting.clear();
    this.#outgoing.clear();
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
  return new TunicError(`Cannot go on with a channel or circuit: the relay takes too little, ${queued} bytes wait`, {
    kind: "limit",
    code: "relay-takes-nothing",
    retry: "elsewhere",
  });
}

function full(): TunicError {
  return new TunicError(`Cannot make a circuit: its channel has ${MAX_CIRCUITS} of them`, {
    kind: "limit",
    code: "channel-full",
    retry: "elsewhere",
  });
}

function violation(code: string, found: string): TunicError {
  return new TunicError(`Cannot go on with a channel: found ${found}`, { kind: "protocol", code, retry: "elsewhere" });
}
