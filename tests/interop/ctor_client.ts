/** C tor as a client of a private network: the yardstick, and the judge of what the network can do. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { CTorNetwork } from "./ctor_network.ts";
import { delay } from "../support/poll.ts";
import { endProcesses, freePorts, isAlive, logTail, startTor } from "./ctor_process.ts";

export class CTorClient implements AsyncDisposable {
  readonly socksPort: number;
  readonly controlPort: number;
  readonly pid: number;
  readonly dataDirectory: string;

  constructor(options: { socksPort: number; controlPort: number; pid: number; dataDirectory: string }) {
    this.socksPort = options.socksPort;
    this.controlPort = options.controlPort;
    this.pid = options.pid;
    this.dataDirectory = options.dataDirectory;
  }

  /** The newest bootstrap percentage in its log. */
  get progress(): number {
    try {
      const log = readFileSync(join(this.dataDirectory, "notice.log"), "utf8");
      return Number([...log.matchAll(/Bootstrapped (\d+)%/g)].at(-1)?.[1] ?? 0);
    } catch {
      return 0;
    }
  }

  /** Resolves when it is bootstrapped to 100 %. */
  async bootstrapped(timeoutMs = 60_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (this.progress < 100) {
      if (!isAlive(this.pid) || Date.now() > deadline) {
        throw new Error(`Cannot bootstrap C tor: stopped at ${this.progress} %:\n${logTail(this.dataDirectory)}`);
      }
      await delay(20);
    }
  }

  /** Ends it and removes its data directory. */
  async stop(): Promise<void> {
    await endProcesses([this.pid]);
    rmSync(this.dataDirectory, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** Starts C tor on this network with a SocksPort; `await client.bootstrapped()` before using it. */
export async function startCTorClient(network: CTorNetwork, extraTorrc: readonly string[] = []): Promise<CTorClient> {
  const [socksPort, controlPort] = await freePorts(2) as [number, number];
  const dataDirectory = mkdtempSync(join(network.directory, "client-"));
  const pid = startTor(dataDirectory, [
    ...network.torrc,
    "ClientOnly 1",
    `SocksPort 127.0.0.1:${socksPort}`,
    `ControlPort 127.0.0.1:${controlPort}`,
    "CookieAuthentication 1",
    ...extraTorrc,
  ]);
  return new CTorClient({ socksPort, controlPort, pid, dataDirectory });
}
