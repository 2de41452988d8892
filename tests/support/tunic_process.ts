/** `tunic run` as a process of its own: from source on the runtime that runs the tests, or as the built executable. */
import type { Buffer } from "node:buffer";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const path = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));

const MAIN = path("../../src/app/main.ts");
export const EXECUTABLE = path("../../dist/tunic-linux-x64");

/** The command that runs tunic's command line, or another `program` from source. */
export function tunicCommand(from: "source" | "executable", program = MAIN): readonly string[] {
  if (from === "executable") return [EXECUTABLE];
  const deno = "Deno" in globalThis ? ["run", "--quiet", "-A", "--no-check"] : [];
  return [process.execPath, ...deno, program];
}

/** Why tests of the executable cannot run; false when they can. In CI, where it is built first, they must. */
export function skipWithoutExecutable(): string | false {
  if (existsSync(EXECUTABLE) || process.env.CI) return false;
  return "there is no dist/tunic-linux-x64: `deno task build` makes it";
}

/** One line of `tunic run --json`. */
export interface TunicEvent {
  readonly event: string;
  readonly [key: string]: unknown;
}

export class TunicProcess implements AsyncDisposable {
  readonly events: TunicEvent[] = [];
  readonly dataDirectory: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<number>;
  readonly #waiting = new Set<() => void>();
  readonly #keepData: boolean;
  #text = "";
  stderr = "";
  exitCode: number | undefined;

  constructor(child: ChildProcess, dataDirectory: string, keepData: boolean) {
    this.#child = child;
    this.dataDirectory = dataDirectory;
    this.#keepData = keepData;
    child.stdout!.on("data", (bytes: Buffer) => this.#onOutput(bytes.toString()));
    child.stderr!.on("data", (bytes: Buffer) => this.stderr += bytes.toString());
    this.#exited = new Promise((resolve) =>
      child.once("close", (code) => {
        this.exitCode = code ?? -1;
        this.#wake();
        resolve(this.exitCode);
      })
    );
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** The port of its first SOCKS listener, once it listens. */
  get socksPort(): number {
    const listening = this.events.find(({ event }) => event === "listening");
    const first = (listening?.socks as string[] | undefined)?.[0];
    if (!first) throw new Error(`tunic does not listen: ${JSON.stringify(this.events)} ${this.stderr}`);
    return Number(first.slice(first.lastIndexOf(":") + 1));
  }

  /** Resolves with the first event of this name, of the past or to come. */
  async event(name: string, timeoutMs = 60_000): Promise<TunicEvent> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const found = this.events.find(({ event }) => event === name);
      if (found) return found;
      const state = `${JSON.stringify(this.events.slice(-5))} ${this.stderr}`;
      if (this.exitCode !== undefined) throw new Error(`tunic ended with ${this.exitCode} before "${name}": ${state}`);
      const leftMs = deadline - Date.now();
      if (leftMs <= 0) throw new Error(`tunic said no "${name}" within ${timeoutMs} ms: ${state}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, leftMs);
        this.#waiting.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
  }

  ready(timeoutMs?: number): Promise<TunicEvent> {
    return this.event("ready", timeoutMs);
  }

  signal(name: "SIGINT" | "SIGTERM" | "SIGKILL"): void {
    // Not `child.kill`: under Deno the exit code is lost to those who use it.
    process.kill(this.pid, name);
  }

  exited(): Promise<number> {
    return this.#exited;
  }

  /** Ends it as a user does and waits; the data directory goes too, unless it was given. */
  async stop(): Promise<number> {
    if (this.exitCode === undefined) this.signal("SIGTERM");
    const stuck = setTimeout(() => this.signal("SIGKILL"), 10_000);
    const code = await this.#exited;
    clearTimeout(stuck);
    if (!this.#keepData) rmSync(this.dataDirectory, { recursive: true, force: true });
    return code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #onOutput(text: string): void {
    this.#text += text;
    const lines = this.#text.split("\n");
    this.#text = lines.pop()!;
    for (const line of lines) if (line.startsWith("{")) this.events.push(JSON.parse(line) as TunicEvent);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }
}

export interface TunicOptions {
  readonly from?: "source" | "executable";
  /** Lines of its torrc: authorities on 127.0.0.1 must be among them. */
  readonly torrc: readonly string[];
  /** Default: one of its own, removed at the end. */
  readonly dataDirectory?: string;
  readonly parameters?: readonly string[];
}

/** Starts it with a SOCKS port of its choice; does not wait for anything. */
export function startTunic({ from = "source", torrc, dataDirectory, parameters = [] }: TunicOptions): TunicProcess {
  if (!torrc.some((line) => line.startsWith("DirAuthority "))) throw new Error("a test names its own authorities");
  const directory = dataDirectory ?? mkdtempSync(join(tmpdir(), "tunic-test-"));
  const file = `${directory}.torrc`;
  writeFileSync(file, [...torrc, `DataDirectory ${directory}`, "SocksPort auto"].join("\n") + "\n");
  const [command, ...first] = tunicCommand(from);
  const child = spawn(command!, [...first, "run", "--json", "-f", file, ...parameters], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  child.once("close", () => rmSync(file, { force: true }));
  return new TunicProcess(child, directory, dataDirectory !== undefined);
}
