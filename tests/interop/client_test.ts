/** The client's main job, over C tor's relays: pages through SOCKS, from source and with the built executable. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { sharedCTorNetwork, skipWithoutCTor } from "./ctor_network.ts";
import { curl } from "../support/curl.ts";
import { startDnsServer } from "./dns_server.ts";
import { content, contentSha256, HELLO, startLocalServerProcess } from "../support/local_server.ts";
import { download, RESOLVE, RESOLVE_PTR, socksRequest } from "../support/socks_client.ts";
import { skipWithoutExecutable, startTunic } from "../support/tunic_process.ts";

const MIB = 1 << 20;

for (const from of ["source", "executable"] as const) {
  const skip = skipWithoutCTor() || (from === "executable" && skipWithoutExecutable());
  describe(`tunic run from ${from}`, { skip }, () => {
    test("carries 100 MiB down and 50 MiB up, byte for byte, and 300 streams at once", async () => {
      const network = await sharedCTorNetwork();
      await using server = await startLocalServerProcess();
      await using tunic = startTunic({ from, torrc: network.torrc });
      await tunic.ready();
      const { socksPort } = tunic;

      assert.equal((await curl(`${server.url}/hello`, { socksPort })).text, HELLO);

      const down = await curl(`${server.url}/bytes/${100 * MIB}`, { socksPort, digestOnly: true, timeoutSeconds: 120 });
      assert.deepEqual([down.message, down.bytes, down.sha256], ["", 100 * MIB, contentSha256(100 * MIB)]);

      const up = await curl(`${server.url}/sink`, { socksPort, upload: content(50 * MIB), timeoutSeconds: 120 });
      assert.deepEqual(JSON.parse(up.text || up.message), { bytes: 50 * MIB, sha256: contentSha256(50 * MIB) });

      const target = { socksPort, host: "127.0.0.1", port: server.port };
      const all = await Promise.all(Array.from({ length: 300 }, () => download(target, `/bytes/${256 * 1024}`)));
      const expected = contentSha256(256 * 1024);
      assert.equal(all.filter(({ sha256 }) => sha256 === expected).length, 300);

      assert.equal(await tunic.stop(), 0);
    });

    test("resolves names and addresses at the exit, and keeps user names apart", async () => {
      const network = await sharedCTorNetwork();
      await using server = await startLocalServerProcess();
      await using _dns = await startDnsServer(network.dnsPort);
      await using tunic = startTunic({ from, torrc: network.torrc });
      await tunic.ready();
      const { socksPort } = tunic;
      const lookUp = async (host: string, command: number) => {
        const { code, address, socket } = await socksRequest({ socksPort, host, port: 0 }, command);
        socket.destroy();
        return [code, address];
      };
      assert.deepEqual(await lookUp("web.tunic.test", RESOLVE), [0, "127.0.0.1"]);
      assert.deepEqual(await lookUp("192.0.2.1", RESOLVE_PTR), [0, "web.tunic.test"]);
      assert.equal((await lookUp("nowhere.tunic.test", RESOLVE))[0], 4);
      const byName = await curl(`http://web.tunic.test:${server.port}/hello`, { socksPort });
      assert.equal(byName.text, HELLO);
      for (const user of ["a", "b"]) {
        const answer = await download({ socksPort, host: "127.0.0.1", port: server.port, user }, "/hello");
        assert.equal(answer.bytes, HELLO.length);
      }
      const refused = await socksRequest({ socksPort, host: "127.0.0.1", port: 1 });
      refused.socket.destroy();
      // C tor's exits call a refusal on their own machine MISC, not CONNECTREFUSED.
      assert.ok(refused.code === 1 || refused.code === 5, `reply ${refused.code}`);
      const unknown = await socksRequest({ socksPort, host: "nowhere.tunic.test", port: server.port });
      unknown.socket.destroy();
      assert.equal(unknown.code, 4);
    });

    test("starts again from what it kept, and asks no authority for it", async () => {
      const network = await sharedCTorNetwork();
      await using server = await startLocalServerProcess();
      const dataDirectory = mkdtempSync(join(tmpdir(), "tunic-test-"));
      try {
        for (const start of ["first", "second"]) {
          await using tunic = startTunic({ from, torrc: network.torrc, dataDirectory });
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
}
