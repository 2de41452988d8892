/**
 * The far end of circuits as a script: it answers CREATE and EXTEND as relays do, notes everything else, and says
 * what a test tells it to, in whatever order and state.
 *
 * {@link ScriptedCircuit} speaks cells of one circuit, {@link CircuitWorld} puts a Circuit in front of it,
 * {@link ScriptedLink} speaks the bytes of a whole link, {@link ScriptedRelay} listens in a MockRuntime's network.
 */
import type { TunicError } from "../../src/base/errors.ts";
import { concat, equal } from "../../src/bytes/bytes.ts";
import { decodeWith, encodeWith } from "../../src/bytes/codec.ts";
import { createFastServer } from "../../src/crypto/create_fast.ts";
import type { ServerHandshake } from "../../src/crypto/handshake.ts";
import { RELAY_KEYS_LENGTH, splitRelayKeys } from "../../src/crypto/kdf.ts";
import { ntorServer } from "../../src/crypto/ntor.ts";
import { generateX25519, type X25519PrivateKey } from "../../src/crypto/x25519.ts";
import type { CellSink } from "../../src/proto/channel_circuit.ts";
import { Circuit } from "../../src/proto/circuit.ts";
import { ntorHandshake } from "../../src/proto/circuit_handshake.ts";
import type { Stream } from "../../src/proto/stream.ts";
import type { CircuitTarget } from "../../src/proto/target.ts";
import type { MockRuntime } from "../../src/runtime/mock.ts";
import type { Address, Socket } from "../../src/runtime/ports.ts";
import {
  cellCircId,
  CellCommand,
  cellCommand,
  cellLength,
  EARLY_CIRCID_LEN,
  fixedCell,
  isVariableLength,
  PAYLOAD_LEN,
} from "../../src/wire/cell.ts";
import { EXTEND2, EXTENDED2, SENDME } from "../../src/wire/circuit_messages.ts";
import { CREATE2, CREATE_FAST, CREATED2, DESTROY, TRUNCATED } from "../../src/wire/create_cells.ts";
import { RELAY_HEADER_LEN, RelayCommand, relayCommand, relayData, relayStreamId } from "../../src/wire/relay_cell.ts";
import { CONNECTED, END } from "../../src/wire/stream_messages.ts";
import { FakeResponder } from "../proto/fake_responder.ts";
import { RelayHop } from "./relay_hop.ts";
import { SeededRandom } from "./seeded_random.ts";

/** A relay with keys of its own. */
export interface TestRelay {
  readonly onionKey: X25519PrivateKey;
  readonly target: CircuitTarget;
}

export function testRelay(seed: number, rsaId?: Uint8Array, ed25519Id?: Uint8Array): TestRelay {
  const random = new SeededRandom(seed);
  const onionKey = generateX25519(random);
  const address = { host: `192.0.2.${seed}`, port: 9001 };
  return {
    onionKey,
    target: {
      addresses: [address],
      rsaId: rsaId ?? random.random(20),
      ed25519Id: ed25519Id ?? random.random(32),
      ntorKey: onionKey.publicKey,
    },
  };
}

/** A relay message as its hop got it. */
export interface Heard {
  readonly hop: number;
  readonly command: number;
  readonly streamId: number;
  readonly data: Uint8Array;
  /** The hop's running digest at this message. */
  readonly digest: Uint8Array;
  readonly early: boolean;
}

export class ScriptedCircuit {
  readonly hops: RelayHop[] = [];
  readonly heard: Heard[] = [];
  /** The reason in the client's DESTROY. */
  destroyed: number | undefined;
  /** Changes the reply of a handshake with `relay` before it goes out; `undefined` swallows it. */
  spoil: (reply: Uint8Array, relay: TestRelay | undefined) => Uint8Array | undefined = (reply) => reply;
  /** Called with each relay message as it is heard. */
  onHeard: (message: Heard) => void = () => {};
  readonly #relays: readonly TestRelay[];
  readonly #random: SeededRandom;
  readonly #send: (command: number, payload: Uint8Array) => void;

  constructor(relays: readonly TestRelay[], send: (command: number, payload: Uint8Array) => void, seed = 7) {
    this.#relays = relays;
    this.#random = new SeededRandom(seed);
    this.#send = send;
  }

  get lastHop(): number {
    return this.hops.length - 1;
  }

  /** What was heard with this command, in order. */
  all(command: number): Heard[] {
    return this.heard.filter((message) => message.command === command);
  }

  last(command: number): Heard {
    const message = this.all(command).at(-1);
    if (!message) throw new Error(`no message with command ${command} came`);
    return message;
  }

