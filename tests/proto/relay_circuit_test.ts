import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isTunicError, TunicError } from "../../src/base/errors.ts";
import { encodeWith } from "../../src/bytes/codec.ts";
import { ntorHandshake } from "../../src/proto/circuit_handshake.ts";
import type { RelayCircuit } from "../../src/proto/relay_circuit.ts";
import { CellCommand, PAYLOAD_LEN } from "../../src/wire/cell.ts";
import { EXTEND2, SENDME } from "../../src/wire/circuit_messages.ts";
import { CREATED2, DestroyReason, HandshakeType, TRUNCATED } from "../../src/wire/create_cells.ts";
import { type LinkSpecifier, linkSpecifiersOf } from "../../src/wire/link_specifier.ts";
import { RelayCommand } from "../../src/wire/relay_cell.ts";
import { BEGIN } from "../../src/wire/stream_messages.ts";
import { destroyedBy, RelayChain } from "../support/relay_chain.ts";
import { Log, patterned } from "../support/scripted_relay.ts";

const { EXTEND2: EXTEND, TRUNCATE, BEGIN: BEGIN_, DROP, DATA, CONNECTED } = RelayCommand;
const { RELAY_EARLY } = CellCommand;
const begin = encodeWith(BEGIN, { host: "example.com", port: 80, flags: 0 });
const gone = new TunicError("Cannot go on: test", { kind: "closed", code: "test" });
const nothing = { circuits: 0, timers: 0, duplexes: 0 };

describe("circuits through relays", () => {
  for (const first of ["fast", "ntor"] as const) {
    for (const hops of [1, 2, 3]) {
      test(`of ${hops} hops, the first by ${first}, carry a stream`, async () => {
        const chain = new RelayChain();
        const circuit = await chain.build(hops, first);
        const { exit } = chain.relays[hops - 1]!;
        const stream = await chain.run(circuit.openStream("Example.com", 443, 1));
        assert.deepEqual(exit.begins[0]!.begin, { host: "example.com", port: 443, flags: 1 });
        assert.equal(stream.connectedAddress, "203.0.113.5");
        const log = new Log();
        stream.handlers = log.handlers;
        stream.write(patterned(3_000));
        exit.last.handlers.data(patterned(5_000, 7));
        await chain.settle();
        assert.deepEqual(exit.last.written, patterned(3_000));
        assert.deepEqual(log.data, patterned(5_000, 7));
        circuit.destroy(gone);
        await chain.settle();
        exit.last.destroy();
        assert.deepEqual(chain.leftovers, nothing);
      });
    }
  }

  test("may end streams at every hop", async () => {
    const chain = new RelayChain();
    const client = await chain.raw(3);
    for (const hop of [0, 1, 2]) client.say(hop, BEGIN_, 5, begin);
    await chain.settle();
    for (const hop of [0, 1, 2]) {
      client.say(hop, DATA, 5, patterned(100, hop));
      chain.relays[hop]!.exit.last.handlers.data(patterned(50, hop));
    }
    await chain.settle();
    for (const hop of [0, 1, 2]) {
      assert.deepEqual(chain.relays[hop]!.exit.last.written, patterned(100, hop));
      const data = client.told.find((it) => it.command === DATA && it.hop === hop)!.data;
      assert.deepEqual(data, patterned(50, hop));
    }
  });

  test("keep the order of cells for this relay and for others that came together", async () => {
    const chain = new RelayChain();
    const client = await chain.raw(3);
    for (const hop of [0, 1, 2]) client.say(hop, BEGIN_, 9, begin);
    await chain.settle();
    const hops = Array.from({ length: 93 }, (_, i) => (i * i + (i >> 2)) % 3);
    const counts = [0, 0, 0];
    client.send(...hops.map((hop) => client.seal(hop, DATA, 9, patterned(10, 10 * counts[hop]!++))));
    await chain.settle();
    assert.equal(client.destroyed, undefined);
    for (const hop of [0, 1, 2]) {
      assert.deepEqual(chain.relays[hop]!.exit.last.written, patterned(10 * counts[hop]!));
    }
  });

  test("have SENDMEs with the right digests, also where cells for others lie between", async () => {
    const chain = new RelayChain();
    const circuit = await chain.build(2);
    const stream = await chain.run(circuit.openStream("a.example", 80, 0));
    // Our client checks every digest.
    stream.handlers = new Log().handlers;
    stream.write(patterned(2_000_000));
    await chain.settle();
    assert.equal(circuit.closed, undefined);
    assert.deepEqual(chain.relays[1]!.exit.last.written, patterned(2_000_000));
    const raw = await chain.raw(2);
    raw.say(0, BEGIN_, 1, begin);
    await chain.settle();
    const cells = Array.from(
      { length: 200 },
      (_, i) => raw.seal(i % 2, i % 2 ? DROP : DATA, i % 2 ? 0 : 1, patterned(9)),
    );
    raw.send(...cells);
    await chain.settle();
    assert.equal(raw.count(RelayCommand.SENDME), 3, "two of the stream and one of the circuit");
    assert.equal(raw.told.find((it) => it.command === RelayCommand.SENDME && it.streamId === 0)!.data.length, 23);
  });
});

