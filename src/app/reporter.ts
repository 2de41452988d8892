/**
 * What commands that run on tell their user: bootstrap phases with C tor's names, warnings, ready, stopped.
 *
 * On a terminal the phases share one line; elsewhere each has its own; with `--json` every event is one JSON
 * object a line. Phases: control-spec 5.5.
 */
import type { TunicError } from "../base/errors.ts";
import type { BootstrapStatus } from "../client/bootstrap.ts";
import type { Address } from "../runtime/ports.ts";
import type { Output, Process } from "../runtime/process.ts";
import { printable } from "./logging.ts";

/** How much to say: everything, only warnings and errors, nothing. */
export type Verbosity = "all" | "hush" | "quiet";

export interface ReporterOptions {
  readonly stdout: Output;
  readonly stderr: Output;
  readonly verbosity: Verbosity;
  readonly json: boolean;
  /** Whether phases are printed: not where a log on the same terminal tells them. */
  readonly showProgress: boolean;
  /** Whether a terminal may be coloured. */
  readonly colour: boolean;
}

const CLEAR_LINE = "\r\x1b[2K";
const BAR_CELLS = 24;
/** Where every phase has its own line, one phase gets another line after so much progress. */
const LINE_STEP_PERCENT = 5;

export class Reporter {
  readonly #options: ReporterOptions;
  #lineOpen = false;
  /** The line that stands there is to be cleared. */
  #pending = false;
  #lastTag = "";
  #lastPercent = 0;

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  bootstrap(status: BootstrapStatus): void {
    const { verbosity, json, showProgress, stdout } = this.#options;
    const { percent, tag, summary } = status;
    if (verbosity === "all" && json) this.#event({ event: "bootstrap", ...status });
    else if (verbosity === "all" && showProgress) {
      const text = `Bootstrapped ${percent}% (${tag}): ${printable(summary)}`;
      if (stdout.isTerminal) this.#updateLine(percent, text);
      else if (tag !== this.#lastTag || percent >= this.#lastPercent + LINE_STEP_PERCENT) {
        stdout.write(`${text}\n`);
        this.#lastTag = tag;
        this.#lastPercent = percent;
      }
    }
  }

  ready(addresses: readonly Address[]): void {
    const socks = addresses.map(addressText);
    const places = socks.length > 0 ? `SOCKS on ${socks.join(", ")}` : "no listeners";
    this.say({ event: "ready", socks }, `ready: ${places}`);
  }

  listening(addresses: readonly Address[]): void {
    if (this.#options.json) this.say({ event: "listening", socks: addresses.map(addressText) }, "");
  }

  stopping(signal: string): void {
    this.say({ event: "stopping", signal }, `${signal}: closing (once more to stop at once)`);
  }

  stopped(): void {
    this.say({ event: "stopped" }, "closed");
  }

  warning(message: string): void {
    const { verbosity, json, stderr } = this.#options;
    if (verbosity === "quiet") return;
    if (json) return this.#event({ event: "warning", message });
    this.#endLine();
    stderr.write(`${this.paint("33", "warning")}: ${printable(message)}\n`);
  }

  /** Always said, unless `--quiet` with its exit code has to do. */
  failure(error: TunicError, exitCode: number): void {
    const { verbosity, json, stderr } = this.#options;
    if (json) {
      const { kind, code, message } = error;
      return this.#event({ event: "error", kind, code, message, exitCode });
    }
    if (verbosity === "quiet") return;
    this.#endLine();
    for (const line of error.message.split("\n")) stderr.write(`${this.paint("31", "error")}: ${printable(line)}\n`);
  }

  /** A line of a log that goes to the terminal, without breaking the line of phases. */
  logLine(output: Output, line: string): void {
    this.#endLine();
    output.write(`${line}\n`);
  }

  /** As an object with `--json`, else as text: one or more lines. */
  say(event: Readonly<Record<string, unknown>>, text: string): void {
    const { verbosity, json, stdout } = this.#options;
    if (verbosity !== "all") return;
    if (json) return this.#event(event);
    this.#endLine();
    stdout.write(`${text}\n`);
  }

  /** On a terminal, and there alone: a line that stays until something else is said. */
  pending(text: string): void {
    const { verbosity, json, stdout } = this.#options;
    if (verbosity !== "all" || json || !stdout.isTerminal) return;
    stdout.write(`${CLEAR_LINE}${text}`);
    this.#pending = true;
  }

  #event(event: Readonly<Record<string, unknown>>): void {
    this.#options.stdout.write(`${JSON.stringify(event)}\n`);
  }

  #updateLine(percent: number, text: string): void {
    const full = Math.round((percent / 100) * BAR_CELLS);
    const bar = "█".repeat(full) + "░".repeat(BAR_CELLS - full);
    this.#options.stdout.write(`${CLEAR_LINE}${this.paint("35", bar)} ${text}`);
    this.#lineOpen = true;
    if (percent >= 100) this.#endLine();
  }

  #endLine(): void {
    if (this.#pending) this.#options.stdout.write(CLEAR_LINE);
    this.#pending = false;
    if (!this.#lineOpen) return;
    this.#lineOpen = false;
    this.#options.stdout.write("\n");
  }

  /** `colour`: an SGR parameter (ECMA-48). */
  paint(colour: string, text: string): string {
    return this.#options.colour && this.#options.stdout.isTerminal ? `\x1b[${colour}m${text}\x1b[0m` : text;
  }
}

/** A reporter on the process's own streams, which says everything. */
export function makeReporter(
  { stdout, stderr, env }: Pick<Process, "stdout" | "stderr" | "env">,
  options: Partial<Pick<ReporterOptions, "verbosity" | "json" | "showProgress">>,
): Reporter {
  const colour = !env["NO_COLOR"] && env["TERM"] !== "dumb";
  return new Reporter({ stdout, stderr, verbosity: "all", json: false, showProgress: true, ...options, colour });
}

export function addressText({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
