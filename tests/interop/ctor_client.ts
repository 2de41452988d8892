/** C tor as a client of a private network: the yardstick, and the judge of what the network can do. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { delay } from "../support/poll.ts";
import { endProcesses, freePorts, isAlive, logTail, startTor } from "./ctor_process.ts";

const ABOUT_ITS_TORRC =
  /running Tor as root|TestingTorNetwork is set|You have used DirAuthority|Your log may contain sensitive information/;

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

  /** A file of its data directory; empty if there is none. "notice.log" is its log. */
  read(name: string): string {
    try {
      return readFileSync(join(this.dataDirectory, name), "utf8");
    } catch {
      return "";
    }
  }

  /** The newest bootstrap percentage in its log. */
  get progress(): number {
    return Number([...this.read("notice.log").matchAll(/Bootstrapped (\d+)%/g)].at(-1)?.[1] ?? 0);
  }

  /** What it warns of, but for what any client of a private network under test is warned of. */
  get warnings(): string[] {
    return this.read("notice.log").split("\n").filter((line) =>
      /\[(warn|err)\]/.test(line) && !ABOUT_ITS_TORRC.test(line)
    );
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

/** Where a client can live: what makes it know the network, and where its data directory goes. */
export interface ClientNetwork {
  readonly torrc: readonly string[];
  /** Default: the system's temporary directory. */
  readonly directory?: string;
}

/**
 * Starts C tor on this network with a SocksPort; `await client.bootstrapped()` before using it. Of `extraTorrc`,
 * `%D` stands for its data directory.
 */
export async function startCTorClient(network: ClientNetwork, extraTorrc: readonly string[] = []): Promise<CTorClient> {
  const [socksPort, controlPort] = await freePorts(2) as [number, number];
  const dataDirectory = mkdtempSync(join(network.directory ?? tmpdir(), "tunic-ctor-client-"));
  const pid = startTor(dataDirectory, [
    ...network.torrc,
    "ClientOnly 1",
    `SocksPort 127.0.0.1:${socksPort}`,
    `ControlPort 127.0.0.1:${controlPort}`,
    "CookieAuthentication 1",
    ...extraTorrc.map((line) => line.replaceAll("%D", dataDirectory)),
  ]);
  return new CTorClient({ socksPort, controlPort, pid, dataDirectory });
}
