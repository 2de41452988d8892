/**
 * A whole Tor network in one process, on loopback: authorities that sign a consensus, relays that carry circuits, exits
 * that let streams out to this machine. It speaks the real protocol over real TLS; what it cannot do is join any
 * other network, since nobody else's authorities know it.
 */
import { TunicError } from "../base/errors.ts";
import { parseIp } from "../bytes/ip.ts";
import { toHexUpper } from "../bytes/text.ts";
import { generateRsa } from "../crypto/rsa_private.ts";
import type { DirectoryAuthority } from "../netdir/authorities.ts";
import type { ExitService } from "../proto/relay_streams.ts";
import { nodeRuntime } from "../runtime/node.ts";
import type { Runtime } from "../runtime/ports.ts";
import { AuthorityKeys } from "./directory/authority_keys.ts";
import { EXIT_TO_ALL, NO_EXIT } from "./directory/exit_policy.ts";
import { NetworkDirectory } from "./directory/network_directory.ts";
import { makeServerDescriptor } from "./directory/server_descriptor.ts";
import { DirectoryConnection } from "./directory_connection.ts";
import { Faults } from "./faults/mod.ts";
import { HsDirectory } from "./hs_directory.ts";
import { loopbackExit } from "./loopback_exit.ts";
import { OnionPoints } from "./onion_points.ts";
import { type ObservedStream, PathObserver } from "./path_observer.ts";
import { generateRelayIdentity, type RelayIdentity, TLS_KEY_BITS } from "./relay_identity.ts";
import { TestRelay } from "./relay.ts";

export interface TestnetOptions {
  /** Relays, exits among them and authorities not. Default: 6, at least 3. */
  readonly relays?: number;
  /** How many of them are exits. Default: 2. */
  readonly exits?: number;
  /** Default: 3. */
  readonly authorities?: number;
  /** Between consensuses, in whole seconds, at least 10,000 for C tor's sake. Default: 5 minutes. */
  readonly consensusIntervalMs?: number;
  /** Names that the exits know, and the addresses they stand for. "localhost" is known. */
  readonly hosts?: Readonly<Record<string, string>>;
  /** Whether exits may connect to other addresses than this machine's own. Default: false. */
  readonly allowOutside?: boolean;
  /** Relays in the consensus that nobody runs and no path takes, to measure at the public network's size. Default: 0. */
  readonly phantomRelays?: number;
  /** Network parameters (param-spec). */
  readonly params?: Readonly<Record<string, number>>;
  /** Gets every stream that leaves at an exit, and the path it took: here, relays tell. Default: nobody looks. */
  readonly onExitStream?: (stream: ObservedStream) => void;
  /** The machine. Default: the real one. */
  readonly runtime?: Runtime;
}

type Role = "authority" | "relay" | "exit";

const HOST = "127.0.0.1";
/** What relays are taken for: the C tor whose subprotocols they speak. */
export const RELAY_VERSION = "0.4.8.12";
export const RELAY_PROTOCOLS =
  "Cons=1-2 Desc=1-2 DirCache=2 FlowCtrl=1 HSDir=2 HSIntro=4-5 HSRend=1-2 Link=4-5 LinkAuth=3 " +
  "Microdesc=1-2 Relay=1-2";
export const RELAY_BANDWIDTH_BYTES = 10_000_000;
const CIRCUIT_WINDOW = 1000;
const RELAY_FLAGS = ["Fast", "HSDir", "Running", "Stable", "V2Dir", "Valid"];
const FLAGS: Readonly<Record<Role, readonly string[]>> = {
  authority: ["Authority", ...RELAY_FLAGS],
  relay: ["Guard", ...RELAY_FLAGS],
  exit: ["Exit", ...RELAY_FLAGS],
};

/** A relay as a test handles it. */
export class TestnetRelay {
  readonly nickname: string;
  readonly role: Role;
  readonly identity: RelayIdentity;
  readonly #start: (port: number) => Promise<TestRelay>;
  #relay: TestRelay | undefined;
  #port = 0;

  private constructor(identity: RelayIdentity, role: Role, start: (port: number) => Promise<TestRelay>) {
    this.nickname = identity.nickname;
    this.identity = identity;
    this.role = role;
    this.#start = start;
  }

  static async start(
    identity: RelayIdentity,
    role: Role,
    start: (port: number) => Promise<TestRelay>,
  ): Promise<TestnetRelay> {
    const relay = new TestnetRelay(identity, role, start);
    await relay.restart();
    return relay;
  }

