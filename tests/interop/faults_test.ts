/** What happens to the client when relays die, one or all, and what is left of a client that was closed. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isTunicError, type TorClient } from "../../mod.ts";
import { sharedCTorNetwork, skipWithoutCTor } from "./ctor_network.ts";
import { delay } from "../support/poll.ts";
import { authoritiesOf, launchClient } from "./library_client.ts";
import { HELLO, startLocalServerProcess } from "../support/local_server.ts";
import { drain, openSockets, runShortProgram } from "../support/client_tests.ts";

const MIB = 1 << 20;
const TRANSFERS = 24;

async function hello(tor: TorClient, url: string, isolation: string): Promise<string> {
  return await (await tor.fetch(`${url}/hello`, { isolation })).text();
}

describe("a client whose relays fail", { skip: skipWithoutCTor() }, () => {
  test("loses the streams of killed relays with a clear error, and serves the next request at once", async () => {
    const network = await sharedCTorNetwork();
    await using server = await startLocalServerProcess();
    await using tor = await launchClient(network);
    await tor.ready();
    // So many circuits that it would be a miracle if none went through the relays that are going to die.
    const running = await Promise.all(Array.from({ length: TRANSFERS }, async (_, index) => {
      const connection = await tor.connect("127.0.0.1", server.port, { isolation: `transfer ${index}` });
      const writer = connection.writable.getWriter();
      await writer.write(new TextEncoder().encode(`GET /bytes/${8 * MIB}?pauseMs=300 HTTP/1.0\r\n\r\n`));
      return { outcome: drain(connection) };
    }));
    await delay(500);
    // Two, since one that an earlier test has restarted may not be Fast again yet, and so in nobody's path.
    await Promise.all(["exit1", "exit2"].map((nickname) => network.kill(nickname)));
    const killedAt = performance.now();
    assert.equal(await hello(tor, server.url, "fresh"), HELLO);
    assert.ok(performance.now() - killedAt < 5_000, "a new request is served at once");
    const outcomes = await Promise.all(running.map(({ outcome }) => outcome));
    const failed = outcomes.filter(({ error }) => error !== undefined);
    const whole = outcomes.filter(({ error, bytes }) => error === undefined && bytes > 8 * MIB);
    assert.equal(failed.length + whole.length, TRANSFERS, "a stream fails or is whole");
    assert.ok(failed.length > 0, "some went through the killed relays");
    for (const { error } of failed) {
      assert.ok(isTunicError(error, "circuit", "connection", "stream"), `${error}`);
      assert.match(error.message, /^Cannot /);
    }
    for (let i = 0; i < 10; i++) assert.equal(await hello(tor, server.url, `after ${i}`), HELLO);
  });

  test("recovers by itself when all relays were down", async () => {
    const network = await sharedCTorNetwork();
    await using server = await startLocalServerProcess();
    await using tor = await launchClient(network, { socksTimeoutMs: 5_000 });
    await tor.ready();
    assert.equal(await hello(tor, server.url, "before"), HELLO);
    for (const { nickname } of network.nodes) await network.kill(nickname);
    await assert.rejects(hello(tor, server.url, "meanwhile"), (error) => isTunicError(error));
    await network.repair();
    const repairedAt = performance.now();
    let answer = "";
    while (answer !== HELLO && performance.now() - repairedAt < 60_000) {
      answer = await hello(tor, server.url, "afterwards").catch((error) => {
        assert.ok(isTunicError(error), `${error}`);
        return "";
      });
    }
    assert.equal(answer, HELLO, "within a minute of the relays' return");
  });
});

describe("a client in one process", { skip: skipWithoutCTor() }, () => {
  test("launches, closes and launches again, and leaves nothing behind", async () => {
    const network = await sharedCTorNetwork();
    await using server = await startLocalServerProcess();
    const before = openSockets();
    for (let round = 0; round < 3; round++) {
      const tor = await launchClient(network);
      const seen: string[] = [];
      tor.events.on("bootstrap", ({ tag }) => seen.push(tag));
      tor.events.on("circuit", ({ state }) => seen.push(`circuit ${state}`));
      tor.events.on("stream", ({ state }) => seen.push(`stream ${state}`));
      assert.equal(await hello(tor, server.url, ""), HELLO);
      await tor.close();
      for (const event of ["done", "circuit open", "stream open"]) assert.ok(seen.includes(event), event);
      await assert.rejects(tor.connect("127.0.0.1", server.port), (error) => isTunicError(error, "closed"));
    }
    // Sockets that are closing need a turn or two.
    for (let turn = 0; turn < 50 && openSockets() > before; turn++) await delay(20);
    assert.equal(openSockets(), before);
  });

  test("lets a program end by itself once it has closed its client", async () => {
    const network = await sharedCTorNetwork();
    assert.equal(await runShortProgram(authoritiesOf(network)), 0);
  });

  test("gives every isolation key a circuit of its own, and one key one circuit", async () => {
    const network = await sharedCTorNetwork();
    await using server = await startLocalServerProcess();
    await using tor = await launchClient(network);
    for (let again = 0; again < 3; again++) {
      for (const isolation of ["a", "b", "c"]) assert.equal(await hello(tor, server.url, isolation), HELLO);
    }
    assert.equal(tor.snapshot.circuits.dirty, 3);
  });

  test("stops a launch and a request that are aborted", async () => {
    const network = await sharedCTorNetwork();
    const launch = new AbortController();
    const tor = await launchClient(network, { signal: launch.signal });
    const ready = tor.ready();
    launch.abort();
    await assert.rejects(ready, (error) => isTunicError(error, "aborted", "closed"));
    await tor.close();
  });
});
