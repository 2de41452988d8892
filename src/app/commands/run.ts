/** `tunic run`: a client with its listeners, until a signal asks it to stop. */
import { Deferred } from "../../base/deferred.ts";
import { isTunicError, toTunicError, TunicError } from "../../base/errors.ts";
import { logger } from "../../base/log.ts";
import type { StreamBackend } from "../../client/backend.ts";
import type { Runtime } from "../../runtime/ports.ts";
import type { SocksListener } from "../../serve/socks_listener.ts";
import { backendWhenReady, isolateDestinations, withPolicy } from "../client_access.ts";
import { type AppContext, type RunningClient, surroundingsOf } from "../context.ts";
import { EXIT_CODES, exitCodeOf } from "../exit_codes.ts";
import type { LogTarget } from "../log_config.ts";
import { type Logging, startLogging } from "../logging.ts";
import { makeReporter, type Reporter, type Verbosity } from "../reporter.ts";
import { loadConfiguration, type LoadedConfiguration, type SourceFlags } from "../sources.ts";
import { StopRequest } from "../stop_request.ts";

export interface RunFlags extends SourceFlags {
  readonly verifyConfig?: boolean;
  readonly quiet?: boolean;
  readonly hush?: boolean;
  readonly json?: boolean;
}

const log = logger("app");

/** Answers the exit code; throws nothing. */
export async function run(flags: RunFlags, overrides: readonly string[], context: AppContext): Promise<number> {
  const verbosity: Verbosity = flags.quiet ? "quiet" : flags.hush ? "hush" : "all";
  const { json = false } = flags;
  let reporter = makeReporter(context.process, { verbosity, json });
  try {
    const runtime = await context.loadRuntime();
    const configuration = await loadConfiguration(
      flags,
      overrides,
      surroundingsOf(context.process),
      runtime.files,
    );
    reporter = makeReporter(context.process, { verbosity, json, showProgress: !isTold(configuration.logs) });
    for (const warning of configuration.warnings) reporter.warning(warning);
    refuse(configuration);
    if (flags.verifyConfig) {
      if (verbosity === "all") context.process.stdout.write("Configuration was valid\n");
      return EXIT_CODES.ok;
    }
    return await new Session(configuration, runtime, context, reporter).run(verbosity);
  } catch (error) {
    const failure = toTunicError(error, "Cannot go on", { kind: "internal", code: "defect" });
    const exitCode = exitCodeOf(failure);
    reporter.failure(failure, exitCode);
    return exitCode;
  }
}

/** A log on the same terminal tells the phases, too. */
function isTold(logs: readonly LogTarget[]): boolean {
  return logs.some(({ from, to, destination }) =>
    destination.type === "stdout" && from !== "warn" && from !== "err" && (to === "err" || to === "warn")
  );
}

function refuse({ refusals }: LoadedConfiguration): void {
  const [first] = refusals;
  if (!first) return;
  throw new TunicError(refusals.map((error) => error.message).join("\n"), {
    kind: "unsupported",
    code: first.code,
    context: first.context,
  });
}

/** Codes of kind `clock` by which the clock is known to be wrong; others are what one relay or another says. */
const WRONG_CLOCK: ReadonlySet<string> = new Set(["clock-ahead", "clock-behind"]);

/** Where a log goes that nobody asked for: what needs attention, on standard error. */
const DEFAULT_LOGS: readonly LogTarget[] = [{ from: "warn", to: "err", destination: { type: "stderr" } }];

/** One run: what is open, and how it closes. */
class Session {
  readonly #configuration: LoadedConfiguration;
  readonly #runtime: Runtime;
  readonly #context: AppContext;
  readonly #reporter: Reporter;
  /** Rejected with what makes going on pointless. */
  readonly #hopeless = new Deferred<never>();
  readonly #listeners: SocksListener[] = [];
  #client: RunningClient | undefined;
  #ready = false;
  /** What is wrong is said once, until there is progress or something else is wrong. */
  #lastProblem = "";
  #logging: Logging | undefined;

