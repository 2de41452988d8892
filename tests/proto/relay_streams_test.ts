import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isTunicError, TunicError } from "../../src/base/errors.ts";
import { encodeWith } from "../../src/bytes/codec.ts";
import type { Circuit } from "../../src/proto/circuit.ts";
import type { Stream } from "../../src/proto/stream.ts";
import { DestroyReason } from "../../src/wire/create_cells.ts";
import { RELAY_DATA_LEN, RelayCommand } from "../../src/wire/relay_cell.ts";
import { RESOLVE, type ResolvedAnswer } from "../../src/wire/resolve_messages.ts";
import { BEGIN, END, EndReason } from "../../src/wire/stream_messages.ts";
import type { FakeDuplex } from "../support/fake_duplex.ts";
import { type RawClient, RelayChain, type ScriptedExit } from "../support/relay_chain.ts";
import { Log, patterned } from "../support/scripted_relay.ts";

const { DATA, CONNECTED, SENDME, BEGIN_DIR } = RelayCommand;
const begin = encodeWith(BEGIN, { host: "example.com", port: 80, flags: 0 });
const gone = new TunicError("Cannot go on: test", { kind: "closed", code: "test" });
const nothing = { circuits: 0, timers: 0, duplexes: 0 };
const LINGER_MS = 5_000;

interface Open {
  readonly chain: RelayChain;
  readonly circuit: Circuit;
  readonly exit: ScriptedExit;
  readonly stream: Stream;
  readonly log: Log;
  readonly far: FakeDuplex;
}

async function open(hops = 3): Promise<Open> {
  const chain = new RelayChain();
  const circuit = await chain.build(hops);
  const { exit } = chain.relays[hops - 1]!;
  const stream = await chain.run(circuit.openStream("example.com", 80, 0));
  const log = new Log();
  stream.handlers = log.handlers;
  return { chain, circuit, exit, stream, log, far: exit.last };
}

interface Raw {
  readonly chain: RelayChain;
  readonly client: RawClient;
  readonly exit: ScriptedExit;
  say(command: number, id: number, data?: Uint8Array): void;
  /** The reasons of END messages that came. */
  ends(): number[];
}

/** A client without manners and one relay. */
async function raw(): Promise<Raw> {
  const chain = new RelayChain();
  const client = await chain.raw(1);
  return {
    chain,
    client,
    exit: chain.relays[0]!.exit,
    say: (command, id, data) => client.say(0, command, id, data),
    ends: () => client.told.filter(({ command }) => command === RelayCommand.END).map(({ data }) => data[0]!),
  };
}

