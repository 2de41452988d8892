/**
 * Opens streams and looks names up over circuits, trying another exit where that may help.
 *
 * What helps follows C tor's client: a refused connection is the answer, an exit policy or a full relay means
 * another exit, a name that cannot be resolved or a silent exit is tried at three exits in all.
 */
import { LinkedSignal } from "../base/abort.ts";
import { throwIfAborted, toTunicError, TunicError } from "../base/errors.ts";
import { logger } from "../base/log.ts";
import type { Circuit } from "../proto/circuit.ts";
import type { Stream } from "../proto/stream.ts";
import type { Runtime } from "../runtime/ports.ts";
import type { ResolvedAnswer } from "../wire/resolve_messages.ts";
import { BeginFlag } from "../wire/stream_messages.ts";
import type { CircuitManager, ManagedCircuit } from "./circuits/mod.ts";
import type { Destination, Path, PathSelector } from "./paths.ts";

const log = logger("streams");

export interface StreamManagerOptions {
  readonly runtime: Runtime;
  readonly circuits: CircuitManager;
  readonly paths: Pick<PathSelector, "allowsIpv6">;
  /** For one exit to answer; `undefined`: 10 s for the first, 15 s for further ones. */
  readonly circuitStreamTimeoutMs: number | undefined;
  /** For a request altogether. */
  readonly requestTimeoutMs: number;
  /** Whether an exit's word that a name is one of a private network is final. */
  readonly rejectInternalAddresses: boolean;
}

export interface StreamOptions {
  readonly isolation: string;
  readonly signal?: AbortSignal;
}

/** Exits that are asked for something that fails at one after the other. */
const MAX_EXITS = 3;
/** Circuits that may break under a request before it is given up. */
const MAX_ATTEMPTS = 10;

/** What a failed attempt means for the next one. */
type Verdict =
  | "final"
  /** Another exit, if there is one, may do better; three are asked. */
  | "other-exit"
  /** Another circuit, to whatever exit, may be quicker; three are tried. */
  | "slow"
  /** The exit has no room: others are asked, and it does not count. */
  | "full"
  /** The circuit was no good, which says nothing of the exit. */
  | "other-circuit";

export class StreamManager {
  readonly #options: StreamManagerOptions;

  constructor(options: StreamManagerOptions) {
    this.#options = options;
  }

  /** Throws `stream` with the exit's reason, `no-path`, `timeout` or `aborted`. */
  open(destination: Destination, options: StreamOptions): Promise<Stream> {
    const { host, port } = destination;
    return this.#attempt(
      destination,
      options,
      "open a stream",
      (circuit, signal, path) => {
        // Said to those only for whom it means something, as C tor does.
        const flags = this.#options.paths.allowsIpv6(path, port) ? BeginFlag.IPV6_OKAY : 0;
        return circuit.openStream(host, port, flags, signal);
      },
    );
  }

  /** The exit's answers, at least one that is no error. Throws `resolve`. */
  resolve(name: string, options: StreamOptions): Promise<readonly ResolvedAnswer[]> {
    return this.#attempt(undefined, options, "resolve a name", async (circuit, signal) => {
      const answers = (await circuit.resolve(name, signal)).filter(({ kind }) => kind !== "unknown");
      const found = answers.filter(({ kind }) => kind !== "error");
      if (found.length > 0) return found;
      const transient = answers.some((answer) => answer.kind === "error" && answer.transient);
      throw new TunicError(`Cannot resolve a name: the exit ${transient ? "failed to" : "found no such name"}`, {
        kind: "resolve",
        code: transient ? "resolve-failed" : "no-such-name",
        retry: transient ? "elsewhere" : "never",
      });
    });
  }

  async #attempt<T>(
    destination: Destination | undefined,
    { isolation, signal }: StreamOptions,
    what: string,
    action: (circuit: Circuit, signal: AbortSignal, path: Path) => Promise<T>,
  ): Promise<T> {
    const { runtime, circuits, requestTimeoutMs, circuitStreamTimeoutMs } = this.#options;
    using request = limited(runtime, requestTimeoutMs, signal, what);
    const avoided = { circuits: new Set<ManagedCircuit>(), exits: [] as Uint8Array[] };
    let failures = 0;
    for (let attempt = 1;; attempt++) {
      const { managed, circuit } = await circuits.get({ destination, isolation }, avoided, request.signal);
      const timeoutMs = circuitStreamTimeoutMs ?? (attempt === 1 ? 10_000 : 15_000);
      using limit = limited(runtime, timeoutMs, request.signal, what);
      try {
        return await action(circuit, limit.signal, managed.path);
      } catch (cause) {
        throwIfAborted(request.signal, what);
        const error = toTunicError(cause, `Cannot ${what}`, { kind: "internal", code: "stream-defect" });
        const verdict = judge(error, managed, destination, this.#options.rejectInternalAddresses);
        if (verdict === "other-exit" || verdict === "full") avoided.exits.push(managed.exit);
        if (verdict === "other-exit" || verdict === "slow") failures++;
        if (verdict === "final" || failures >= MAX_EXITS || attempt >= MAX_ATTEMPTS) throw error;
        log.debug("Trying another circuit: {reason}", { reason: error.message });
        avoided.circuits.add(managed);
      }
    }
  }
}

/** Draws the consequences for the circuit, too. */
function judge(
  error: TunicError,
  managed: ManagedCircuit,
  destination: Destination | undefined,
  rejectInternalAddresses: boolean,
): Verdict {
  if (error.kind === "timeout") {
    // Whether exit or circuit is slow cannot be told; others should not have to find out.
    managed.retired = true;
    return "slow";
  }
  // The circuit has used up its stream numbers.
  if (error.kind === "limit") managed.retired = true;
  if (error.kind === "resolve" || error.kind === "stream") {
    switch (error.context.reason) {
      case "EXITPOLICY":
        // Others would say the same, and a page full of such names must not wear circuits out.
        if (rejectInternalAddresses && error.context.isInternal) return "final";
        if (destination) managed.refusedPorts.add(destination.port);
        return "other-exit";
      case "HIBERNATING":
      case "RESOURCELIMIT":
        managed.retired = true;
        return "full";
    }
    return error.retry === "elsewhere" ? "other-exit" : "final";
  }
  return error.retry === "elsewhere" ? "other-circuit" : "final";
}

/** A signal that also fires after a time. */
function limited(
  runtime: Runtime,
  timeoutMs: number,
  signal: AbortSignal | undefined,
  what: string,
): { readonly signal: AbortSignal } & Disposable {
  throwIfAborted(signal, what);
  const link = new LinkedSignal(signal);
  const timer = runtime.timers.after(timeoutMs, () =>
    link.abort(
      new TunicError(`Cannot ${what}: no answer within ${timeoutMs} ms`, {
        kind: "timeout",
        code: "request-timeout",
        retry: "elsewhere",
      }),
    ));
  return {
    signal: link.signal,
    [Symbol.dispose]() {
      timer.cancel();
      link[Symbol.dispose]();
    },
  };
}
