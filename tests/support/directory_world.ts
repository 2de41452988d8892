/** A network's directories in simulated time, each of which behaves as a test wants, and a client of theirs. */
import assert from "node:assert/strict";
import { TunicError } from "../../src/base/errors.ts";
import { Emitter } from "../../src/base/events.ts";
import { fromBase64, toBase64, toHex, toHexUpper } from "../../src/bytes/text.ts";
import type { ChannelManager, ChannelManagerEvents } from "../../src/mgr/channels.ts";
import {
  type DirectoryAnswer,
  DirectoryManager,
  type DirectoryProgress,
  type DirectoryRequest,
  type DirectoryServer,
  type DirectoryTransport,
} from "../../src/mgr/directory/mod.ts";
import { GuardManager } from "../../src/mgr/guards/guard_manager.ts";
import type { DirectoryAuthority, FallbackDirectory } from "../../src/netdir/authorities.ts";
import type { NetDir } from "../../src/netdir/net_dir.ts";
import { mockRuntime } from "../../src/runtime/mock.ts";
import type { Runtime } from "../../src/runtime/ports.ts";
import { StateStore } from "../../src/state/state_store.ts";
import { attach, bytesOf, consensusBody, hash, TestAuthority, type TestRelay, testRelay } from "./network_documents.ts";

export const START = Date.UTC(2026, 0, 29, 12, 10);
export const HOUR = 3_600_000;

/** Making keys takes a moment, so all worlds share these. */
const AUTHORITIES = await Promise.all([1, 2, 3].map(() => TestAuthority.create()));

export type Kind = "authority" | "fallback" | "relay";

/** One request as a directory saw it. */
export interface Asked {
  readonly at: number;
  readonly kind: Kind;
  readonly server: string;
  readonly path: string;
  readonly ifModifiedSince: number | undefined;
}

/** How a directory answers; `honest` gives what a good one would. */
export type Behaviour = (
  request: DirectoryRequest,
  honest: () => DirectoryAnswer,
  asked: Asked,
) => DirectoryAnswer | Promise<DirectoryAnswer>;

export const honest: Behaviour = (_, answer) => answer();
export const notFound: Behaviour = () => ({ status: 404, body: new Uint8Array(0) });
export const busy: Behaviour = () => ({ status: 503, body: new Uint8Array(0) });
export const garbage: Behaviour = () => ({ status: 200, body: bytesOf("<html>Please log in to this hotel</html>\n") });
export const down: Behaviour = () => {
  throw new TunicError("Cannot connect: refused", { kind: "connection", code: "refused", retry: "elsewhere" });
};
/** Until the request is given up. */
export const silent: Behaviour = (request) =>
  new Promise((_, reject) => request.signal?.addEventListener("abort", () => reject(request.signal!.reason)));

export interface ClientOptions {
  readonly testing?: boolean;
  /** "/data" by default. */
  readonly directory?: string;
}

export interface WorldOptions {
  readonly relays?: number;
  readonly fallbacks?: number;
  readonly seed?: number;
  /** Between consensuses; each is valid for three times as long. */
  readonly intervalMs?: number;
  readonly lifetimeMs?: number;
}

export class DirectoryWorld implements DirectoryTransport {
  readonly mock = mockRuntime(1, START);
  readonly runtime: Runtime;
  readonly authorities: readonly DirectoryAuthority[];
  readonly fallbacks: readonly FallbackDirectory[];
  readonly asked: Asked[] = [];
  /** Of directories, by RSA identity in hex; the others do as `otherwise` says. */
  readonly behaviours = new Map<string, Behaviour>();
  otherwise: Behaviour = honest;
  relays: readonly TestRelay[];
  /** Local clock minus the network's. */
  clockErrorMs = 0;
  /** What the network's consensus is, where it is not the one of the hour. */
  consensus: () => Uint8Array = () => this.consensusAt(this.time.now());
  /** Requests that wait for an answer. */
  waiting = 0;
  isClosed = false;
  readonly #intervalMs: number;
  readonly #lifetimeMs: number;
  readonly #texts = new Map<string, Uint8Array>();