describe("data through three relays", () => {
  test("of several megabytes arrives as it was, both ways at once", async () => {
    const { chain, circuit, stream, log, far } = await open();
    const bytes = patterned(3_000_000);
    let sent = 0;
    const feed = (): void => {
      while (sent < bytes.length && !far.paused) {
        far.handlers.data(bytes.slice(sent, sent + 16_000));
        sent += 16_000;
      }
    };
    let written = 0;
    const write = (): void => {
      while (written < bytes.length) {
        const more = stream.write(bytes.slice(written, written += 20_000));
        if (!more) return;
      }
    };
    stream.handlers = { ...log.handlers, drain: write };
    write();
    for (let round = 0; round < 300 && (sent < bytes.length || far.writtenBytes < bytes.length); round++) {
      feed();
      await chain.settle();
    }
    await chain.settle();
    assert.deepEqual(log.data, bytes);
    assert.deepEqual(far.written, bytes);
    assert.equal(circuit.closed, undefined);
  });

  test("waits for a far side that takes nothing: no SENDME goes, the client stops at its window", async () => {
    const { chain, stream, far } = await open();
    far.blocked = true;
    const more = stream.write(patterned(600 * RELAY_DATA_LEN));
    assert.equal(more, false);
    await chain.settle();
    assert.equal(stream.window.sendable, 0);
    assert.ok(far.writtenBytes <= 31 * RELAY_DATA_LEN * 8, `${far.writtenBytes}`);
    const backwards = chain.link(2, 1).sent.length;
    await chain.settle();
    assert.equal(chain.link(2, 1).sent.length, backwards);
    far.unblock();
    await chain.settle();
    assert.deepEqual(far.written, patterned(600 * RELAY_DATA_LEN));
  });

  test("waits for a client that takes nothing: the far side is told to pause", async () => {
    const { chain, stream, log, far } = await open();
    stream.pause();
    const chunk = patterned(40_000);
    let sent = 0;
    for (let round = 0; round < 100 && !far.paused; round++) {
      far.handlers.data(chunk.slice());
      sent++;
      await chain.settle();
    }
    assert.equal(far.paused, true);
    // 500 cells are under way, and 64 KiB wait at the exit.
    assert.ok(sent * chunk.length <= 500 * RELAY_DATA_LEN + 64 * 1024 + 2 * chunk.length, `${sent}`);
    stream.resume();
    await chain.settle();
    assert.equal(far.paused, false);
    assert.equal(log.data.length, sent * chunk.length);
  });

  test("of one stream does not wait for another whose far side takes nothing", async () => {
    const { chain, circuit, exit, stream, far } = await open();
    far.blocked = true;
    const others = await Promise.all([1, 2].map(() => chain.run(circuit.openStream("b.example", 80, 0))));
    for (const it of [stream, ...others]) it.write(patterned(700_000));
    await chain.settle();
    for (const it of exit.opened.slice(1)) assert.equal(it.writtenBytes, 700_000);
    assert.ok(far.writtenBytes < 300_000);
  });

  test("that came before CONNECTED goes out first, as much as the window lets", async () => {
    const { chain, client, exit, say, ends } = await raw();
    let connect: () => void = () => {};
    exit.onConnect = () => new Promise((resolve) => connect = () => resolve(exit.open()));
    say(RelayCommand.BEGIN, 4, begin);
    for (let i = 0; i < 500; i++) say(DATA, 4, patterned(100, 100 * i));
    await chain.settle();
    assert.equal(client.count(CONNECTED), 0);
    connect();
    await chain.settle();
    assert.equal(client.count(CONNECTED), 1);
    assert.deepEqual(exit.last.written, patterned(50_000));
    assert.deepEqual(ends(), []);
    // One SENDME for fifty of the stream, one for a hundred of the circuit.
    assert.equal(client.count(SENDME), 10 + 5);
  });
});

describe("a client that overruns a stream's window", () => {
  for (
    const [name, prepare] of [
      ["while the exit connects", (exit) => exit.onConnect = () => new Promise(() => {})],
      ["that a slow far side has not opened", (exit) =>
        exit.onConnect = () => {
          const far = exit.open();
          far.blocked = true;
          return Promise.resolve(far);
        }],
      ["of a stream that was refused", (exit) => exit.onConnect = () => Promise.reject(gone)],
    ] as [string, (exit: ScriptedExit) => void][]
  ) {
    test(`${name} loses the circuit`, async () => {
      const { chain, client, exit, say } = await raw();
      prepare(exit);
      say(RelayCommand.BEGIN, 4, begin);
      await chain.settle();
      for (let i = 0; i < 500; i++) {
        say(DATA, 4, patterned(10));
        if (i === 0) await chain.settle();
      }
      await chain.settle();
      assert.equal(client.destroyed, undefined);
      say(DATA, 4, patterned(10));
      await chain.settle();
      assert.equal(client.destroyed, DestroyReason.PROTOCOL);
    });
  }
});

