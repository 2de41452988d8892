/**
 * A network of relays in a MockRuntime: each listens under its own identity, builds circuits and, as an exit, does
 * what a test wants. What the directory says of it is a signed consensus.
 */
import assert from "node:assert/strict";
import { TunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { encodeWith } from "../../src/bytes/codec.ts";
import { toHex } from "../../src/bytes/text.ts";
import { ChannelManager } from "../../src/mgr/channels.ts";
import { CircuitManager, type CircuitManagerOptions } from "../../src/mgr/circuits/mod.ts";
import { GuardManager } from "../../src/mgr/guards/guard_manager.ts";
import { PathSelector } from "../../src/mgr/paths.ts";
import type { NetDir } from "../../src/netdir/net_dir.ts";
import { type MockRuntime, mockRuntime } from "../../src/runtime/mock.ts";
import type { Listener, Socket } from "../../src/runtime/ports.ts";
import { microdescText } from "../../src/testnet/directory/microdesc_text.ts";
import { CellCommand } from "../../src/wire/cell.ts";
import { DESTROY } from "../../src/wire/create_cells.ts";
import { RelayCommand } from "../../src/wire/relay_cell.ts";
import { FakeResponder, NOW, RsaIdentity } from "../proto/fake_responder.ts";
import { TEST_WEIGHTS, type TestRelay as Descriptor, testRelay as descriptor } from "./network_documents.ts";
import { type Heard, type ScriptedCircuit, ScriptedLink, type TestRelay, testRelay } from "./scripted_relay.ts";
import { testNetDir } from "./test_netdir.ts";

export const SECOND = 1_000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;

export type Role = "guard" | "middle" | "exit";

const FLAGS: Readonly<Record<Role, string>> = {
  guard: "Fast Guard Running Stable V2Dir Valid",
  middle: "Fast Running Stable V2Dir Valid",
  exit: "Exit Fast Running Stable V2Dir Valid",
};

/** How a relay meets connections. */
export type Listening = "yes" | "refuses" | "silent";
/** How a relay meets CREATE2 and EXTEND2. */
export type Building = "yes" | "ignores" | "destroys";

/** A consensus that holds long enough for every test. */
export const TIMES = {
  validAfter: "2026-06-15 12:00:00",
  freshUntil: "2026-06-15 18:00:00",
  validUntil: "2026-06-16 12:00:00",
  // Guards are guards only.
  bandwidthWeights: TEST_WEIGHTS.replace("Wmg=4117", "Wmg=0"),
};

/** Keys take a moment to make, so all networks share them. */
const RSA: RsaIdentity[] = [];

export class NetworkRelay {
  readonly role: Role;
  readonly responder: FakeResponder;
  readonly relay: TestRelay;
  readonly descriptor: Descriptor;
  readonly links: { readonly socket: Socket; readonly link: ScriptedLink; closed: boolean }[] = [];
  listening: Listening = "yes";
  building: Building = "yes";
  /** Connections that were tried. */
  attempts = 0;
  listener: Listener | undefined;

  constructor(n: number, role: Role, policy: string, role6?: string) {
    this.role = role;
    this.responder = new FakeResponder(RSA[n] ??= new RsaIdentity());
    const { rsaId, ed25519Id } = this.responder.expected;
    const { onionKey, target } = testRelay(n, rsaId, ed25519Id);
    const ipv4 = `10.${n}.0.1`;
    this.relay = { onionKey, target: { ...target, addresses: [{ host: ipv4, port: 9001 }] } };
    const microdesc = microdescText({
      ntorKey: target.ntorKey,
      ed25519Id,
      policy: role === "exit" ? policy : undefined,
      policy6: role6,
    });
    this.descriptor = descriptor(n, { rsaId, ipv4, flags: FLAGS[role], microdesc });
  }

  get id(): string {
    return toHex(this.relay.target.rsaId);
  }

  get openLinks(): number {
    return this.links.filter(({ closed }) => !closed).length;
  }
}

export interface RelayNetworkOptions {
  readonly guards?: number;
  readonly middles?: number;
  /** Exit policies, one for each exit. */
  readonly exits?: readonly string[];
}

/** A message to an exit, and the circuit on which to answer. */
export type ExitScript = (circuit: ScriptedCircuit, message: Heard, exit: NetworkRelay) => void;

/** Says CONNECTED to whatever stream. */
export const connects: ExitScript = (circuit, message) => {
  if (message.command === RelayCommand.BEGIN) circuit.say(circuit.connected(message.streamId));
};

export const silent: ExitScript = () => {};

export function ends(reason: number): ExitScript {
  return (circuit, message) => {
    if (message.command === RelayCommand.BEGIN || message.command === RelayCommand.RESOLVE) {
      circuit.say(circuit.end(message.streamId, reason));
    }
  };
}

export class RelayNetwork {
  readonly runtime: MockRuntime;
  readonly relays: readonly NetworkRelay[];
  /** Circuits that some relay has heard of, in order. */
  readonly circuits: ScriptedCircuit[] = [];
  /** What the last hops of three do with what they hear. */
  script: ExitScript = connects;
  /** What first hops do with what is for them: requests to their directories. */
  directory: ExitScript = () => {};
  #netdir: NetDir | undefined;

  constructor(options: RelayNetworkOptions = {}, seed = 1) {
    this.runtime = mockRuntime(seed, NOW);
    const { guards = 6, middles = 3, exits = ["accept 80,443", "accept 80,443", "accept 80,443", "accept 80,443"] } =
      options;
    const roles: [Role, string][] = [
      ...Array.from({ length: guards }, (): [Role, string] => ["guard", ""]),
      ...Array.from({ length: middles }, (): [Role, string] => ["middle", ""]),
      ...exits.map((policy): [Role, string] => ["exit", policy]),
    ];
    this.relays = roles.map(([role, policy], i) => new NetworkRelay(i + 1, role, policy));
    const { network } = this.runtime;
    for (const relay of this.relays) {
      const address = relay.relay.target.addresses[0]!;
      network.setCertificate(address, relay.responder.tlsCertificate);
      void network.listenTcp(address, (socket) => this.#accept(relay, socket));
    }
    const connect = network.connectTcp.bind(network);
    network.connectTcp = (address) => {
      const relay = this.relays.find(({ relay }) => relay.target.addresses[0]!.host === address.host);
      if (!relay) return connect(address);
      relay.attempts++;
      return relay.listening === "refuses" ? Promise.reject(refused()) : connect(address);
    };
  }

  get time() {
    return this.runtime.time;
  }

  get guards(): readonly NetworkRelay[] {
    return this.relays.filter(({ role }) => role === "guard");
  }

  get exits(): readonly NetworkRelay[] {
    return this.relays.filter(({ role }) => role === "exit");
  }

  /** Connections tried, at all relays. */
  get attempts(): number {
    return this.relays.reduce((sum, { attempts }) => sum + attempts, 0);
  }

  get openLinks(): number {
    return this.relays.reduce((sum, { openLinks }) => sum + openLinks, 0);
  }

  /** The directory's view; the same each time. */
  get netdir(): NetDir {
    return this.#netdir ??= testNetDir(this.relays.map((relay) => relay.descriptor), TIMES);
  }

  /** The relay that is a circuit's hop, counted from 0. */
  static relayOf(relays: readonly NetworkRelay[], rsaId: Uint8Array): NetworkRelay {
    return relays.find(({ id }) => id === toHex(rsaId))!;
  }

  #accept(relay: NetworkRelay, socket: Socket): void {
    const scripted = this.relays.map((one) => one.relay);
    const link = new ScriptedLink(scripted, (bytes) => void socket.write(bytes), true);
    link.onCircuit = (circuit) => this.#watch(circuit);
    const entry = { socket, link, closed: false };
    relay.links.push(entry);
    let answered = false;
    socket.handlers = {
      data: (bytes) => {
        if (relay.listening === "silent") return;
        link.receive(bytes);
        if (answered) return;
        answered = true;
        socket.write(concat(...relay.responder.cells()));
      },
      drain() {},
      end: () => socket.destroy(),
      close: () => entry.closed = true,
    };
    socket.resume();
  }

  #watch(circuit: ScriptedCircuit): void {
    this.circuits.push(circuit);
    const path: NetworkRelay[] = [];
    circuit.spoil = (reply, relay) => {
      const one = relay && this.relays.find(({ relay: { target } }) => target === relay.target);
      if (one) path.push(one);
      if (!one || one.building === "yes") return reply;
      if (one.building === "destroys") circuit.cell(CellCommand.DESTROY, encodeWith(DESTROY, 1));
      return undefined;
    };
    circuit.onHeard = (message) => {
      if (message.hop === 2) this.script(circuit, message, path[2]!);
      if (message.hop === 0) this.directory(circuit, message, path[0] ?? this.relays[0]!);
    };
  }
}

