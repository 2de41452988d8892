/** What happens to the client when relays die: its streams' guard, middle or exit, or all relays at once. */
import assert from "node:assert/strict";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { isTunicError, type TorClient } from "../../mod.ts";
import { drain, launchTestClient } from "../support/client_tests.ts";
import { HELLO, type LocalServer, startLocalServer } from "../support/local_server.ts";
import { delay } from "../support/poll.ts";
import { nicknames, type ObservedNetwork, startObservedNetwork } from "../support/test_network.ts";

const TRANSFERS = 16;
const HALF_BYTES = 256 * 1024;

/** Sends half of what it has to whoever connects, and the rest when it is told to. */
class HesitantServer {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => {}).on("close", () => this.#sockets.delete(socket));
      socket.write(new Uint8Array(HALF_BYTES));
    });
  }

  static start(): Promise<HesitantServer> {
    const server = createServer();
    return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(new HesitantServer(server))));
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  goOn(): void {
    for (const socket of this.#sockets) socket.end(new Uint8Array(HALF_BYTES));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

let network: ObservedNetwork;
let server: LocalServer;

before(async () => {
  [network, server] = await Promise.all([startObservedNetwork({ relays: 7, exits: 3 }), startLocalServer()]);
});
after(async () => {
  await network.net.close();
  await server.stop();
});

async function hello(tor: TorClient, isolation: string): Promise<string> {
  return await (await tor.fetch(`${server.url}/hello`, { isolation })).text();
}

interface Transfer {
  readonly path: readonly string[];
  readonly outcome: ReturnType<typeof drain>;
}

/** Downloads that wait half-way, each over a circuit of its own. */
async function startTransfers(tor: TorClient, port: number): Promise<Transfer[]> {
  const transfers: Transfer[] = [];
  for (let i = 0; i < TRANSFERS; i++) {
    const connection = await tor.connect("127.0.0.1", port, { isolation: `transfer ${i}` });
    transfers.push({ path: nicknames(network.streams.at(-1)!.path), outcome: drain(connection) });
  }
  return transfers;
}

describe("a client whose relays die", () => {
  for (const [position, hop] of [["guard", 0], ["middle", 1], ["exit", 2]] as const) {
    test(`loses the streams of a killed ${position} with a clear error, and serves the next request at once`, async () => {
      await using tor = await launchTestClient(network.net.directoryAuthorities);
      await tor.ready();
      await using hesitant = await HesitantServer.start();
      const transfers = await startTransfers(tor, hesitant.port);
      const victim = transfers[0]!.path[hop]!;
      await network.net.relay(victim).kill();
      try {
        const killedAt = performance.now();
        assert.equal(await hello(tor, "fresh"), HELLO);
        assert.ok(performance.now() - killedAt < 2_000, "a new request is served at once");
        hesitant.goOn();
        for (const { path, outcome } of transfers) {
          const { bytes, error } = await outcome;
          if (!path.includes(victim)) {
            assert.deepEqual([bytes, error], [2 * HALF_BYTES, undefined], `${path} did without ${victim}`);
            continue;
          }
          assert.ok(isTunicError(error, "circuit", "connection", "stream"), `${path}: ${bytes} bytes, ${error}`);
          assert.ok(bytes <= HALF_BYTES);
          assert.match(error.message, /^Cannot .+: .+/);
        }
        const before = network.streams.length;
        for (let i = 0; i < 10; i++) assert.equal(await hello(tor, `after ${i}`), HELLO);
        for (const { path } of network.streams.slice(before)) assert.ok(!nicknames(path).includes(victim));
      } finally {
        await network.net.relay(victim).restart();
      }
    });
  }

  test("recovers by itself when all relays were down", async () => {
    await using tor = await launchTestClient(network.net.directoryAuthorities, { socksTimeoutMs: 2_000 });
    await tor.ready();
    assert.equal(await hello(tor, "before"), HELLO);
    await Promise.all(network.net.relays.map((relay) => relay.kill()));
    await assert.rejects(hello(tor, "meanwhile"), (error) => isTunicError(error));
    await Promise.all(network.net.relays.map((relay) => relay.restart()));
    const repairedAt = performance.now();
    let answer = "";
    while (answer !== HELLO && performance.now() - repairedAt < 20_000) {
      answer = await hello(tor, "afterwards").catch((error) => {
        assert.ok(isTunicError(error), `${error}`);
        return "";
      });
    }
    assert.equal(answer, HELLO, "within 20 s of the relays' return");
  });

  test("begins as soon as there are relays, if there were none when it was launched", async () => {
    await Promise.all(network.net.relays.map((relay) => relay.kill()));
    await using tor = await launchTestClient(network.net.directoryAuthorities);
    const request = hello(tor, "");
    await delay(500);
    assert.ok(tor.bootstrap.percent < 20, `${tor.bootstrap.percent} %`);
    await Promise.all(network.net.relays.map((relay) => relay.restart()));
    assert.equal(await request, HELLO);
  });
});
