/**
 * A Tor client in this process: launched, asked for streams, closed.
 *
 * It owns everything below it and nothing beside: two clients in one process share no state, and a closed one
 * leaves no timer, socket or lock behind.
 */
import { Deferred } from "../base/deferred.ts";
import { LinkedSignal, unlessAborted } from "../base/abort.ts";
import { isTunicError, throwIfAborted, toTunicError, TunicError } from "../base/errors.ts";
import { Emitter } from "../base/events.ts";
import { logger } from "../base/log.ts";
import { isInternalAddress, parseIp } from "../bytes/ip.ts";
import { ChannelManager } from "../mgr/channels.ts";
import { CircuitManager, type CircuitManagerEvents } from "../mgr/circuits/mod.ts";
import { DirectoryManager } from "../mgr/directory/mod.ts";
import { GuardManager, type GuardSnapshot } from "../mgr/guards/mod.ts";
import { PathSelector } from "../mgr/paths.ts";
import { StreamManager } from "../mgr/streams.ts";
import { publicAuthorities, publicFallbacks } from "../netdir/public_network.ts";
import { nodeRuntime } from "../runtime/node.ts";
import type { Runtime } from "../runtime/ports.ts";
import { StateStore } from "../state/mod.ts";
import type { Stream } from "../proto/stream.ts";
import { reverseLookupName } from "../wire/resolve_messages.ts";
import type { RequestOptions, ResolvedAnswer, StreamBackend, StreamRequest } from "./backend.ts";
import { Bootstrap, type BootstrapStatus } from "./bootstrap.ts";
import { TorConnection } from "./byte_stream.ts";
import { checkConnected, checkDestination } from "./destination.ts";
import { type FetchInit, torFetch } from "./fetch.ts";
import { type ResolvedOptions, resolveOptions, type TorClientOptions } from "./options.ts";
import { VERSION } from "./version.ts";

const log = logger("client");

export interface TorClientEvents {
  bootstrap: BootstrapStatus;
  /** Something the user should know that the client goes on trying to overcome: a wrong clock, no directory. */
  problem: TunicError;
  circuit: CircuitManagerEvents["circuit"];
  /** Streams by number; destinations are told to nobody. */
  stream: { readonly id: number; readonly state: "open" | "closed" | "failed"; readonly error?: TunicError };
}

/** Counts that give nobody and nothing away. */
export interface ClientSnapshot {
  readonly bootstrap: BootstrapStatus;
  readonly channels: number;
  readonly circuits: CircuitManager["snapshot"];
  readonly guards: GuardSnapshot;
  readonly streams: number;
}

export interface ConnectOptions {
  /** Streams with different keys never share a circuit. Default: one key for all of this client. */
  readonly isolation?: string;
  readonly signal?: AbortSignal;
}

/** C tor gives a connection attempt 30 s or so; a relay that takes longer is not worth waiting for. */
const CONNECT_TIMEOUT_MS = 30_000;
const CHANNEL_IDLE_MS = 180_000;

export class TorClient implements StreamBackend, AsyncDisposable {
  readonly events: { on: Emitter<TorClientEvents>["on"] };
  readonly #emitter = new Emitter<TorClientEvents>();
  readonly #options: ResolvedOptions;
  readonly #runtime: Runtime;
  readonly #state: StateStore;
  readonly #channels: ChannelManager;
  readonly #guards: GuardManager;
  readonly #paths: PathSelector;
  readonly #directory: DirectoryManager;
  readonly #circuits: CircuitManager;
  readonly #streams: StreamManager;
  readonly #bootstrap: Bootstrap;
  readonly #shutdown = new AbortController();
  readonly #openStreams = new Set<Stream>();
  #nextStream = 1;
  #closing: Promise<void> | undefined;