  /** The data of all DATA messages of a stream. */
  dataOf(streamId: number): Uint8Array {
    return concat(...this.all(RelayCommand.DATA).filter((it) => it.streamId === streamId).map(({ data }) => data));
  }

  onCell(command: number, payload: Uint8Array): void {
    switch (command) {
      case CellCommand.CREATE2:
        return this.#created(CellCommand.CREATED2, this.#ntor(decodeWith(CREATE2, payload).handshake));
      case CellCommand.CREATE_FAST:
        return this.#created(
          CellCommand.CREATED_FAST,
          createFastServer(this.#random, decodeWith(CREATE_FAST, payload), RELAY_KEYS_LENGTH),
        );
      case CellCommand.DESTROY:
        this.destroyed = decodeWith(DESTROY, payload);
        return;
      case CellCommand.RELAY:
      case CellCommand.RELAY_EARLY:
        return this.#onRelay(payload, command === CellCommand.RELAY_EARLY);
      default:
        throw new Error(`a client must not send cell command ${command}`);
    }
  }

  /** A message of `hop` as the payload of a RELAY cell that reaches the client. */
  payload(hop: number, command: number, streamId: number, data: Uint8Array = new Uint8Array(0)): Uint8Array {
    return this.#wrap(hop, this.hops[hop]!.say(command, streamId, data).payload);
  }

  /** As {@link payload}, of plaintext that may break every rule. */
  raw(hop: number, plaintext: Uint8Array): Uint8Array {
    return this.#wrap(hop, this.hops[hop]!.seal(plaintext).payload);
  }

  /** DATA of the last hop. */
  data(streamId: number, data: Uint8Array): Uint8Array {
    return this.payload(this.lastHop, RelayCommand.DATA, streamId, data);
  }

  connected(streamId: number): Uint8Array {
    const body = encodeWith(CONNECTED, { address: "203.0.113.5", ttl: 60 });
    return this.payload(this.lastHop, RelayCommand.CONNECTED, streamId, body);
  }

  end(streamId: number, reason: number): Uint8Array {
    return this.payload(this.lastHop, RelayCommand.END, streamId, encodeWith(END, { reason }));
  }

  truncated(hop: number, reason: number): Uint8Array {
    return this.payload(hop, RelayCommand.TRUNCATED, 0, encodeWith(TRUNCATED, reason));
  }

  /** A circuit's SENDME for the `index`th hundred of DATA messages that the last hop got. */
  sendme(index: number): Uint8Array {
    const { digest } = this.all(RelayCommand.DATA)[index * 100 + 99]!;
    return this.payload(this.lastHop, RelayCommand.SENDME, 0, encodeWith(SENDME, { version: 1, digest }));
  }

  streamSendme(streamId: number): Uint8Array {
    return this.payload(this.lastHop, RelayCommand.SENDME, streamId);
  }

  /** Sends payloads as RELAY cells. */
  say(...payloads: Uint8Array[]): void {
    for (const payload of payloads) this.#send(CellCommand.RELAY, payload);
  }

  cell(command: number, body: Uint8Array = new Uint8Array(0)): void {
    const payload = new Uint8Array(PAYLOAD_LEN);
    payload.set(body);
    this.#send(command, payload);
  }

  #wrap(hop: number, payload: Uint8Array): Uint8Array {
    for (let i = hop - 1; i >= 0; i--) payload = this.hops[i]!.pass(payload);
    return payload;
  }

  #onRelay(payload: Uint8Array, early: boolean): void {
    for (const [hop, layer] of this.hops.entries()) {
      const opened = layer.open(payload);
      payload = opened.payload;
      if (!opened.digest) continue;
      const command = relayCommand(payload, 0);
      const data = relayData(payload, 0).slice();
      const streamId = relayStreamId(payload, 0);
      const message = { hop, command, streamId, data, digest: opened.digest, early };
      this.heard.push(message);
      if (command === RelayCommand.EXTEND2) this.#extend(hop, data);
      this.onHeard(message);
      return;
    }
    throw new Error("no hop recognizes what the client sent");
  }

  #extend(hop: number, body: Uint8Array): void {
    const { reply, keyMaterial, relay } = this.#ntor(decodeWith(EXTEND2, body).handshake);
    const spoilt = this.spoil(reply, relay);
    if (spoilt) this.say(this.payload(hop, RelayCommand.EXTENDED2, 0, encodeWith(EXTENDED2, spoilt)));
    this.hops.push(new RelayHop(splitRelayKeys(keyMaterial)));
  }

  #created(command: number, { reply, keyMaterial, relay }: ServerHandshake & { readonly relay?: TestRelay }): void {
    this.hops.push(new RelayHop(splitRelayKeys(keyMaterial)));
    const spoilt = this.spoil(reply, relay);
    if (spoilt) this.cell(command, command === CellCommand.CREATED2 ? encodeWith(CREATED2, spoilt) : spoilt);
  }

  #ntor(onionSkin: Uint8Array): ServerHandshake & { readonly relay: TestRelay } {
    const relay = this.#relays.find(({ target }) => equal(target.rsaId, onionSkin.subarray(0, 20)));
    if (!relay) throw new Error("the client wants a relay that is not there");
    return { ...ntorServer(this.#random, relay.target.rsaId, [relay.onionKey], onionSkin, RELAY_KEYS_LENGTH), relay };
  }
}

