import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ErrorKind, isTunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { utf8 } from "../../src/bytes/text.ts";
import type { Channel } from "../../src/proto/channel.ts";
import type { Circuit } from "../../src/proto/circuit.ts";
import { ntorHandshake } from "../../src/proto/circuit_handshake.ts";
import { openChannel } from "../../src/proto/open_channel.ts";
import type { ChannelTarget } from "../../src/proto/target.ts";
import { type MockRuntime, mockRuntime } from "../../src/runtime/mock.ts";
import { CellCommand, fixedCell } from "../../src/wire/cell.ts";
import { DestroyReason } from "../../src/wire/create_cells.ts";
import { RelayCommand } from "../../src/wire/relay_cell.ts";
import { Log, patterned, RELAYS, type ScriptedCircuit, ScriptedRelay } from "../support/scripted_relay.ts";
import { netinfoCell, NOW, versionsCell } from "./fake_responder.ts";

const TIMEOUT_MS = 10_000;
const isKind = (kind: ErrorKind, code?: string) => (error: unknown) =>
  isTunicError(error, kind) && (code === undefined || error.code === code);

class World {
  readonly runtime: MockRuntime;
  readonly relay: ScriptedRelay;
  readonly steps: string[] = [];

  private constructor(runtime: MockRuntime, relay: ScriptedRelay) {
    this.runtime = runtime;
    this.relay = relay;
  }

  static async create(): Promise<World> {
    const runtime = mockRuntime(1, NOW);
    return new World(runtime, await ScriptedRelay.listen(runtime));
  }

  open(target: ChannelTarget = this.relay.relay.target, signal?: AbortSignal): Promise<Channel> {
    const opening = openChannel(this.runtime, target, {
      timeoutMs: TIMEOUT_MS,
      idleTimeoutMs: 60_000,
      signal,
      onProgress: (step) => this.steps.push(step),
    });
    opening.catch(() => {});
    return opening;
  }

  async opened(): Promise<Channel> {
    return await this.settled(this.open());
  }

  /** Lets everything run that needs no time, then gives what `promise` has become. */
  async settled<T>(promise: Promise<T>): Promise<T> {
    promise.catch(() => {});
    await this.runtime.time.settle();
    return await promise;
  }

  /** Nothing waits, nothing is open. */
  assertNothingLeft(): void {
    assert.equal(this.runtime.time.pending, 0);
    for (const { closed } of this.relay.links) assert.equal(closed, true);
  }

  async circuit(channel: Channel, hops: number): Promise<{ circuit: Circuit; peer: ScriptedCircuit }> {
    const circuit = channel.newCircuit(1000);
    for (const [index, { target }] of this.relay.relays.slice(0, hops).entries()) {
      const handshake = ntorHandshake(this.runtime, target);
      await this.settled(index === 0 ? circuit.create(handshake) : circuit.extend(target, handshake));
    }
    return { circuit, peer: this.relay.links[0]!.link.circuits.get(circuit.circId)! };
  }
}

