/** What becomes of a client when relays or the links between them do wrong: it recovers, or fails with the right error. */
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { isTunicError, type TorClient, type TorClientOptions, type TunicError } from "../../mod.ts";
import { openChannel } from "../../src/proto/open_channel.ts";
import { drain, launchTestClient } from "../support/client_tests.ts";
import { HELLO, type LocalServer, startLocalServerProcess } from "../support/local_server.ts";
import { nicknames, type ObservedNetwork, startObservedNetwork } from "../support/test_network.ts";

const GUARDS = ["r1", "r2", "r3", "r4"];
const EXITS = ["r5", "r6"];
const RELAYS = [...GUARDS, ...EXITS];
const TWO_DAYS_MS = 2 * 24 * 3_600_000;
const RECOVERY_MS = 90_000;

let network: ObservedNetwork;
let server: LocalServer;

before(async () => {
  [network, server] = await Promise.all([startObservedNetwork(), startLocalServerProcess()]);
});
afterEach(() => network.net.faults.clear());
after(async () => {
  await network.net.close();
  await server.stop();
});

/** A client whose own links can have faults, and that does not wait long for anything. */
function launch(options: TorClientOptions = {}): Promise<TorClient> {
  const { directoryAuthorities, faults } = network.net;
  return launchTestClient(directoryAuthorities, {
    runtime: faults.clientRuntime,
    circuitBuildTimeoutMs: 1_500,
    circuitStreamTimeoutMs: 1_500,
    socksTimeoutMs: 20_000,
    ...options,
  });
}

async function hello(tor: TorClient, isolation: string): Promise<string> {
  return await (await tor.fetch(`${server.url}/hello`, { isolation })).text();
}

/** Asks again until there is an answer: requests fail with their own error until then. */
async function helloAtLast(tor: TorClient): Promise<void> {
  const since = performance.now();
  for (let i = 0;; i++) {
    try {
      assert.equal(await hello(tor, `at last ${i}`), HELLO);
      return;
    } catch (error) {
      assert.ok(isTunicError(error), `${error}`);
      assert.ok(performance.now() - since < RECOVERY_MS, `not recovered: ${error}`);
    }
  }
}

/** The path of the stream that an exit connected last: of an answer that has just come, if requests come singly. */
function lastPath(): string[] {
  return nicknames(network.streams.at(-1)!.path);
}

/** The paths of so many answers, each over a circuit of its own. */
async function answeredPaths(tor: TorClient, count: number): Promise<string[][]> {
  const paths: string[][] = [];
  for (let i = 0; i < count; i++) {
    assert.equal(await hello(tor, `path ${i}`), HELLO);
    paths.push(lastPath());
  }
  return paths;
}

/** Connections that were made before a fault was set do not know of it: all relays lose theirs. */
async function restartAll(): Promise<void> {
  for (const relay of network.net.relays) await relay.restart();
}

/** A download that the server draws out, and the relays of its path. */
async function startDownload(tor: TorClient, bytes: number, isolation: string, pauseMs = 0) {
  const connection = await tor.connect("127.0.0.1", server.port, { isolation });
  const path = lastPath();
  const writer = connection.writable.getWriter();
  await writer.write(new TextEncoder().encode(`GET /bytes/${bytes}?pauseMs=${pauseMs} HTTP/1.0\r\n\r\n`));
  return { path, outcome: drain(connection) };
}

async function failure(request: Promise<unknown>): Promise<TunicError> {
  try {
    await request;
  } catch (error) {
    assert.ok(isTunicError(error), `${error}`);
    return error;
  }
  throw new assert.AssertionError({ message: "the request did not fail" });
}