function refused(): TunicError {
  return new TunicError("Cannot connect: refused", { kind: "connection", code: "refused", retry: "elsewhere" });
}

/** Managers of circuits over a {@link RelayNetwork}, without a client around them. */
export class CircuitWorld {
  readonly network: RelayNetwork;
  readonly channels: ChannelManager;
  readonly guards: GuardManager;
  readonly paths: PathSelector;
  readonly circuits: CircuitManager;
  /** What the circuit manager is given; taken away, there is no view. */
  netdir: NetDir | undefined;

  constructor(network = new RelayNetwork(), options: Partial<CircuitManagerOptions> = {}) {
    this.network = network;
    const { runtime } = network;
    this.channels = new ChannelManager({ runtime, connectTimeoutMs: 30 * SECOND, idleTimeoutMs: 3 * MINUTE });
    this.guards = new GuardManager(runtime, { version: "tunic test" });
    this.paths = new PathSelector(runtime, this.guards);
    this.circuits = new CircuitManager({
      runtime,
      channels: this.channels,
      paths: this.paths,
      netdir: () => this.netdir,
      circuitBuildTimeoutMs: 60 * SECOND,
      maxCircuitDirtinessMs: 10 * MINUTE,
      circuitsAvailableTimeoutMs: 30 * MINUTE,
      maxClientCircuitsPending: 32,
      ...options,
    });
  }

  get time() {
    return this.network.time;
  }

  /** The view arrives; what it sets off takes no time. */
  async start(netdir = this.network.netdir): Promise<void> {
    this.netdir = netdir;
    this.paths.update(netdir);
    this.circuits.viewChanged();
    await this.time.settle();
  }

  /** Lets what is scheduled for at once happen, then what `promise` waits for. */
  async settled<T>(promise: Promise<T>): Promise<T> {
    promise.catch(() => {});
    await this.time.advance(1);
    return await promise;
  }

  /** Closes everything; afterwards nothing may wait, no connection be open. */
  async close(): Promise<void> {
    this.circuits.close();
    this.channels.close();
    this.guards.close();
    // Sockets linger a moment for what is queued.
    await this.time.advance(SECOND);
    assert.equal(this.time.pending, 0, "timers are left");
    assert.equal(this.network.openLinks, 0, "connections are left");
  }
}
