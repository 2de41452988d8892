import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { type ErrorKind, isTunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { decodeWith, encodeWith } from "../../src/bytes/codec.ts";
import { toHex, utf8 } from "../../src/bytes/text.ts";
import { ntorHandshake } from "../../src/proto/circuit_handshake.ts";
import { CellCommand, PAYLOAD_LEN } from "../../src/wire/cell.ts";
import { SENDME } from "../../src/wire/circuit_messages.ts";
import { DestroyReason } from "../../src/wire/create_cells.ts";
import { RELAY_DATA_LEN, RelayCommand } from "../../src/wire/relay_cell.ts";
import { RESOLVED } from "../../src/wire/resolve_messages.ts";
import { BEGIN, END, EndReason } from "../../src/wire/stream_messages.ts";
import { CircuitWorld, Log, patterned, plaintext, RELAYS } from "../support/scripted_relay.ts";

const isKind = (kind: ErrorKind) => (error: unknown) => isTunicError(error, kind);

function assertOver(world: CircuitWorld, kind: ErrorKind, code?: string): void {
  assert.ok(isTunicError(world.circuit.closed, kind), String(world.circuit.closed));
  if (code !== undefined) assert.equal(world.circuit.closed.code, code);
  assert.equal(world.released, 1);
  assert.equal(world.circuit.streamCount, 0);
}

const endReasons = (world: CircuitWorld) =>
  world.peer.all(RelayCommand.END).map(({ streamId, data }) => [streamId, decodeWith(END, data).reason]);

describe("opening a stream", () => {
  test("sends BEGIN to the last hop and waits for CONNECTED", async () => {
    const world = await CircuitWorld.built(3);
    const opening = world.circuit.openStream("Example.com", 443, 1);
    const begin = world.peer.last(RelayCommand.BEGIN);
    assert.equal(begin.hop, 2);
    assert.equal(begin.early, false);
    assert.deepEqual(decodeWith(BEGIN, begin.data), { host: "example.com", port: 443, flags: 1 });
    assert.equal(world.circuit.streamCount, 1);
    world.batch(world.peer.connected(begin.streamId));
    const stream = await opening;
    assert.equal(stream.connectedAddress, "203.0.113.5");
    assert.equal(stream.connected, true);
  });

  test("to a directory server sends BEGIN_DIR, to which CONNECTED is empty", async () => {
    const world = await CircuitWorld.built(1);
    const opening = world.circuit.openDirectory();
    const { streamId, data, hop } = world.peer.last(RelayCommand.BEGIN_DIR);
    assert.equal(data.length, 0);
    assert.equal(hop, 0);
    world.batch(world.peer.payload(0, RelayCommand.CONNECTED, streamId));
    assert.equal((await opening).connectedAddress, undefined);
  });

  test("that the exit ends gives its reason; an END without one counts as MISC", async () => {
    const cases: [Uint8Array, string, string][] = [
      [encodeWith(END, { reason: EndReason.EXITPOLICY }), "EXITPOLICY", "elsewhere"],
      [encodeWith(END, { reason: EndReason.CONNECTREFUSED }), "CONNECTREFUSED", "never"],
      [Uint8Array.of(200), "reason 200", "elsewhere"],
      [new Uint8Array(0), "MISC", "elsewhere"],
    ];
    const world = await CircuitWorld.built(3);
    for (const [body, reason, retry] of cases) {
      const opening = world.circuit.openStream("example.com", 80, 0);
      const { streamId } = world.peer.last(RelayCommand.BEGIN);
      world.batch(world.peer.payload(2, RelayCommand.END, streamId, body));
      await assert.rejects(opening, (error) => {
        assert.ok(isTunicError(error, "stream"));
        assert.equal(error.context.reason, reason);
        return error.retry === retry;
      });
    }
    assert.equal(world.circuit.streamCount, 0);
    assert.equal(world.circuit.closed, undefined);
    assert.deepEqual(endReasons(world), [], "an END is not answered");
  });

  test("is rejected when the circuit closes", async () => {
    const world = await CircuitWorld.built(3);
    const opening = world.circuit.openStream("example.com", 80, 0);
    const lookup = world.circuit.resolve("example.com");
    world.circuit.onCell(CellCommand.DESTROY, new Uint8Array(0));
    await assert.rejects(opening, isKind("circuit"));
    await assert.rejects(lookup, isKind("circuit"));
    assertOver(world, "circuit");
  });

  test("with a host or port that BEGIN cannot carry leaves nothing behind", async () => {
    const world = await CircuitWorld.built(3);
    for (const [host, port] of [["a".repeat(499), 80], ["a b", 80], ["example.com", 0], ["[::1]", 80]] as const) {
      await assert.rejects(world.circuit.openStream(host, port, 0), isKind("argument"), host);
    }
    await assert.rejects(world.circuit.resolve("a".repeat(499)), isKind("argument"));
    await assert.rejects(world.circuit.resolve(""), isKind("argument"));
    assert.equal(world.circuit.streamCount, 0);
    assert.equal(world.peer.heard.length, 2);
    const { stream } = await world.open();
    assert.ok(stream.connected, "the circuit is still good");
  });

  test("gives numbers that are not in use, and in the end refuses", async () => {
    const world = await CircuitWorld.built(1);
    const taken = new Set<number>();
    for (let i = 0; i < 32_768; i++) {
      void world.circuit.openStream("example.com", 80, 0);
      taken.add(world.peer.heard.pop()!.streamId);
    }
    assert.equal(taken.size, 32_768);
    assert.ok(!taken.has(0));
    await assert.rejects(world.circuit.openStream("example.com", 80, 0), isKind("limit"));
    await assert.rejects(world.circuit.resolve("example.com"), isKind("limit"));
  });
});

describe("an abort", () => {
  test("of a stream being opened ends it; what still comes for it is taken", async () => {
    const world = await CircuitWorld.built(3);
    const controller = new AbortController();
    const opening = world.circuit.openStream("example.com", 80, 0, controller.signal);
    const { streamId } = world.peer.last(RelayCommand.BEGIN);
    controller.abort();
    await assert.rejects(opening, isKind("aborted"));
    assert.deepEqual(endReasons(world), [[streamId, EndReason.MISC]]);
    assert.equal(world.circuit.streamCount, 0);
    world.batch(world.peer.connected(streamId), world.peer.data(streamId, utf8("late")));
    assert.equal(world.circuit.closed, undefined);
    world.batch(world.peer.connected(streamId));
    assertOver(world, "protocol", "unknown-stream");
  });

  test("of a lookup drops its answer, once", async () => {
    for (const command of [RelayCommand.RESOLVED, RelayCommand.END]) {
      const world = await CircuitWorld.built(3);
      const controller = new AbortController();
      const lookup = world.circuit.resolve("example.com", controller.signal);
      const { streamId } = world.peer.last(RelayCommand.RESOLVE);
      controller.abort();
      await assert.rejects(lookup, isKind("aborted"));
      assert.equal(world.circuit.streamCount, 0);
      world.batch(world.peer.payload(2, command, streamId));
      assert.equal(world.circuit.closed, undefined);
      world.batch(world.peer.payload(2, command, streamId));
      assertOver(world, "protocol", "unknown-stream");
    }
  });

  test("before the start sends nothing", async () => {
    const world = await CircuitWorld.built(3);
    const heard = world.peer.heard.length;
    await assert.rejects(world.circuit.openStream("example.com", 80, 0, AbortSignal.abort()), isKind("aborted"));
    await assert.rejects(world.circuit.openDirectory(AbortSignal.abort()), isKind("aborted"));
    await assert.rejects(world.circuit.resolve("example.com", AbortSignal.abort()), isKind("aborted"));
    assert.equal(world.peer.heard.length, heard);
    assert.equal(world.circuit.streamCount, 0);
  });

  test("after CONNECTED or RESOLVED does nothing", async () => {
    const world = await CircuitWorld.built(3);
    const controller = new AbortController();
    const opening = world.circuit.openStream("example.com", 80, 0, controller.signal);
    world.batch(world.peer.connected(world.peer.last(RelayCommand.BEGIN).streamId));
    const lookup = world.circuit.resolve("example.com", controller.signal);
    world.batch(world.peer.payload(2, RelayCommand.RESOLVED, world.peer.last(RelayCommand.RESOLVE).streamId));
    controller.abort();
    assert.equal((await opening).closed, false);
    assert.deepEqual(await lookup, []);
    assert.deepEqual(endReasons(world), []);
  });
});

describe("looking a name up", () => {
  test("gives the relay's answers as they came", async () => {
    const world = await CircuitWorld.built(3);
    const lookup = world.circuit.resolve("example.com");
    const { streamId, hop } = world.peer.last(RelayCommand.RESOLVE);
    assert.equal(hop, 2);
    const answers = [
      { kind: "ipv4", address: "192.0.2.9", ttl: 60 },
      { kind: "error", transient: true, ttl: 0 },
    ] as const;
    world.batch(world.peer.payload(2, RelayCommand.RESOLVED, streamId, encodeWith(RESOLVED, answers)));
    assert.deepEqual(await lookup, answers);
    assert.equal(world.circuit.streamCount, 0);
  });

  test("that the relay ends gives its reason", async () => {
    const world = await CircuitWorld.built(3);
    const lookup = world.circuit.resolve("example.com");
    world.batch(world.peer.end(world.peer.last(RelayCommand.RESOLVE).streamId, EndReason.RESOLVEFAILED));
    await assert.rejects(lookup, (error) => isTunicError(error, "stream") && error.context.reason === "RESOLVEFAILED");
    assert.equal(world.circuit.closed, undefined);
  });

  test("whose answer is malformed rejects and closes the circuit", async () => {
    for (const body of [Uint8Array.of(4), Uint8Array.of(4, 5, 1, 2, 3, 4, 5, 0, 0, 0, 0), Uint8Array.of(0, 200, 65)]) {
      const world = await CircuitWorld.built(3);
      const lookup = world.circuit.resolve("example.com");
      world.batch(world.peer.payload(2, RelayCommand.RESOLVED, world.peer.last(RelayCommand.RESOLVE).streamId, body));
      await assert.rejects(lookup, isKind("malformed"));
      assertOver(world, "malformed");
    }
  });
});

test("a CONNECTED that is malformed rejects and closes the circuit", async () => {
  const bodies = [Uint8Array.of(1, 2, 3), new Uint8Array(4), new Uint8Array(8), Uint8Array.of(0, 0, 0, 0, 6, 1, 2)];
  for (const body of bodies) {
    const world = await CircuitWorld.built(3);
    const opening = world.circuit.openStream("example.com", 80, 0);
    world.batch(world.peer.payload(2, RelayCommand.CONNECTED, world.peer.last(RelayCommand.BEGIN).streamId, body));
    await assert.rejects(opening, isKind("malformed"));
    assertOver(world, "malformed");
  }
});

describe("a message out of place closes the circuit", () => {
  type Break = (world: CircuitWorld, id: number) => Uint8Array;
  const forOpenStream: [string, Break][] = [
    ["CONNECTED a second time", ({ peer }, id) => peer.connected(id)],
    ["RESOLVED for a stream", ({ peer }, id) => peer.payload(2, RelayCommand.RESOLVED, id)],
    ["DATA from a hop in the middle", ({ peer }, id) => peer.payload(1, RelayCommand.DATA, id)],
    ["END from a hop in the middle", ({ peer }, id) => peer.payload(0, RelayCommand.END, id)],
    ["a SENDME from a hop in the middle", ({ peer }, id) => peer.payload(1, RelayCommand.SENDME, id)],
    ["a SENDME for DATA that was not sent", ({ peer }, id) => peer.streamSendme(id)],
    ["DATA for another stream", ({ peer }, id) => peer.data(id ^ 1, utf8("x"))],
    ["DATA for no stream", ({ peer }) => peer.data(0, utf8("x"))],
    ["CONNECTED for no stream", ({ peer }) => peer.connected(0)],
    ["END for another stream", ({ peer }, id) => peer.end(id ^ 1, EndReason.DONE)],
    ["RESOLVED for nobody", ({ peer }, id) => peer.payload(2, RelayCommand.RESOLVED, id ^ 1)],
    [
      "a circuit's SENDME unasked",
      ({ peer }) =>
        peer.payload(2, RelayCommand.SENDME, 0, encodeWith(SENDME, { version: 1, digest: new Uint8Array(20) })),
    ],
    ["TRUNCATED for a stream", ({ peer }, id) => peer.payload(1, RelayCommand.TRUNCATED, id, Uint8Array.of(1))],
  ];
  for (const [name, break_] of forOpenStream) {
    test(name, async () => {
      const world = await CircuitWorld.built(3);
      const { stream, id } = await world.open();
      const log = new Log();
      stream.handlers = log.handlers;
      world.batch(break_(world, id));
      assertOver(world, "protocol");
      assert.equal(world.peer.destroyed, DestroyReason.NONE);
      assert.deepEqual(log.events, ["close"]);
      assert.equal(log.error, world.circuit.closed);
    });
  }

  const beforeConnected: [string, (world: CircuitWorld, id: number) => Uint8Array][] = [
    ["DATA", ({ peer }, id) => peer.data(id, utf8("early"))],
    ["a SENDME", ({ peer }, id) => peer.streamSendme(id)],
    ["RESOLVED", ({ peer }, id) => peer.payload(2, RelayCommand.RESOLVED, id)],
  ];
  for (const [name, break_] of beforeConnected) {
    test(`${name} before CONNECTED`, async () => {
      const world = await CircuitWorld.built(3);
      const opening = world.circuit.openStream("example.com", 80, 0);
      world.batch(break_(world, world.peer.last(RelayCommand.BEGIN).streamId));
      await assert.rejects(opening, isKind("protocol"));
      assertOver(world, "protocol");
    });
  }

  test("CONNECTED and DATA for a lookup", async () => {
    for (const command of [RelayCommand.CONNECTED, RelayCommand.DATA, RelayCommand.SENDME]) {
      const world = await CircuitWorld.built(3);
      const lookup = world.circuit.resolve("example.com");
      world.batch(world.peer.payload(2, command, world.peer.last(RelayCommand.RESOLVE).streamId));
      await assert.rejects(lookup, isKind("protocol"));
      assertOver(world, "protocol", "unknown-stream");
    }
  });

  test("anything for a stream that its far end has ended", async () => {
    for (const command of [RelayCommand.DATA, RelayCommand.END, RelayCommand.CONNECTED, RelayCommand.SENDME]) {
      const world = await CircuitWorld.built(3);
      const { id } = await world.open();
      world.batch(world.peer.end(id, EndReason.DONE));
      world.batch(world.peer.payload(2, command, id));
      assertOver(world, "protocol", "unknown-stream");
    }
  });

  test("a message whose length is a lie", async () => {
    for (const command of [RelayCommand.DATA, RelayCommand.END, RelayCommand.DROP, RelayCommand.SENDME, 99]) {
      const world = await CircuitWorld.built(3);
      const { stream, id } = await world.open();
      const log = new Log();
      stream.handlers = log.handlers;
      world.batch(world.peer.data(id, utf8("whole")), world.peer.raw(2, plaintext(command, id, RELAY_DATA_LEN + 1)));
      assertOver(world, "malformed");
      assert.equal(world.circuit.closed!.retry, "elsewhere");
    }
  });
});

describe("a message that means nothing to a client is dropped", () => {
  test("DROP, unknown commands, and those of a relay's or a later client's side, from every hop", async () => {
    const world = await CircuitWorld.built(3);
    const { stream, id } = await world.open();
    const log = new Log();
    stream.handlers = log.handlers;
    const commands = [
      RelayCommand.DROP,
      RelayCommand.BEGIN,
      RelayCommand.EXTENDED,
      RelayCommand.PADDING_NEGOTIATED,
      RelayCommand.XON,
      0,
      77,
      255,
    ];
    const said: Uint8Array[] = [];
    for (const hop of [0, 1, 2]) {
      for (const command of commands) said.push(world.peer.payload(hop, command, hop, patterned(40)));
    }
    const sent = world.sent.length;
    world.batch(...said, world.peer.data(id, utf8("still here")));
    assert.equal(world.circuit.closed, undefined);
    assert.equal(world.sent.length, sent, "nothing is answered");
    assert.deepEqual(log.data, utf8("still here"));
  });
});

describe("a circuit's end", () => {
  const ends: [string, (world: CircuitWorld) => void, string][] = [
    ["DESTROY", (world) => world.circuit.onCell(CellCommand.DESTROY, Uint8Array.of(9)), "FINISHED"],
    ["DESTROY without a reason", (world) => world.circuit.onCell(CellCommand.DESTROY, new Uint8Array(0)), "NONE"],
    [
      "DESTROY with an unknown reason",
      (world) => world.circuit.onCell(CellCommand.DESTROY, Uint8Array.of(99)),
      "reason 99",
    ],
    ["TRUNCATED", (world) => world.batch(world.peer.truncated(1, DestroyReason.CHANNEL_CLOSED)), "CHANNEL_CLOSED"],
    ["TRUNCATED without a reason", (world) => world.batch(world.peer.payload(0, RelayCommand.TRUNCATED, 0)), "NONE"],
  ];
  for (const [name, end, reason] of ends) {
    test(`by ${name} reaches its streams and lookups`, async () => {
      const world = await CircuitWorld.built(3);
      const { stream } = await world.open();
      const opening = world.circuit.openStream("example.com", 80, 0);
      const lookup = world.circuit.resolve("example.com");
      const log = new Log();
      stream.handlers = log.handlers;
      end(world);
      assertOver(world, "circuit");
      assert.equal(world.circuit.closed!.context.reason, reason);
      assert.deepEqual(log.events, ["close"]);
      assert.equal(log.error, world.circuit.closed);
      await assert.rejects(opening, (error) => error === world.circuit.closed);
      await assert.rejects(lookup, (error) => error === world.circuit.closed);
      assert.equal(world.peer.destroyed, name.startsWith("TRUNCATED") ? DestroyReason.NONE : undefined);
    });
  }

  test("by a cell that was changed on its way is of kind crypto, and nothing of its batch is delivered", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(PAYLOAD_LEN - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const world = await CircuitWorld.built(1);
        const { stream, id } = await world.open();
        const log = new Log();
        stream.handlers = log.handlers;
        const [good, bad] = [world.peer.data(id, utf8("good")), world.peer.data(id, utf8("bad"))];
        bad[at]! ^= change;
        world.batch(good, bad);
        assertOver(world, "crypto", "bad-relay-digest");
        assert.equal(log.data.length, 0);
        assert.deepEqual(log.events, ["close"]);
        assert.equal(log.error, world.circuit.closed);
        assert.equal(world.peer.destroyed, DestroyReason.NONE);
      }),
      { numRuns: 40 },
    );
  });

  test("by TRUNCATED in the middle of a batch comes after what was before it and before what is behind it", async () => {
    const world = await CircuitWorld.built(3);
    const { stream, id } = await world.open();
    const log = new Log();
    stream.handlers = log.handlers;
    world.batch(
      world.peer.data(id, utf8("before ")),
      world.peer.data(id, utf8("it")),
      world.peer.truncated(1, DestroyReason.DESTROYED),
      world.peer.data(id, utf8("behind")),
    );
    assert.equal(toHex(log.data), toHex(utf8("before it")));
    assertOver(world, "circuit", "truncated");
  });
});

