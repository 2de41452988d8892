/**
 * tunic's client beside C tor's, in turn, on one private network of C tor's relays and one local server: start to first
 * byte, throughput both ways, CPU time, parallel streams, memory. Prints medians and ratios as a table.
 *
 *     deno task bench:compare [--rounds 3] [--json] [--source]
 *
 * `--source` runs tunic from source on Bun instead of the executable in dist/. Absolute figures hold for the machine
 * they were taken on; the ratio travels better.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type CTorNetwork, startCTorNetwork } from "../tests/interop/ctor_network.ts";
import { freePorts } from "../tests/interop/ctor_process.ts";
import { delay } from "../tests/support/poll.ts";
import { curl } from "../tests/support/curl.ts";
import { content, type LocalServer, startLocalServerProcess } from "../tests/support/local_server.ts";
import { download } from "../tests/support/socks_client.ts";
import { findBun } from "./bun.ts";

const MIB = 1 << 20;
const MB = 1e6;
const DOWNLOAD_BYTES = 100 * MIB;
const UPLOAD_BYTES = 50 * MIB;
const STREAMS = 300;
const STREAM_BYTES = 256 * 1024;
/** Clock ticks a second in /proc/PID/stat, on every Linux we build for. */
const TICKS = 100;
const EXECUTABLE = fileURLToPath(new URL("../dist/tunic-linux-x64", import.meta.url));
const MAIN = fileURLToPath(new URL("../src/app/main.ts", import.meta.url));

const { values: options } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    json: { type: "boolean", default: false },
    source: { type: "boolean", default: false },
  },
});
const rounds = Number(options.rounds);
if (!(Number.isInteger(rounds) && rounds >= 1 && rounds <= 50)) fail("--rounds takes a whole number from 1 to 50");
if (!options.source && !existsSync(EXECUTABLE)) fail("there is no dist/tunic-linux-x64: run `deno task build` first");

/** What is measured of one client in one round; bytes per second, seconds, bytes. */
const METRICS = {
  coldStart: ["cold start to first byte, s", 2],
  warmStart: ["warm start to first byte, s", 2],
  idleMemory: ["memory after start, MB", 1],
  download: ["download, MB/s", 1],
  downloadCpu: ["CPU s per 100 MB down", 2],
  upload: ["upload, MB/s", 1],
  uploadCpu: ["CPU s per 100 MB up", 2],
  parallelOk: [`streams of 256 KiB that succeed, of ${STREAMS}`, 0],
  parallelP50: ["time to first byte, p50, s", 2],
  parallelP95: ["time to first byte, p95, s", 2],
  parallelCpu: ["CPU s for all streams", 2],
  loadMemory: ["memory after load, MB", 1],
  peakMemory: ["peak memory, MB", 1],
} as const satisfies Record<string, readonly [name: string, digits: number]>;

type Metric = keyof typeof METRICS;
type Round = Record<Metric, number>;

interface Contender {
  readonly name: string;
  command(dataDirectory: string, socksPort: number): readonly string[];
}

function contenders(network: CTorNetwork): readonly [Contender, Contender] {
  const file = join(network.directory, "client.torrc");
  writeFileSync(file, `${network.torrc.join("\n")}\nClientOnly 1\nLog notice file /dev/null\n`);
  const parameters = (dataDirectory: string, socksPort: number) => [
    ...["-f", file, "--DataDirectory", dataDirectory, "--SocksPort", `127.0.0.1:${socksPort}`],
  ];
  const tunic = options.source ? [findBun(), MAIN] : [EXECUTABLE];
  return [
    { name: "tunic", command: (...where) => [...tunic, "run", "--quiet", ...parameters(...where)] },
    { name: "C tor", command: (...where) => ["tor", "--quiet", ...parameters(...where)] },
  ];
}

class Client implements AsyncDisposable {
  readonly socksPort: number;
  readonly #child: ChildProcess;
  readonly #ended: Promise<void>;

  constructor(command: readonly string[], socksPort: number) {
    this.socksPort = socksPort;
    this.#child = spawn(command[0]!, command.slice(1), { stdio: "ignore" });
    this.#ended = new Promise((resolve) => this.#child.once("close", () => resolve()));
  }

