/** `tunic demo`: a network, a website behind an exit and a client in one process, and a page fetched by three hops. */
import { LinkedSignal, unlessAborted } from "../../base/abort.ts";
import { Deferred } from "../../base/deferred.ts";
import { isTunicError, TunicError } from "../../base/errors.ts";
import { ENOUGH_DIRINFO_PERCENT } from "../../client/bootstrap.ts";
import { torFetch } from "../../client/fetch.ts";
import type { Runtime, Timers } from "../../runtime/ports.ts";
import { listenSocks, type SocksListener } from "../../serve/socks_listener.ts";
import type { ObservedStream } from "../../testnet/path_observer.ts";
import { startTestnet } from "../../testnet/testnet.ts";
import type { AppContext, RunningClient } from "../context.ts";
import { PAGE, startDemoSite } from "../demo/site.ts";
import { DemoView, type FetchedPage } from "../demo/view.ts";
import { DEFAULT_SOCKS_ADDRESS } from "../socks_ports.ts";
import { untilStopped } from "../until_stopped.ts";

export interface DemoFlags {
  /** Ends when the page is there. */
  readonly once?: boolean;
  readonly json?: boolean;
}

/** A name that only the network's exits know. */
const SITE_NAME = "tunic.test";
const TIMEOUT_MS = 30_000;
const HOPS = 3;
/** For cells that are on their way when the page is there, such as the stream's END, to be counted at each relay. */
const SETTLE_MS = 20;

/** Answers the exit code; throws nothing. */
export function demo(flags: DemoFlags, context: AppContext): Promise<number> {
  return untilStopped(context, flags.json ?? false, async ({ runtime, reporter, stop }) => {
    const view = new DemoView(reporter);
    const watch = new StopWatch(runtime);
    using limit = deadline(runtime.timers, stop.signal);
    let onStream: (stream: ObservedStream) => void = () => {};

    view.begin("network");
    await using site = await startDemoSite();
    const hosts = { [SITE_NAME]: "127.0.0.1" };
    await using net = await startTestnet({ runtime, hosts, onExitStream: (stream) => onStream(stream) });
    view.done(
      "network",
      watch.lap(),
      `${net.directoryAuthorities.length} authorities and ${relayCount(net)} on loopback`,
    );

    await using client = closing(
      await context.launch({
        runtime,
        directoryAuthorities: net.directoryAuthorities,
        testingTorNetwork: true,
        signal: limit.signal,
      }),
    );
    client.onProblem((error) => reporter.warning(error.message));
    await bootstrap(client, view, watch, limit.signal);

    const url = `http://${SITE_NAME}:${site.port}/`;
    const observed: ObservedStream[] = [];
    onStream = (stream) => void observed.push(stream);
    view.page(await fetchPage({ url, client, runtime, observed, watch, view, signal: limit.signal }));
    limit.over();
    if (flags.once) return;

    onStream = (stream) => view.stream(stream);
    await using socks = closing(await openSocks(client, runtime));
    view.ready(socks.address, url);
    await stop.made;
  });
}

function relayCount({ relays }: { readonly relays: readonly { readonly role: string }[] }): string {
  const of = (wanted: string): number => relays.filter(({ role }) => role === wanted).length;
  return `${of("relay") + of("exit")} relays, ${of("exit")} of them exits,`;
}

/** Two steps: the directory, which the client checks and reads, and a first circuit. */
async function bootstrap(client: RunningClient, view: DemoView, watch: StopWatch, signal: AbortSignal): Promise<void> {
  const directory = new Deferred<void>();
  const circuit = new Deferred<void>();
  client.onBootstrap(({ percent, summary }) => {
    if (percent < 100) view.begin(percent < ENOUGH_DIRINFO_PERCENT ? "directory" : "circuit", summary);
    if (percent >= ENOUGH_DIRINFO_PERCENT) directory.resolve();
    if (percent >= 100) circuit.resolve();
  });
  await unlessAborted(directory.promise, signal, "get the directory");
  view.done("directory", watch.lap(), "a consensus that the authorities signed, and a key of every relay");
  await unlessAborted(circuit.promise, signal, "build a circuit");
  view.done("circuit", watch.lap(), `${HOPS} hops, keys agreed with each of them`);
}

