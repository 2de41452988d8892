/**
 * Our client's circuits through our own relays, in memory: real handshakes, real layers, links instead of channels.
 *
 * {@link RelayChain} has relays that know each other, {@link RelayChain.build} a client's Circuit through them,
 * {@link RawClient} a client that says whatever a test wants, {@link ScriptedExit} what is behind the last relay.
 */
import type { Duplex } from "../../src/base/duplex.ts";
import { isTunicError, TunicError } from "../../src/base/errors.ts";
import { concat, equal } from "../../src/bytes/bytes.ts";
import { decodeWith, encodeWith } from "../../src/bytes/codec.ts";
import { KH_LENGTH, RELAY_KEYS_LENGTH, splitRelayKeys } from "../../src/crypto/kdf.ts";
import { acceptCircuit } from "../../src/proto/accept_circuit.ts";
import type { CellSink, ChannelCircuit } from "../../src/proto/channel_circuit.ts";
import { Circuit } from "../../src/proto/circuit.ts";
import { fastHandshake, type HopHandshake, ntorHandshake } from "../../src/proto/circuit_handshake.ts";
import type { RelayCircuit, RelayServices } from "../../src/proto/relay_circuit.ts";
import { ClientRelayCrypto } from "../../src/proto/relay_crypto.ts";
import type { ExitService } from "../../src/proto/relay_streams.ts";
import type { ChannelTarget } from "../../src/proto/target.ts";
import { mockRuntime } from "../../src/runtime/mock.ts";
import type { Timers } from "../../src/runtime/ports.ts";
import { CellCommand, PAYLOAD_LEN } from "../../src/wire/cell.ts";
import { EXTEND2, EXTENDED2 } from "../../src/wire/circuit_messages.ts";
import { CREATED2, DESTROY, DestroyReason } from "../../src/wire/create_cells.ts";
import { linkSpecifiersOf } from "../../src/wire/link_specifier.ts";
import type { ResolvedAnswer } from "../../src/wire/resolve_messages.ts";
import { RelayCommand, relayCommand, relayData, relayStreamId, writeRelayPayload } from "../../src/wire/relay_cell.ts";
import type { Begin } from "../../src/wire/stream_messages.ts";
import { FakeDuplex } from "./fake_duplex.ts";
import { type TestRelay, testRelay } from "./scripted_relay.ts";

const BATCH_CELLS = 31;
const KEY_MATERIAL_LENGTH = RELAY_KEYS_LENGTH + KH_LENGTH;

/** Cells on their way: payloads of one circuit and command, one after the other. */
export interface LinkCells {
  readonly circId: number;
  readonly command: number;
  readonly payloads: Uint8Array;
}

type Accept = (sink: CellSink, circId: number, command: number, payload: Uint8Array) => ChannelCircuit | undefined;

/** One end of a link: what a channel is to circuits, without its limits. */
export class LinkEnd implements CellSink {
  readonly circuits = new Map<number, ChannelCircuit>();
  /** Everything that went out here. */
  readonly sent: LinkCells[] = [];
  /** While set, nothing goes out and nobody gets a turn. */
  held = false;
  /** Changes cells as they go out; `undefined` swallows them. */
  tamper: (cells: LinkCells) => LinkCells | undefined = (cells) => cells;
  peer: LinkEnd | undefined;
  readonly #timers: Timers;
  readonly #accept: Accept | undefined;
  #queue: LinkCells[] = [];
  readonly #wanting = new Set<ChannelCircuit>();
  readonly #scratch = new Uint8Array(BATCH_CELLS * PAYLOAD_LEN);
  #scheduled = false;
  #nextCircId: number;

  constructor(timers: Timers, isInitiator: boolean, accept?: Accept) {
    this.#timers = timers;
    this.#accept = accept;
    this.#nextCircId = isInitiator ? 0x8000_0001 : 1;
  }

  static pair(timers: Timers, acceptA: Accept | undefined, acceptB: Accept): [LinkEnd, LinkEnd] {
    const ends: [LinkEnd, LinkEnd] = [new LinkEnd(timers, true, acceptA), new LinkEnd(timers, false, acceptB)];
    [ends[0].peer, ends[1].peer] = [ends[1], ends[0]];
    return ends;
  }

  /** Cells that wait because of {@link held}. */
  get queuedCells(): number {
    return this.#queue.reduce((sum, { payloads }) => sum + payloads.length / PAYLOAD_LEN, 0);
  }

  /** Reasons of the DESTROY cells that went out here. */
  get destroys(): number[] {
    return this.sent.filter(({ command }) => command === CellCommand.DESTROY)
      .map(({ payloads }) => decodeWith(DESTROY, payloads));
  }

