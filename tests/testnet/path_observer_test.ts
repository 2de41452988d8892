import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ObservedStream, startTestnet, TorClient } from "../../mod.ts";
import { startLocalServer } from "../support/local_server.ts";
import { poll } from "../support/poll.ts";

const BYTES = 200_000;
const DATA_BYTES_PER_CELL = 498;

describe("paths of a test network", () => {
  test("each stream's relays in order, and their cells", async () => {
    const seen: ObservedStream[] = [];
    await using server = await startLocalServer();
    await using net = await startTestnet({
      relays: 3,
      exits: 1,
      authorities: 1,
      onExitStream: (stream) => void seen.push(stream),
    });
    await using tor = await TorClient.launch({
      directoryAuthorities: net.directoryAuthorities,
      testingTorNetwork: true,
    });
    // The directory's streams end at relays and are none of these.
    await tor.ready();
    assert.equal(seen.length, 0);
    const isolations = ["one", "two", "three"];
    for (const isolation of isolations) {
      const response = await tor.fetch(`${server.url}/bytes/${BYTES}`, { isolation });
      assert.equal((await response.arrayBuffer()).byteLength, BYTES);
    }
    assert.equal(seen.length, isolations.length);
    for (const { host, port, path } of seen) {
      assert.deepEqual([host, port], ["127.0.0.1", server.port]);
      const names = path.map(({ nickname }) => nickname);
      assert.equal(new Set(names).size, 3);
      // The only exit, and the relays with the Guard flag.
      assert.equal(names[2], "r3");
      assert.match(names[0]!, /^r[12]$/);
      const least = Math.ceil(BYTES / DATA_BYTES_PER_CELL);
      const toClient = () => path.map(({ cellsToClient }) => cellsToClient);
      const fromExit = toClient()[2]!;
      assert.ok(fromExit > least && fromExit < least * 1.2, String(fromExit));
      // EXTEND2 and EXTENDED2 for each relay beyond; END may be on its way for a moment.
      await poll("all cells everywhere", 5_000, () => {
        const ways = [path.map(({ cellsFromClient }) => cellsFromClient), toClient()];
        return ways.every(([guard, middle, exit]) => guard! - exit! === 2 && middle! - exit! === 1) || undefined;
      }, 5);
    }
    // Streams with keys of their own have circuits of their own.
    assert.equal(new Set(seen.map(({ path }) => path)).size, 3);
  });

  test("a stream that nobody connected is not one", async () => {
    const seen: ObservedStream[] = [];
    await using net = await startTestnet({ authorities: 1, onExitStream: (stream) => void seen.push(stream) });
    await using tor = await TorClient.launch({
      directoryAuthorities: net.directoryAuthorities,
      testingTorNetwork: true,
    });
    await assert.rejects(tor.connect("no-such-name.test", 80), { kind: "stream" });
    assert.equal(seen.length, 0);
  });
});