describe("a CREATE", () => {
  for (
    const [name, command, body] of [
      ["of a handshake that is not known", CellCommand.CREATE2, Uint8Array.of(0, 9, 0, 84)],
      ["that is cut short", CellCommand.CREATE2, Uint8Array.of(0, 2, 0, 20)],
      ["of a length beyond the cell", CellCommand.CREATE2, Uint8Array.of(0, 2, 255, 255)],
      ["for another relay", CellCommand.CREATE2, Uint8Array.of(0, 2, 0, 84, ...patterned(84))],
    ] as const
  ) {
    test(`${name} is refused with DESTROY`, async () => {
      const chain = new RelayChain();
      chain.client.sendCell(0x8000_0077, command, body);
      await chain.settle();
      assert.deepEqual(chain.client.peer!.destroys, [DestroyReason.PROTOCOL]);
      assert.equal(chain.relays[0]!.circuits.length, 0);
    });
  }
});

describe("EXTEND2", () => {
  const target = (chain: RelayChain, relay: number) => chain.relays[relay]!.relay.target;
  const message = (chain: RelayChain, relay: number, linkSpecifiers?: LinkSpecifier[]) =>
    encodeWith(EXTEND2, {
      linkSpecifiers: linkSpecifiers ?? linkSpecifiersOf(target(chain, relay)),
      handshakeType: HandshakeType.NTOR,
      handshake: ntorHandshake(chain.runtime, target(chain, relay)).client.onionSkin,
    });

  for (
    const [name, make] of [
      ["to the relay itself", (chain) => message(chain, 1)],
      ["to the previous hop", (chain) => message(chain, 0)],
      [
        "without an address",
        (chain) => message(chain, 2, [{ kind: "rsa-id", id: target(chain, 2).rsaId }]),
      ],
      [
        "without an RSA identity",
        (chain) => message(chain, 2, [{ kind: "ipv4", address: "192.0.2.102", port: 9001 }]),
      ],
      ["that is cut short", (chain) => message(chain, 2).subarray(0, 40)],
    ] as [string, (chain: RelayChain) => Uint8Array][]
  ) {
    test(`${name} closes the circuit`, async () => {
      const chain = new RelayChain();
      const client = await chain.raw(2);
      client.say(1, EXTEND, 0, make(chain), RELAY_EARLY);
      await chain.settle();
      assert.equal(client.destroyed, DestroyReason.DESTROYED);
      assert.deepEqual(chain.link(1, 0).destroys, [DestroyReason.PROTOCOL]);
      assert.equal(chain.relays[2]!.circuits.length, 0);
      assert.deepEqual(chain.leftovers, nothing);
    });
  }

  test("outside RELAY_EARLY closes the circuit", async () => {
    const chain = new RelayChain();
    const client = await chain.raw(1);
    client.say(0, EXTEND, 0, message(chain, 1));
    await chain.settle();
    assert.equal(client.destroyed, DestroyReason.PROTOCOL);
  });

  test("while another is under way, or behind it, closes the circuit", async () => {
    for (const between of [false, true]) {
      const chain = new RelayChain();
      const client = await chain.raw(1);
      for (const relay of [1, 2]) {
        client.say(0, EXTEND, 0, message(chain, relay), RELAY_EARLY);
        if (between) await chain.settle();
      }
      await chain.settle();
      assert.equal(client.destroyed, DestroyReason.PROTOCOL);
      assert.deepEqual(chain.leftovers, nothing);
    }
  });

  for (
    const [name, error, reason] of [
      ["nobody answers", new TunicError("Cannot", { kind: "connection", code: "refused" }), "CONNECTFAILED"],
      ["somebody else answers", new TunicError("Cannot", { kind: "identity", code: "wrong-rsa-id" }), "OR_IDENTITY"],
      ["there is no room", new TunicError("Cannot", { kind: "limit", code: "channel-full" }), "RESOURCELIMIT"],
      ["the attempt throws what it should not", new RangeError("oh"), "CONNECTFAILED"],
    ] as const
  ) {
    test(`destroys the circuit with ${reason} where ${name}`, async () => {
      const chain = new RelayChain();
      const circuit = await chain.build(1);
      chain.relays[0]!.onConnect = () => Promise.reject(error);
      await assert.rejects(chain.extend(circuit, 1), destroyedBy(reason));
      assert.deepEqual(chain.leftovers, nothing);
    });
  }

  test("to a relay that cannot do the handshake destroys the circuit", async () => {
    const chain = new RelayChain();
    const circuit = await chain.build(1);
    const { onionKey: _, ...wrong } = chain.relays[2]!.relay;
    const handshake = ntorHandshake(chain.runtime, wrong.target);
    await assert.rejects(chain.run(circuit.extend(target(chain, 1), handshake)), destroyedBy("DESTROYED"));
    assert.deepEqual(chain.leftovers, nothing);
  });

  test("waits for a relay that answers nothing until the client gives up", async () => {
    const chain = new RelayChain();
    const circuit = await chain.build(2);
    await chain.build(3);
    chain.link(2, 1).tamper = (cells) => cells.command === CellCommand.CREATED2 ? undefined : cells;
    const attempt = new AbortController();
    const before = chain.link(1, 2).destroys.length;
    const extending = circuit.extend(target(chain, 2), ntorHandshake(chain.runtime, target(chain, 2)), attempt.signal);
    extending.catch(() => {});
    await chain.settle();
    assert.equal(circuit.closed, undefined);
    attempt.abort();
    await chain.settle();
    await assert.rejects(extending, (error) => isTunicError(error, "aborted"));
    assert.deepEqual(chain.link(1, 2).destroys.slice(before), [DestroyReason.DESTROYED]);
  });

  test("is not answered twice, whatever the next relay sends", async () => {
    for (
      const [command, body] of [
        [CellCommand.CREATED2, encodeWith(CREATED2, patterned(64))],
        [CellCommand.CREATED2, Uint8Array.of(255, 255)],
        [CellCommand.CREATED_FAST, patterned(40)],
        [RELAY_EARLY, patterned(PAYLOAD_LEN)],
      ] as const
    ) {
      const chain = new RelayChain();
      const client = await chain.raw(2);
      const end = chain.link(1, 0);
      end.sendCell([...end.circuits.keys()][0]!, command, body);
      await chain.settle();
      assert.equal(client.destroyed, DestroyReason.PROTOCOL, `command ${command}`);
      assert.deepEqual(chain.link(0, 1).destroys, [DestroyReason.PROTOCOL]);
      assert.equal(client.count(RelayCommand.EXTENDED2), 1);
      assert.deepEqual(chain.leftovers, nothing);
    }
  });

  test("that gets nonsense for an answer fails, at the relay or at the client", async () => {
    for (
      const [body, fails] of [
        [Uint8Array.of(255, 255), destroyedBy("PROTOCOL")],
        [encodeWith(CREATED2, patterned(507)), destroyedBy("PROTOCOL")],
        [encodeWith(CREATED2, patterned(64)), (error: unknown) => isTunicError(error, "crypto")],
        [encodeWith(CREATED2, patterned(3)), (error: unknown) => isTunicError(error, "malformed")],
      ] as const
    ) {
      const chain = new RelayChain();
      const circuit = await chain.build(1);
      await chain.build(2);
      chain.link(1, 0).tamper = (cells) => {
        if (cells.command !== CellCommand.CREATED2) return cells;
        const payloads = new Uint8Array(PAYLOAD_LEN);
        payloads.set(body);
        return { ...cells, payloads };
      };
      await assert.rejects(chain.extend(circuit, 1), fails);
    }
  });

  test("may come anew after a TRUNCATE that met the first under way", async () => {
    const chain = new RelayChain();
    const client = await chain.raw(1);
    let connected: (error: Error) => void = () => {};
    chain.relays[0]!.onConnect = () => new Promise((_, reject) => connected = reject);
    client.say(0, EXTEND, 0, message(chain, 1), RELAY_EARLY);
    client.say(0, TRUNCATE, 0);
    await chain.settle();
    assert.equal(client.count(RelayCommand.TRUNCATED), 1);
    chain.relays[0]!.onConnect = undefined;
    await client.extend(0, chain.relays[2]!.relay, ntorHandshake(chain.runtime, target(chain, 2)));
    connected(new Error("late"));
    client.say(1, BEGIN_, 1, begin);
    await chain.settle();
    assert.equal(client.destroyed, undefined);
    assert.equal(client.last(CONNECTED)!.hop, 1);
  });

  test("whose channel comes when the circuit is gone makes nothing", async () => {
    const chain = new RelayChain();
    await chain.build(2);
    const client = await chain.raw(1);
    const link = chain.link(0, 1);
    let connected = (): void => {};
    chain.relays[0]!.onConnect = () => new Promise((resolve) => connected = () => resolve(link));
    const before = link.sent.length;
    client.say(0, EXTEND, 0, message(chain, 1), RELAY_EARLY);
    await chain.settle();
    client.destroy();
    await chain.settle();
    connected();
    await chain.settle();
    assert.equal(link.sent.length, before);
  });
});