describe("a stream that the exit does not open", () => {
  for (
    const [kind, code, reason] of [
      ["policy", "refused-by-policy", EndReason.EXITPOLICY],
      ["resolve", "no-such-name", EndReason.RESOLVEFAILED],
      ["connection", "refused", EndReason.CONNECTREFUSED],
      ["connection", "reset", EndReason.CONNRESET],
      ["connection", "connection-failed", EndReason.MISC],
      ["timeout", "connect-timeout", EndReason.TIMEOUT],
      ["limit", "too-many", EndReason.RESOURCELIMIT],
      ["internal", "defect", EndReason.MISC],
    ] as const
  ) {
    test(`for ${kind} (${code}) ends with reason ${reason}, and the circuit goes on`, async () => {
      const { chain, client, exit, say, ends } = await raw();
      exit.onConnect = () => Promise.reject(new TunicError("Cannot", { kind, code }));
      say(RelayCommand.BEGIN, 4, begin);
      say(DATA, 4, patterned(10));
      await chain.settle();
      assert.deepEqual(ends(), [reason]);
      // Data that was under way when END went out.
      say(DATA, 4, patterned(10));
      await chain.settle();
      assert.equal(client.destroyed, undefined);
    });
  }

  test("is told to our client as what it is", async () => {
    const chain = new RelayChain();
    const circuit = await chain.build(2);
    chain.relays[1]!.exit.onConnect = () => Promise.reject(new TunicError("Cannot", { kind: "policy", code: "no" }));
    await assert.rejects(
      chain.run(circuit.openStream("example.com", 25, 0)),
      (error) => isTunicError(error, "stream") && error.context.reason === "EXITPOLICY",
    );
    assert.equal(circuit.streamCount, 0);
    assert.equal(circuit.closed, undefined);
  });

  test("because its BEGIN is nonsense ends with TORPROTOCOL; early data is dropped", async () => {
    const { chain, client, exit, say, ends } = await raw();
    for (const text of ["example.com\0", "example.com:0\0", ":80", "[192.0.2.1]:80\0", ""]) {
      say(RelayCommand.BEGIN, 7, new TextEncoder().encode(text));
      say(DATA, 7, patterned(10));
    }
    await chain.settle();
    assert.deepEqual(ends(), Array(5).fill(EndReason.TORPROTOCOL));
    assert.equal(exit.begins.length, 0);
    assert.equal(client.destroyed, undefined);
  });

  test("because the exit throws what it should not, or connects to what is no address, ends with MISC", async () => {
    const { chain, client, exit, say, ends } = await raw();
    exit.onConnect = () => {
      throw new RangeError("oh");
    };
    say(RelayCommand.BEGIN, 1, begin);
    await chain.settle();
    exit.onConnect = () => Promise.resolve(exit.open());
    exit.address = "example.com";
    say(RelayCommand.BEGIN, 2, begin);
    await chain.settle();
    assert.deepEqual(ends(), [EndReason.MISC, EndReason.MISC]);
    assert.equal(exit.last.closed, true);
    assert.equal(client.destroyed, undefined);
  });
});

