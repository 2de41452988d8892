import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ErrorKind, isTunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { ChannelManager } from "../../src/mgr/channels.ts";
import { CellCommand } from "../../src/wire/cell.ts";
import { netinfoCell } from "../proto/fake_responder.ts";
import { MINUTE, RelayNetwork, SECOND } from "../support/relay_network.ts";

const isKind = (kind: ErrorKind, code?: string) => (error: unknown) =>
  isTunicError(error, kind) && (code === undefined || error.code === code);

class World {
  readonly network = new RelayNetwork({ guards: 2, middles: 0, exits: [] });
  readonly channels = new ChannelManager({
    runtime: this.network.runtime,
    connectTimeoutMs: 30 * SECOND,
    idleTimeoutMs: 3 * MINUTE,
  });
  readonly events: string[] = [];
  readonly relay = this.network.relays[0]!;
  readonly target = this.relay.relay.target;

  constructor() {
    for (const name of ["connecting", "connected", "handshake-done", "failed"] as const) {
      this.channels.events.on(name, () => this.events.push(name));
    }
  }

  async close(): Promise<void> {
    this.channels.close();
    await this.network.time.advance(SECOND);
    assert.equal(this.network.time.pending, 0);
    assert.equal(this.network.openLinks, 0);
  }
}

describe("the channel manager", () => {
  test("opens one channel per relay, which requests at the same time and later ones share", async () => {
    const world = new World();
    const { channels, network, target } = world;
    const asked = [channels.get(target), channels.get(target), channels.get(target)];
    await network.time.settle();
    const [a, b, c] = await Promise.all(asked);
    assert.equal(a, b);
    assert.equal(a, c);
    assert.equal(await channels.get(target), a);
    assert.equal(world.relay.attempts, 1);
    assert.equal(channels.size, 1);
    assert.deepEqual(world.events, ["connecting", "connected", "handshake-done"]);

    const other = channels.get(network.relays[1]!.relay.target);
    await network.time.settle();
    assert.notEqual(await other, a);
    assert.equal(channels.size, 2);
    await world.close();
    assert.equal(channels.size, 0);
  });

  test("goes on with an attempt that one of those who wait for it gives up", async () => {
    const world = new World();
    const { channels, network, target } = world;
    const abort = new AbortController();
    const given = channels.get(target, abort.signal);
    const kept = channels.get(target);
    const refused = assert.rejects(given, isKind("aborted"));
    abort.abort();
    await refused;
    await network.time.settle();
    assert.equal((await kept).closed, false);
    await assert.rejects(channels.get(target, abort.signal), isKind("aborted"));
    assert.equal(world.relay.attempts, 1);
    await world.close();
  });

  test("finishes an attempt that everybody has given up, and closes it when nobody wants it", async () => {
    const world = new World();
    const abort = new AbortController();
    const refused = assert.rejects(world.channels.get(world.target, abort.signal), isKind("aborted"));
    abort.abort();
    await refused;
    await world.network.time.settle();
    assert.equal(world.channels.size, 1);
    await world.network.time.advance(3 * MINUTE + SECOND);
    assert.equal(world.channels.size, 0);
    assert.equal(world.network.openLinks, 0);
    await world.close();
  });

  test("refuses an open channel, and one being opened, to who expects another Ed25519 identity", async () => {
    const world = new World();
    const { channels, network, target } = world;
    const unknown = { ...target, ed25519Id: undefined };
    const wrong = { ...target, ed25519Id: new Uint8Array(32).fill(7) };
    const first = channels.get(unknown);
    const during = assert.rejects(channels.get(wrong), isKind("identity", "wrong-ed25519-identity"));
    await network.time.settle();
    const channel = await first;
    await during;
    await assert.rejects(channels.get(wrong), isKind("identity", "wrong-ed25519-identity"));
    assert.equal(await channels.get(target), channel);
    assert.equal(channel.closed, false);
    await world.close();
  });

  test("forgets a channel that closes, and opens another", async () => {
    const world = new World();
    const { channels, network, target } = world;
    const opening = channels.get(target);
    await network.time.settle();
    const first = await opening;
    world.relay.links[0]!.socket.destroy();
    await network.time.settle();
    assert.equal(first.closed, true);
    assert.equal(channels.size, 0);
    const again = channels.get(target);
    await network.time.settle();
    assert.notEqual(await again, first);
    assert.equal(channels.size, 1);
    await world.close();
  });

  test("does not count a channel that breaks the rules in the breath that finishes its handshake", async () => {
    const world = new World();
    const { responder } = world.relay;
    const cells = concat(...responder.cells(), netinfoCell());
    responder.cells = () => [cells];
    const opening = world.channels.get(world.target);
    await world.network.time.settle();
    assert.equal((await opening).closed, true);
    assert.equal(world.channels.size, 0);
    await world.close();
  });

  test("tells each who waits that an attempt failed, and tries anew for the next", async () => {
    const world = new World();
    const { channels, network, target } = world;
    world.relay.listening = "refuses";
    await Promise.all([1, 2].map(() => assert.rejects(channels.get(target), isKind("connection", "refused"))));
    assert.equal(world.relay.attempts, 1);
    assert.deepEqual(world.events, ["connecting", "failed"]);
    world.relay.listening = "yes";
    const opening = channels.get(target);
    await network.time.settle();
    assert.equal((await opening).closed, false);
    await world.close();
  });

  test("gives a silent relay the time there is and no more", async () => {
    const world = new World();
    world.relay.listening = "silent";
    const refused = assert.rejects(world.channels.get(world.target), isKind("timeout", "handshake-timeout"));
    await world.network.time.advance(30 * SECOND);
    await refused;
    assert.equal(world.network.time.pending, 0);
    await world.close();
  });

  test("tells of a relay's other clock", async () => {
    const world = new World();
    const skews: number[] = [];
    world.channels.events.on("clock-skew", ({ skewMs }) => skews.push(skewMs));
    const { responder } = world.relay;
    const cells = responder.cells();
    responder.cells = () => [...cells.slice(0, 3), netinfoCell(world.network.time.now() / 1000 - 7200)];
    const opening = world.channels.get(world.target);
    await world.network.time.settle();
    await opening;
    assert.deepEqual(skews, [7_200_000]);
    await world.close();
  });

  test("closes in the middle of an attempt, and is of no use afterwards", async () => {
    for (const [listening, turns] of [["yes", 0], ["yes", 2], ["silent", 9]] as const) {
      const world = new World();
      world.relay.listening = listening;
      const refused = assert.rejects(world.channels.get(world.target), isKind("closed"));
      for (let i = 0; i < turns; i++) await Promise.resolve();
      if (listening === "silent") await world.network.time.settle();
      world.channels.close();
      await world.network.time.settle();
      await refused;
      await assert.rejects(world.channels.get(world.target), isKind("closed"));
      await world.close();
    }
  });

  test("ends the circuits on a channel when it closes", async () => {
    const world = new World();
    const opening = world.channels.get(world.target);
    await world.network.time.settle();
    const circuit = (await opening).newCircuit(1000);
    await world.close();
    assert.ok(circuit.closed);
    assert.ok(world.relay.links[0]!.link.cells.every(({ command }) => command !== CellCommand.CREATE2));
  });
});