describe("RELAY_EARLY", () => {
  test("passes as such eight times, and the ninth closes the circuit", async () => {
    const chain = new RelayChain();
    const client = await chain.raw(2);
    for (let i = 0; i < 7; i++) client.say(1, DROP, 0, patterned(3), RELAY_EARLY);
    await chain.settle();
    assert.equal(client.destroyed, undefined);
    assert.equal(chain.link(0, 1).sent.filter(({ command }) => command === RELAY_EARLY).length, 7);
    client.say(1, DROP, 0, patterned(3), RELAY_EARLY);
    await chain.settle();
    assert.equal(client.destroyed, DestroyReason.PROTOCOL);
    assert.deepEqual(chain.link(0, 1).destroys, [DestroyReason.PROTOCOL]);
  });
});

describe("the end of a circuit", () => {
  test("by the client's DESTROY travels on, without its reason", async () => {
    const chain = new RelayChain();
    const client = await chain.raw(3);
    client.destroy(DestroyReason.HIBERNATING);
    await chain.settle();
    assert.deepEqual(chain.link(0, 1).destroys, [DestroyReason.DESTROYED]);
    assert.deepEqual(chain.link(1, 2).destroys, [DestroyReason.DESTROYED]);
    for (const [from, to] of [[1, 0], [2, 1]] as const) assert.deepEqual(chain.link(from, to).destroys, []);
    for (const { circuits } of chain.relays) for (const it of circuits) assert.ok(isTunicError(it.closed, "circuit"));
  });

  test("by a relay's DESTROY travels to the client and closes what is open on the way", async () => {
    const chain = new RelayChain();
    const circuit = await chain.build(3);
    const log = new Log();
    (await chain.run(circuit.openStream("example.com", 80, 0))).handlers = log.handlers;
    let ended: TunicError | undefined;
    chain.relays[2]!.circuits[0]!.onEnd = (error) => ended = error;
    chain.relays[2]!.circuits[0]!.destroy(gone, DestroyReason.HIBERNATING);
    await chain.settle();
    assert.equal(ended, gone);
    assert.deepEqual(chain.link(2, 1).destroys, [DestroyReason.HIBERNATING]);
    assert.deepEqual(chain.link(1, 0).destroys, [DestroyReason.DESTROYED]);
    assert.ok(destroyedBy("DESTROYED")(circuit.closed));
    assert.equal(log.error, circuit.closed);
    assert.equal(chain.relays[2]!.exit.last.ended, true);
    await chain.runtime.time.advance(5_000);
    assert.deepEqual(chain.leftovers, nothing);
  });

  test("by a broken link travels both ways", async () => {
    const chain = new RelayChain();
    const client = await chain.raw(3);
    chain.link(1, 2).break();
    await chain.settle();
    assert.deepEqual(chain.link(1, 0).destroys, [DestroyReason.CHANNEL_CLOSED]);
    assert.equal(client.destroyed, DestroyReason.DESTROYED);
    assert.deepEqual(chain.leftovers, nothing);

    const other = new RelayChain();
    await other.raw(3);
    other.client.break();
    await other.settle();
    assert.deepEqual(other.link(0, 1).destroys, [DestroyReason.CHANNEL_CLOSED]);
    assert.deepEqual(other.link(1, 2).destroys, [DestroyReason.DESTROYED]);
  });

  test("by TRUNCATE is the end of what is behind the hop", async () => {
    const chain = new RelayChain();
    const client = await chain.raw(3);
    client.say(0, TRUNCATE, 0);
    await chain.settle();
    assert.deepEqual(client.last(RelayCommand.TRUNCATED), {
      hop: 0,
      command: RelayCommand.TRUNCATED,
      streamId: 0,
      data: encodeWith(TRUNCATED, DestroyReason.REQUESTED),
    });
    assert.deepEqual(chain.link(0, 1).destroys, [DestroyReason.REQUESTED]);
    assert.deepEqual(chain.link(1, 2).destroys, [DestroyReason.DESTROYED]);
    client.say(0, BEGIN_, 3, begin);
    await chain.settle();
    assert.equal(client.last(CONNECTED)!.hop, 0);
  });

  test("comes with cells for what TRUNCATE cut off", async () => {
    for (const together of [true, false]) {
      const chain = new RelayChain();
      const client = await chain.raw(2);
      const truncate = client.seal(0, TRUNCATE, 0);
      const lost = client.seal(1, DROP, 0);
      if (together) client.send(truncate, lost);
      else {
        client.send(truncate);
        await chain.settle();
        client.send(lost);
      }
      await chain.settle();
      assert.equal(client.count(RelayCommand.TRUNCATED), 1);
      assert.equal(client.destroyed, DestroyReason.PROTOCOL);
    }
  });

  test("comes with a cell that nobody recognizes, and with one that was changed", async () => {
    for (const hops of [1, 3]) {
      for (const spoil of [0, 1, 5, 40]) {
        const chain = new RelayChain();
        const client = await chain.raw(hops);
        const payload = client.seal(hops - 1, DROP, 0);
        payload[spoil]! ^= 1;
        client.send(client.seal(hops - 1, DROP, 0), payload);
        await chain.settle();
        assert.equal(client.destroyed, hops === 1 ? DestroyReason.PROTOCOL : DestroyReason.DESTROYED);
        if (hops === 3) assert.deepEqual(chain.link(2, 1).destroys, [DestroyReason.PROTOCOL]);
        assert.deepEqual(chain.leftovers, nothing);
      }
    }
  });

  test("comes with more waiting to go out than may", async () => {
    const chain = new RelayChain();
    const error = new TunicError("Cannot", { kind: "limit", code: "relay-takes-nothing" });
    const towards = await chain.raw(2);
    for (const it of [...chain.link(0, 1).circuits.values()]) it.onOverfull(error);
    await chain.settle();
    assert.equal(towards.destroyed, DestroyReason.RESOURCELIMIT);
    assert.deepEqual(chain.link(0, 1).destroys, [DestroyReason.RESOURCELIMIT]);
    const back = await chain.raw(2);
    for (const it of [...chain.client.peer!.circuits.values()]) it.onOverfull(error);
    await chain.settle();
    assert.equal(back.destroyed, DestroyReason.RESOURCELIMIT);
    assert.deepEqual(chain.link(0, 1).destroys.slice(1), [DestroyReason.RESOURCELIMIT]);
    assert.deepEqual(chain.leftovers, nothing);
  });

  test("comes with a cell that a client has no use for", async () => {
    for (const command of [CellCommand.CREATED2, CellCommand.CREATED_FAST]) {
      const chain = new RelayChain();
      const client = await chain.raw(1);
      client.cell(command, patterned(66));
      await chain.settle();
      assert.equal(client.destroyed, DestroyReason.PROTOCOL);
    }
  });
});