describe("the end of a stream", () => {
  test("by the far side sends what is queued, then END", async () => {
    const { chain, log, far, circuit } = await open();
    far.handlers.data(patterned(400_000));
    far.handlers.end();
    await chain.settle();
    assert.deepEqual(log.data, patterned(400_000));
    assert.deepEqual(log.events, ["end", "close"]);
    assert.equal(log.error, undefined);
    assert.equal(far.ended, true);
    assert.equal(circuit.closed, undefined);
    far.destroy();
    assert.equal(chain.runtime.time.pending, 0);
  });

  test("by a far side that never closes its half is made after five seconds", async () => {
    const { chain, far } = await open();
    far.handlers.end();
    await chain.settle();
    await chain.runtime.time.advance(LINGER_MS - 1);
    assert.equal(far.closed, false);
    await chain.runtime.time.advance(1);
    assert.equal(far.closed, true);
    assert.equal(chain.runtime.time.pending, 0);
  });

  for (
    const [name, error, reason] of [
      ["a reset", new TunicError("Cannot", { kind: "connection", code: "reset" }), "CONNRESET"],
      ["a time limit", new TunicError("Cannot", { kind: "timeout", code: "idle" }), "TIMEOUT"],
      ["something else", gone, "MISC"],
    ] as const
  ) {
    test(`by ${name} at the far side has its reason`, async () => {
      const { chain, log, far } = await open();
      far.destroy(error);
      await chain.settle();
      assert.ok(isTunicError(log.error, "stream"));
      assert.equal(log.error!.context.reason, reason);
      assert.equal(chain.runtime.time.pending, 0, "nothing lingers behind a far side that is closed");
    });
  }

  test("by a far side that closes without ado is in good order", async () => {
    const { chain, log, far } = await open();
    far.handlers.data(patterned(10));
    far.destroy();
    await chain.settle();
    assert.deepEqual(log.data, patterned(10));
    assert.deepEqual(log.events, ["end", "close"]);
    assert.equal(chain.runtime.time.pending, 0);
  });

  test("by the client lets out what it sent, and closes the far side", async () => {
    const { chain, stream, far } = await open();
    stream.write(patterned(100_000));
    stream.end();
    await chain.settle();
    assert.deepEqual(far.written, patterned(100_000));
    assert.equal(far.ended, true);
    assert.equal(far.paused, false, "its own end must be seen");
    far.handlers.data(patterned(10));
    far.destroy();
    await chain.settle();
    assert.equal(chain.runtime.time.pending, 0);
  });

  test("by the client, or of the circuit, waits five seconds for a far side that takes nothing", async () => {
    for (const end of [({ stream }: Open) => stream.end(), ({ circuit }: Open) => circuit.destroy(gone)]) {
      const world = await open();
      const { chain, stream, far } = world;
      far.blocked = true;
      stream.write(patterned(60_000));
      await chain.settle();
      end(world);
      await chain.settle();
      await chain.runtime.time.advance(2 * LINGER_MS - 1);
      assert.equal(far.closed, false);
      await chain.runtime.time.advance(1);
      assert.equal(far.closed, true);
      assert.equal(chain.runtime.time.pending, 0);
    }
  });

  test("by the client comes through when the far side takes what is left in time", async () => {
    const { chain, stream, far } = await open();
    far.blocked = true;
    stream.write(patterned(60_000));
    stream.end();
    await chain.settle();
    assert.equal(far.ended, false);
    await chain.runtime.time.advance(LINGER_MS - 1);
    far.unblock();
    await chain.settle();
    assert.deepEqual(far.written, patterned(60_000));
    assert.equal(far.ended, true);
    far.destroy();
    assert.equal(chain.runtime.time.pending, 0);
  });

  test("while the exit connects aborts the attempt, whose duplex is closed if it comes nevertheless", async () => {
    for (const end of ["stream", "circuit"] as const) {
      const { chain, client, exit, say, ends } = await raw();
      let connect: () => void = () => {};
      exit.onConnect = () => new Promise((resolve) => connect = () => resolve(exit.open()));
      say(RelayCommand.BEGIN, 4, begin);
      say(DATA, 4, patterned(10));
      await chain.settle();
      if (end === "stream") say(RelayCommand.END, 4, encodeWith(END, { reason: EndReason.MISC }));
      else client.destroy();
      await chain.settle();
      assert.equal(exit.begins[0]!.signal.aborted, true);
      connect();
      await chain.settle();
      assert.equal(exit.last.closed, true);
      assert.equal(client.count(CONNECTED), 0);
      assert.deepEqual(ends(), []);
      assert.equal(chain.runtime.time.pending, 0);
    }
  });

  test("of the circuit aborts the attempt of a stream that has the number of one before", async () => {
    const { chain, client, exit, say } = await raw();
    exit.onConnect = (_, signal) =>
      new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(gone)));
    say(RelayCommand.BEGIN, 4, begin);
    say(RelayCommand.END, 4, encodeWith(END, { reason: EndReason.MISC }));
    say(RelayCommand.BEGIN, 4, begin);
    await chain.settle();
    assert.deepEqual(exit.begins.map(({ signal }) => signal.aborted), [true, false]);
    client.destroy();
    await chain.settle();
    assert.equal(exit.begins[1]!.signal.aborted, true);
  });

  test("that the exit made leaves the client's data counted and dropped, until the number is used anew", async () => {
    const { chain, client, exit, say, ends } = await raw();
    say(RelayCommand.BEGIN, 4, begin);
    await chain.settle();
    exit.last.handlers.end();
    await chain.settle();
    assert.deepEqual(ends(), [EndReason.DONE]);
    for (let i = 0; i < 500; i++) say(DATA, 4, patterned(10));
    await chain.settle();
    assert.equal(client.destroyed, undefined);
    assert.equal(exit.last.writtenBytes, 0);
    say(RelayCommand.BEGIN, 4, begin);
    for (let i = 0; i < 10; i++) say(DATA, 4, patterned(10, 10 * i));
    await chain.settle();
    assert.equal(exit.opened.length, 2);
    assert.deepEqual(exit.last.written, patterned(100));
  });
});