describe("opening a channel", () => {
  test("carries a circuit of three hops, with data both ways, and leaves nothing behind", async () => {
    const world = await World.create();
    const channel = await world.opened();
    assert.deepEqual(world.steps, ["connected", "handshake-done"]);
    assert.equal(channel.link.linkVersion, 5);
    assert.equal(channel.link.clockSkewMs, 0);
    const { circuit, peer } = await world.circuit(channel, 3);
    assert.deepEqual(world.relay.links[0]!.link.cells.map(({ command }) => command), [
      CellCommand.VERSIONS,
      CellCommand.NETINFO,
      CellCommand.CREATE2,
      CellCommand.RELAY_EARLY,
      CellCommand.RELAY_EARLY,
    ]);

    const opening = circuit.openStream("example.com", 80, 0);
    await world.runtime.time.settle();
    const { streamId } = peer.last(RelayCommand.BEGIN);
    peer.say(peer.connected(streamId));
    const stream = await world.settled(opening);
    const log = new Log();
    stream.handlers = log.handlers;

    const upload = patterned(400_000);
    stream.write(upload);
    await world.runtime.time.settle();
    let acknowledged = 0;
    while (peer.dataOf(streamId).length < upload.length) {
      const cells = peer.all(RelayCommand.DATA).length;
      for (; (acknowledged + 1) * 50 <= cells; acknowledged++) {
        peer.say(peer.streamSendme(streamId));
        if (acknowledged % 2 === 1) peer.say(peer.sendme((acknowledged - 1) / 2));
      }
      await world.runtime.time.settle();
      assert.ok(peer.all(RelayCommand.DATA).length > cells);
    }
    assert.deepEqual(peer.dataOf(streamId), upload);

    const download = patterned(400_000);
    for (let at = 0; at < download.length; at += 498) peer.say(peer.data(streamId, download.subarray(at, at + 498)));
    await world.runtime.time.settle();
    assert.deepEqual(log.data, download);
    assert.equal(peer.all(RelayCommand.SENDME).filter((message) => message.streamId === 0).length, 8);
    assert.equal(peer.all(RelayCommand.SENDME).filter((message) => message.streamId === streamId).length, 16);

    stream.end();
    channel.close();
    await world.runtime.time.settle();
    assert.deepEqual(log.events, ["close"]);
    assert.equal(channel.circuitCount, 0);
    world.assertNothingLeft();
  });

  test("takes cells that come with the end of the handshake", async () => {
    const world = await World.create();
    const cells = concat(...world.relay.responder.cells());
    world.relay.answer = () => concat(cells, fixedCell(0, CellCommand.PADDING, patterned(9)));
    assert.equal((await world.opened()).closed, false);
  });

  test("gives a closed channel where a forbidden cell came with the end of the handshake", async () => {
    const world = await World.create();
    const cells = concat(...world.relay.responder.cells());
    world.relay.answer = () => concat(cells, netinfoCell());
    const channel = await world.opened();
    assert.throws(() => channel.newCircuit(1000), isKind("protocol"));
    await world.runtime.time.settle();
    world.assertNothingLeft();
  });

  test("tries the next address where nobody listens, and only there", async () => {
    const world = await World.create();
    const { target } = world.relay.relay;
    const nobody = { host: "192.0.2.99", port: 9 };
    await world.settled(world.open({ ...target, addresses: [nobody, ...target.addresses] }));
    await assert.rejects(
      world.settled(world.open({ ...target, addresses: [nobody] })),
      isKind("connection", "refused"),
    );
    await assert.rejects(world.settled(world.open({ ...target, addresses: [] })), isKind("connection", "no-address"));

    const impostor = { ...target, rsaId: RELAYS[1]!.target.rsaId };
    const twice = { ...impostor, addresses: [...target.addresses, ...target.addresses] };
    const before = world.relay.links.length;
    await assert.rejects(world.settled(world.open(twice)), isKind("identity"));
    assert.equal(world.relay.links.length, before + 1, "another address is no other relay");
  });

  test("refuses a relay with another identity, and closes the connection", async () => {
    const { target: other } = RELAYS[1]!;
    for (const wrong of [{ rsaId: other.rsaId }, { ed25519Id: other.ed25519Id }]) {
      const world = await World.create();
      await assert.rejects(world.settled(world.open({ ...world.relay.relay.target, ...wrong })), isKind("identity"));
      await world.runtime.time.settle();
      world.assertNothingLeft();
    }
  });

  test("refuses cells out of order, and closes the connection", async () => {
    const world = await World.create();
    world.relay.answer = () => concat(versionsCell(4, 5), netinfoCell());
    await assert.rejects(world.settled(world.open()), isKind("protocol"));
    await world.runtime.time.settle();
    world.assertNothingLeft();
  });

  test("fails where the relay hangs up in the handshake", async () => {
    for (
      const [answer, kind] of [[versionsCell(4, 5), "connection"], [utf8("HTTP/1.1 400 Bad"), "protocol"]] as const
    ) {
      const world = await World.create();
      world.relay.answer = () => answer;
      const opening = world.open();
      await world.runtime.time.settle();
      world.relay.links[0]!.socket.destroy();
      await assert.rejects(world.settled(opening), isKind(kind));
      world.assertNothingLeft();
    }
  });

  test("fails after the time limit where the relay says nothing, or too little", async () => {
    for (const answer of [new Uint8Array(0), versionsCell(4, 5)]) {
      const world = await World.create();
      world.relay.answer = () => answer;
      const opening = world.open();
      await world.runtime.time.advance(TIMEOUT_MS - 1);
      assert.equal(world.relay.links[0]!.closed, false);
      await world.runtime.time.advance(1);
      await assert.rejects(opening, isKind("timeout", "handshake-timeout"));
      await world.runtime.time.settle();
      world.assertNothingLeft();
    }
  });
});

