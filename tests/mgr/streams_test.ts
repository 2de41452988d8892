import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ErrorKind, isTunicError } from "../../src/base/errors.ts";
import { decodeWith, encodeWith } from "../../src/bytes/codec.ts";
import { StreamManager, type StreamManagerOptions } from "../../src/mgr/streams.ts";
import { RelayCommand } from "../../src/wire/relay_cell.ts";
import { RESOLVED, type ResolvedAnswer } from "../../src/wire/resolve_messages.ts";
import { BEGIN, BeginFlag, END, EndReason } from "../../src/wire/stream_messages.ts";
import {
  CircuitWorld,
  connects,
  ends,
  type ExitScript,
  type NetworkRelay,
  SECOND,
  silent,
} from "../support/relay_network.ts";

const isKind = (kind: ErrorKind, code?: string) => (error: unknown) =>
  isTunicError(error, kind) && (code === undefined || error.code === code);

class World extends CircuitWorld {
  readonly streams: StreamManager;
  /** Exits that were asked for something, in order. */
  readonly asked: NetworkRelay[] = [];

  constructor(options: Partial<StreamManagerOptions> = {}) {
    super();
    this.streams = new StreamManager({
      runtime: this.network.runtime,
      circuits: this.circuits,
      paths: this.paths,
      circuitStreamTimeoutMs: undefined,
      requestTimeoutMs: 120 * SECOND,
      rejectInternalAddresses: true,
      ...options,
    });
  }

  static async of(script: ExitScript, options: Partial<StreamManagerOptions> = {}): Promise<World> {
    const world = new World(options);
    world.does(script);
    await world.start();
    return world;
  }

  does(script: ExitScript): void {
    this.network.script = (circuit, message, exit) => {
      if (message.command === RelayCommand.BEGIN || message.command === RelayCommand.RESOLVE) this.asked.push(exit);
      script(circuit, message, exit);
    };
  }

  open(port = 443, isolation = "", signal?: AbortSignal) {
    const opening = this.streams.open({ host: "example.com", port }, { isolation, signal });
    opening.catch(() => {});
    return opening;
  }

  resolve(signal?: AbortSignal) {
    const resolving = this.streams.resolve("example.com", { isolation: "", signal });
    resolving.catch(() => {});
    return resolving;
  }
}

const answers = (...list: ResolvedAnswer[]): ExitScript => (circuit, { command, streamId }) => {
  if (command !== RelayCommand.RESOLVE) return;
  circuit.say(circuit.payload(circuit.lastHop, RelayCommand.RESOLVED, streamId, encodeWith(RESOLVED, list)));
};

describe("a stream that an exit ends", () => {
  test("is tried at three exits in all, or at no other, as the reason is", async () => {
    const exits: Record<keyof typeof EndReason, number> = {
      MISC: 3,
      RESOLVEFAILED: 3,
      CONNECTREFUSED: 1,
      EXITPOLICY: 3,
      DESTROY: 3,
      DONE: 1,
      TIMEOUT: 3,
      NOROUTE: 3,
      HIBERNATING: 10,
      INTERNAL: 3,
      RESOURCELIMIT: 10,
      CONNRESET: 1,
      TORPROTOCOL: 3,
      NOTDIRECTORY: 3,
    };
    for (const [name, reason] of Object.entries(EndReason)) {
      const world = await World.of(ends(reason));
      const opening = world.open();
      await world.time.advance(5 * SECOND);
      await assert.rejects(
        opening,
        (error) => isKind("stream")(error) && isTunicError(error) && error.context.reason === name,
      );
      const expected = exits[name as keyof typeof EndReason];
      assert.equal(world.asked.length, expected, name);
      // There are four: as long as there is another exit, none is asked twice.
      assert.equal(new Set(world.asked).size, Math.min(expected, 4), name);
      await world.close();
    }
  });

  test("is told that IPv6 will do if its policy has some, and nothing otherwise", async () => {
    for (const [allowsIpv6, flags] of [[true, BeginFlag.IPV6_OKAY], [false, 0]] as const) {
      const heard: number[] = [];
      const script: ExitScript = (circuit, message, exit) => {
        if (message.command === RelayCommand.BEGIN) heard.push(decodeWith(BEGIN, message.data).flags);
        connects(circuit, message, exit);
      };
      const world = await World.of(script, { paths: { allowsIpv6: () => allowsIpv6 } });
      await world.settled(world.open());
      assert.deepEqual(heard, [flags]);
      await world.close();
    }
  });

  test("is opened at another one that does better", async () => {
    for (const reason of [EndReason.EXITPOLICY, EndReason.RESOLVEFAILED, EndReason.RESOURCELIMIT]) {
      let refusals = 2;
      const world = await World.of((...args) => (refusals-- > 0 ? ends(reason) : connects)(...args));
      const opening = world.open();
      await world.time.advance(2 * SECOND);
      assert.equal((await opening).connected, true);
      assert.equal(world.asked.length, 3);
      await world.close();
    }
  });

  test("because of its policy is not asked for the same port again on that circuit, but for others", async () => {
    const world = await World.of(ends(EndReason.EXITPOLICY));
    const opening = world.open(443, "me");
    await world.time.advance(2 * SECOND);
    await assert.rejects(opening, isKind("stream", "end-exitpolicy"));
    assert.equal(world.circuits.snapshot.dirty, 3);
    world.does(connects);
    await world.settled(world.open(80, "me"));
    assert.equal(world.circuits.snapshot.dirty, 3);
    await world.settled(world.open(443, "me"));
    assert.equal(world.circuits.snapshot.dirty, 4);
    await world.close();
  });

  test("because the name is one of a private network is not tried elsewhere, except where that is allowed", async () => {
    for (const rejectInternalAddresses of [true, false]) {
      const body = encodeWith(END, { reason: EndReason.EXITPOLICY, address: "127.0.0.1", ttl: 60 });
      const world = await World.of((circuit, { command, streamId }) => {
        if (command === RelayCommand.BEGIN) circuit.say(circuit.payload(2, RelayCommand.END, streamId, body));
      }, { rejectInternalAddresses });
      const opening = world.open();
      await world.time.advance(2 * SECOND);
      await assert.rejects(opening, isKind("stream", "end-exitpolicy"));
      assert.equal(world.asked.length, rejectInternalAddresses ? 1 : 3);
      await world.close();
    }
  });

  test("because it is full is the last on that circuit", async () => {
    let full = true;
    const world = await World.of((...args) => {
      (full ? ends(EndReason.RESOURCELIMIT) : connects)(...args);
      full = false;
    });
    await world.settled(world.open(443, "me"));
    await world.time.advance(2 * SECOND);
    assert.equal(world.circuits.snapshot.dirty, 1, "the other one is closed");
    await world.close();
  });
});

