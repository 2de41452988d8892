/** The frame of a command that may run until a signal stops it: reporter, runtime, signals, exit code. */
import { isTunicError, toTunicError } from "../base/errors.ts";
import type { Runtime } from "../runtime/ports.ts";
import type { AppContext } from "./context.ts";
import { EXIT_CODES, exitCodeOf } from "./exit_codes.ts";
import { makeReporter, type Reporter } from "./reporter.ts";
import { StopRequest } from "./stop_request.ts";

export interface Frame {
  readonly runtime: Runtime;
  readonly reporter: Reporter;
  readonly stop: StopRequest;
}

/** Answers the exit code; throws nothing. `action` has closed what it opened when it is over. */
export async function untilStopped(
  context: AppContext,
  json: boolean,
  action: (frame: Frame) => Promise<void>,
): Promise<number> {
  const reporter = makeReporter(context.process, { json });
  using stop = new StopRequest(context.process, (signal) => reporter.stopping(signal));
  try {
    await action({ runtime: await context.loadRuntime(), reporter, stop });
  } catch (error) {
    // What a signal interrupted is no failure.
    if (!(stop.isMade && isTunicError(error, "aborted", "closed"))) {
      const failure = toTunicError(error, "Cannot go on", { kind: "internal", code: "defect" });
      const exitCode = exitCodeOf(failure);
      reporter.failure(failure, exitCode);
      return exitCode;
    }
  }
  if (stop.isMade) reporter.stopped();
  return EXIT_CODES.ok;
}
