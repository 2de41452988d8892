/** The client's main job, over our own relays: bytes, streams by the hundred, lookups, isolation. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { isTunicError } from "../../mod.ts";
import { launchTestClient, runShortProgram } from "../support/client_tests.ts";
import { curl } from "../support/curl.ts";
import { content, contentSha256, HELLO, type LocalServer, startLocalServerProcess } from "../support/local_server.ts";
import { poll } from "../support/poll.ts";
import { download, RESOLVE, RESOLVE_PTR, socksRequest } from "../support/socks_client.ts";
import { ObservedMachine, type ObservedNetwork, startObservedNetwork } from "../support/test_network.ts";
import { startTunic } from "../support/tunic_process.ts";

const MIB = 1 << 20;
const PIECE_BYTES = 256 * 1024;
const HOSTS = { "web.tunic.test": "127.0.0.1", "other.tunic.test": "127.0.0.9", "six.tunic.test": "::1" };

let network: ObservedNetwork;
let server: LocalServer;

before(async () => {
  [network, server] = await Promise.all([startObservedNetwork({ hosts: HOSTS }), startLocalServerProcess()]);
});
after(async () => {
  await network.net.close();
  await server.stop();
});

/** How many circuits the streams went over that exits connected since there were `before` of them. */
function circuitsSince(before: number): number {
  return new Set(network.streams.slice(before).map(({ path }) => path)).size;
}

describe("tunic run", () => {
  test("carries 100 MiB down and 50 MiB up, byte for byte, and 300 streams at once", async () => {
    await using tunic = startTunic({ torrc: network.net.torrc });
    await tunic.ready();
    const { socksPort } = tunic;
    assert.equal((await curl(`${server.url}/hello`, { socksPort })).text, HELLO);

    const down = await curl(`${server.url}/bytes/${100 * MIB}`, { socksPort, digestOnly: true, timeoutSeconds: 100 });
    assert.deepEqual([down.message, down.bytes, down.sha256], ["", 100 * MIB, contentSha256(100 * MIB)]);

    const up = await curl(`${server.url}/sink`, { socksPort, upload: content(50 * MIB), timeoutSeconds: 100 });
    assert.deepEqual(JSON.parse(up.text || up.message), { bytes: 50 * MIB, sha256: contentSha256(50 * MIB) });

    const target = { socksPort, host: "127.0.0.1", port: server.port };
    const all = await Promise.all(Array.from({ length: 300 }, () => download(target, `/bytes/${PIECE_BYTES / 4}`)));
    const expected = contentSha256(PIECE_BYTES / 4);
    assert.equal(all.filter(({ sha256 }) => sha256 === expected).length, 300);
    assert.equal(await tunic.stop(), 0);
  });

  test("resolves names and addresses at the exit, and keeps user names apart", async () => {
    await using tunic = startTunic({ torrc: network.net.torrc });
    await tunic.ready();
    const { socksPort } = tunic;
    const lookUp = async (host: string, command: number) => {
      const { code, address, socket } = await socksRequest({ socksPort, host, port: 0 }, command);
      socket.destroy();
      return [code, address];
    };
    assert.deepEqual(await lookUp("web.tunic.test", RESOLVE), [0, "127.0.0.1"]);
    assert.deepEqual(await lookUp("other.tunic.test", RESOLVE), [0, "127.0.0.9"]);
    assert.deepEqual(await lookUp("127.0.0.9", RESOLVE_PTR), [0, "other.tunic.test"]);
    assert.equal((await lookUp("nowhere.tunic.test", RESOLVE))[0], 4);
    assert.equal((await lookUp("192.0.2.1", RESOLVE_PTR))[0], 4);
    const byName = await curl(`http://web.tunic.test:${server.port}/hello`, { socksPort });
    assert.equal(byName.text, HELLO);

    const before = network.streams.length;
    for (const user of ["a", "b", "a", "b", "c"]) {
      const answer = await download({ socksPort, host: "127.0.0.1", port: server.port, user }, "/hello");
      assert.equal(answer.bytes, HELLO.length);
    }
    assert.equal(network.streams.length, before + 5);
    assert.equal(circuitsSince(before), 3, "one for each user");

    const refused = await socksRequest({ socksPort, host: "127.0.0.1", port: 1 });
    refused.socket.destroy();
    assert.equal(refused.code, 5);
    const unknown = await socksRequest({ socksPort, host: "nowhere.tunic.test", port: server.port });
    unknown.socket.destroy();
    assert.equal(unknown.code, 4);
  });

  test("starts again from what it kept, and asks no authority for it", async () => {
    const dataDirectory = mkdtempSync(join(tmpdir(), "tunic-test-"));
    try {
      for (const start of ["first", "second"]) {
        await using tunic = startTunic({ torrc: network.net.torrc, dataDirectory });
        await tunic.ready();
        const answer = await curl(`${server.url}/hello`, { socksPort: tunic.socksPort });
        assert.equal(answer.text, HELLO, start);
        const tags = tunic.events.filter(({ event }) => event === "bootstrap").map(({ tag }) => tag);
        assert.equal(tags.includes("loading_keys"), start === "first", `${start}: ${tags}`);
        assert.equal(await tunic.stop(), 0);
      }
    } finally {
      rmSync(dataDirectory, { recursive: true, force: true });
    }
  });
});

