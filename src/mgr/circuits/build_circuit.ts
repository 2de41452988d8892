/** Builds a circuit along a path and tells the guard manager what came of it (path-spec 2.4, guard-spec 4.7). */
import { LinkedSignal } from "../../base/abort.ts";
import { toTunicError, TunicError } from "../../base/errors.ts";
import type { Circuit } from "../../proto/circuit.ts";
import { ntorHandshake } from "../../proto/circuit_handshake.ts";
import type { CircuitTarget } from "../../proto/target.ts";
import type { Runtime } from "../../runtime/ports.ts";
import type { ChannelManager } from "../channels.ts";
import type { CircuitGuard } from "../guards/mod.ts";

export interface BuildOptions {
  readonly runtime: Runtime;
  readonly channels: ChannelManager;
  readonly circuitWindow: number;
  /** For the whole circuit. */
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  /** Called with the number of hops each time one is added. */
  readonly onHop?: (hops: number) => void;
}

/**
 * Connects to the first of `hops`, which is `guard`, and extends to the others. Throws what went wrong, with
 * nothing left open.
 */
export async function buildCircuit(
  guard: CircuitGuard,
  hops: readonly CircuitTarget[],
  options: BuildOptions,
): Promise<Circuit> {
  const { runtime, channels, timeoutMs } = options;
  using limit = new LinkedSignal(options.signal);
  const timer = runtime.timers.after(timeoutMs, () =>
    limit.abort(
      new TunicError(`Cannot build a circuit: it was not complete within ${timeoutMs} ms`, {
        kind: "timeout",
        code: "circuit-build-timeout",
        retry: "elsewhere",
      }),
    ));
  let circuit: Circuit | undefined;
  try {
    const channel = await channels.get(hops[0]!, limit.signal);
    circuit = channel.newCircuit(options.circuitWindow);
    for (const [index, target] of hops.entries()) {
      const handshake = ntorHandshake(runtime, target);
      if (index === 0) await circuit.create(handshake, limit.signal);
      else await circuit.extend(target, handshake, limit.signal);
      options.onHop?.(index + 1);
    }
    guard.onSuccess();
    return circuit;
  } catch (error) {
    const reason = toTunicError(error, "Cannot build a circuit", { kind: "internal", code: "build-defect" });
    circuit?.destroy(reason);
    // Until the guard has answered, a failure is the guard's; what happens behind it says nothing of it.
    if ((circuit?.hops ?? 0) === 0 && !options.signal.aborted) guard.onFailure();
    else guard.onClosed();
    throw reason;
  } finally {
    timer.cancel();
  }
}
