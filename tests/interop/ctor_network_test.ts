/** The network under the interop tests is itself tested: with C tor's own client, and for what it leaves behind. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { describe, test } from "node:test";
import { startCTorClient } from "./ctor_client.ts";
import { sharedCTorNetwork, skipWithoutCTor, startCTorNetwork } from "./ctor_network.ts";
import { isAlive } from "./ctor_process.ts";
import { curl } from "../support/curl.ts";
import { content, contentSha256, HELLO, startLocalServer, startLocalServerProcess } from "../support/local_server.ts";

const MIB = 1 << 20;

test("the local server sends what contentSha256 says, and hashes what it gets", async () => {
  for (const start of [startLocalServer, startLocalServerProcess]) {
    await using server = await start();
    assert.equal((await curl(`${server.url}/hello`)).text, HELLO);
    const down = await curl(`${server.url}/bytes/${3 * MIB + 17}`, { digestOnly: true });
    assert.deepEqual([down.bytes, down.sha256], [3 * MIB + 17, contentSha256(3 * MIB + 17)]);
    assert.notEqual(contentSha256(3 * MIB + 16), down.sha256);
    const up = await curl(`${server.url}/sink`, { upload: content(2 * MIB + 5) });
    assert.deepEqual(JSON.parse(up.text), { bytes: 2 * MIB + 5, sha256: contentSha256(2 * MIB + 5) });
  }
});

describe("a private network of C tor", { skip: skipWithoutCTor() }, () => {
  test("carries C tor's client, both ways", async () => {
    const network = await sharedCTorNetwork();
    assert.equal(network.nodes.length, 7);
    await using server = await startLocalServer();
    await using client = await startCTorClient(network);
    await client.bootstrapped();
    const through = { socksPort: client.socksPort };
    assert.equal((await curl(`${server.url}/hello`, through)).text, HELLO);
    assert.equal((await curl(`${server.url}/bytes/${MIB}`, through)).sha256, contentSha256(MIB));
    const up = await curl(`${server.url}/sink`, { ...through, upload: content(MIB) });
    assert.deepEqual(JSON.parse(up.text), { bytes: MIB, sha256: contentSha256(MIB) });
  });

  test("has the shared network's relays killed and started again", async () => {
    const network = await sharedCTorNetwork();
    const before = network.node("exit0").pid;
    await network.kill("exit0");
    assert.equal(isAlive(before), false);
    const again = await sharedCTorNetwork();
    const after = again.node("exit0").pid;
    assert.notEqual(after, before);
    assert.equal(isAlive(after), true);
  });

  test("takes lines for one relay, and leaves nothing behind", async () => {
    const network = await startCTorNetwork({
      authorities: 1,
      exits: 2,
      extraTorrc: (nickname) => nickname === "exit1" ? ["ContactInfo somebody"] : [],
    });
    const pids = network.nodes.map((node) => node.pid);
    assert.ok(pids.every(isAlive));
    assert.equal(new Set(network.nodes.map((node) => node.fingerprint)).size, 3);
    await network.stop();
    assert.equal(pids.some(isAlive), false);
    assert.equal(existsSync(network.directory), false);
  });

  test("says which relay failed, and with which words, when a torrc is wrong", async () => {
    const wrong = (nickname: string) => nickname === "exit0" ? ["NoSuchOption 1"] : [];
    await assert.rejects(startCTorNetwork({ authorities: 1, exits: 1, extraTorrc: wrong }), /exit0[^]*NoSuchOption/);
  });
});
