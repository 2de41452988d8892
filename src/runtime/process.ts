/** The process that tunic runs as: arguments, environment, standard output, signals. */
import process from "node:process";

/** A standard stream to write text to. */
export interface Output {
  readonly isTerminal: boolean;
  write(text: string): void;
}

export type StopSignal = "SIGINT" | "SIGTERM";

export interface Process {
  /** Without the runtime's and the program's own names. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** "linux", "darwin", "win32", … */
  readonly platform: string;
  readonly workingDirectory: string;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Calls `handler` for each signal, in place of ending the process, until the returned function is called. */
  onStopSignal(handler: (signal: StopSignal) => void): () => void;
  /** Ends the process at once. */
  exit(code: number): void;
  /** Ends the process when what was written is out. */
  exitFlushed(code: number): Promise<void>;
}

const STOP_SIGNALS: readonly StopSignal[] = ["SIGINT", "SIGTERM"];

/** The real process, on `node:process`. */
export const nodeProcess: Process = {
  get args() {
    return process.argv.slice(2);
  },
  env: process.env,
  platform: process.platform,
  get workingDirectory() {
    return process.cwd();
  },
  stdout: outputOf(process.stdout),
  stderr: outputOf(process.stderr),

  onStopSignal(handler) {
    const listeners = STOP_SIGNALS.map((signal) => [signal, () => handler(signal)] as const);
    for (const [signal, listener] of listeners) process.on(signal, listener);
    return () => {
      for (const [signal, listener] of listeners) process.off(signal, listener);
    };
  },

  exit(code) {
    process.exit(code);
  },

  async exitFlushed(code) {
    await Promise.all([flushed(process.stdout), flushed(process.stderr)]);
    process.exit(code);
  },
};

function outputOf(stream: NodeJS.WriteStream): Output {
  let broken = false;
  return {
    get isTerminal() {
      return stream.isTTY === true;
    },
    write(text) {
      if (broken) return;
      // A reader that has gone (`tunic … | head`) is no reason to fail.
      if (stream.listenerCount("error") === 0) stream.on("error", () => broken = true);
      stream.write(text);
    },
  };
}

function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed || !stream.writable) return resolve();
    stream.once("error", () => resolve());
    stream.write("", () => resolve());
  });
}
