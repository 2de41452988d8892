/** The real runtime, on `node:` modules: one implementation for Deno, Bun and Node. */
import { performance } from "node:perf_hooks";
import type { Runtime, Timer } from "./ports.ts";
import { nodeCompression } from "./node_compression.ts";
import { nodeFiles } from "./node_files.ts";
import { nodeNetwork } from "./node_network.ts";
import { systemRandom } from "./system_random.ts";

/** What setTimeout can count; longer waits are made of several. */
const LONGEST_DELAY_MS = 2 ** 31 - 1;

export const nodeRuntime: Runtime = {
  clock: { now: () => Date.now(), monotonic: () => performance.now() },
  timers: { after, soon: (callback) => void setImmediate(callback) },
  network: nodeNetwork,
  // Loaded when first used: most programs that run a client speak SOCKS to it.
  http: {
    exchange: async (connection, request) => (await import("./node_http.ts")).nodeHttp.exchange(connection, request),
  },
  compression: nodeCompression,
  files: nodeFiles,
  random: (count) => systemRandom.random(count),
};

function after(delayMs: number, callback: () => void): Timer {
  let left = Math.max(0, delayMs);
  let handle: ReturnType<typeof setTimeout>;
  const arm = (): void => {
    const step = Math.min(left, LONGEST_DELAY_MS);
    left -= step;
    handle = setTimeout(left > 0 ? arm : callback, step);
  };
  arm();
  return { cancel: () => clearTimeout(handle) };
}
