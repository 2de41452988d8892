/**
 * A network of the public one's size, made of relays that nobody runs: what it costs a client to start on it, C tor
 * and tunic side by side as processes of their own. Prints a table of time, bytes fetched (TLS not counted) and
 * resident memory, first when the client says that it is ready, then when it has fetched all it wants.
 *
 *     deno task build && deno run -A scripts/bun.ts scripts/measure_phantoms.ts [--relays 10000]
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { startCTorClient } from "../tests/interop/ctor_client.ts";
import { delay } from "../tests/support/poll.ts";
import { ObservedMachine } from "../tests/support/test_network.ts";
import { startTunic } from "../tests/support/tunic_process.ts";
import { startTestnet } from "../mod.ts";

interface Figures {
  readonly seconds: number;
  readonly fetchedMB: number;
  readonly residentMB: number;
}

/** No bytes for so long, and the client has what it wants. */
const QUIET_MS = 5000;
const MB = 1e6;

const { values } = parseArgs({ options: { relays: { type: "string", default: "10000" } } });

const machine = new ObservedMachine();
const begun = performance.now();
await using net = await startTestnet({ phantomRelays: Number(values.relays), runtime: machine.runtime });
console.log(
  `network with ${values.relays} phantom relays: ${((performance.now() - begun) / 1000).toFixed(2)} s to start`,
);
const newest = net.directory.documents.consensuses("microdesc")[0]!;
console.log(`consensus: ${(newest.text.length / MB).toFixed(2)} MB`);

async function measure(name: string, pid: number, ready: () => Promise<unknown>): Promise<void> {
  const started = performance.now();
  const bytesBefore = machine.answeredBytes;
  const figures = (at: number): Figures => ({
    seconds: (at - started) / 1000,
    fetchedMB: (machine.answeredBytes - bytesBefore) / MB,
    residentMB: memoryMB(pid, "VmRSS"),
  });
  await ready();
  print(name, "ready", figures(performance.now()));
  let changed = performance.now();
  for (let seen = machine.answeredBytes; performance.now() - changed < QUIET_MS; await delay(100)) {
    // Padding goes on for ever.
    if (machine.answeredBytes - seen > 5000) changed = performance.now();
    seen = machine.answeredBytes;
  }
  print(name, "has all", figures(changed));
  console.log(`${name.padEnd(12)} peak resident ${memoryMB(pid, "VmHWM").toFixed(0)} MB`);
}

function print(name: string, when: string, { seconds, fetchedMB, residentMB }: Figures): void {
  console.log(
    `${name.padEnd(12)} ${when.padEnd(8)} ${seconds.toFixed(2).padStart(7)} s ${fetchedMB.toFixed(2).padStart(7)} MB ` +
      `fetched ${residentMB.toFixed(0).padStart(5)} MB resident`,
  );
}

function memoryMB(pid: number, field: "VmRSS" | "VmHWM"): number {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(line?.[1] ?? 0) * 1024 / MB;
}

{
  await using tor = await startCTorClient({ torrc: net.torrc });
  await measure("C tor", tor.pid, () => tor.bootstrapped());
}
{
  await using tunic = startTunic({ from: "executable", torrc: net.torrc });
  await measure("tunic", tunic.pid, () => tunic.ready());
}