describe("a circuit is closed", () => {
  for (
    const [name, messages] of [
      ["DATA for a stream that there is not", [[DATA, 9, patterned(3)]]],
      ["DATA for no stream", [[DATA, 0, patterned(3)]]],
      ["DATA for a stream that the client has ended", [
        [RelayCommand.BEGIN, 4, begin],
        [RelayCommand.END, 4, Uint8Array.of(6)],
        [DATA, 4, patterned(3)],
      ]],
      ["SENDME for a stream that there is not", [[SENDME, 9, new Uint8Array(0)]]],
      ["SENDME for data that was not sent", [[RelayCommand.BEGIN, 4, begin], [SENDME, 4, new Uint8Array(0)]]],
      ["BEGIN without a number", [[RelayCommand.BEGIN, 0, begin]]],
      ["BEGIN_DIR without a number", [[BEGIN_DIR, 0, new Uint8Array(0)]]],
      ["RESOLVE without a number", [[RelayCommand.RESOLVE, 0, encodeWith(RESOLVE, "a.example")]]],
      ["BEGIN with a number in use", [[RelayCommand.BEGIN, 4, begin], [RelayCommand.BEGIN, 4, begin]]],
      ["BEGIN_DIR with a number in use", [[RelayCommand.BEGIN, 4, begin], [BEGIN_DIR, 4, begin]]],
    ] as [string, [number, number, Uint8Array][]][]
  ) {
    test(`by ${name}`, async () => {
      const { chain, client, say } = await raw();
      for (const [command, id, data] of messages) say(command, id, data);
      await chain.settle();
      assert.equal(client.destroyed, DestroyReason.PROTOCOL);
    });
  }

  test("not by END for a stream that there is not, nor by what relays say", async () => {
    const { chain, client, say } = await raw();
    say(RelayCommand.END, 9, Uint8Array.of(6));
    for (const command of [CONNECTED, RelayCommand.RESOLVED, RelayCommand.EXTENDED2, RelayCommand.TRUNCATED, 99]) {
      say(command, 3, patterned(5));
    }
    await chain.settle();
    assert.equal(client.destroyed, undefined);
  });
});

describe("streams of one circuit", () => {
  test("are at most 4,096 at a time; further ones are refused and harm nobody", async () => {
    const { chain, client, exit, say, ends } = await raw();
    for (let id = 1; id <= 4_100; id++) say(RelayCommand.BEGIN, id, begin);
    await chain.settle();
    assert.equal(exit.opened.length, 4_096);
    assert.deepEqual(ends(), Array(4).fill(EndReason.RESOURCELIMIT));
    say(DATA, 4_100, patterned(10));
    say(BEGIN_DIR, 5_000);
    say(RelayCommand.RESOLVE, 5_001, encodeWith(RESOLVE, "a.example"));
    say(RelayCommand.END, 1, Uint8Array.of(6));
    say(RelayCommand.BEGIN, 4_100, begin);
    await chain.settle();
    assert.equal(client.destroyed, undefined);
    assert.equal(ends().length, 5);
    assert.deepEqual(exit.looked, []);
    assert.equal(exit.opened.length, 4_097);
    client.destroy();
    await chain.runtime.time.advance(LINGER_MS);
    assert.deepEqual(chain.leftovers, nothing);
  });

  test("have their numbers again when they are over", async () => {
    const { chain, circuit, exit } = await open(1);
    for (let i = 0; i < 300; i++) {
      const stream = await chain.run(circuit.openStream("example.com", 80, 0));
      stream.handlers = new Log().handlers;
      if (i % 2) stream.end();
      else exit.last.handlers.end();
      await chain.settle();
      exit.last.destroy();
    }
    assert.equal(circuit.closed, undefined);
    assert.equal(circuit.streamCount, 1);
    assert.equal(chain.runtime.time.pending, 0);
  });
});

describe("BEGIN_DIR", () => {
  test("opens the relay's directory", async () => {
    const chain = new RelayChain();
    const circuit = await chain.build(1, "fast");
    const stream = await chain.run(circuit.openDirectory());
    const log = new Log();
    stream.handlers = log.handlers;
    stream.write(patterned(10));
    await chain.settle();
    const directory = chain.relays[0]!.exit.last;
    assert.deepEqual(directory.written, patterned(10));
    directory.handlers.data(patterned(100_000));
    directory.handlers.end();
    await chain.settle();
    assert.deepEqual(log.data, patterned(100_000));
    assert.deepEqual(log.events, ["end", "close"]);
    assert.equal(stream.connectedAddress, undefined);
  });

  test("is refused by a relay that has none; early data harms nobody", async () => {
    const { chain, client, exit, say, ends } = await raw();
    exit.hasDirectory = false;
    say(BEGIN_DIR, 3);
    say(DATA, 3, patterned(100));
    await chain.settle();
    assert.deepEqual(ends(), [EndReason.NOTDIRECTORY]);
    assert.equal(client.destroyed, undefined);
  });
});