export const RELAYS: readonly TestRelay[] = Array.from({ length: 10 }, (_, i) => testRelay(i + 1));

/** A circuit without a channel, in front of a script. */
export class CircuitWorld {
  readonly random = new SeededRandom(3);
  readonly circuit: Circuit;
  readonly peer: ScriptedCircuit;
  /** Commands of the cells that the circuit has sent. */
  readonly sent: number[] = [];
  /** What the script has said and the circuit has not got yet. */
  #outbox: { command: number; payload: Uint8Array }[] = [];
  wantsTurn = false;
  released = 0;
  closed: TunicError | undefined;

  constructor(circuitWindow = 1000) {
    this.peer = new ScriptedCircuit(RELAYS, (command, payload) => this.#outbox.push({ command, payload }));
    const sink: CellSink = {
      sendCell: (circId, command, payload) => {
        const whole = new Uint8Array(PAYLOAD_LEN);
        whole.set(payload);
        sink.sendPayloads(circId, command, whole);
      },
      sendPayloads: (_circId, command, payloads) => {
        for (let at = 0; at < payloads.length; at += PAYLOAD_LEN) {
          this.sent.push(command);
          this.peer.onCell(command, payloads.slice(at, at + PAYLOAD_LEN));
        }
      },
      wantTurn: () => this.wantsTurn = true,
      release: () => this.released++,
    };
    this.circuit = new Circuit({ sink, circId: 0x8000_0001, random: this.random, circuitWindow });
    this.circuit.events.on("closed", (error) => this.closed = error);
  }

  static async built(hops = 3, circuitWindow = 1000): Promise<CircuitWorld> {
    const world = new CircuitWorld(circuitWindow);
    await world.build(hops);
    return world;
  }

  async build(hops: number): Promise<void> {
    for (const { target } of RELAYS.slice(0, hops)) {
      const handshake = ntorHandshake(this.random, target);
      const adding = this.circuit.hops === 0 ? this.circuit.create(handshake) : this.circuit.extend(target, handshake);
      this.flush();
      await adding;
    }
  }

  /** Hands over what the script has said: neighbouring RELAY cells as one batch. */
  flush(): void {
    while (this.#outbox.length > 0) {
      const { command, payload } = this.#outbox.shift()!;
      if (command !== CellCommand.RELAY) {
        this.circuit.onCell(command, payload);
        continue;
      }
      const batch = [payload];
      while (this.#outbox[0]?.command === CellCommand.RELAY) batch.push(this.#outbox.shift()!.payload);
      this.circuit.onRelayPayloads(concat(...batch));
    }
  }

  /** Hands payloads over as one batch. */
  batch(...payloads: Uint8Array[]): void {
    this.circuit.onRelayPayloads(concat(...payloads));
  }

  /** Gives the circuit turns until it wants no more. */
  turns(): void {
    const scratch = new Uint8Array(32 * PAYLOAD_LEN);
    this.wantsTurn = false;
    while (this.circuit.takeTurn(scratch));
  }

  async open(host = "example.com", port = 80): Promise<{ stream: Stream; id: number }> {
    const opening = this.circuit.openStream(host, port, 0);
    const id = this.peer.last(RelayCommand.BEGIN).streamId;
    this.batch(this.peer.connected(id));
    return { stream: await opening, id };
  }
}

/** What somebody who listens to a duplex got, in order. */
export class Log {
  readonly events: string[] = [];
  readonly chunks: Uint8Array[] = [];
  error: TunicError | undefined;
  drains = 0;
  onData: (bytes: Uint8Array) => void = () => {};

  get data(): Uint8Array {
    return concat(...this.chunks);
  }

  readonly handlers = {
    data: (bytes: Uint8Array): void => {
      this.chunks.push(bytes.slice());
      this.onData(bytes);
    },
    drain: (): void => void this.drains++,
    end: (): void => void this.events.push("end"),
    close: (error?: TunicError): void => {
      this.error = error;
      this.events.push("close");
    },
  };
}

/** The far end of an open link: bytes of cells in, bytes of cells out, a script for each circuit. */
export class ScriptedLink {
  readonly circuits = new Map<number, ScriptedCircuit>();
  /** Every cell that came, without its payload. */
  readonly cells: { circId: number; command: number }[] = [];
  /** Called with each new circuit. */
  onCircuit: (circuit: ScriptedCircuit) => void = () => {};
  readonly #relays: readonly TestRelay[];
  readonly #send: (bytes: Uint8Array) => void;
  #pending: Uint8Array = new Uint8Array(0);
  #circIdLen: number;

  /** `fresh`: the link handshake is still to come. */
  constructor(relays: readonly TestRelay[], send: (bytes: Uint8Array) => void, fresh = false) {
    this.#relays = relays;
    this.#send = send;
    this.#circIdLen = fresh ? EARLY_CIRCID_LEN : 4;
  }

  receive(bytes: Uint8Array): void {
    this.#pending = concat(this.#pending, bytes);
    for (;;) {
      const length = cellLength(this.#pending, 0, this.#pending.length, this.#circIdLen);
      if (length === 0 || length > this.#pending.length) return;
      const cell = this.#pending.subarray(0, length);
      this.#pending = this.#pending.subarray(length);
      if (this.#circIdLen === EARLY_CIRCID_LEN) {
        this.#circIdLen = 4;
        this.cells.push({ circId: 0, command: cell[EARLY_CIRCID_LEN]! });
        continue;
      }
      const [circId, command] = [cellCircId(cell, 0), cellCommand(cell, 0)];
      this.cells.push({ circId, command });
      if (circId === 0) continue;
      if (isVariableLength(command)) throw new Error(`a client must not send cell command ${command}`);
      this.#circuit(circId).onCell(command, cell.slice(5));
    }
  }

  #circuit(circId: number): ScriptedCircuit {
    let circuit = this.circuits.get(circId);
    if (!circuit) {
      const send = (command: number, payload: Uint8Array) => this.#send(fixedCell(circId, command, payload));
      circuit = new ScriptedCircuit(this.#relays, send, circId);
      this.circuits.set(circId, circuit);
      this.onCircuit(circuit);
    }
    return circuit;
  }
}

/** A relay that a MockRuntime's clients can connect to; the other relays of {@link RELAYS} are behind it. */
export class ScriptedRelay {
  readonly responder = new FakeResponder();
  readonly relay: TestRelay;
  readonly relays: readonly TestRelay[];
  readonly links: { socket: Socket; link: ScriptedLink; closed: boolean }[] = [];
  /** What answers the client's first bytes. */
  answer: () => Uint8Array = () => concat(...this.responder.cells());

  private constructor() {
    const { rsaId, ed25519Id } = this.responder.expected;
    this.relay = testRelay(200, rsaId, ed25519Id);
    this.relays = [this.relay, ...RELAYS];
  }

  static async listen(runtime: MockRuntime): Promise<ScriptedRelay> {
    const scripted = new ScriptedRelay();
    const address: Address = scripted.relay.target.addresses[0]!;
    runtime.network.setCertificate(address, scripted.responder.tlsCertificate);
    await runtime.network.listenTcp(address, (socket) => scripted.#accept(socket));
    return scripted;
  }

  #accept(socket: Socket): void {
    const link = new ScriptedLink(this.relays, (bytes) => void socket.write(bytes), true);
    const entry = { socket, link, closed: false };
    this.links.push(entry);
    let answered = false;
    socket.handlers = {
      data: (bytes) => {
        link.receive(bytes);
        if (answered) return;
        answered = true;
        socket.write(this.answer());
      },
      drain() {},
      end: () => socket.destroy(),
      close: () => entry.closed = true,
    };
    socket.resume();
  }
}

/** `count` bytes that say where in a stream they belong. */
export function patterned(count: number, from = 0): Uint8Array {
  return Uint8Array.from({ length: count }, (_, i) => {
    const at = from + i;
    return (at * 31 + (at >>> 8) * 17 + (at >>> 16)) & 255;
  });
}

/** Plaintext of a relay message with a length that may be a lie. */
export function plaintext(command: number, streamId: number, length: number): Uint8Array {
  const payload = new Uint8Array(PAYLOAD_LEN).fill(9, RELAY_HEADER_LEN);
  payload[0] = command;
  payload[3] = streamId >>> 8;
  payload[4] = streamId;
  payload[9] = length >>> 8;
  payload[10] = length;
  return payload;
}
