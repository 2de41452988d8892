/** A process that ends nowhere: its output is kept, and a test can signal it. */
import type { Process, StopSignal } from "../../src/runtime/process.ts";

export class FakeProcess implements Process {
  readonly args: readonly string[];
  readonly env = { HOME: "/home/user" };
  readonly platform = "linux";
  readonly workingDirectory = "/work";
  out = "";
  err = "";
  exited: number | undefined;
  readonly #terminal: boolean;
  readonly #handlers = new Set<(signal: StopSignal) => void>();

  constructor(args: readonly string[], terminal = false) {
    this.args = args;
    this.#terminal = terminal;
  }

  get stdout() {
    return { isTerminal: this.#terminal, write: (text: string) => void (this.out += text) };
  }

  get stderr() {
    return { isTerminal: this.#terminal, write: (text: string) => void (this.err += text) };
  }

  get handlers(): number {
    return this.#handlers.size;
  }

  onStopSignal(handler: (signal: StopSignal) => void): () => void {
    this.#handlers.add(handler);
    return () => void this.#handlers.delete(handler);
  }

  signal(signal: StopSignal): void {
    for (const handler of [...this.#handlers]) handler(signal);
  }

  /** The events that `--json` prints, so far. */
  get events(): readonly Record<string, unknown>[] {
    return this.out.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));
  }

  exit(code: number): void {
    this.exited = code;
  }

  exitFlushed(code: number): Promise<void> {
    return Promise.resolve(this.exit(code));
  }
}