  /** Its OR port on 127.0.0.1, which it keeps over restarts. */
  get orPort(): number {
    return this.#port;
  }

  get isRunning(): boolean {
    return this.#relay !== undefined;
  }

  /** Ends it as a crash would: its connections break, and nobody listens. The directory goes on listing it. */
  async kill(): Promise<void> {
    const relay = this.#relay;
    this.#relay = undefined;
    await relay?.stop();
  }

  /** Starts it again, with the same keys and port. */
  async restart(): Promise<void> {
    await this.kill();
    this.#relay = await this.#start(this.#port);
    this.#port = this.#relay.address.port;
  }
}

export class Testnet implements AsyncDisposable {
  /** All of them: authorities, relays, exits. */
  readonly relays: readonly TestnetRelay[];
  readonly directory: NetworkDirectory;
  /** What goes wrong with relays and the links between them; at first nothing. */
  readonly faults: Faults;
  readonly #authorities: readonly DirectoryAuthority[];

  private constructor(
    relays: readonly TestnetRelay[],
    directory: NetworkDirectory,
    faults: Faults,
    authorities: readonly DirectoryAuthority[],
  ) {
    this.relays = relays;
    this.directory = directory;
    this.faults = faults;
    this.#authorities = authorities;
  }

  /** Throws `argument` for impossible numbers, `listen`. */
  static async start(options: TestnetOptions = {}): Promise<Testnet> {
    const runtime = options.runtime ?? nodeRuntime;
    const roles = rolesOf(options);
    const hosts = addressesOf(options.hosts ?? {});
    const now = runtime.clock.now();
    const tlsKeyComing = generateRsa(TLS_KEY_BITS);
    const [identities, authorityKeys, tapKey] = await Promise.all([
      Promise.all(
        roles.map(async ([nickname]) =>
          generateRelayIdentity({ nickname, now, random: runtime, tlsKey: await tlsKeyComing })
        ),
      ),
      Promise.all(roles.filter(([, role]) => role === "authority").map(() => AuthorityKeys.generate())),
      generateRsa(1024),
    ]);
    const faults = new Faults(runtime, identities);
    const observer = options.onExitStream && new PathObserver(options.onExitStream);
    // Relays serve the directory, and the directory says where relays are: they ask it once there is something to ask.
    const late: { directory?: NetworkDirectory } = {};
    const relays = await allOrNone(roles.map(([nickname, role], i) => {
      const identity = identities[i]!;
      const relayRuntime = faults.runtimeOf(nickname);
      const start = (port: number) => {
        const onionPoints = new OnionPoints({ clock: relayRuntime.clock });
        const hsDirectory = new HsDirectory({ clock: relayRuntime.clock });
        const openDirectory = () =>
          new DirectoryConnection(
            runtime.timers,
            (request) => hsDirectory.answer(request) ?? late.directory!.answer(request, identity.rsaId),
          );
        return TestRelay.start({
          runtime: relayRuntime,
          identity: faults.identityOf(identity),
          address: { host: HOST, port },
          exit: exitFor(role, relayRuntime, hosts, options, openDirectory),
          circuitWindow: CIRCUIT_WINDOW,
          onOtherMessage: onionPoints.onMessage,
          observer,
        });
      };
      return TestnetRelay.start(identity, role, start);
    }));
    const authorities = relays.filter(({ role }) => role === "authority");
    const directory = late.directory = new NetworkDirectory({
      runtime: { ...runtime, clock: faults.directoryClock },
      authorities: authorities.map((relay, i) => ({
        nickname: relay.nickname,
        keys: authorityKeys[i]!,
        rsaId: relay.identity.rsaId,
        host: HOST,
        orPort: relay.orPort,
        dirPort: 0,
      })),
      intervalMs: options.consensusIntervalMs,
      phantomRelays: options.phantomRelays,
      params: options.params,
    });
    for (const relay of relays) {
      directory.list({
        descriptor: makeServerDescriptor({
          keys: relay.identity,
          tapKey,
          address: { host: HOST, port: relay.orPort },
          dirPort: 0,
          version: RELAY_VERSION,
          protocols: RELAY_PROTOCOLS,
          published: now,
          bandwidth: RELAY_BANDWIDTH_BYTES,
          exitPolicy: relay.role === "exit" ? EXIT_TO_ALL : NO_EXIT,
        }),
        flags: FLAGS[relay.role],
        bandwidth: RELAY_BANDWIDTH_BYTES / 1000,
      });
    }
    directory.start();
    return new Testnet(
      relays,
      directory,
      faults,
      authorities.map((relay, i) => ({
        nickname: relay.nickname,
        address: { host: HOST, port: relay.orPort },
        dirPort: 0,
        rsaId: relay.identity.rsaId,
        v3ident: authorityKeys[i]!.identity,
      })),
    );
  }