describe("SENDMEs for what a circuit gets", () => {
  test("go out at every hundredth DATA cell with its digest, whoever takes the data", async () => {
    const world = await CircuitWorld.built(3);
    const { stream, id } = await world.open();
    stream.pause();
    const other = await world.open();
    const log = new Log();
    other.stream.handlers = log.handlers;
    const digests: string[] = [];
    for (let i = 1; i <= 450; i++) {
      const said = world.peer.hops[2]!.say(RelayCommand.DATA, i % 2 === 0 ? id : other.id, patterned(3));
      if (i % 100 === 0) digests.push(toHex(said.digest));
      world.batch(world.peer.hops[0]!.pass(world.peer.hops[1]!.pass(said.payload)));
    }
    const sendmes = world.peer.all(RelayCommand.SENDME).filter(({ streamId }) => streamId === 0);
    const sent = sendmes.map(({ data, hop }) => {
      const sendme = decodeWith(SENDME, data);
      assert.equal(hop, 2);
      return sendme.version === 1 ? toHex(sendme.digest) : undefined;
    });
    assert.deepEqual(sent, digests);
  });

  test("are the same in batches of any size", async () => {
    const sent: string[] = [];
    for (const size of [1, 3, 32]) {
      const world = await CircuitWorld.built(2);
      const { stream, id } = await world.open();
      stream.handlers = new Log().handlers;
      const cells = Array.from({ length: 400 }, (_, i) => world.peer.data(id, patterned(1 + i % 498)));
      for (let at = 0; at < cells.length; at += size) world.batch(...cells.slice(at, at + size));
      const sendmes = world.peer.all(RelayCommand.SENDME);
      assert.equal(sendmes.filter(({ streamId }) => streamId === 0).length, 4);
      assert.equal(sendmes.filter(({ streamId }) => streamId === id).length, 8);
      sent.push(sendmes.filter(({ streamId }) => streamId === 0).map(({ data }) => toHex(data)).join());
    }
    assert.equal(new Set(sent).size, 1);
  });

  test("do not count what is not DATA", async () => {
    const world = await CircuitWorld.built(2);
    world.batch(...Array.from({ length: 300 }, () => world.peer.payload(1, RelayCommand.DROP, 0)));
    assert.deepEqual(world.peer.all(RelayCommand.SENDME), []);
  });
});