describe("RESOLVE", () => {
  test("is answered with what the exit finds", async () => {
    const chain = new RelayChain();
    const circuit = await chain.build(3);
    const { exit } = chain.relays[2]!;
    const answers: ResolvedAnswer[] = [
      { kind: "ipv6", address: "2001:db8::1", ttl: 5 },
      { kind: "ipv4", address: "192.0.2.5", ttl: 6 },
      { kind: "hostname", hostname: "host.example", ttl: 7 },
    ];
    exit.onResolve = () => Promise.resolve(answers);
    assert.deepEqual(await chain.run(circuit.resolve("Example.com")), answers);
    assert.deepEqual(exit.looked, ["example.com"]);
    assert.equal(circuit.closed, undefined);
  });

  test("is answered with as much as one message carries", async () => {
    const chain = new RelayChain();
    const circuit = await chain.build(1);
    const { exit } = chain.relays[0]!;
    const ipv4 = (i: number): ResolvedAnswer => ({ kind: "ipv4", address: `192.0.2.${i}`, ttl: 1 });
    const ipv6 = (i: number): ResolvedAnswer => ({ kind: "ipv6", address: `2001:db8::${i + 1}`, ttl: 1 });
    for (const [make, most] of [[ipv4, 49], [ipv6, 22]] as const) {
      exit.onResolve = () => Promise.resolve(Array.from({ length: 200 }, (_, i) => make(i)));
      assert.equal((await chain.run(circuit.resolve("example.com"))).length, most);
    }
  });

  for (
    const [name, error, transient] of [
      ["a name that is none", new TunicError("Cannot", { kind: "resolve", code: "none", retry: "never" }), false],
      ["a name server that fails", new TunicError("Cannot", { kind: "resolve", code: "fail", retry: "later" }), true],
      ["a time limit", new TunicError("Cannot", { kind: "timeout", code: "slow" }), true],
      ["what should not be thrown", new RangeError("oh"), true],
    ] as const
  ) {
    test(`says whether ${name} may be otherwise later`, async () => {
      const chain = new RelayChain();
      const circuit = await chain.build(1);
      chain.relays[0]!.exit.onResolve = () => Promise.reject(error);
      assert.deepEqual(await chain.run(circuit.resolve("example.com")), [{ kind: "error", transient, ttl: 60 }]);
    });
  }

  test("that is nonsense, or finds nothing that can be told, is answered with an error", async () => {
    const { chain, client, exit, say } = await raw();
    say(RelayCommand.RESOLVE, 1, patterned(5));
    await chain.settle();
    assert.deepEqual(client.last(RelayCommand.RESOLVED)!.data, Uint8Array.of(0xf1, 0, 0, 0, 0, 60));
    exit.onResolve = () => Promise.resolve([]);
    say(RelayCommand.RESOLVE, 1, encodeWith(RESOLVE, "a.example"));
    await chain.settle();
    exit.onResolve = () => Promise.resolve([{ kind: "ipv4", address: "nonsense", ttl: 1 }]);
    say(RelayCommand.RESOLVE, 1, encodeWith(RESOLVE, "a.example"));
    await chain.settle();
    assert.equal(client.count(RelayCommand.RESOLVED), 3);
    assert.equal(client.destroyed, undefined);
  });

  test("whose answer comes when the circuit is gone is over", async () => {
    const { chain, client, exit, say } = await raw();
    let answer: () => void = () => {};
    exit.onResolve = () => new Promise((resolve) => answer = () => resolve([]));
    say(RelayCommand.RESOLVE, 1, encodeWith(RESOLVE, "a.example"));
    await chain.settle();
    client.destroy();
    await chain.settle();
    const sent = chain.client.peer!.sent.length;
    answer();
    await chain.settle();
    assert.equal(chain.client.peer!.sent.length, sent);
  });
});