  /** Whom a client must trust: the option of the same name of `TorClient.launch`. */
  get directoryAuthorities(): readonly DirectoryAuthority[] {
    return this.#authorities;
  }

  /** Lines that make a client, tunic or C tor, know this network and no other. */
  get torrc(): readonly string[] {
    return [
      "TestingTorNetwork 1",
      ...this.#authorities.map(({ nickname, address, rsaId, v3ident }) =>
        `DirAuthority ${nickname} orport=${address.port} no-v2 v3ident=${toHexUpper(v3ident)} ` +
        // C tor wants to read a directory port; clients ask at the OR port.
        `${address.host}:${address.port} ${toHexUpper(rsaId)}`
      ),
    ];
  }

  /** Throws `argument` for a name that there is not. */
  relay(nickname: string): TestnetRelay {
    const found = this.relays.find((relay) => relay.nickname === nickname);
    if (found) return found;
    const names = this.relays.map((relay) => relay.nickname).join(", ");
    throw new TunicError(`Cannot find relay ${nickname}: the network has ${names}`, {
      kind: "argument",
      code: "no-such-relay",
    });
  }

  /** Ends every relay. */
  async close(): Promise<void> {
    this.directory.close();
    await Promise.all(this.relays.map((relay) => relay.kill()));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Starts a network; a client can use it at once. */
export function startTestnet(options: TestnetOptions = {}): Promise<Testnet> {
  return Testnet.start(options);
}

function rolesOf(options: TestnetOptions): [nickname: string, role: Role][] {
  const { relays = 6, exits = 2, authorities = 3, phantomRelays = 0, consensusIntervalMs } = options;
  const check = (name: string, value: number, min: number, max: number): void => {
    if (Number.isInteger(value) && value >= min && value <= max) return;
    throw new TunicError(
      `Cannot start a network: found ${name} ${value}, expected a whole number from ${min} to ${max}`,
      {
        kind: "argument",
        code: "bad-option",
      },
    );
  };
  check("relays", relays, 3, 1000);
  check("exits", exits, 1, relays - 2);
  check("authorities", authorities, 1, 9);
  check("phantomRelays", phantomRelays, 0, 100_000);
  if (consensusIntervalMs !== undefined) check("consensus interval in seconds", consensusIntervalMs / 1000, 1, 86_400);
  const numbered = (prefix: string, count: number, role: (i: number) => Role): [string, Role][] =>
    Array.from({ length: count }, (_, i) => [`${prefix}${i + 1}`, role(i)]);
  return [
    ...numbered("a", authorities, () => "authority"),
    ...numbered("r", relays, (i) => i < relays - exits ? "relay" : "exit"),
  ];
}

/** Where one cannot start, those that could are ended. */
async function allOrNone(starting: readonly Promise<TestnetRelay>[]): Promise<TestnetRelay[]> {
  const outcomes = await Promise.allSettled(starting);
  const started = outcomes.flatMap((outcome) => outcome.status === "fulfilled" ? [outcome.value] : []);
  const failure = outcomes.find((outcome) => outcome.status === "rejected");
  if (!failure) return started;
  await Promise.all(started.map((relay) => relay.kill()));
  throw failure.reason;
}

/** In lower case, as exits are asked. Throws `argument` for a name that stands for anything but an address. */
function addressesOf(hosts: Readonly<Record<string, string>>): Map<string, string> {
  for (const [name, address] of Object.entries(hosts)) {
    if (parseIp(address)) continue;
    throw new TunicError(`Cannot start a network: found host ${name} at "${address}", expected an IP address`, {
      kind: "argument",
      code: "bad-option",
    });
  }
  return new Map(Object.entries(hosts).map(([name, address]) => [name.toLowerCase(), address]));
}

function exitFor(
  role: Role,
  runtime: Runtime,
  hosts: ReadonlyMap<string, string>,
  { allowOutside = false }: TestnetOptions,
  openDirectory: ExitService["openDirectory"],
): ExitService {
  return loopbackExit({
    runtime,
    allowsPort: () => role === "exit",
    hosts,
    allowsOutside: allowOutside,
    openDirectory,
  });
}