describe("slow links", () => {
  test("of 200 ms between all relays, and to the client, let it bootstrap and fetch", async () => {
    const { faults } = network.net;
    const ends = ["client", ...network.net.relays.map(({ nickname }) => nickname)];
    for (const a of ends) for (const b of ends) if (a < b) faults.link(a, b).latencyMs = 200;
    await using tor = await launch({ circuitBuildTimeoutMs: 60_000, circuitStreamTimeoutMs: 60_000 });
    await tor.ready();
    assert.equal(await hello(tor, "warm"), HELLO);
    const since = performance.now();
    assert.equal(await hello(tor, "warm"), HELLO);
    const tookMs = performance.now() - since;
    // Three links, to the exit and back: once for BEGIN, once for the request.
    assert.ok(tookMs >= 2 * 2 * 3 * 200 - 20, `an answer after ${tookMs} ms`);
  });

  test("hold to their bandwidth, and the rest of the network does not notice", async () => {
    const { faults } = network.net;
    await using tor = await launch();
    await tor.ready();
    const bytes = 600_000;
    for (const exit of EXITS) faults.relay(exit).bytesPerSecond = 300_000;
    const since = performance.now();
    const { outcome } = await startDownload(tor, bytes, "limited");
    const { bytes: got, error } = await outcome;
    const seconds = (performance.now() - since) / 1000;
    assert.equal(error, undefined);
    assert.ok(got > bytes);
    assert.ok(got / seconds < 1.05 * 300_000, `${got / seconds} bytes a second`);
    assert.ok(got / seconds > 0.5 * 300_000, `${got / seconds} bytes a second`);
    faults.clear();
    const again = performance.now();
    await (await startDownload(tor, bytes, "limited")).outcome;
    assert.ok(performance.now() - again < seconds * 500, "quicker by far without the limit");
  });
});

describe("relays that take no connections", () => {
  test("are done without", async () => {
    const { faults } = network.net;
    await restartAll();
    for (const relay of ["r1", "r2"]) faults.relay(relay).refuse = true;
    await using tor = await launch();
    await tor.ready();
    const tried = (): boolean => faults.relay("r1").hits + faults.relay("r2").hits > 0;
    // Few paths may miss both by chance; so many do not.
    for (let round = 0; round === 0 || (round < 15 && !tried()); round++) {
      tor.newCircuits();
      for (const path of await answeredPaths(tor, 10)) {
        assert.ok(!path.includes("r1") && !path.includes("r2"), `${path}`);
      }
    }
    assert.ok(tried(), "somebody tried");
  });

  test("if all exits are such, fail requests, until one is not", async () => {
    const { faults } = network.net;
    await using tor = await launch({ socksTimeoutMs: 1_500 });
    await tor.ready();
    for (const exit of EXITS) {
      faults.relay(exit).refuse = true;
      // Those who have a link to it lose it.
      faults.relay(exit).resetAfterBytes = 0;
    }
    const error = await failure(hello(tor, "refused"));
    assert.ok(isTunicError(error, "timeout", "circuit", "no-path"), `${error.kind}: ${error.message}`);
    faults.relay("r6").clear();
    await helloAtLast(tor);
    assert.equal(lastPath().at(-1), "r6");
  });

  test("if they are exits that can connect to nobody, end streams with the exit's reason", async () => {
    const { faults } = network.net;
    await using tor = await launch();
    await tor.ready();
    for (const exit of EXITS) faults.relay(exit).refuseToConnect = true;
    const error = await failure(tor.connect("127.0.0.1", server.port));
    assert.ok(isTunicError(error, "stream"), `${error.kind}: ${error.message}`);
    faults.clear();
    assert.equal(await hello(tor, "healed"), HELLO);
  });

  test("if all guards are such, leave the client without a path, until they are healed", async () => {
    const { faults } = network.net;
    await using tor = await launch({ socksTimeoutMs: 1_500 });
    await tor.ready();
    assert.equal(await hello(tor, "before"), HELLO);
    for (const guard of GUARDS) {
      faults.relay(guard).refuse = true;
      faults.relay(guard).resetAfterBytes = 0;
    }
    const error = await failure(hello(tor, "meanwhile"));
    assert.ok(isTunicError(error, "timeout", "circuit", "connection", "no-path"), `${error.kind}: ${error.message}`);
    faults.clear();
    await helloAtLast(tor);
  });
});