describe("the library", () => {
  test("carries 100 MiB down and 50 MiB up, byte for byte, and 300 streams at once", async () => {
    await using tor = await launchTestClient(network.net.directoryAuthorities);
    const down = await tor.fetch(`${server.url}/bytes/${100 * MIB}`);
    const expected = content(100 * MIB);
    const rest = new Comparison(expected);
    for await (const part of down.body!) rest.check(part);
    assert.equal(rest.bytes, 100 * MIB);

    const parts = content(50 * MIB);
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        const { done, value } = parts.next();
        if (done) controller.close();
        else controller.enqueue(value.slice());
      },
    });
    const up = await tor.fetch(`${server.url}/sink`, { method: "POST", body });
    assert.deepEqual(await up.json(), { bytes: 50 * MIB, sha256: contentSha256(50 * MIB) });

    const before = network.streams.length;
    const wanted = contentSha256(PIECE_BYTES / 4);
    const digests = await Promise.all(Array.from({ length: 300 }, async () => {
      const answer = await tor.fetch(`${server.url}/bytes/${PIECE_BYTES / 4}`);
      const digest = await crypto.subtle.digest("SHA-256", await answer.arrayBuffer());
      return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    }));
    assert.equal(digests.filter((digest) => digest === wanted).length, 300);
    assert.equal(network.streams.length, before + 300);
    assert.equal(circuitsSince(before), 1, "what may share a circuit does");
  });

  test("gives every isolation key a circuit of its own, and one key one circuit", async () => {
    await using tor = await launchTestClient(network.net.directoryAuthorities);
    await tor.ready();
    const before = network.streams.length;
    const keys = Array.from({ length: 12 }, (_, i) => `key ${i}`);
    const ask = async (isolation: string) =>
      assert.equal(await (await tor.fetch(`${server.url}/hello`, { isolation })).text(), HELLO);
    await Promise.all(keys.map(ask));
    assert.equal(circuitsSince(before), keys.length);
    for (const key of keys) await ask(key);
    assert.equal(network.streams.length, before + 2 * keys.length);
    assert.equal(circuitsSince(before), keys.length);
    assert.equal(tor.snapshot.circuits.dirty, keys.length);
  });

  test("resolves at the exit, and says why it cannot", async () => {
    await using tor = await launchTestClient(network.net.directoryAuthorities);
    const options = { isolation: "" };
    const values = async (name: string) => (await tor.resolve(name, options)).map(({ type, value }) => [type, value]);
    assert.deepEqual(await values("web.tunic.test"), [["ipv4", "127.0.0.1"]]);
    assert.deepEqual(await values("six.tunic.test"), [["ipv6", "::1"]]);
    assert.deepEqual(await tor.resolvePtr("127.0.0.9", options), ["other.tunic.test"]);
    await assert.rejects(tor.resolve("nowhere.tunic.test", options), (error) => isTunicError(error, "resolve"));
    await assert.rejects(tor.connect("nowhere.tunic.test", 80), (error) => isTunicError(error, "stream", "resolve"));
    await assert.rejects(tor.connect("127.0.0.1", 1), (error) => isTunicError(error, "stream"));
  });

  test("launches, closes and launches again, and leaves nothing behind", async () => {
    const orPorts = new Set(network.net.relays.map(({ orPort }) => orPort));
    for (let round = 0; round < 3; round++) {
      const machine = new ObservedMachine();
      const tor = await launchTestClient(network.net.directoryAuthorities, { runtime: machine.runtime });
      const seen: string[] = [];
      tor.events.on("bootstrap", ({ tag }) => seen.push(tag));
      tor.events.on("circuit", ({ state }) => seen.push(`circuit ${state}`));
      tor.events.on("stream", ({ state }) => seen.push(`stream ${state}`));
      assert.equal(await (await tor.fetch(`${server.url}/hello`)).text(), HELLO);
      assert.ok(machine.connections > 0);
      await tor.close();
      await poll("the end of its connections", 2_000, () => machine.connections === 0 || undefined, 10);
      assert.equal(machine.timers, 0);
      assert.ok(machine.contacted.every(({ port }) => orPorts.has(port)), "relays are all it connects to");
      for (const event of ["done", "circuit open", "stream open"]) assert.ok(seen.includes(event), event);
      await assert.rejects(tor.connect("127.0.0.1", server.port), (error) => isTunicError(error, "closed"));
    }
  });

  test("lets a program end by itself once it has closed its client", async () => {
    assert.equal(await runShortProgram(network.net.directoryAuthorities), 0);
  });

  test("stops a launch and a request that are aborted", async () => {
    const launch = new AbortController();
    const tor = await launchTestClient(network.net.directoryAuthorities, { signal: launch.signal });
    const ready = tor.ready();
    launch.abort();
    await assert.rejects(ready, (error) => isTunicError(error, "aborted", "closed"));
    await tor.close();

    await using other = await launchTestClient(network.net.directoryAuthorities);
    await other.ready();
    const request = new AbortController();
    const answer = await other.fetch(`${server.url}/bytes/${100 * MIB}`, { signal: request.signal });
    const reading = answer.arrayBuffer();
    request.abort();
    await assert.rejects(reading);
    assert.equal(await (await other.fetch(`${server.url}/hello`)).text(), HELLO);
  });
});

/** Compares what comes with what should come, without keeping either. */
class Comparison {
  readonly #expected: Iterator<Uint8Array>;
  #piece: Uint8Array = new Uint8Array(0);
  bytes = 0;

  constructor(expected: Iterator<Uint8Array>) {
    this.#expected = expected;
  }

  check(part: Uint8Array): void {
    while (part.length > 0) {
      if (this.#piece.length === 0) this.#piece = this.#expected.next().value ?? new Uint8Array(0);
      const length = Math.min(part.length, this.#piece.length);
      assert.ok(length > 0, "more came than was sent");
      assert.equal(Buffer.compare(part.subarray(0, length), this.#piece.subarray(0, length)), 0, `at ${this.bytes}`);
      this.bytes += length;
      part = part.subarray(length);
      this.#piece = this.#piece.subarray(length);
    }
  }
}