describe("an abort leaves nothing behind", () => {
  test("before the start", async () => {
    const world = await World.create();
    await assert.rejects(world.settled(world.open(undefined, AbortSignal.abort())), isKind("aborted"));
    assert.equal(world.relay.links.length, 0);
    world.assertNothingLeft();
  });

  test("while connecting", async () => {
    const world = await World.create();
    const controller = new AbortController();
    const opening = world.open(undefined, controller.signal);
    controller.abort();
    await assert.rejects(world.settled(opening), isKind("aborted"));
    await world.runtime.time.settle();
    world.assertNothingLeft();
  });

  test("in the link handshake", async () => {
    const world = await World.create();
    world.relay.answer = () => versionsCell(4, 5);
    const controller = new AbortController();
    const opening = world.open(undefined, controller.signal);
    await world.runtime.time.settle();
    controller.abort();
    await assert.rejects(world.settled(opening), isKind("aborted"));
    await world.runtime.time.settle();
    world.assertNothingLeft();
  });

  for (const hops of [0, 1, 2]) {
    test(`while hop ${hops} is added`, async () => {
      const world = await World.create();
      const channel = await world.opened();
      const { circuit, peer } = await world.circuit(channel, hops);
      const { target } = world.relay.relays[hops]!;
      const controller = new AbortController();
      const handshake = ntorHandshake(world.runtime, target);
      const adding = hops === 0
        ? circuit.create(handshake, controller.signal)
        : circuit.extend(target, handshake, controller.signal);
      controller.abort();
      await assert.rejects(world.settled(adding), isKind("aborted"));
      assert.equal(channel.circuitCount, 0);
      if (hops > 0) assert.equal(peer.destroyed, DestroyReason.NONE);
      channel.close();
      await world.runtime.time.settle();
      world.assertNothingLeft();
    });
  }

  test("while a stream is opened or a name looked up, and the circuit goes on", async () => {
    const world = await World.create();
    const channel = await world.opened();
    const { circuit, peer } = await world.circuit(channel, 3);
    for (const ask of ["openStream", "openDirectory", "resolve"] as const) {
      const controller = new AbortController();
      const { signal } = controller;
      const asking: Promise<unknown> = ask === "openStream"
        ? circuit.openStream("example.com", 80, 0, signal)
        : ask === "openDirectory"
        ? circuit.openDirectory(signal)
        : circuit.resolve("example.com", signal);
      await world.runtime.time.settle();
      controller.abort();
      await assert.rejects(world.settled(asking), isKind("aborted"));
      assert.equal(circuit.streamCount, 0);
    }
    assert.equal(circuit.closed, undefined);
    assert.equal(peer.all(RelayCommand.END).length, 2);
    channel.close();
    await world.runtime.time.settle();
    world.assertNothingLeft();
  });
});