describe("a silent relay", () => {
  test("is done without, after a timeout", async () => {
    const { faults } = network.net;
    await using tor = await launch();
    await tor.ready();
    faults.relay("r5").silent = true;
    for (const path of await answeredPaths(tor, 4)) assert.ok(!path.includes("r5"), `${path}`);
  });

  test("keeps its streams: they go on when it speaks again", async () => {
    const { faults } = network.net;
    await using tor = await launch();
    await tor.ready();
    const { path, outcome } = await startDownload(tor, 3 << 20, "held", 200);
    faults.relay(path[1]!).silent = true;
    let ended = false;
    outcome.then(() => ended = true);
    // By another path there is an answer meanwhile.
    assert.equal(await hello(tor, "meanwhile"), HELLO);
    assert.equal(ended, false);
    faults.clear();
    const { bytes, error } = await outcome;
    assert.equal(error, undefined);
    assert.ok(bytes > 3 << 20);
  });

  test("if all exits are such, makes requests time out", async () => {
    const { faults } = network.net;
    await using tor = await launch({ socksTimeoutMs: 1_500 });
    await tor.ready();
    for (const exit of EXITS) faults.relay(exit).silent = true;
    const error = await failure(hello(tor, "silence"));
    assert.ok(isTunicError(error, "timeout"), `${error.kind}: ${error.message}`);
    faults.clear();
    await helloAtLast(tor);
  });
});

describe("links that break", () => {
  for (const [position, hop] of [["guard", 0], ["middle", 1], ["exit", 2]] as const) {
    test(`in the middle of a cell, at the ${position}, end the streams on them, and no more`, async () => {
      const { faults } = network.net;
      await using tor = await launch();
      await tor.ready();
      const { path, outcome } = await startDownload(tor, 8 << 20, "broken", 50);
      faults.relay(path[hop]!).resetAfterBytes = 300 * 514 + 77;
      const { bytes, error } = await outcome;
      assert.ok(isTunicError(error, "circuit", "connection", "stream"), `${bytes} bytes, ${error}`);
      assert.ok(bytes > 0 && bytes < 8 << 20, `${bytes} bytes`);
      assert.ok(faults.relay(path[hop]!).hits > 0);
      faults.clear();
      assert.equal(await hello(tor, "afterwards"), HELLO);
    });
  }

  test("after every 20,000 bytes let requests through that are shorter", async () => {
    const { faults } = network.net;
    await using tor = await launch();
    await tor.ready();
    for (const relay of RELAYS) faults.relay(relay).resetAfterBytes = 20_000;
    for (let i = 0; i < 5; i++) await helloAtLast(tor);
    assert.ok(RELAYS.some((relay) => faults.relay(relay).hits > 0));
  });
});

describe("corrupted bytes", () => {
  test("in every cell of one relay keep streams off it", async () => {
    const { faults } = network.net;
    faults.relay("r5").corruptCells = 1;
    faults.relay("r1").corruptCells = 1;
    await using tor = await launch();
    await tor.ready();
    for (const path of await answeredPaths(tor, 6)) {
      assert.ok(!path.includes("r5") && !path.includes("r1"), `${path}`);
    }
    assert.ok(faults.relay("r5").hits + faults.relay("r1").hits > 0);
  });

  test("in a stream end its circuit before anything wrong is delivered", async () => {
    const { faults } = network.net;
    await using tor = await launch();
    await tor.ready();
    const { path, outcome } = await startDownload(tor, 8 << 20, "corrupted", 50);
    faults.relay(path[1]!).corruptCells = 0.01;
    const { bytes, error } = await outcome;
    assert.ok(isTunicError(error, "circuit", "crypto", "protocol"), `${bytes} bytes, ${error}`);
    assert.ok(bytes < 8 << 20);
    faults.clear();
    assert.equal(await hello(tor, "afterwards"), HELLO);
  });

  test("under TLS break links, and the client tries others", async () => {
    const { faults } = network.net;
    for (const guard of ["r1", "r2"]) faults.relay(guard).corruptTls = 0.3;
    await using tor = await launch();
    await tor.ready();
    for (let i = 0; i < 5; i++) await helloAtLast(tor);
    assert.ok(faults.relay("r1").hits + faults.relay("r2").hits > 0);
  });
});