describe("a circuit's SENDME to a relay", () => {
  /** A client that has got as much as the circuit's window lets go, over three streams. */
  async function full(window = 1000) {
    const chain = new RelayChain(2, window);
    const client = await chain.raw(2);
    const { exit } = chain.relays[1]!;
    for (const id of [1, 2, 3]) client.say(1, BEGIN_, id, begin);
    await chain.settle();
    for (const duplex of exit.opened) duplex.handlers.data(new Uint8Array(600_000));
    await chain.settle();
    const sendme = (digest: Uint8Array | undefined) =>
      client.say(1, RelayCommand.SENDME, 0, encodeWith(SENDME, digest ? { version: 1, digest } : { version: 0 }));
    return { chain, client, sendme };
  }

  test("is waited for after 1,000 cells, and lets 100 more go", async () => {
    const { chain, client, sendme } = await full();
    assert.equal(client.count(DATA), 1000);
    sendme(client.digests[0]);
    await chain.settle();
    assert.equal(client.count(DATA), 1100);
    sendme(client.digests[1]);
    sendme(client.digests[2]);
    await chain.settle();
    assert.equal(client.count(DATA), 1300);
    assert.equal(client.destroyed, undefined);
  });

  for (
    const [name, spoil] of [
      ["with another digest", (digests) => [digests[1]]],
      ["with a digest that was used", (digests) => [digests[0], digests[0]]],
      ["without a digest", () => [undefined]],
    ] as [string, (digests: Uint8Array[]) => (Uint8Array | undefined)[]][]
  ) {
    test(`${name} closes the circuit`, async () => {
      const { chain, client, sendme } = await full();
      for (const digest of spoil(client.digests)) sendme(digest);
      await chain.settle();
      assert.equal(client.destroyed, DestroyReason.DESTROYED);
      assert.deepEqual(chain.link(1, 0).destroys, [DestroyReason.PROTOCOL]);
    });
  }

  test("for cells that were not sent closes the circuit", async () => {
    const chain = new RelayChain();
    const client = await chain.raw(1);
    client.say(0, RelayCommand.SENDME, 0, encodeWith(SENDME, { version: 1, digest: new Uint8Array(20) }));
    await chain.settle();
    assert.equal(client.destroyed, DestroyReason.PROTOCOL);
  });

  test("closes it with a version that is not known", async () => {
    const { chain, client } = await full();
    client.say(1, RelayCommand.SENDME, 0, Uint8Array.of(2, 0, 20, ...client.digests[0]!));
    await chain.settle();
    assert.equal(client.destroyed, DestroyReason.DESTROYED);
  });

  test("follows the window that the network says", async () => {
    const { client } = await full(300);
    assert.equal(client.count(DATA), 300);
  });
});

test("two joined circuits carry payloads through to each other", async () => {
  const chain = new RelayChain();
  const [a, b] = [await chain.raw(1), await chain.raw(1)];
  const [near, far] = chain.relays[0]!.circuits as [RelayCircuit, RelayCircuit];
  near.joined = far;
  // The rest of the message joins; what lies behind it in the same batch is for the other side.
  Object.assign(chain.relays[0]!.services, {
    onOtherMessage: (circuit: RelayCircuit, command: number) => {
      if (command === RelayCommand.RENDEZVOUS1 && circuit === far) far.joined = near;
      return true;
    },
  });
  const got: Uint8Array[] = [];
  a.onRelayPayloads = (payloads) => void got.push(payloads.slice());
  const stranger = patterned(PAYLOAD_LEN);
  b.send(b.seal(0, RelayCommand.RENDEZVOUS1, 0), stranger, stranger);
  await chain.settle();
  assert.equal(b.destroyed, undefined);
  assert.equal(got.reduce((sum, { length }) => sum + length, 0), 2 * PAYLOAD_LEN);
  assert.equal(a.destroyed, undefined);
});
