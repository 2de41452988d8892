/** The directory of the test network as clients get it over circuits: renewed, cached, refused. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { isTunicError, type Testnet, type TorClient } from "../../mod.ts";
import { toHexUpper } from "../../src/bytes/text.ts";
import { ChannelManager } from "../../src/mgr/channels.ts";
import { DirectoryClient } from "../../src/mgr/directory/mod.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { signedPartSha3 } from "../../src/wire/netdoc/consensus.ts";
import { launchTestClient } from "../support/client_tests.ts";
import { DirectoryOnly } from "../support/directory_only.ts";
import { HELLO, startLocalServer } from "../support/local_server.ts";
import { delay, poll } from "../support/poll.ts";
import { nicknames, startObservedNetwork } from "../support/test_network.ts";
import { applyDiff } from "./directory/support.ts";

const RENEWALS = 5;

async function hello(tor: TorClient, url: string, isolation: string): Promise<string> {
  return await (await tor.fetch(`${url}/hello`, { isolation })).text();
}

function newest(net: Testnet): number {
  return net.directory.documents.consensuses("microdesc")[0]!.lifetime.validAfter;
}

/** What a relay answers over a circuit of one hop. */
async function askRelay(net: Testnet, nickname: string, paths: readonly string[]): Promise<[number, string][]> {
  const { identity, orPort } = net.relay(nickname);
  const channels = new ChannelManager({ runtime: nodeRuntime, connectTimeoutMs: 5_000, idleTimeoutMs: 5_000 });
  const client = new DirectoryClient({ runtime: nodeRuntime, channels });
  const target = {
    addresses: [{ host: "127.0.0.1", port: orPort }],
    rsaId: identity.rsaId,
    ed25519Id: identity.ed25519Id,
  };
  try {
    return await Promise.all(paths.map(async (path) => {
      const limits = { maxBytes: 1 << 20, timeoutMs: 5_000, stallTimeoutMs: 5_000 };
      const { status, body } = await client.get({ target }, { what: path, path, ...limits });
      return [status, new TextDecoder().decode(body)] as [number, string];
    }));
  } finally {
    client.close();
    channels.close();
  }
}