describe("a relay that answers as another", () => {
  test("is found out", async () => {
    const { net, machine } = network;
    const relay = net.relay("r1");
    const target = {
      rsaId: relay.identity.rsaId,
      ed25519Id: relay.identity.ed25519Id,
      addresses: [{ host: "127.0.0.1", port: relay.orPort }],
    };
    const open = () => openChannel(machine.runtime, target, { timeoutMs: 5_000, idleTimeoutMs: 60_000 });
    net.faults.relay("r1").answersAs = "r2";
    const error = await failure(open());
    assert.equal(error.kind, "identity", error.message);
    // It lacks nothing else: who asks for the other gets what looks like it.
    const { rsaId, ed25519Id } = net.relay("r2").identity;
    const deceived = await openChannel(machine.runtime, { ...target, rsaId, ed25519Id }, {
      timeoutMs: 5_000,
      idleTimeoutMs: 60_000,
    });
    deceived.close();
    net.faults.clear();
    (await open()).close();
  });

  test("never gets a circuit", async () => {
    const { net } = network;
    await restartAll();
    net.faults.relay("r1").answersAs = "r2";
    net.faults.relay("r5").answersAs = "r6";
    await using tor = await launch();
    await tor.ready();
    for (const path of await answeredPaths(tor, 10)) {
      assert.ok(!path.includes("r1") && !path.includes("r5"), `${path}`);
    }
    assert.ok(net.faults.relay("r1").hits + net.faults.relay("r5").hits > 0, "somebody tried");
  });
});

describe("a clock that is off", () => {
  const problems = (tor: TorClient): TunicError[] => {
    const seen: TunicError[] = [];
    tor.events.on("problem", (error) => seen.push(error));
    return seen;
  };
  const clockProblem = (tor: TorClient): Promise<TunicError> =>
    new Promise((resolve) => tor.events.on("problem", (error) => error.kind === "clock" && resolve(error)));

  for (const [whose, nickname] of [["relay", "r1"], ["exit", "r5"], ["authority", "a1"]] as const) {
    test(`by two days at one ${whose} does not stop the client`, async () => {
      for (const skewMs of [TWO_DAYS_MS, -TWO_DAYS_MS]) {
        network.net.faults.relay(nickname).clockSkewMs = skewMs;
        await using tor = await launch();
        const seen = problems(tor);
        await tor.ready();
        assert.equal(await hello(tor, ""), HELLO);
        // One relay's word is a doubt, not a finding.
        for (const { code } of seen) assert.equal(code, "clock-doubtful");
      }
    });
  }

  test("by two days at the authorities is taken for ours, and forgotten with their next consensus", async () => {
    const { faults, directory } = network.net;
    faults.directoryClockSkewMs = TWO_DAYS_MS;
    directory.publish();
    try {
      await using tor = await launch();
      assert.match((await clockProblem(tor)).message, /behind/);
      faults.clear();
      directory.publish();
      await tor.ready();
      assert.equal(await hello(tor, ""), HELLO);
    } finally {
      faults.clear();
      directory.publish();
    }
  });

  test("by two days at our side is what the client says is wrong", async () => {
    for (const [skewMs, direction] of [[TWO_DAYS_MS, /ahead/], [-TWO_DAYS_MS, /behind/]] as const) {
      network.net.faults.client.clockSkewMs = skewMs;
      await using tor = await launch({ socksTimeoutMs: 2_000 });
      const error = await clockProblem(tor);
      assert.match(error.message, direction);
      const failed = await failure(hello(tor, ""));
      assert.equal(failed.kind, "clock", failed.message);
      assert.ok(tor.bootstrap.percent < 75);
    }
  });
});
