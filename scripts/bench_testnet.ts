/**
 * The test network's own figures, over real TLS sockets on loopback, all in this one process and thread: start-up,
 * memory of an idle network, time to a client's first byte, and cells through each relay of a path.
 *
 *     deno run -A scripts/bun.ts scripts/bench_testnet.ts [--json]
 *
 * The thread that forwards for one relay also forwards for the other two and plays client, server and exit: what one
 * relay does by itself is more than what is printed.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { parseArgs } from "node:util";
import { startTestnet, TorClient } from "../mod.ts";

const MB = 1e6;
const BYTES = 200 * MB;
const DATA_BYTES_PER_CELL = 498;
const RELAYS = 10;

const { values } = parseArgs({ options: { json: { type: "boolean", default: false } } });

const block = new Uint8Array(64 * 1024);
const server = createServer((request, response) => {
  let left = request.url === "/hello" ? 6 : BYTES;
  response.setHeader("Content-Length", left);
  const send = (): void => {
    while (left > 0) {
      const piece = block.subarray(0, left);
      left -= piece.length;
      if (!response.write(piece)) return void response.once("drain", send);
    }
    response.end();
  };
  send();
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

const started = performance.now();
await using net = await startTestnet({ relays: RELAYS - 3, authorities: 3 });
const startMs = performance.now() - started;
await new Promise((resolve) => setTimeout(resolve, 3_000));
const idleMemory = process.memoryUsage().rss;

const launched = performance.now();
await using tor = await TorClient.launch({
  directoryAuthorities: net.directoryAuthorities,
  testingTorNetwork: true,
});
await (await tor.fetch(`${url}/hello`)).arrayBuffer();
const firstByteMs = performance.now() - launched;

const cpu = process.cpuUsage();
const begun = performance.now();
const response = await tor.fetch(`${url}/bytes`);
let bytes = 0;
for await (const part of response.body!) bytes += part.length;
const seconds = (performance.now() - begun) / 1000;
const { user, system } = process.cpuUsage(cpu);
if (bytes !== BYTES) throw new Error(`${bytes} bytes came, expected ${BYTES}`);

const figures = {
  relays: RELAYS,
  startMs: Math.round(startMs),
  idleMemoryMB: Math.round(idleMemory / MB),
  clientFirstByteMs: Math.round(firstByteMs),
  downloadMBs: Math.round(BYTES / MB / seconds),
  cellsPerSecondThroughEachRelay: Math.round(BYTES / DATA_BYTES_PER_CELL / seconds),
  cpuSecondsPer100MB: Number(((user + system) / 1e6 / (BYTES / (100 * MB))).toFixed(2)),
};
if (values.json) console.log(JSON.stringify(figures));
else for (const [name, value] of Object.entries(figures)) console.log(`${name.padEnd(32)}${value}`);

server.close();
server.closeAllConnections();
