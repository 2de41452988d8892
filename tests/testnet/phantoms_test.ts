/** The public network's size: a consensus of ten thousand relays that nobody runs, and what it costs a client. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { curl } from "../support/curl.ts";
import { HELLO, startLocalServer } from "../support/local_server.ts";
import { nicknames, startObservedNetwork } from "../support/test_network.ts";
import { startTunic } from "../support/tunic_process.ts";

const MIB = 1 << 20;
const PHANTOMS = 10_000;
const REQUESTS = 25;

function residentMib(pid: number): number {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))!;
  return Math.round(Number(kib) / 1024);
}

test("a client bootstraps from a consensus of 10,000 phantoms, and takes none of them", async () => {
  await using network = await startObservedNetwork({ phantomRelays: PHANTOMS });
  await using server = await startLocalServer();
  const { net, machine, streams } = network;
  const startedAt = performance.now();
  await using tunic = startTunic({ torrc: net.torrc });
  await tunic.ready();
  const readyMs = Math.round(performance.now() - startedAt);
  const fetched = machine.answeredBytes;
  assert.ok(fetched > MIB, `${fetched} bytes for so many relays`);
  for (let i = 0; i < REQUESTS; i++) {
    const answer = await curl(`${server.url}/hello`, { socksPort: tunic.socksPort, user: `user${i}:x` });
    assert.equal(answer.text, HELLO);
  }
  const known = new Set(net.relays.map(({ nickname }) => nickname));
  assert.equal(new Set(streams.map(({ path }) => path)).size, REQUESTS);
  for (const { path } of streams) {
    assert.equal(path.length, 3);
    for (const nickname of nicknames(path)) assert.ok(known.has(nickname), nickname);
  }
  const failed = tunic.events.filter(({ event, state }) => event === "circuit" && state === "failed");
  assert.deepEqual(failed, []);
  const rss = residentMib(tunic.pid);
  console.log(
    `${PHANTOMS} phantoms: ready in ${readyMs} ms, ${(fetched / MIB).toFixed(1)} MiB fetched by then, ` +
      `${rss} MiB resident after ${REQUESTS} circuits`,
  );
  assert.ok(rss < 400, `${rss} MiB`);
  assert.equal(await tunic.stop(), 0);
});