  constructor(configuration: LoadedConfiguration, runtime: Runtime, context: AppContext, reporter: Reporter) {
    this.#configuration = configuration;
    this.#runtime = runtime;
    this.#context = context;
    this.#reporter = reporter;
  }

  async run(verbosity: Verbosity): Promise<number> {
    using stop = new StopRequest(this.#context.process, (signal) => this.#reporter.stopping(signal));
    try {
      await this.#startLogging(verbosity);
      await this.#start(stop.signal);
      await Promise.race([stop.made, this.#hopeless.promise]);
      return EXIT_CODES.ok;
    } catch (error) {
      // A launch that a signal stopped is no failure.
      if (stop.isMade && isTunicError(error, "aborted", "closed")) return EXIT_CODES.ok;
      throw error;
    } finally {
      await this.#close();
      if (stop.isMade) this.#reporter.stopped();
    }
  }

  async #startLogging(verbosity: Verbosity): Promise<void> {
    const { logs, truncateLogFiles, safeLogging } = this.#configuration;
    const { stdout, stderr } = this.#context.process;
    this.#logging = await startLogging({
      targets: logs.length > 0 ? logs : verbosity === "quiet" ? [] : DEFAULT_LOGS,
      truncateFiles: truncateLogFiles,
      safe: safeLogging,
      files: this.#runtime.files,
      stdout: (line) => this.#reporter.logLine(stdout, line),
      stderr: (line) => this.#reporter.logLine(stderr, line),
    });
    for (const warning of this.#configuration.warnings) log.debug(warning);
  }

  async #start(signal: AbortSignal): Promise<void> {
    const { options } = this.#configuration;
    const backend = new Deferred<StreamBackend>();
    // Ports first: one that is in use should show before anything is done on the network.
    await this.#listen(backendWhenReady(backend.promise));
    this.#reporter.listening(this.#listeners.map(({ address }) => address));
    try {
      const client = await this.#context.launch({ ...options, runtime: this.#runtime, signal });
      this.#client = client;
      client.onProblem((error) => this.#onProblem(error));
      client.onBootstrap((status) => {
        this.#ready ||= status.percent >= 100;
        this.#lastProblem = "";
        log.info("Bootstrapped {percent}% ({tag}): {summary}", { ...status });
        this.#reporter.bootstrap(status);
        if (status.percent >= 100) this.#reporter.ready(this.#listeners.map(({ address }) => address));
      });
      backend.resolve(client.backend);
    } catch (error) {
      backend.reject(error);
      throw error;
    }
  }

  /** A wrong clock is nothing that waiting helps; a client that works already is left to work. */
  #onProblem(error: TunicError): void {
    if (error.kind === "clock" && WRONG_CLOCK.has(error.code) && !this.#ready) this.#hopeless.reject(error);
    else if (error.message !== this.#lastProblem) this.#reporter.warning(error.message);
    this.#lastProblem = error.message;
  }

  async #listen(backend: StreamBackend): Promise<void> {
    const { socksPorts, socksPolicy, options } = this.#configuration;
    const { listenSocks } = await import("../../serve/socks_listener.ts");
    const { timers, clock, network } = this.#runtime;
    for (const port of socksPorts) {
      this.#listeners.push(
        await listenSocks({
          network: withPolicy(network, socksPolicy),
          timers,
          clock,
          random: this.#runtime,
          backend: isolateDestinations(backend, port),
          address: port.address,
          ...(options.socksTimeoutMs && { timeoutMs: options.socksTimeoutMs }),
          extendedErrors: port.extendedErrors,
          isolateSocksAuth: port.isolateSocksAuth,
          isolateClientAddress: port.isolateClientAddress,
          preferNoAuth: port.preferNoAuth,
        }),
      );
    }
  }

  /** Closes all that is open, the listeners first; failures on the way are logged and do not keep the rest open. */
  async #close(): Promise<void> {
    const closing = [...this.#listeners.map((listener) => listener.close()), this.#client?.close()];
    for (const outcome of await Promise.allSettled(closing)) {
      if (outcome.status === "rejected") log.error("Cannot close cleanly: {reason}", { reason: outcome.reason });
    }
    await this.#logging?.close();
  }
}
