/** Which relays the client's circuits take, as the relays themselves have seen it (path-spec 2.2, guard-spec). */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { isTunicError, type Testnet, type TorClient, type TorClientOptions } from "../../mod.ts";
import { launchTestClient } from "../support/client_tests.ts";
import { HELLO, type LocalServer, startLocalServer } from "../support/local_server.ts";
import { listOtherwise, nicknames, type ObservedNetwork, startObservedNetwork } from "../support/test_network.ts";

/** Paths of as many circuits, asked for at one time. */
async function pathsOf(
  tor: TorClient,
  { streams }: ObservedNetwork,
  { url }: LocalServer,
  count: number,
): Promise<string[][]> {
  const before = streams.length;
  await Promise.all(Array.from({ length: count }, async (_, i) => {
    assert.equal(await (await tor.fetch(`${url}/hello`, { isolation: `${before + i}` })).text(), HELLO);
  }));
  const paths = [...new Set(streams.slice(before).map(({ path }) => path))];
  assert.equal(paths.length, count);
  return paths.map(nicknames);
}

async function withClient<T>(
  { net }: ObservedNetwork,
  action: (tor: TorClient) => Promise<T>,
  options?: TorClientOptions,
): Promise<T> {
  await using tor = await launchTestClient(net.directoryAuthorities, options);
  await tor.ready();
  return await action(tor);
}

function withRole(net: Testnet, role: string): Set<string> {
  return new Set(net.relays.filter((relay) => relay.role === role).map(({ nickname }) => nickname));
}

describe("paths over the test network", () => {
  test("have three relays, a guard first and an exit last, and none twice", async () => {
    await using network = await startObservedNetwork();
    await using server = await startLocalServer();
    const paths = await withClient(network, (tor) => pathsOf(tor, network, server, 50));
    const [guards, exits] = [withRole(network.net, "relay"), withRole(network.net, "exit")];
    for (const path of paths) {
      assert.equal(path.length, 3);
      assert.equal(new Set(path).size, 3, `${path}`);
      assert.ok(guards.has(path[0]!), `${path}`);
      assert.ok(exits.has(path[2]!), `${path}`);
    }
    assert.equal(new Set(paths.map(([guard]) => guard)).size, 1, "one guard for all");
    assert.ok(new Set(paths.map(([, middle]) => middle)).size >= 3, "middles vary");
    assert.equal(new Set(paths.map(([, , exit]) => exit)).size, 2, "exits vary");
  });

  test("keep their guard over restarts of a client with a data directory, and of no other", async () => {
    await using network = await startObservedNetwork();
    await using server = await startLocalServer();
    const guardOf = (options?: TorClientOptions) =>
      withClient(network, async (tor) => (await pathsOf(tor, network, server, 1))[0]![0]!, options);
    const dataDirectory = mkdtempSync(join(tmpdir(), "tunic-test-"));
    try {
      const kept = new Set<string>();
      for (let start = 0; start < 5; start++) kept.add(await guardOf({ dataDirectory }));
      assert.equal(kept.size, 1, `${[...kept]}`);
      const [guard] = kept as Set<string>;
      await network.net.relay(guard!).kill();
      assert.notEqual(await guardOf({ dataDirectory }), guard);
      await network.net.relay(guard!).restart();
    } finally {
      rmSync(dataDirectory, { recursive: true, force: true });
    }
    const fresh = new Set<string>();
    for (let start = 0; start < 12; start++) fresh.add(await guardOf());
    assert.ok(fresh.size > 1, "four guards, and twelve times the same");
  });

  test("have no two relays of one family", async () => {
    await using network = await startObservedNetwork({ relays: 5, authorities: 1 });
    await using server = await startLocalServer();
    const { net } = network;
    const family = [net.relay("r2"), net.relay("r3"), net.relay("r5")];
    const names = family.map(({ nickname }) => nickname);
    const relatives = (paths: string[][]) => paths.filter((path) => path.filter((it) => names.includes(it)).length > 1);

    const strangers = await withClient(network, (tor) => pathsOf(tor, network, server, 50));
    assert.notEqual(relatives(strangers).length, 0, "strangers meet");
    for (const relay of family) await listOtherwise(net, relay, { family });
    net.directory.publish();
    const paths = await withClient(network, (tor) => pathsOf(tor, network, server, 50));
    assert.deepEqual(relatives(paths), []);
  });

  test("end where the exit policy lets the stream out, and fail at once where none does", async () => {
    await using network = await startObservedNetwork();
    await using server = await startLocalServer();
    const { net } = network;
    const only = (port: number) => ({
      rules: [`accept *:${port}`, "reject *:*"],
      summary: `accept ${port}`,
    });
    await listOtherwise(net, net.relay("r5"), { exitPolicy: only(server.port) });
    await listOtherwise(net, net.relay("r6"), { exitPolicy: only(7) });
    net.directory.publish();
    await withClient(network, async (tor) => {
      const paths = await pathsOf(tor, network, server, 20);
      assert.deepEqual(new Set(paths.map((path) => path[2])), new Set(["r5"]));
      // What listens on 127.0.0.1:7 answers nothing, but r6 is whom it was asked of.
      await assert.rejects(tor.connect("127.0.0.1", 7), (error) => isTunicError(error, "stream"));
      const impossible = server.port === 81 ? 82 : 81;
      await assert.rejects(
        tor.connect("127.0.0.1", impossible),
        (error) => isTunicError(error, "no-path") && error.message.includes(`no exit accepts port ${impossible}`),
      );
    });
  });

  test("do without relays that lack the flags of a position", async () => {
    await using network = await startObservedNetwork();
    await using server = await startLocalServer();
    const { net } = network;
    await listOtherwise(net, net.relay("r1"), { withoutFlags: ["Guard"] });
    await listOtherwise(net, net.relay("r2"), { withoutFlags: ["Guard", "Fast"] });
    await listOtherwise(net, net.relay("r3"), { withoutFlags: ["Running"] });
    await listOtherwise(net, net.relay("r5"), { withoutFlags: ["Exit", "Valid"] });
    net.directory.publish();
    const paths = await withClient(network, (tor) => pathsOf(tor, network, server, 40));
    assert.deepEqual(new Set(paths.map(([guard]) => guard)), new Set(["r4"]));
    assert.deepEqual(new Set(paths.map((path) => path[2])), new Set(["r6"]));
    const middles = new Set(paths.map(([, middle]) => middle));
    for (const name of ["r2", "r3", "r5"]) assert.ok(!middles.has(name), `${name} is a middle`);
    assert.ok(middles.has("r1"));
  });
});