  constructor(options: WorldOptions = {}) {
    const { relays = 40, fallbacks = 3 } = options;
    this.#intervalMs = options.intervalMs ?? HOUR;
    this.#lifetimeMs = options.lifetimeMs ?? 3 * this.#intervalMs;
    const clock = { now: () => this.time.now() + this.clockErrorMs, monotonic: () => this.time.monotonic() };
    this.runtime = { ...this.mock, clock };
    this.relays = Array.from({ length: relays }, (_, i) => testRelay(i + 1));
    this.authorities = AUTHORITIES.map((authority, i) => ({
      nickname: `authority${i}`,
      address: { host: `192.0.2.${i + 1}`, port: 443 },
      dirPort: 80,
      rsaId: hash("sha1", `authority ${i}`),
      v3ident: authority.identity,
    }));
    this.fallbacks = Array.from({ length: fallbacks }, (_, i) => ({
      address: { host: `198.51.100.${i + 1}`, port: 443 },
      rsaId: hash("sha1", `fallback ${i}`),
    }));
  }

  get time() {
    return this.mock.time;
  }

  /** The consensus of the interval that `ms` falls in. */
  consensusAt(ms: number, signers: readonly TestAuthority[] = AUTHORITIES): Uint8Array {
    const validAfter = Math.floor(ms / this.#intervalMs) * this.#intervalMs;
    const key = `${validAfter} ${signers.map(({ identity }) => toHex(identity))} ${this.relays.map((r) => r.nickname)}`;
    let text = this.#texts.get(key);
    if (!text) {
      const show = (time: number) => new Date(time).toISOString().slice(0, 19).replace("T", " ");
      const body = consensusBody({
        relays: this.relays,
        authorities: AUTHORITIES,
        validAfter: show(validAfter),
        freshUntil: show(validAfter + this.#intervalMs),
        validUntil: show(validAfter + this.#lifetimeMs),
      });
      this.#texts.set(key, text = bytesOf(attach(body, signers.map((signer) => signer.signature(body)))));
    }
    return text;
  }

  async get(server: DirectoryServer, request: DirectoryRequest): Promise<DirectoryAnswer> {
    const id = toHex(server.target.rsaId);
    const asked = {
      at: this.time.now(),
      kind: this.#kindOf(id),
      server: id,
      path: request.path,
      ifModifiedSince: request.ifModifiedSince,
    };
    this.asked.push(asked);
    this.waiting++;
    let timer;
    try {
      const timeout = new Promise<never>((_, reject) => {
        timer = this.time.after(request.stallTimeoutMs, () =>
          reject(
            new TunicError("Cannot get it: nothing came", { kind: "timeout", code: "stalled", retry: "elsewhere" }),
          ));
      });
      const behaviour = this.behaviours.get(id) ?? this.otherwise;
      const answer = (async () => await behaviour(request, () => this.answer(asked), asked))();
      const decided = await Promise.race([answer, timeout]);
      for (const step of ["circuit", "sent", "answering"] as const) request.onStep?.(step);
      return decided;
    } finally {
      this.waiting--;
      timer!.cancel();
    }
  }

  close(): void {
    this.isClosed = true;
  }

  /** What an honest directory says. */
  answer({ path, ifModifiedSince }: Asked): DirectoryAnswer {
    const of = (body: Uint8Array): DirectoryAnswer => ({ status: body.length > 0 ? 200 : 404, body });
    if (path.startsWith("/tor/status-vote/current/consensus-microdesc/")) {
      const text = this.consensus();
      const validAfter = /^valid-after (.*)$/m.exec(new TextDecoder().decode(text))![1]!;
      const isNewer = ifModifiedSince === undefined || Date.parse(`${validAfter.replace(" ", "T")}Z`) > ifModifiedSince;
      return isNewer ? of(text) : { status: 304, body: new Uint8Array(0) };
    }
    const resource = (prefix: string) => path.slice(prefix.length).replace(/\.z$/, "");
    if (path.startsWith("/tor/keys/fp-sk/")) {
      const names = resource("/tor/keys/fp-sk/").split("+");
      const named = AUTHORITIES.filter(({ identity, signingKeyDigest }) =>
        names.includes(`${toHexUpper(identity)}-${toHexUpper(signingKeyDigest)}`)
      );
      return of(bytesOf(named.map((authority) => authority.certificate()).join("")));
    }
    const digests = new Set(resource("/tor/micro/d/").split("-").map((name) => toHex(fromBase64(name))));
    const found = this.relays.filter(({ microdesc }) => digests.has(toHex(hash("sha256", microdesc))));
    return of(bytesOf(found.map(({ microdesc }) => microdesc).join("")));
  }

  /** Requests for this kind of document so far. */
  askedFor(document: "consensus" | "keys" | "micro"): Asked[] {
    const part = { consensus: "/consensus-microdesc/", keys: "/keys/", micro: "/micro/" }[document];
    return this.asked.filter(({ path }) => path.includes(part));
  }

  /** A client that has just been started. */
  async client(options: ClientOptions = {}): Promise<WorldClient> {
    const client = new WorldClient(this, await StateStore.open(this.runtime, options.directory ?? "/data"), options);
    client.directory.start();
    await this.time.settle();
    return client;
  }

  #kindOf(id: string): Kind {
    if (this.authorities.some(({ rsaId }) => toHex(rsaId) === id)) return "authority";
    return this.fallbacks.some(({ rsaId }) => toHex(rsaId) === id) ? "fallback" : "relay";
  }
}

export class WorldClient {
  readonly world: DirectoryWorld;
  readonly directory: DirectoryManager;
  readonly guards: GuardManager;
  /** What channels would tell; requests do not use any. */
  readonly channels = new Emitter<ChannelManagerEvents>();
  readonly state: StateStore;
  readonly views: NetDir[] = [];
  readonly progress: DirectoryProgress[] = [];
  readonly problems: TunicError[] = [];

  constructor(world: DirectoryWorld, state: StateStore, options: ClientOptions) {
    this.world = world;
    this.state = state;
    const { runtime } = world;
    this.guards = new GuardManager(runtime, { version: "tunic test" });
    this.directory = new DirectoryManager({
      runtime,
      channels: { events: this.channels } as unknown as ChannelManager,
      guards: this.guards,
      state,
      authorities: world.authorities,
      fallbacks: world.fallbacks,
      testing: options.testing ?? false,
      transport: world,
    });
    this.directory.events.on("netdir", (netdir) => this.views.push(netdir));
    this.directory.events.on("progress", (progress) => this.progress.push(progress));
    this.directory.events.on("problem", (problem) => this.problems.push(problem));
  }

  get isReady(): boolean {
    return this.directory.netdir !== undefined;
  }

  /** Codes of problems, each once. */
  get problemCodes(): string[] {
    return [...new Set(this.problems.map(({ kind, code }) => `${kind}/${code}`))];
  }

  async close(): Promise<void> {
    await this.directory.close();
    this.guards.close();
    await this.state.close();
  }
}

/** Runs `body` with a started client; afterwards nothing may be left of it. */
export async function withClient(
  world: DirectoryWorld,
  body: (client: WorldClient) => Promise<void>,
  options: ClientOptions = {},
): Promise<void> {
  const client = await world.client(options);
  try {
    await body(client);
  } finally {
    await client.close();
    await world.time.settle();
    assert.equal(world.time.pending, 0);
    assert.equal(world.waiting, 0);
    assert.ok(world.isClosed);
  }
}

/** The digest of a relay's microdescriptor, as requests name it. */
export function microdescName(relay: TestRelay): string {
  return toBase64(hash("sha256", relay.microdesc)).replace(/=+$/, "");
}