  register<C extends ChannelCircuit>(make: (circId: number) => C): C {
    const circuit = make(this.#nextCircId++);
    this.circuits.set(circuit.circId, circuit);
    return circuit;
  }

  sendCell(circId: number, command: number, payload: Uint8Array): void {
    const payloads = new Uint8Array(PAYLOAD_LEN);
    payloads.set(payload);
    this.sendPayloads(circId, command, payloads);
  }

  sendPayloads(circId: number, command: number, payloads: Uint8Array): void {
    const cells = this.tamper({ circId, command, payloads });
    if (!cells) return;
    this.sent.push(cells);
    this.#queue.push(cells);
    this.#schedule();
  }

  wantTurn(circuit: ChannelCircuit): void {
    this.#wanting.add(circuit);
    this.#schedule();
  }

  release(circuit: ChannelCircuit): void {
    this.circuits.delete(circuit.circId);
    this.#wanting.delete(circuit);
  }

  /** Lets go what was held. */
  go(): void {
    this.held = false;
    this.#schedule();
  }

  /** The connection breaks, for both ends. */
  break(): void {
    const error = new TunicError("Cannot go on: the link broke", { kind: "connection", code: "channel-closed" });
    for (const end of [this, this.peer!]) {
      for (const circuit of [...end.circuits.values()]) circuit.onClosed(error);
      end.circuits.clear();
    }
  }

  #schedule(): void {
    if (this.#scheduled || this.held) return;
    this.#scheduled = true;
    this.#timers.soon(() => {
      this.#scheduled = false;
      if (this.held) return;
      for (const circuit of this.#wanting) {
        if (!circuit.takeTurn(this.#scratch)) this.#wanting.delete(circuit);
      }
      const queue = this.#queue;
      this.#queue = [];
      for (let at = 0; at < queue.length; at++) {
        const { circId, command } = queue[at]!;
        const batch = [queue[at]!.payloads];
        const isNext = (next: LinkCells | undefined) => next?.command === command && next.circId === circId;
        if (command === CellCommand.RELAY) { while (isNext(queue[at + 1])) batch.push(queue[++at]!.payloads); }
        this.peer!.receive(circId, command, concat(...batch));
      }
      if (this.#wanting.size > 0) this.#schedule();
    });
  }

  /** Cells from the other end: RELAY cells as one batch. */
  receive(circId: number, command: number, payloads: Uint8Array): void {
    const circuit = this.circuits.get(circId);
    if (command === CellCommand.RELAY) return circuit?.onRelayPayloads(payloads);
    if (command !== CellCommand.CREATE2 && command !== CellCommand.CREATE_FAST) {
      return circuit?.onCell(command, payloads);
    }
    const made = this.#accept?.(this, circId, command, payloads);
    if (made) this.circuits.set(circId, made);
  }
}

/** What is behind an exit: duplexes that the test holds the far side of. */
export class ScriptedExit implements ExitService {
  readonly begins: { readonly begin: Begin; readonly signal: AbortSignal }[] = [];
  readonly opened: FakeDuplex[] = [];
  readonly looked: string[] = [];
  address = "203.0.113.5";
  /** Answers in place of a new duplex. */
  onConnect: (begin: Begin, signal: AbortSignal) => Promise<Duplex> = () => Promise.resolve(this.open());
  onResolve: (name: string) => Promise<readonly ResolvedAnswer[]> = () =>
    Promise.resolve([{ kind: "ipv4", address: "203.0.113.9", ttl: 60 }]);
  hasDirectory = true;

  get last(): FakeDuplex {
    return this.opened.at(-1)!;
  }

  open(): FakeDuplex {
    const duplex = new FakeDuplex();
    this.opened.push(duplex);
    return duplex;
  }

  async connect(begin: Begin, signal: AbortSignal): Promise<{ duplex: Duplex; address: string }> {
    this.begins.push({ begin, signal });
    return { duplex: await this.onConnect(begin, signal), address: this.address };
  }

  openDirectory(): Duplex | undefined {
    return this.hasDirectory ? this.open() : undefined;
  }

  resolve(name: string): Promise<readonly ResolvedAnswer[]> {
    this.looked.push(name);
    return this.onResolve(name);
  }
}

/** A relay of the chain. */
export interface ChainRelay {
  readonly relay: TestRelay;
  readonly exit: ScriptedExit;
  readonly services: RelayServices;
  /** Circuits it was asked for, in order. */
  readonly circuits: RelayCircuit[];
  /** Its ends of links to other relays, by their order in the chain. */
  readonly links: Map<number, LinkEnd>;
  /** In place of a link to the relay that is asked for. */
  onConnect: ((target: ChannelTarget) => Promise<LinkEnd>) | undefined;
}

export class RelayChain {
  readonly runtime = mockRuntime(11);
  readonly relays: ChainRelay[];
  /** The client's end of its link to the first relay. */
  readonly client: LinkEnd;
  readonly circuitWindow: number;

  constructor(count = 4, circuitWindow = 1000) {
    this.circuitWindow = circuitWindow;
    this.relays = Array.from({ length: count }, (_, i) => this.#makeRelay(i));
    this.client = LinkEnd.pair(this.runtime.timers, undefined, this.#accept(0, undefined))[0];
  }

  /** A client's circuit through the first `hops` relays. */
  async build(hops: number, first: "fast" | "ntor" = "ntor"): Promise<Circuit> {
    const { runtime, circuitWindow } = this;
    const circuit = this.client.register((circId) =>
      new Circuit({ sink: this.client, circId, random: runtime, circuitWindow })
    );
    await this.run(circuit.create(first === "fast" ? fastHandshake(runtime) : this.#handshake(0)));
    for (let hop = 1; hop < hops; hop++) await this.extend(circuit, hop);
    return circuit;
  }

  extend(circuit: Circuit, relay: number, target = this.relays[relay]!.relay.target): Promise<void> {
    return this.run(circuit.extend(target, this.#handshake(relay)));
  }

  /** A client without manners whose circuit goes through the first `hops` relays. */
  async raw(hops: number): Promise<RawClient> {
    const client = this.client.register((circId) => new RawClient(this, this.client, circId));
    await client.create(this.#handshake(0));
    for (let hop = 1; hop < hops; hop++) await client.extend(hop - 1, this.relays[hop]!.relay, this.#handshake(hop));
    return client;
  }

  /** Lets everything happen that `promise` and others wait for. */
  async run<T>(promise: Promise<T>): Promise<T> {
    promise.catch(() => {});
    await this.runtime.time.settle();
    return await promise;
  }

  settle(): Promise<void> {
    return this.runtime.time.settle();
  }

  /** The end of the link between two neighbours that is `from`'s. */
  link(from: number, to: number): LinkEnd {
    return this.relays[from]!.links.get(to)!;
  }

  /** Nothing is left of circuits, timers and far ends. */
  get leftovers(): { circuits: number; timers: number; duplexes: number } {
    const ends = [this.client, this.client.peer!, ...this.relays.flatMap(({ links }) => [...links.values()])];
    return {
      circuits: ends.reduce((sum, { circuits }) => sum + circuits.size, 0),
      timers: this.runtime.time.pending,
      duplexes: this.relays.flatMap(({ exit }) => exit.opened).filter(({ closed }) => !closed).length,
    };
  }

  #handshake(relay: number): HopHandshake {
    return ntorHandshake(this.runtime, this.relays[relay]!.relay.target);
  }

  #makeRelay(index: number): ChainRelay {
    const relay = testRelay(100 + index);
    const exit = new ScriptedExit();
    const made: ChainRelay = {
      relay,
      exit,
      circuits: [],
      links: new Map(),
      onConnect: undefined,
      services: {
        runtime: this.runtime,
        rsaId: relay.target.rsaId,
        exit,
        connect: async (target) => made.onConnect ? await made.onConnect(target) : this.#connect(index, target),
      },
    };
    return made;
  }

  #connect(from: number, target: ChannelTarget): LinkEnd {
    const to = this.relays.findIndex(({ relay }) => relay.target.addresses[0]!.host === target.addresses[0]!.host);
    if (to < 0) throw new TunicError("Cannot connect: nobody", { kind: "connection", code: "refused" });
    if (!equal(this.relays[to]!.relay.target.rsaId, target.rsaId)) {
      throw new TunicError("Cannot connect: somebody else", { kind: "identity", code: "wrong-rsa-id" });
    }
    const known = this.relays[from]!.links.get(to);
    if (known) return known;
    const [near, far] = LinkEnd.pair(this.runtime.timers, this.#accept(from, to), this.#accept(to, from));
    this.relays[from]!.links.set(to, near);
    this.relays[to]!.links.set(from, far);
    return near;
  }

  #accept(index: number, from: number | undefined): Accept {
    return (sink, circId, command, payload) => {
      const { services, relay, circuits } = this.relays[index]!;
      const peerId = from === undefined ? undefined : this.relays[from]!.relay.target.rsaId;
      const { circuitWindow } = this;
      const options = { services, onionKeys: () => [relay.onionKey], peerId, circuitWindow };
      const circuit = acceptCircuit(options, sink, circId, command, payload);
      if (circuit) circuits.push(circuit);
      return circuit;
    };
  }
}

/** A relay message as the client got it. */
export interface Told {
  readonly hop: number;
  readonly command: number;
  readonly streamId: number;
  readonly data: Uint8Array;
}

/** A client that seals whatever it is told to, counts no windows and answers nothing. */
export class RawClient implements ChannelCircuit {
  readonly circId: number;
  readonly told: Told[] = [];
  /** KH of each hop. */
  readonly kh: Uint8Array[] = [];
  /** The reason of the DESTROY that came. */
  destroyed: number | undefined;
  /** Digests at the hundredth DATA cell of the last hop, and so on. */
  readonly digests: Uint8Array[] = [];
  readonly #chain: RelayChain;
  readonly #sink: LinkEnd;
  readonly #crypto = new ClientRelayCrypto();
  #reply: Uint8Array | undefined;
  #received = 0;

  constructor(chain: RelayChain, sink: LinkEnd, circId: number) {
    this.#chain = chain;
    this.#sink = sink;
    this.circId = circId;
  }

  /** The last message with this command. */
  last(command: number): Told | undefined {
    return this.told.filter((it) => it.command === command).at(-1);
  }

  count(command: number): number {
    return this.told.filter((it) => it.command === command).length;
  }

  async create({ client, type }: HopHandshake): Promise<void> {
    const body = concat(Uint8Array.of(0, Number(type), 0, client.onionSkin.length), client.onionSkin);
    this.cell(CellCommand.CREATE2, body);
    await this.#chain.settle();
    this.#addHop(client.finish(this.#reply!, KEY_MATERIAL_LENGTH));
  }

  async extend(hop: number, relay: TestRelay, { client, type }: HopHandshake): Promise<void> {
    const linkSpecifiers = linkSpecifiersOf(relay.target);
    const body = encodeWith(EXTEND2, { linkSpecifiers, handshakeType: Number(type), handshake: client.onionSkin });
    this.say(hop, RelayCommand.EXTEND2, 0, body, CellCommand.RELAY_EARLY);
    await this.#chain.settle();
    this.#addHop(client.finish(decodeWith(EXTENDED2, this.last(RelayCommand.EXTENDED2)!.data), KEY_MATERIAL_LENGTH));
  }

  /** A message sealed for `hop`, not sent yet. */
  seal(hop: number, command: number, streamId: number, data: Uint8Array = new Uint8Array(0)): Uint8Array {
    const payload = new Uint8Array(PAYLOAD_LEN);
    writeRelayPayload(payload, 0, command, streamId, data);
    return this.#crypto.seal(hop, payload);
  }

  /** Sends a message to `hop`. */
  say(hop: number, command: number, streamId: number, data?: Uint8Array, cell: number = CellCommand.RELAY): void {
    this.#sink.sendPayloads(this.circId, cell, this.seal(hop, command, streamId, data));
  }

  /** Sends payloads as they are, as RELAY cells that come together. */
  send(...payloads: Uint8Array[]): void {
    this.#sink.sendPayloads(this.circId, CellCommand.RELAY, concat(...payloads));
  }

  cell(command: number, body: Uint8Array): void {
    this.#sink.sendCell(this.circId, command, body);
  }

  /** Says DESTROY. */
  destroy(reason: number = DestroyReason.NONE): void {
    this.#sink.sendCell(this.circId, CellCommand.DESTROY, encodeWith(DESTROY, reason));
    this.#sink.release(this);
  }

  onRelayPayloads(payloads: Uint8Array): void {
    this.#crypto.open(payloads, {
      isDigestPoint: (_, batch, at) => relayCommand(batch, at) === RelayCommand.DATA && ++this.#received % 100 === 0,
      digest: (_, digest) => void this.digests.push(digest),
      deliver: (hop, batch, count) => {
        for (let at = 0; at < count * PAYLOAD_LEN; at += PAYLOAD_LEN) {
          const data = relayData(batch, at).slice();
          this.told.push({ hop, command: relayCommand(batch, at), streamId: relayStreamId(batch, at), data });
        }
      },
    });
  }

  onCell(command: number, payload: Uint8Array): void {
    if (command === CellCommand.CREATED2) this.#reply = decodeWith(CREATED2, payload);
    else if (command === CellCommand.DESTROY) {
      this.destroyed = decodeWith(DESTROY, payload);
      this.#sink.release(this);
    } else throw new Error(`a relay must not send cell command ${command}`);
  }

  takeTurn(): boolean {
    return false;
  }

  onOverfull(): void {}

  onClosed(): void {}

  #addHop(keyMaterial: Uint8Array): void {
    this.#crypto.addHop(splitRelayKeys(keyMaterial));
    this.kh.push(keyMaterial.slice(RELAY_KEYS_LENGTH));
  }
}

/** Whether an error says that the circuit was destroyed for this reason. */
export function destroyedBy(reason: string): (error: unknown) => boolean {
  return (error) => isTunicError(error, "circuit") && error.context.reason === reason;
}
