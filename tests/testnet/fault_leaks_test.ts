/** What circuits over links that corrupt cells, and links whose TLS fails, leave behind: nothing. */
import assert from "node:assert/strict";
import process from "node:process";
import { describe, test } from "node:test";
import v8 from "node:v8";
import vm from "node:vm";
import { isTunicError, type TorClient } from "../../mod.ts";
import { openChannel } from "../../src/proto/open_channel.ts";
import { launchTestClient, openSockets } from "../support/client_tests.ts";
import { HELLO, startLocalServerProcess } from "../support/local_server.ts";
import { poll } from "../support/poll.ts";
import { startObservedNetwork } from "../support/test_network.ts";

const CIRCUITS = 200;
const AT_ONCE = 10;
const CORRUPTED = 0.05;
const MIB = 1 << 20;
/** What a circuit that is kept would take many times over: its cells, keys and promises, at the client and three relays. */
const HEAP_GROWTH = 4 * MIB;

const bun = (globalThis as { Bun?: { gc(force: boolean): void } }).Bun;

/** Bytes in use once everything that can be collected has been. */
async function heapUsed(): Promise<number> {
  for (let round = 0; round < 3; round++) {
    collect();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage().heapUsed;
}

function collect(): void {
  if (bun) return bun.gc(true);
  v8.setFlagsFromString("--expose-gc");
  vm.runInNewContext("gc")();
}

/** Asks over fresh circuits until so many of them were built; answers how many requests came back right, and failed. */
async function buildCircuits(tor: TorClient, url: string, count: number): Promise<{ right: number; failed: number }> {
  let built = 0;
  let right = 0;
  let failed = 0;
  const stop = tor.events.on("circuit", ({ state }) => {
    if (state === "open") built++;
  });
  for (let round = 0; built < count; round++) {
    await Promise.all(Array.from({ length: AT_ONCE }, async (_, i) => {
      try {
        const response = await tor.fetch(`${url}/hello`, { isolation: `${count} ${round} ${i}` });
        assert.equal(await response.text(), HELLO);
        right++;
      } catch (error) {
        assert.ok(isTunicError(error), `${error}`);
        failed++;
      }
    }));
    tor.newCircuits();
  }
  stop();
  return { right, failed };
}

describe(`${CIRCUITS} circuits under 5 % corrupted cells`, () => {
  test("leak no socket, timer or buffer, and bring no wrong byte", async () => {
    await using server = await startLocalServerProcess();
    const socketsBefore = openSockets();
    const network = await startObservedNetwork();
    const { net, machine } = network;
    const tor = await launchTestClient(net.directoryAuthorities, {
      runtime: net.faults.clientRuntime,
      circuitBuildTimeoutMs: 3_000,
      circuitStreamTimeoutMs: 3_000,
      socksTimeoutMs: 10_000,
    });
    await tor.ready();
    const relays = net.relays.map(({ nickname }) => nickname);
    const corrupt = (probability: number): void => {
      for (const nickname of relays) net.faults.relay(nickname).corruptCells = probability;
    };
    const quiet = () => poll("streams and circuits gone", 15_000, () => tor.snapshot.streams === 0 || undefined);

    corrupt(CORRUPTED);
    await buildCircuits(tor, server.url, 40);
    corrupt(0);
    await quiet();
    network.streams.length = 0;
    const heapBefore = await heapUsed();

    corrupt(CORRUPTED);
    const { right, failed } = await buildCircuits(tor, server.url, CIRCUITS);
    const hits = relays.reduce((sum, nickname) => sum + net.faults.relay(nickname).hits, 0);
    assert.ok(hits >= CIRCUITS / 4, `${hits} cells were corrupted`);
    assert.ok(right > failed, `${right} answers, ${failed} failures`);
    corrupt(0);
    await quiet();
    network.streams.length = 0;
    const grown = await heapUsed() - heapBefore;
    assert.ok(grown < HEAP_GROWTH, `${Math.round(grown / 1024)} KiB more in use`);
    assert.equal(await (await tor.fetch(`${server.url}/hello`)).text(), HELLO);

    // Links that break are made anew all the time.
    for (const nickname of relays) net.faults.relay(nickname).resetAfterBytes = 60_001;
    await buildCircuits(tor, server.url, 60);
    net.faults.clear();
    const broken = relays.reduce((sum, nickname) => sum + net.faults.relay(nickname).hits, -hits);
    assert.ok(broken >= 3, `${broken} links were broken`);
    await quiet();

    // Each relay has a link to each other, at the most, and circuits for nobody are few.
    assert.ok(tor.snapshot.channels <= relays.length, `${tor.snapshot.channels} channels`);
    assert.ok(tor.snapshot.circuits.building + tor.snapshot.circuits.clean + tor.snapshot.circuits.dirty <= 20);
    assert.ok(machine.connections <= relays.length * relays.length, `${machine.connections} connections`);

    await tor.close();
    const { channels, circuits, streams } = tor.snapshot;
    assert.deepEqual({ channels, circuits, streams }, {
      channels: 0,
      circuits: { building: 0, clean: 0, dirty: 0 },
      streams: 0,
    });
    await net.close();
    await poll("every socket closed", 5_000, () => openSockets() <= socketsBefore || undefined);
    assert.deepEqual([machine.connections, machine.timers], [0, 0]);
    assert.equal(net.faults.client.connections + net.faults.relay("r1").connections, 0);
  });
});

describe("200 links that TLS finds corrupted", () => {
  test("leak no socket or timer, whether they fail, stall or come about", async () => {
    const socketsBefore = openSockets();
    const { net, machine } = await startObservedNetwork({ relays: 3, exits: 1, authorities: 1 });
    const relay = net.relay("r1");
    const { rsaId, ed25519Id } = relay.identity;
    const target = { rsaId, ed25519Id, addresses: [{ host: "127.0.0.1", port: relay.orPort }] };
    net.faults.link("client", "r1").corruptTls = 0.1;
    const outcomes: string[] = [];
    for (let round = 0; round < 20; round++) {
      await Promise.all(Array.from({ length: 10 }, async () => {
        try {
          const channel = await openChannel(net.faults.clientRuntime, target, {
            timeoutMs: 500,
            idleTimeoutMs: 60_000,
          });
          channel.close();
          outcomes.push("open");
        } catch (error) {
          assert.ok(isTunicError(error, "connection", "timeout"), `${error}`);
          outcomes.push(error.kind);
        }
      }));
    }
    assert.ok(outcomes.includes("open") && outcomes.includes("connection"), `${new Set(outcomes)}`);
    await net.close();
    await poll("every socket closed", 5_000, () => openSockets() <= socketsBefore || undefined);
    assert.deepEqual([machine.connections, machine.timers], [0, 0]);
    assert.equal(net.faults.client.connections + net.faults.relay("r1").connections, 0);
  });
});