describe("SENDMEs for what a circuit sent", () => {
  async function uploading(): Promise<{ world: CircuitWorld; id: number }> {
    const world = await CircuitWorld.built(3);
    const { stream, id } = await world.open();
    stream.handlers = new Log().handlers;
    stream.write(patterned(150 * RELAY_DATA_LEN));
    world.turns();
    return { world, id };
  }

  const bad: [string, (world: CircuitWorld) => Uint8Array, ErrorKind][] = [
    ["a wrong digest", ({ peer }) => {
      const { digest } = peer.all(RelayCommand.DATA)[98]!;
      return peer.payload(2, RelayCommand.SENDME, 0, encodeWith(SENDME, { version: 1, digest }));
    }, "crypto"],
    ["no digest", ({ peer }) => peer.payload(2, RelayCommand.SENDME, 0), "crypto"],
    ["version 0", ({ peer }) => peer.payload(2, RelayCommand.SENDME, 0, new Uint8Array(23)), "crypto"],
    ["version 2", ({ peer }) => peer.payload(2, RelayCommand.SENDME, 0, Uint8Array.of(2, 0, 20)), "malformed"],
    [
      "a digest too short",
      ({ peer }) => peer.payload(2, RelayCommand.SENDME, 0, Uint8Array.of(1, 0, 19, ...new Uint8Array(19))),
      "malformed",
    ],
    ["another hop's word", ({ peer }) => {
      const { digest } = peer.all(RelayCommand.DATA)[99]!;
      return peer.payload(1, RelayCommand.SENDME, 0, encodeWith(SENDME, { version: 1, digest }));
    }, "protocol"],
  ];
  for (const [name, say, kind] of bad) {
    test(`with ${name} close the circuit`, async () => {
      const { world } = await uploading();
      world.batch(say(world));
      assertOver(world, kind);
    });
  }

  test("twice for the same hundred close the circuit", async () => {
    const { world } = await uploading();
    world.batch(world.peer.sendme(0));
    assert.equal(world.circuit.closed, undefined);
    const { digest } = world.peer.all(RelayCommand.DATA)[99]!;
    world.batch(world.peer.payload(2, RelayCommand.SENDME, 0, encodeWith(SENDME, { version: 1, digest })));
    assertOver(world, "protocol", "sendme-unexpected");
  });

  test("may have more bytes behind the digest", async () => {
    const { world } = await uploading();
    const { digest } = world.peer.all(RelayCommand.DATA)[99]!;
    const body = concat(Uint8Array.of(1, 0, 24), digest, new Uint8Array(4));
    world.batch(world.peer.payload(2, RelayCommand.SENDME, 0, body));
    assert.equal(world.circuit.closed, undefined);
  });

  test("acknowledge a cell that has random bytes in it", async () => {
    const { world } = await uploading();
    const lengths = world.peer.all(RelayCommand.DATA).map(({ data }) => data.length);
    assert.equal(lengths[99], RELAY_DATA_LEN - 4 - 16);
    assert.deepEqual(new Set(lengths.filter((_, i) => i !== 99).slice(0, 140)), new Set([RELAY_DATA_LEN]));
  });
});

test("a hop in the middle cannot be opened a stream to by accident", async () => {
  const world = await CircuitWorld.built(2);
  const { target } = RELAYS[2]!;
  world.peer.spoil = () => undefined;
  const extending = world.circuit.extend(target, ntorHandshake(world.random, target));
  const opening = world.circuit.openStream("example.com", 80, 0);
  assert.equal(world.peer.last(RelayCommand.BEGIN).hop, 1);
  world.circuit.onCell(CellCommand.DESTROY, new Uint8Array(0));
  await assert.rejects(extending, isKind("circuit"));
  await assert.rejects(opening, isKind("circuit"));
});