describe("the directory of the test network", () => {
  test("renewed every second, keeps clients at work; is found again on disk; is served as diffs", async () => {
    await using network = await startObservedNetwork({ consensusIntervalMs: 1000 });
    await using server = await startLocalServer();
    const { net } = network;
    const data = mkdtempSync(join(tmpdir(), "tunic-directory-"));
    try {
      const first = newest(net);
      const directory = await DirectoryOnly.start(net.directoryAuthorities, data);
      try {
        await using tor = await launchTestClient(net.directoryAuthorities);
        await directory.directory.ready(AbortSignal.timeout(5_000));
        await tor.ready();
        for (let i = 0; directory.views.length <= RENEWALS; i++) {
          assert.ok(newest(net) < first + 40_000, `${directory.views.length} consensuses`);
          assert.equal(await hello(tor, server.url, `${i}`), HELLO);
          await delay(100);
        }
        const times = directory.views.map(({ validAfter }) => validAfter);
        assert.deepEqual(times, [...new Set(times)].sort((a, b) => a - b), "each is newer");
        assert.ok(newest(net) >= first + RENEWALS * 1000);
        const paths = new Set(network.streams.map(({ path }) => path));
        assert.equal(paths.size, network.streams.length, "a new circuit for each request");
        assert.deepEqual(directory.problems.filter(({ kind }) => kind !== "timeout"), []);
        assert.equal(directory.directory.netdir!.missingCount, 0);
      } finally {
        await directory.close();
      }

      // The network has others by now, but nobody listens where this client would ask.
      const deaf = net.directoryAuthorities.map((it) => ({ ...it, address: { host: "127.0.0.1", port: 9 } }));
      const again = await DirectoryOnly.start(deaf, data);
      try {
        const netdir = await again.directory.ready(AbortSignal.timeout(1_000));
        assert.deepEqual([netdir.size, netdir.missingCount], [net.relays.length, 0]);
      } finally {
        await again.close();
      }
    } finally {
      rmSync(data, { recursive: true, force: true });
    }

    const held = net.directory.documents.consensuses("microdesc")[1]!;
    const path = "/tor/status-vote/current/consensus-microdesc";
    const from = toHexUpper(held.signedSha3);
    const [whole, diff, strange] = await askRelay(net, "r1", [
      path,
      `${path}/diff/${from}`,
      `${path}/diff/${"00".repeat(32)}`,
    ]);
    assert.deepEqual([whole![0], diff![0], strange![0]], [200, 200, 404]);
    const patched = applyDiff(new TextDecoder().decode(held.text), diff![1]);
    // A new one may have come between the two answers.
    const known = net.directory.documents.consensuses("microdesc").map(({ text }) => new TextDecoder().decode(text));
    assert.ok(known.includes(patched));
    assert.ok(known.includes(whole![1]));
    assert.notDeepEqual(signedPartSha3(new TextEncoder().encode(patched)), held.signedSha3);
  });

  test("loses relays, and clients lose them too", async () => {
    await using network = await startObservedNetwork({ consensusIntervalMs: 1000 });
    await using server = await startLocalServer();
    const { net, streams } = network;
    await using tor = await launchTestClient(net.directoryAuthorities);
    assert.equal(await hello(tor, server.url, "first"), HELLO);
    const [guard, , exit] = nicknames(streams[0]!.path) as [string, string, string];
    for (const name of [guard, exit]) net.directory.unlist(net.relay(name).identity.rsaId);
    const pathOf = async (isolation: string) => {
      assert.equal(await hello(tor, server.url, isolation), HELLO);
      return nicknames(streams.at(-1)!.path);
    };
    const isFree = (path: readonly string[]) => !path.includes(guard) && !path.includes(exit);
    await poll("a path without the two", 8_000, async () => {
      tor.newCircuits();
      return isFree(await pathOf(`${streams.length}`)) || undefined;
    }, 200);
    tor.newCircuits();
    for (let i = 0; i < 15; i++) assert.ok(isFree(await pathOf(`after ${i}`)), `${nicknames(streams.at(-1)!.path)}`);
    assert.ok(net.relay(guard).isRunning && net.relay(exit).isRunning);
  });

  test("is not believed while too few have signed it, even from relays that serve it all the same", async () => {
    await using network = await startObservedNetwork();
    await using server = await startLocalServer();
    const { directory, directoryAuthorities } = network.net;
    const keys = directory.voters.map((voter) => voter.keys);
    directory.signBy(keys.slice(0, 1));
    directory.publish();
    // Clients name the authorities that they want to see; honest relays have nothing for them then.
    const answer = directory.answer.bind(directory);
    const dishonest: typeof answer = (request, rsaId) =>
      answer({ ...request, path: request.path.replace(/(consensus-microdesc)\/[^.]+/, "$1") }, rsaId);

    for (const isHonest of [true, false]) {
      directory.answer = isHonest ? answer : dishonest;
      const client = await DirectoryOnly.start(directoryAuthorities);
      try {
        await assert.rejects(client.directory.ready(AbortSignal.timeout(1_500)));
        assert.equal(client.directory.snapshot().relays, 0);
        const codes = new Set(client.problems.map(({ code }) => code));
        assert.ok(codes.has(isHonest ? "directory-refused" : "too-few-signatures"), `${[...codes]}`);
      } finally {
        await client.close();
      }
    }

    await using tor = await launchTestClient(directoryAuthorities);
    const request = hello(tor, server.url, "");
    await assert.rejects(tor.ready(AbortSignal.timeout(300)));
    assert.equal(tor.snapshot.circuits.building + tor.snapshot.circuits.clean, 0);
    directory.signBy(keys.slice(1));
    directory.publish();
    assert.equal(await request, HELLO, "two of three are enough, and it is asked for again");
  });

  test("is not believed by whom it was not signed for", async () => {
    await using network = await startObservedNetwork();
    const strangers = network.net.directoryAuthorities.map((authority, i) => ({
      ...authority,
      // One of three remains who it is.
      v3ident: i === 0 ? authority.v3ident : new Uint8Array(20).fill(i),
    }));
    const tor = await launchTestClient(strangers);
    try {
      const problems: unknown[] = [];
      tor.events.on("problem", (error) => problems.push(error));
      await assert.rejects(tor.ready(AbortSignal.timeout(1_500)), (error) => isTunicError(error));
      assert.ok(problems.length > 0);
      assert.equal(tor.snapshot.circuits.building, 0);
    } finally {
      await tor.close();
    }
  });
});