  private constructor(options: ResolvedOptions, runtime: Runtime, state: StateStore, guards: GuardManager) {
    this.#options = options;
    this.#runtime = runtime;
    this.#state = state;
    this.#guards = guards;
    this.events = { on: (name, listener) => this.#emitter.on(name, listener) };
    this.#bootstrap = new Bootstrap((status) => this.#emitter.emit("bootstrap", status));
    this.#channels = new ChannelManager({
      runtime,
      connectTimeoutMs: CONNECT_TIMEOUT_MS,
      idleTimeoutMs: CHANNEL_IDLE_MS,
    });
    this.#paths = new PathSelector(runtime, this.#guards, options);
    this.#directory = new DirectoryManager({
      runtime,
      channels: this.#channels,
      guards: this.#guards,
      state,
      authorities: options.directoryAuthorities ?? publicAuthorities(),
      fallbacks: options.fallbackDirectories ?? publicFallbacks(),
      pathsNeeded: options.pathsNeededToBuildCircuits,
      testing: options.testingTorNetwork,
    });
    this.#circuits = new CircuitManager({
      ...options,
      runtime,
      channels: this.#channels,
      paths: this.#paths,
      netdir: () => this.#directory.netdir,
    });
    this.#streams = new StreamManager({
      runtime,
      circuits: this.#circuits,
      paths: this.#paths,
      circuitStreamTimeoutMs: options.circuitStreamTimeoutMs,
      requestTimeoutMs: options.socksTimeoutMs,
      rejectInternalAddresses: options.clientDnsRejectInternalAddresses,
    });
    this.#watch();
  }

  /**
   * Opens the data directory and begins to bootstrap; does not wait for it: {@link TorClient.ready} does, and so does every
   * request. Throws `argument` for options that are wrong, `locked` or `storage` for the data directory.
   */
  static async launch(options: TorClientOptions = {}): Promise<TorClient> {
    const resolved = resolveOptions(options);
    throwIfAborted(resolved.signal, "launch a client");
    const runtime = resolved.runtime ?? nodeRuntime;
    const state = await StateStore.open(runtime, resolved.dataDirectory);
    try {
      const guards = new GuardManager(runtime, {
        version: `tunic ${VERSION}`,
        records: await state.guards.load() ?? [],
        enforceDistinctSubnets: resolved.enforceDistinctSubnets,
        onChange: () => state.guards.save(() => guards.records),
      });
      throwIfAborted(resolved.signal, "launch a client");
      const client = new TorClient(resolved, runtime, state, guards);
      client.#directory.start();
      return client;
    } catch (error) {
      await state.close();
      throw error;
    }
  }

  get bootstrap(): BootstrapStatus {
    return this.#bootstrap.status;
  }

  get snapshot(): ClientSnapshot {
    return {
      bootstrap: this.bootstrap,
      channels: this.#channels.size,
      circuits: this.#circuits.snapshot,
      guards: this.#guards.snapshot,
      streams: this.#openStreams.size,
    };
  }

  /** Resolves when the first circuit stands. Throws `aborted` or `closed`. */
  async ready(signal?: AbortSignal): Promise<void> {
    throwIfAborted(this.#shutdown.signal, "wait for the client");
    if (this.bootstrap.percent === 100) return;
    await this.#untilAborted("wait for the client", signal, (done) =>
      this.events.on("bootstrap", ({ percent }) => {
        if (percent === 100) done();
      }));
  }

  /**
   * Opens a stream to `host`:`port` through an exit. Throws `stream` with the exit's reason, `no-path`, `policy` for
   * what must not be asked for, `timeout`, `clock` if its time was up because ours is off, `aborted`.
   */
  async connect(host: string, port: number, options: ConnectOptions = {}): Promise<TorConnection> {
    const { isolation = "", signal } = options;
    return new TorConnection(await this.openStream({ host, port, isolation: `user:${isolation}`, signal }));
  }

  /** `fetch` through an exit; see `torFetch`. */
  fetch(input: string | URL | Request, init: FetchInit = {}): Promise<Response> {
    const { isolation = "" } = init;
    return torFetch({ backend: this, http: this.#runtime.http, isolation: `user:${isolation}` }, input, {
      ...init,
      isolation: undefined,
    });
  }

  async openStream({ host: name, port, isolation, signal }: StreamRequest): Promise<Stream> {
    const host = withoutBrackets(name);
    this.#check(host);
    if (!(Number.isInteger(port) && port >= 1 && port <= 65535)) {
      throw new TunicError(`Cannot open a stream: found port ${port}, expected 1 to 65535`, {
        kind: "argument",
        code: "bad-port",
      });
    }
    const id = this.#nextStream++;
    try {
      const stream = await this.#request(
        signal,
        (both) => this.#streams.open({ host, port }, { isolation, signal: both }),
      );
      this.#checkAnswer(stream);
      this.#openStreams.add(stream);
      this.#emitter.emit("stream", { id, state: "open" });
      stream.onClosed = (error) => {
        this.#openStreams.delete(stream);
        this.#emitter.emit("stream", { id, state: "closed", error });
      };
      return stream;
    } catch (cause) {
      const error = toTunicError(cause, "Cannot open a stream", { kind: "internal", code: "client-defect" });
      this.#emitter.emit("stream", { id, state: "failed", error });
      throw error;
    }
  }

  async resolve(name: string, { isolation, signal }: RequestOptions): Promise<ResolvedAnswer[]> {
    this.#check(name);
    const literal = parseIp(name);
    if (literal) return [{ type: literal.length === 4 ? "ipv4" : "ipv6", value: name, ttlSeconds: 0 }];
    const found = await this.#lookUp(name, isolation, signal);
    const answers = found.filter(({ type, value }) =>
      type !== "hostname" && !(this.#options.clientDnsRejectInternalAddresses && isInternalAddress(value))
    );
    if (answers.length === 0) throw noAnswer("the exit's answer has no address that may be used");
    return answers;
  }

  async resolvePtr(address: string, { isolation, signal }: RequestOptions): Promise<string[]> {
    this.#check(address);
    const found = await this.#lookUp(reverseLookupName(address), isolation, signal);
    const names = found.filter(({ type }) => type === "hostname").map(({ value }) => value);
    if (names.length === 0) throw noAnswer("the exit's answer has no name");
    return names;
  }

  /** New requests go over new circuits; open streams are left alone. */
  newCircuits(): void {
    this.#circuits.retireAll();
  }

  /** Ends streams, circuits and channels, writes what is to be kept, and gives the data directory back. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#shutdown.abort(new TunicError("Cannot go on: the client is closing", { kind: "closed", code: "closed" }));
    await this.#directory.close();
    this.#circuits.close();
    this.#channels.close();
    this.#guards.close();
    await this.#state.close();
    this.#emitter.clear();
  }

  #watch(): void {
    this.#channels.events.on("connecting", () => this.#bootstrap.circuits("ap_conn"));
    this.#channels.events.on("connected", () => this.#bootstrap.circuits("ap_conn_done"));
    this.#channels.events.on("handshake-done", () => this.#bootstrap.circuits("ap_handshake_done"));
    this.#directory.events.on("progress", (progress) => this.#bootstrap.directory(progress));
    this.#directory.events.on("problem", (error) => this.#emitter.emit("problem", error));
    this.#directory.events.on("netdir", (netdir) => {
      this.#paths.update(netdir);
      this.#circuits.viewChanged();
    });
    this.#circuits.events.on("circuit", (event) => {
      if (event.state === "building" && event.hops > 0) this.#bootstrap.circuits("circuit_create");
      if (event.state === "open") this.#bootstrap.circuits("done");
      this.#emitter.emit("circuit", event);
    });
    this.#options.signal?.addEventListener("abort", () => {
      this.close().catch((error) => log.error("Cannot close the client: {error}", { error }));
    }, { signal: this.#shutdown.signal });
  }

  #check(host: string): void {
    checkDestination(host, { rejectInternalAddresses: this.#options.clientRejectInternalAddresses });
  }

  #checkAnswer(stream: Stream): void {
    if (!this.#options.clientDnsRejectInternalAddresses) return;
    try {
      checkConnected(stream.connectedAddress);
    } catch (error) {
      stream.destroy();
      throw error;
    }
  }

  async #lookUp(name: string, isolation: string, signal: AbortSignal | undefined): Promise<ResolvedAnswer[]> {
    const found = await this.#request(signal, (both) => this.#streams.resolve(name, { isolation, signal: both }));
    const answers: ResolvedAnswer[] = [];
    for (const answer of found) {
      if (answer.kind === "ipv4" || answer.kind === "ipv6") {
        answers.push({ type: answer.kind, value: answer.address, ttlSeconds: answer.ttl });
      } else if (answer.kind === "hostname") {
        answers.push({ type: "hostname", value: answer.hostname, ttlSeconds: answer.ttl });
      }
    }
    return answers;
  }

  /** Runs a request with a signal that also fires when the client closes; waits for circuits to be possible first. */
  async #request<T>(signal: AbortSignal | undefined, action: (signal: AbortSignal) => Promise<T>): Promise<T> {
    using both = new LinkedSignal(signal, this.#shutdown.signal);
    throwIfAborted(both.signal, "serve a request");
    try {
      return await action(both.signal);
    } catch (error) {
      if (this.#directory.netdir || !isTunicError(error, "timeout")) throw error;
      const { problem } = this.#directory.snapshot();
      throw problem ? withoutDirectory(error, problem) : error;
    }
  }

  async #untilAborted(
    what: string,
    signal: AbortSignal | undefined,
    start: (done: () => void) => () => void,
  ): Promise<void> {
    using both = new LinkedSignal(signal, this.#shutdown.signal);
    const done = new Deferred<void>();
    const stop = start(() => done.resolve());
    try {
      await unlessAborted(done.promise, both.signal, what);
    } finally {
      stop();
    }
  }
}

/** An IPv6 address as URLs have it is one for all that. */
function withoutBrackets(host: string): string {
  return host.startsWith("[") && host.endsWith("]") && host.includes(":") ? host.slice(1, -1) : host;
}

/** A request's time is up before there was a directory: what is wrong with that is what is wrong with the request. */
function withoutDirectory(timeout: TunicError, problem: TunicError): TunicError {
  const { kind, code, retry } = problem.kind === "clock" ? problem : timeout;
  return new TunicError(`${timeout.message}; there is no directory yet: ${problem.message}`, {
    kind,
    code,
    retry,
    cause: problem,
  });
}

function noAnswer(found: string): TunicError {
  return new TunicError(`Cannot resolve a name: ${found}`, { kind: "resolve", code: "no-answer" });
}
