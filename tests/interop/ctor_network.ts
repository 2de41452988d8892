/**
 * A private network of C tor on 127.0.0.1: authorities that agree on a consensus within seconds, exits that let
 * everything local through, and the torrc lines with which a client joins.
 *
 * `startCTorNetwork` makes one of its own, for tests that break it; `sharedCTorNetwork` gives every test file of
 * one run the same, which lives until the run's process ends.
 */
import { Buffer } from "node:buffer";
import { execFile, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { delay, poll } from "../support/poll.ts";
import { accepts, endProcesses, freePorts, isAlive, logTail, startTor } from "./ctor_process.ts";

export { ctorAvailable, skipWithoutCTor } from "./ctor_process.ts";

export interface CTorNode {
  readonly nickname: string;
  readonly role: "authority" | "exit";
  readonly orPort: number;
  readonly dirPort: number;
  readonly controlPort: number;
  /** RSA identity, 40 hexadecimal digits in capitals. */
  readonly fingerprint: string;
  /** Ed25519 identity, base64 without padding. */
  readonly ed25519Id: string;
  /** Identity of an authority's certificate, 40 hexadecimal digits. */
  readonly v3ident?: string;
  readonly dataDirectory: string;
  /** Changes with every restart. */
  readonly pid: number;
}

export interface CTorNetworkOptions {
  /** Default 3. */
  readonly authorities?: number;
  /** Default 4. */
  readonly exits?: number;
  /** Lines for the torrc of every relay, or of one. */
  readonly extraTorrc?: readonly string[] | ((nickname: string, role: CTorNode["role"]) => readonly string[]);
  /** Called once the processes are started: what it publishes in a second or two is in the first consensus. */
  readonly onStarted?: (nodes: readonly CTorNode[]) => Promise<void>;
  /** How long the network may take to agree on a full consensus; default 90 s. */
  readonly timeoutMs?: number;
}

/** What a network is known by on disk, so that another test file can take it over. */
interface Description {
  readonly directory: string;
  readonly dnsPort: number;
  readonly torrc: readonly string[];
  readonly nodes: readonly CTorNode[];
}

/** The first consensus comes on a multiple of this interval; its votes are cast two delays earlier. */
const FIRST_INTERVAL_MS = 10_000;
const FIRST_DELAY_MS = 2000;
/** What relays need to start and publish their descriptors, on a busy machine. */
const START_MS = 3000;

const AUTHORITY_TORRC = [
  "AuthoritativeDirectory 1",
  "V3AuthoritativeDirectory 1",
  `TestingV3AuthInitialVotingInterval ${FIRST_INTERVAL_MS / 1000}`,
  `TestingV3AuthInitialVoteDelay ${FIRST_DELAY_MS / 1000}`,
  `TestingV3AuthInitialDistDelay ${FIRST_DELAY_MS / 1000}`,
  "V3AuthVotingInterval 20",
  "V3AuthVoteDelay 4",
  "V3AuthDistDelay 4",
  "MinUptimeHidServDirectoryV2 0",
  "AuthDirMaxServersPerAddr 0",
  "AuthDirTestReachability 0",
  "ConsensusParams cc_alg=2 cc_sscap_exit=600",
];

const RELAY_TORRC = [
  "AssumeReachable 1",
  "TestingDirAuthVoteExit *",
  "TestingDirAuthVoteHSDir *",
  "TestingDirAuthVoteGuard *",
  "TestingMinExitFlagThreshold 0",
  "V3AuthNIntervalsValid 2",
  "ShutdownWaitLength 1",
  "CookieAuthentication 1",
  "Sandbox 0",
  "SocksPort 0",
  // The usual scheduler wakes up every 10 ms and so hides what a client costs.
  "Schedulers Vanilla",
];

const EXIT_TORRC = [
  "ExitRelay 1",
  "ExitPolicy accept 127.0.0.0/8:*",
  "ExitPolicy accept private:*",
  "ExitPolicyRejectPrivate 0",
  "ServerDNSDetectHijacking 0",
  "ServerDNSTestAddresses",
];

const CLIENT_TORRC = ["TestingTorNetwork 1", "PathsNeededToBuildCircuits 0.67"];

export class CTorNetwork implements AsyncDisposable {
  /** Holds the data directories of all nodes. */
  readonly directory: string;
  /** Where the exits ask for names: a test that wants answers starts `startDnsServer` there. */
  readonly dnsPort: number;
  /** Lines that make a client (C tor's or ours) know this network and no other. */
  readonly torrc: readonly string[];
  readonly #nodes: (CTorNode & { pid: number })[];

  constructor(description: Description) {
    this.directory = description.directory;
    this.dnsPort = description.dnsPort;
    this.torrc = description.torrc;
    this.#nodes = description.nodes.map((node) => ({ ...node }));
  }

  get nodes(): readonly CTorNode[] {
    return this.#nodes;
  }

  node(nickname: string): CTorNode {
    const node = this.#nodes.find((each) => each.nickname === nickname);
    if (!node) throw new Error(`Cannot find relay ${nickname}: the network has ${this.#nodes.map((n) => n.nickname)}`);
    return node;
  }

  /** Ends one relay at once, as a crash would; resolves when its ports refuse connections. */
  async kill(nickname: string): Promise<void> {
    const node = this.node(nickname);
    await endProcesses([node.pid], "SIGKILL");
    await poll(`relay ${nickname} refusing`, 5000, async () => await accepts(node.orPort) ? undefined : true, 10);
  }

  /** Starts a relay again with its old identity and ports; resolves when it accepts connections. */
  async restart(nickname: string): Promise<void> {
    await this.kill(nickname);
    const node = this.#nodes.find((each) => each.nickname === nickname)!;
    node.pid = startTor(node.dataDirectory, readOwnLines(node.dataDirectory));
    writeDescription(this);
    await poll(`relay ${nickname} listening again`, 15_000, async () => await accepts(node.orPort) || undefined, 20);
  }

  /** Restarts whatever does not run, so that a test finds the whole network whatever the one before did. */
  async repair(): Promise<void> {
    await Promise.all(
      this.#nodes.filter((node) => !isAlive(node.pid)).map((node) => this.restart(node.nickname)),
    );
  }

  /**
   * Resolves when every authority and every directory cache serves a consensus with all relays running, and their
   * microdescriptors. Relays that asked too early would ask again only after a growing pause: SIGHUP ends that pause.
   */
  async ready(timeoutMs = 90_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    let hurriedAt = Date.now();
    const authoritiesFirst = this.#nodes.toSorted((a, b) => a.role.localeCompare(b.role));
    for (const node of authoritiesFirst) {
      await poll(`a full consensus at ${node.nickname}`, Math.max(0, deadline - Date.now()), async () => {
        const ended = this.#nodes.find((each) => !isAlive(each.pid));
        if (ended) {
          throw new Error(`Cannot start ${ended.nickname}: tor ended, and said:\n${logTail(ended.dataDirectory)}`);
        }
        if (await this.#isServedBy(node)) return true;
        if (node.role === "exit" && Date.now() - hurriedAt > 1500) {
          hurriedAt = Date.now();
          for (const each of this.#nodes) {
            if (each.role === "exit") process.kill(each.pid, "SIGHUP");
          }
        }
        return undefined;
      });
    }
  }

  async #isServedBy(node: CTorNode): Promise<boolean> {
    const consensus = await getText(node.dirPort, "status-vote/current/consensus-microdesc");
    const flags = [...consensus.matchAll(/^s (.*)$/gm)].map((match) => match[1]!.split(" "));
    const withFlag = (flag: string) => flags.filter((each) => each.includes(flag)).length;
    const digests = [...consensus.matchAll(/^m (.*)$/gm)].map((match) => match[1]!);
    if (withFlag("Running") < this.#nodes.length || withFlag("Guard") < this.#nodes.length) return false;
    if (withFlag("Exit") < this.#nodes.filter((each) => each.role === "exit").length) return false;
    const microdescs = await getText(node.dirPort, `micro/d/${digests.join("-")}`);
    return microdescs.split("onion-key\n").length - 1 === digests.length;
  }

  /** Ends every relay and removes their directories. */
  async stop(): Promise<void> {
    await endProcesses(this.#nodes.map((node) => node.pid));
    rmSync(this.directory, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** Starts a network and waits until a client can use all of it, about 15 s. */
export async function startCTorNetwork(options: CTorNetworkOptions = {}): Promise<CTorNetwork> {
  return await startIn(mkdtempSync(join(tmpdir(), "tunic-ctor-")), options);
}

/**
 * The network that all test files of this process share. Whoever kills relays restarts them (`repair`) or is
 * content that the next caller of this function does. It ends when the process does: a watcher sees to that, since
 * no test file knows whether it is the last.
 */
export async function sharedCTorNetwork(): Promise<CTorNetwork> {
  const directory = join(tmpdir(), `tunic-ctor-shared-${process.pid}`);
  let first = true;
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch {
    first = false;
  }
  if (first) return await startIn(directory, {});
  const description = await poll("the shared network of another test file", 90_000, () => {
    try {
      return JSON.parse(readFileSync(join(directory, "network.json"), "utf8")) as Description;
    } catch {
      return undefined;
    }
  });
  const network = new CTorNetwork(description);
  await network.repair();
  await network.ready();
  return network;
}

async function startIn(directory: string, options: CTorNetworkOptions): Promise<CTorNetwork> {
  watch(directory);
  try {
    return await launch(directory, options);
  } catch (error) {
    await endProcesses(pidsUnder(directory));
    rmSync(directory, { recursive: true, force: true });
    throw error;
  }
}

async function launch(directory: string, options: CTorNetworkOptions): Promise<CTorNetwork> {
  const authorities = options.authorities ?? 3;
  const roles = Array.from({ length: authorities + (options.exits ?? 4) }, (_, index) => {
    const role: CTorNode["role"] = index < authorities ? "authority" : "exit";
    return { role, nickname: role === "authority" ? `auth${index}` : `exit${index - authorities}` };
  });
  const [dnsPort, ...ports] = await freePorts(roles.length * 3 + 1) as [number, ...number[]];
  const resolvers = join(directory, "resolv.conf");
  writeFileSync(resolvers, `nameserver 127.0.0.1:${dnsPort}\n`);
  const planned = await Promise.all(roles.map(async ({ role, nickname }, index) => {
    const [orPort, dirPort, controlPort] = ports.slice(index * 3, index * 3 + 3) as [number, number, number];
    const dataDirectory = join(directory, nickname);
    mkdirSync(join(dataDirectory, "keys"), { recursive: true, mode: 0o700 });
    const v3ident = role === "authority" ? await makeAuthorityKeys(dataDirectory, dirPort) : undefined;
    const identities = await makeIdentities(dataDirectory, nickname, orPort);
    return { nickname, role, orPort, dirPort, controlPort, v3ident, dataDirectory, ...identities };
  }));
  const torrc = [
    ...CLIENT_TORRC,
    ...planned.filter((node) => node.role === "authority").map((node) =>
      `DirAuthority ${node.nickname} orport=${node.orPort} no-v2 v3ident=${node.v3ident} ` +
      `127.0.0.1:${node.dirPort} ${node.fingerprint}`
    ),
  ];
  const extra = options.extraTorrc ?? [];
  await roomBeforeVote();
  const nodes = planned.map((node) => {
    const pid = startTor(node.dataDirectory, [
      ...torrc,
      ...RELAY_TORRC,
      `Nickname ${node.nickname}`,
      "Address 127.0.0.1",
      `ORPort 127.0.0.1:${node.orPort}`,
      `DirPort 127.0.0.1:${node.dirPort}`,
      `ControlPort 127.0.0.1:${node.controlPort}`,
      ...node.role === "authority" ? AUTHORITY_TORRC : [...EXIT_TORRC, `ServerDNSResolvConfFile ${resolvers}`],
      ...typeof extra === "function" ? extra(node.nickname, node.role) : extra,
    ]);
    return { ...node, pid };
  });
  const network = new CTorNetwork({ directory, dnsPort, torrc, nodes });
  await options.onStarted?.(nodes);
  await network.ready(options.timeoutMs);
  writeDescription(network);
  return network;
}

/** Waits until relays that start now are known when the authorities vote: nobody else is in the first consensus. */
async function roomBeforeVote(): Promise<void> {
  const phaseMs = Date.now() % FIRST_INTERVAL_MS;
  const latestMs = FIRST_INTERVAL_MS - 2 * FIRST_DELAY_MS - START_MS;
  if (phaseMs > latestMs) await delay(FIRST_INTERVAL_MS - phaseMs);
}

/** The three authority keys, as `tor-gencert` makes them; answers the identity's fingerprint. */
async function makeAuthorityKeys(dataDirectory: string, dirPort: number): Promise<string> {
  const keys = join(dataDirectory, "keys");
  const certificate = join(keys, "authority_certificate");
  await run("tor-gencert", [
    "--create-identity-key",
    ...["--passphrase-fd", "0", "-m", "12", "-a", `127.0.0.1:${dirPort}`],
    ...["-i", join(keys, "authority_identity_key"), "-s", join(keys, "authority_signing_key"), "-c", certificate],
  ], "\n");
  return required(/^fingerprint ([0-9A-F]{40})$/m.exec(readFileSync(certificate, "utf8")), "a certificate");
}

/** Lets tor make a relay's keys, and reads their fingerprints. */
async function makeIdentities(
  dataDirectory: string,
  nickname: string,
  orPort: number,
): Promise<{ fingerprint: string; ed25519Id: string }> {
  await run("tor", [
    "--list-fingerprint",
    ...["--ignore-missing-torrc", "-f", join(dataDirectory, "none"), "--defaults-torrc", join(dataDirectory, "none")],
    ...["--DataDirectory", dataDirectory, "--Nickname", nickname, "--ORPort", String(orPort)],
    ...["--DirAuthority", `x 127.0.0.1:1 ${"f".repeat(40)}`],
  ], "");
  const read = (name: string) => readFileSync(join(dataDirectory, name), "utf8");
  return {
    fingerprint: required(/ ([0-9A-F]{40})$/m.exec(read("fingerprint")), "a fingerprint"),
    ed25519Id: required(/ ([A-Za-z0-9+/]{43})$/m.exec(read("fingerprint-ed25519")), "an Ed25519 fingerprint"),
  };
}

/** A directory's document, empty if there is none. Not `fetch`: tor compresses in ways that it does not know. */
function getText(dirPort: number, path: string): Promise<string> {
  return new Promise((resolve) => {
    const none = () => resolve("");
    const url = `http://127.0.0.1:${dirPort}/tor/${path}`;
    get(url, { agent: false, timeout: 2000, headers: { "Accept-Encoding": "identity" } }, (response) => {
      const parts: Uint8Array[] = [];
      response.on("data", (part: Uint8Array) => parts.push(part));
      response.on("end", () => resolve(response.statusCode === 200 ? Buffer.concat(parts).toString("latin1") : ""));
      response.on("error", none);
    }).on("timeout", none).on("error", none);
  });
}

function run(program: string, parameters: string[], input: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = execFile(program, parameters, { timeout: 30_000 }, (error, stdout, stderr) => {
      if (error) reject(new Error(`Cannot run ${program}: ${error.message}\n${stdout}${stderr}`));
      else resolve();
    });
    child.stdin!.end(input);
  });
}

function required(match: RegExpExecArray | null, what: string): string {
  if (match?.[1] === undefined) throw new Error(`Cannot read ${what}: not in the form that tor writes`);
  return match[1];
}

function readOwnLines(dataDirectory: string): string[] {
  const added = /^(DataDirectory|Log|PidFile|__OwningControllerProcess) /;
  return readFileSync(join(dataDirectory, "torrc"), "utf8").split("\n").filter((line) => line && !added.test(line));
}

function writeDescription(network: CTorNetwork): void {
  const { directory, dnsPort, torrc, nodes } = network;
  const description: Description = { directory, dnsPort, torrc, nodes };
  writeFileSync(join(directory, "network.json"), JSON.stringify(description));
}

/** The pids in the files that tor wrote under a network's directory. */
function pidsUnder(directory: string): number[] {
  return readdirSync(directory).flatMap((name) => {
    try {
      return [Number(readFileSync(join(directory, name, "pid"), "utf8"))];
    } catch {
      return [];
    }
  }).filter((pid) => pid > 1);
}

/**
 * A shell that waits for this process to end, however it ends, and then ends the network under `directory` and
 * removes it; it goes away too when the directory does.
 */
function watch(directory: string): void {
  const script = 'while [ -d "$2" ] && kill -0 "$1" 2>/dev/null; do sleep 0.3; done; ' +
    'for file in "$2"/*/pid; do [ -f "$file" ] && kill "$(cat "$file")" 2>/dev/null; done; sleep 1; rm -rf "$2"';
  spawn("sh", ["-c", script, "tunic-watch", String(process.pid), directory], { detached: true, stdio: "ignore" })
    .unref();
}