describe("an exit that says nothing", () => {
  test("is given 10 s, two others 15 s, and their circuits take no further streams", async () => {
    const world = await World.of(silent);
    const opening = world.open();
    for (const [ms, asked] of [[9_990, 1], [20, 2], [14_970, 2], [30, 3], [14_900, 3]] as const) {
      await world.time.advance(ms);
      assert.equal(world.asked.length, asked);
    }
    await world.time.advance(SECOND);
    await assert.rejects(opening, isKind("timeout", "request-timeout"));
    assert.equal(world.asked.length, 3);
    await world.time.advance(2 * SECOND);
    assert.equal(world.circuits.snapshot.dirty, 0);
    await world.close();
  });

  test("is given what CircuitStreamTimeout says", async () => {
    const world = await World.of(silent, { circuitStreamTimeoutMs: 3 * SECOND });
    const opening = world.open();
    await world.time.advance(10 * SECOND);
    await assert.rejects(opening, isKind("timeout"));
    await world.close();
  });

  test("cannot hold a request longer than it may take altogether", async () => {
    const world = await World.of(silent, { requestTimeoutMs: 12 * SECOND });
    const opening = world.open();
    await world.time.advance(11 * SECOND);
    assert.equal(world.asked.length, 2);
    await world.time.advance(SECOND);
    await assert.rejects(opening, isKind("timeout"));
    await world.close();
  });
});

describe("a lookup", () => {
  const ipv4: ResolvedAnswer = { kind: "ipv4", address: "203.0.113.9", ttl: 60 };
  const unknown: ResolvedAnswer = { kind: "unknown", type: 77, value: new Uint8Array(2), ttl: 60 };
  const failure = (transient: boolean): ResolvedAnswer => ({ kind: "error", transient, ttl: 60 });

  test("gives what is an answer, and nothing else", async () => {
    const world = await World.of(answers(unknown, failure(true), ipv4));
    assert.deepEqual(await world.settled(world.resolve()), [ipv4]);
    await world.close();
  });

  test("that fails is tried at other exits if they may do better", async () => {
    const cases: [ResolvedAnswer[], number, string][] = [
      [[failure(true)], 3, "resolve-failed"],
      [[failure(false)], 1, "no-such-name"],
      [[unknown], 1, "no-such-name"],
      [[], 1, "no-such-name"],
    ];
    for (const [list, exits, code] of cases) {
      const world = await World.of(answers(...list));
      const resolving = world.resolve();
      await world.time.advance(2 * SECOND);
      await assert.rejects(resolving, isKind("resolve", code));
      assert.equal(world.asked.length, exits);
      assert.equal(new Set(world.asked).size, exits);
      await world.close();
    }
  });

  test("may be ended as a stream may", async () => {
    const world = await World.of(ends(EndReason.RESOLVEFAILED));
    const resolving = world.resolve();
    await world.time.advance(2 * SECOND);
    await assert.rejects(resolving, isKind("stream"));
    assert.equal(world.asked.length, 3);
    await world.close();
  });
});

describe("requests", () => {
  test("leave nothing on a signal that they share", async () => {
    const world = await World.of(connects);
    const { signal } = new AbortController();
    let listeners = 0;
    let most = 0;
    const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
    Object.assign(signal, {
      addEventListener(...args: Parameters<typeof add>) {
        most = Math.max(most, ++listeners);
        add(...args);
      },
      removeEventListener(...args: Parameters<typeof remove>) {
        listeners--;
        remove(...args);
      },
    });
    for (let i = 0; i < 1000; i++) {
      const stream = await world.settled(world.open(443, "", signal));
      stream.destroy();
      if (i % 10 === 0) world.circuits.retireAll();
    }
    assert.equal(listeners, 0);
    assert.ok(most > 0 && most < 5, `${most}`);
    await world.close();
  });

  test("that are aborted leave neither timers nor streams", async () => {
    const world = await World.of(silent);
    const abort = new AbortController();
    const opening = world.open(443, "x", abort.signal);
    const resolving = world.resolve(abort.signal);
    await world.time.settle();
    abort.abort();
    await assert.rejects(opening, isKind("aborted"));
    await assert.rejects(resolving, isKind("aborted"));
    await assert.rejects(world.open(443, "x", abort.signal), isKind("aborted"));
    await world.close();
  });
});
