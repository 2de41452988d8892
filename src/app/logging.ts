/** LogTape's sinks for `Log` lines, written as C tor writes its log: date, severity in brackets, message. */
import { configure, type LogLevel, type LogRecord, reset, type Sink } from "@logtape/logtape";
import { Sensitive, showSensitiveValues } from "../base/sensitive.ts";
import { utf8 } from "../bytes/text.ts";
import type { Files } from "../runtime/ports.ts";
import { type LogTarget, SEVERITIES, type Severity } from "./log_config.ts";

/** How our levels are called in a torrc. */
const SEVERITY_OF: Readonly<Record<LogLevel, Severity>> = {
  trace: "debug",
  debug: "info",
  info: "notice",
  warning: "warn",
  error: "err",
  fatal: "err",
};

const LOWEST_LEVEL: Readonly<Record<Severity, LogLevel>> = {
  debug: "trace",
  info: "debug",
  notice: "info",
  warn: "warning",
  err: "error",
};

export interface LoggingOptions {
  readonly targets: readonly LogTarget[];
  readonly truncateFiles: boolean;
  /** Whether sensitive values stay hidden. */
  readonly safe: boolean;
  readonly files: Pick<Files, "append" | "remove">;
  readonly stdout: (line: string) => void;
  readonly stderr: (line: string) => void;
}

export interface Logging {
  /** Writes out what is under way and lets go of the sinks. */
  close(): Promise<void>;
}

/** Throws `storage` where a log file cannot be written. */
export async function startLogging(options: LoggingOptions): Promise<Logging> {
  const { targets, files } = options;
  const logFiles: LogFile[] = [];
  const sinks: Record<string, Sink> = {};
  let lowest: Severity = "err";
  for (const [i, { from, to, destination }] of targets.entries()) {
    let write: (line: string) => void;
    if (destination.type === "file") {
      const file = new LogFile(destination.path, files, options.stderr);
      await file.open(options.truncateFiles);
      logFiles.push(file);
      write = (line) => file.write(line);
    } else {
      write = options[destination.type];
    }
    sinks[`target${i}`] = (record) => {
      const severity = SEVERITY_OF[record.level];
      if (rank(severity) >= rank(from) && rank(severity) <= rank(to)) write(formatRecord(record));
    };
    if (rank(from) < rank(lowest)) lowest = from;
  }
  showSensitiveValues(!options.safe);
  await configure({
    reset: true,
    sinks,
    loggers: [
      { category: ["tunic"], lowestLevel: LOWEST_LEVEL[lowest], sinks: Object.keys(sinks) },
      { category: ["logtape", "meta"], lowestLevel: "fatal", sinks: [] },
    ],
  });
  return {
    async close() {
      await reset();
      showSensitiveValues(false);
      await Promise.all(logFiles.map((file) => file.flush()));
    },
  };
}

function rank(severity: Severity): number {
  return SEVERITIES.indexOf(severity);
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** "Jan 29 12:00:00.000 [notice] message", in local time. */
export function formatRecord({ timestamp, level, message }: LogRecord): string {
  const date = new Date(timestamp);
  const two = (value: number) => String(value).padStart(2, "0");
  const day = `${MONTHS[date.getMonth()]} ${two(date.getDate())}`;
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  const milliseconds = String(date.getMilliseconds()).padStart(3, "0");
  // LogTape puts text at even places and values between.
  const text = message.map((part, i) => i % 2 === 0 ? String(part) : valueText(part)).join("");
  return `${day} ${time}.${milliseconds} [${SEVERITY_OF[level]}] ${printable(text)}`;
}

function valueText(value: unknown): string {
  if (value instanceof Sensitive) return value.toString();
  if (value instanceof Error) return value.message;
  if (typeof value === "object" && value !== null) {
    try {
      return JSON.stringify(value) ?? String(value);
    } catch {
      return String(value);
    }
  }
  return String(value);
}

/** Without control characters, which a peer could use to forge lines or to steer a terminal. */
export function printable(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

/** Lines over this many bytes that wait for a slow disk are dropped. */
const MAX_WAITING_BYTES = 1 << 20;

/** A log file, appended to in order and in batches. */
class LogFile {
  readonly #path: string;
  readonly #files: LoggingOptions["files"];
  readonly #complain: (line: string) => void;
  #waiting: string[] = [];
  #waitingBytes = 0;
  #dropped = 0;
  #writing: Promise<void> | undefined;
  #failed = false;

  constructor(path: string, files: LoggingOptions["files"], complain: (line: string) => void) {
    this.#path = path;
    this.#files = files;
    this.#complain = complain;
  }

  async open(truncate: boolean): Promise<void> {
    if (truncate) await this.#files.remove(this.#path);
    await this.#files.append(this.#path, new Uint8Array(0));
  }

  write(line: string): void {
    if (this.#waitingBytes + line.length > MAX_WAITING_BYTES) {
      this.#dropped++;
      return;
    }
    this.#waiting.push(line);
    this.#waitingBytes += line.length;
    this.#writing ??= this.#drain();
  }

  async flush(): Promise<void> {
    await this.#writing;
  }

  async #drain(): Promise<void> {
    // Lines of the same turn go out together.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      if (this.#dropped > 0) this.#waiting.push(`(${this.#dropped} messages dropped: the disk is too slow)`);
      const text = this.#waiting.join("\n") + "\n";
      this.#waiting = [];
      this.#waitingBytes = 0;
      this.#dropped = 0;
      try {
        await this.#files.append(this.#path, utf8(text));
        this.#failed = false;
      } catch (error) {
        // Once, not for every line while the disk is full.
        if (!this.#failed) this.#complain(error instanceof Error ? error.message : String(error));
        this.#failed = true;
      }
    }
    this.#writing = undefined;
  }
}