interface PageRequest {
  readonly url: string;
  readonly client: RunningClient;
  readonly runtime: Runtime;
  /** Grows while the page is fetched. */
  readonly observed: readonly ObservedStream[];
  readonly watch: StopWatch;
  readonly view: DemoView;
  readonly signal: AbortSignal;
}

/** Throws `protocol` where what comes is not the page, or did not come by three relays. */
async function fetchPage(request: PageRequest): Promise<FetchedPage> {
  const { url, client, runtime, observed, watch, view, signal } = request;
  view.begin("page");
  const response = await torFetch({ backend: client.backend, http: runtime.http, isolation: "demo" }, url, { signal });
  const firstByteMs = watch.lap();
  const startToFirstByteMs = watch.total();
  const text = await response.text();
  if (response.status !== 200 || text !== PAGE) {
    throw wrong("page", `status ${response.status} and ${text.length} characters`, "the website's page");
  }
  const ms = firstByteMs + watch.lap();
  const settled = new Deferred<void>();
  runtime.timers.after(SETTLE_MS, () => settled.resolve());
  await settled.promise;
  const [stream] = observed;
  if (stream?.path.length !== HOPS) throw wrong("path", `${stream?.path.length ?? 0} relays`, `${HOPS}`);
  view.done("page", ms, `${text.length} bytes, the first after ${Math.round(firstByteMs)} ms`);
  return { url, status: response.status, bytes: text.length, firstByteMs, startToFirstByteMs, stream };
}

function wrong(what: string, found: string, expected: string): TunicError {
  return new TunicError(`Cannot show a page: wrong ${what}: found ${found}, expected ${expected}`, {
    kind: "protocol",
    code: `wrong-${what}`,
  });
}

/** At the usual port, or at any where that is taken. */
async function openSocks(client: RunningClient, runtime: Runtime): Promise<SocksListener> {
  const { network, timers, clock } = runtime;
  const options = { network, timers, clock, random: runtime, backend: client.backend };
  try {
    return await listenSocks({ ...options, address: DEFAULT_SOCKS_ADDRESS });
  } catch (error) {
    if (!isTunicError(error, "listen")) throw error;
    return await listenSocks({ ...options, address: { ...DEFAULT_SOCKS_ADDRESS, port: 0 } });
  }
}

function closing<T extends { close(): Promise<void> }>(resource: T): T & AsyncDisposable {
  return Object.assign(resource, { [Symbol.asyncDispose]: () => resource.close() });
}

/** A signal that also fires when the demo takes too long. */
function deadline(timers: Timers, stop: AbortSignal): { readonly signal: AbortSignal; over(): void } & Disposable {
  const link = new LinkedSignal(stop);
  const timer = timers.after(TIMEOUT_MS, () =>
    link.abort(
      new TunicError(`Cannot show a page: found none within ${TIMEOUT_MS / 1000} s`, {
        kind: "timeout",
        code: "demo-timeout",
      }),
    ));
  return {
    signal: link.signal,
    over: () => timer.cancel(),
    [Symbol.dispose]() {
      timer.cancel();
      link[Symbol.dispose]();
    },
  };
}

class StopWatch {
  readonly #clock: Runtime["clock"];
  readonly #start: number;
  #lap: number;

  constructor({ clock }: Runtime) {
    this.#clock = clock;
    this.#start = this.#lap = clock.monotonic();
  }

  /** Milliseconds since the start. */
  total(): number {
    return this.#clock.monotonic() - this.#start;
  }

  /** Milliseconds since this was asked last, or since the start. */
  lap(): number {
    const now = this.#clock.monotonic();
    const ms = now - this.#lap;
    this.#lap = now;
    return ms;
  }
}
