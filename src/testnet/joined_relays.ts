/**
 * Relays of ours in a network of other authorities on this machine, C tor's as a rule: they upload their descriptors
 * to its directory ports (dir-spec 2), and what clients ask them as directories they ask there in turn.
 */
import { TunicError } from "../base/errors.ts";
import { toHexUpper } from "../bytes/text.ts";
import { generateRsa, type RsaPrivateKey } from "../crypto/rsa_private.ts";
import { httpGet, httpPost } from "../proto/http_get.ts";
import { nodeRuntime } from "../runtime/node.ts";
import type { Address, Runtime } from "../runtime/ports.ts";
import { EXIT_TO_ALL, NO_EXIT } from "./directory/exit_policy.ts";
import { makeServerDescriptor } from "./directory/server_descriptor.ts";
import { type DirectoryAnswer, DirectoryConnection, type DirectoryRequest } from "./directory_connection.ts";
import { HsDirectory } from "./hs_directory.ts";
import { isLoopback, loopbackExit } from "./loopback_exit.ts";
import { OnionPoints } from "./onion_points.ts";
import { type ObservedStream, PathObserver } from "./path_observer.ts";
import { generateRelayIdentity, TLS_KEY_BITS } from "./relay_identity.ts";
import { TestRelay } from "./relay.ts";
import { RELAY_BANDWIDTH_BYTES, RELAY_PROTOCOLS, RELAY_VERSION } from "./testnet.ts";

export interface JoinOptions {
  /** Directory ports of the network's authorities, on this machine; the first serves what our relays are asked. */
  readonly publishTo: readonly Address[];
  /** Default: 3. */
  readonly relays?: number;
  /** How many of them are exits. Default: 1. */
  readonly exits?: number;
  /** Gets every stream that leaves at one of these exits. Default: nobody looks. */
  readonly onExitStream?: (stream: ObservedStream) => void;
  /** The machine. Default: the real one. */
  readonly runtime?: Runtime;
}

export interface JoinedRelays extends AsyncDisposable {
  /** In capitals, as a consensus or a control port names them. */
  readonly fingerprints: readonly string[];
  close(): Promise<void>;
}

const HOST = "127.0.0.1";
const CIRCUIT_WINDOW = 1000;
const TIMEOUT_MS = 10_000;
const MAX_DOCUMENT_BYTES = 16 << 20;
/** What an answer says of itself that must reach who asked, in C tor's letters: it does not know names in others. */
const PASSED_ON = ["Content-Type", "Content-Encoding", "Expires", "Last-Modified"];

/** Resolves when all authorities have taken all descriptors; they list the relays in their next consensus. */
export async function joinNetwork(options: JoinOptions): Promise<JoinedRelays> {
  const { publishTo, relays: count = 3, exits = 1, runtime = nodeRuntime } = options;
  const outside = publishTo.find(({ host }) => !isLoopback(host));
  if (outside || publishTo.length === 0) {
    throw new TunicError(
      `Cannot join a network: found ${outside?.host ?? "no authority"}, expected addresses of this machine alone`,
      { kind: "policy", code: "not-loopback" },
    );
  }
  const [tlsKey, tapKey] = await Promise.all([generateRsa(TLS_KEY_BITS), generateRsa(1024)]);
  const observer = options.onExitStream && new PathObserver(options.onExitStream);
  const relays: TestRelay[] = [];
  const close = async () => void await Promise.all(relays.map((relay) => relay.stop()));
  try {
    for (let i = 0; i < count; i++) {
      const isExit = i >= count - exits;
      const relay = await startRelay({ runtime, nickname: `joined${i + 1}`, isExit, tlsKey, observer, publishTo });
      relays.push(relay);
      await publish(runtime, relay, isExit, tapKey, publishTo);
    }
  } catch (error) {
    await close();
    throw error;
  }
  return {
    fingerprints: relays.map(({ identity }) => toHexUpper(identity.rsaId)),
    close,
    [Symbol.asyncDispose]: close,
  };
}

interface RelayOptions extends Pick<JoinOptions, "publishTo"> {
  readonly runtime: Runtime;
  readonly nickname: string;
  readonly isExit: boolean;
  readonly tlsKey: RsaPrivateKey;
  readonly observer: PathObserver | undefined;
}

async function startRelay(
  { runtime, nickname, isExit, tlsKey, observer, publishTo }: RelayOptions,
): Promise<TestRelay> {
  const hsDirectory = new HsDirectory({ clock: runtime.clock });
  const answer = (request: DirectoryRequest) => hsDirectory.answer(request) ?? forward(runtime, request, publishTo[0]!);
  return await TestRelay.start({
    runtime,
    identity: await generateRelayIdentity({ nickname, now: runtime.clock.now(), random: runtime, tlsKey }),
    address: { host: HOST, port: 0 },
    exit: loopbackExit({
      runtime,
      allowsPort: () => isExit,
      hosts: new Map(),
      allowsOutside: false,
      openDirectory: () => new DirectoryConnection(runtime.timers, answer),
    }),
    circuitWindow: CIRCUIT_WINDOW,
    onOtherMessage: new OnionPoints({ clock: runtime.clock }).onMessage,
    observer,
  });
}

async function publish(
  runtime: Runtime,
  relay: TestRelay,
  isExit: boolean,
  tapKey: RsaPrivateKey,
  publishTo: readonly Address[],
): Promise<void> {
  const { text } = makeServerDescriptor({
    keys: relay.identity,
    tapKey,
    address: relay.address,
    dirPort: 0,
    version: RELAY_VERSION,
    protocols: RELAY_PROTOCOLS,
    published: runtime.clock.now(),
    bandwidth: RELAY_BANDWIDTH_BYTES,
    exitPolicy: isExit ? EXIT_TO_ALL : NO_EXIT,
  });
  await Promise.all(publishTo.map(async (authority) => {
    const socket = await runtime.network.connectTcp(authority, { timeoutMs: TIMEOUT_MS });
    const request = { timers: runtime.timers, path: "/tor/", maxBytes: MAX_DOCUMENT_BYTES, timeoutMs: TIMEOUT_MS };
    const { status, reason } = await httpPost(socket, request, text);
    if (status === 200) return;
    throw new TunicError(`Cannot publish a descriptor: the authority answered ${status} ${reason}, expected 200`, {
      kind: "directory",
      code: "descriptor-refused",
    });
  }));
}

async function forward(runtime: Runtime, request: DirectoryRequest, to: Address): Promise<DirectoryAnswer> {
  if (request.method !== "GET") return { status: 400, headers: [], body: new Uint8Array(0) };
  const socket = await runtime.network.connectTcp(to, { timeoutMs: TIMEOUT_MS });
  const { status, headers, body } = await httpGet(socket, {
    timers: runtime.timers,
    path: request.path,
    headers: [...request.headers].filter(([name]) => name !== "connection" && name !== "host"),
    maxBytes: MAX_DOCUMENT_BYTES,
    timeoutMs: TIMEOUT_MS,
  });
  const found = PASSED_ON.map((name) => [name, headers.get(name.toLowerCase())] as const);
  return { status, headers: found.filter((each): each is [string, string] => each[1] !== undefined), body };
}