  /** Seconds of CPU time, user and system, of all its threads so far. */
  get cpu(): number {
    const stat = readFileSync(`/proc/${this.#child.pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS;
  }

  /** Resident bytes now, or at most so far. */
  memory(which: "VmRSS" | "VmHWM"): number {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, "latin1");
    return Number(new RegExp(`^${which}:\\s*(\\d+) kB`, "m").exec(status)![1]) * 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.kill(this.#child.pid!, "SIGTERM");
    await this.#ended;
  }
}

/** Starts a client and answers it with the seconds from its start to the first byte of a page. */
async function start(
  contender: Contender,
  dataDirectory: string,
  server: LocalServer,
): Promise<{ client: Client; seconds: number }> {
  const [socksPort] = await freePorts(1) as [number];
  const started = performance.now();
  const client = new Client(contender.command(dataDirectory, socksPort), socksPort);
  while (performance.now() - started < 60_000) {
    const answer = await download({ socksPort, host: "127.0.0.1", port: server.port }, "/hello").catch(() => undefined);
    if (answer) return { client, seconds: (performance.now() - started) / 1000 };
    await delay(5);
  }
  await client[Symbol.asyncDispose]();
  return fail(`${contender.name} fetched nothing within 60 s`);
}

/** Runs `work` of so many bytes; answers its MB/s and the client's CPU seconds for 100 MB. */
async function transfer(client: Client, bytes: number, work: () => Promise<{ exitCode: number; message: string }>) {
  const cpu = client.cpu;
  const started = performance.now();
  const { exitCode, message } = await work();
  if (exitCode !== 0) fail(`a transfer failed: ${message}`);
  const seconds = (performance.now() - started) / 1000;
  return { speed: bytes / MB / seconds, cpu: (client.cpu - cpu) / (bytes / (100 * MB)) };
}

async function measure(contender: Contender, server: LocalServer): Promise<Round> {
  const dataDirectory = mkdtempSync(join(tmpdir(), "tunic-bench-"));
  try {
    const cold = await start(contender, dataDirectory, server);
    // Both write their caches a little later.
    await delay(12_000);
    await cold.client[Symbol.asyncDispose]();
    const warm = await start(contender, dataDirectory, server);
    await using client = warm.client;
    const { socksPort } = client;
    await delay(3_000);
    const idleMemory = client.memory("VmRSS") / MB;
    const long = { socksPort, digestOnly: true, timeoutSeconds: 120 };
    const down = await transfer(client, DOWNLOAD_BYTES, () => curl(`${server.url}/bytes/${DOWNLOAD_BYTES}`, long));
    const up = await transfer(
      client,
      UPLOAD_BYTES,
      () => curl(`${server.url}/sink`, { ...long, upload: content(UPLOAD_BYTES) }),
    );
    const cpu = client.cpu;
    const target = { socksPort, host: "127.0.0.1", port: server.port };
    const streams = await Promise.allSettled(
      Array.from({ length: STREAMS }, () => download(target, `/bytes/${STREAM_BYTES}`)),
    );
    const whole = streams.flatMap((outcome) =>
      outcome.status === "fulfilled" && outcome.value.bytes === STREAM_BYTES ? [outcome.value.firstByteMs / 1000] : []
    ).sort((a, b) => a - b);
    return {
      coldStart: cold.seconds,
      warmStart: warm.seconds,
      idleMemory,
      download: down.speed,
      downloadCpu: down.cpu,
      upload: up.speed,
      uploadCpu: up.cpu,
      parallelOk: whole.length,
      parallelP50: whole[Math.floor(whole.length * 0.5)] ?? NaN,
      parallelP95: whole[Math.floor(whole.length * 0.95)] ?? NaN,
      parallelCpu: client.cpu - cpu,
      loadMemory: client.memory("VmRSS") / MB,
      peakMemory: client.memory("VmHWM") / MB,
    };
  } finally {
    rmSync(dataDirectory, { recursive: true, force: true });
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function fail(message: string): never {
  console.error(`bench:compare: ${message}`);
  process.exit(1);
}

function note(text: string): void {
  if (!options.json) console.error(text);
}

note("starting a private network of seven C tor relays");
await using network = await startCTorNetwork();
await using server = await startLocalServerProcess();
const pair = contenders(network);
const results = new Map<Contender, Round[]>(pair.map((contender) => [contender, []]));
for (let round = 0; round < rounds; round++) {
  // Who goes first changes, so that a machine that warms up or slows down favours nobody.
  for (const contender of round % 2 === 0 ? pair : pair.toReversed()) {
    note(`round ${round + 1} of ${rounds}: ${contender.name}`);
    results.get(contender)!.push(await measure(contender, server));
  }
}

if (options.json) {
  console.log(JSON.stringify(Object.fromEntries(pair.map((contender) => [contender.name, results.get(contender)]))));
} else {
  const [ours, theirs] = pair.map((contender) => results.get(contender)!) as [Round[], Round[]];
  console.log(`| median of ${rounds} | tunic | C tor | ratio |\n|---|--:|--:|--:|`);
  for (const [metric, [name, digits]] of Object.entries(METRICS) as [Metric, readonly [string, number]][]) {
    const [a, b] = [median(ours.map((round) => round[metric])), median(theirs.map((round) => round[metric]))];
    console.log(`| ${name} | ${a.toFixed(digits)} | ${b.toFixed(digits)} | ${(a / b).toFixed(2)} |`);
  }
}
