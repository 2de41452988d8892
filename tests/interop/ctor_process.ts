/**
 * One process of C tor: its torrc, its start, its end, and where it listens.
 *
 * Every torrc names this process as `__OwningControllerProcess`, so tor ends by itself within seconds of a test
 * run that died. Processes are started detached: Deno gives each test file its own isolate and would otherwise
 * take a shared network down with the file that started it.
 */
import { spawn, spawnSync } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { poll } from "../support/poll.ts";

/** Whether this machine has the programs `tor` and `tor-gencert`. */
export function ctorAvailable(): boolean {
  const found = spawnSync("tor", ["--version"]).status === 0 &&
    spawnSync("tor-gencert", ["--help"]).error === undefined;
  if (!found && process.env.CI) {
    throw new Error("Cannot run the interop tests: `tor` or `tor-gencert` is absent, and in CI both must be there");
  }
  return found;
}

/** What `{ skip }` of a test takes: false, or why the interop tests cannot run here. Throws in CI. */
export function skipWithoutCTor(): false | string {
  return ctorAvailable() ? false : "there is no `tor` on this machine";
}

/**
 * `count` ports of 127.0.0.1 that nobody listens on, under the range from which the system takes the ports of
 * outgoing connections: those would otherwise take one between here and tor's start.
 */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = 10_000 + Math.floor(Math.random() * 22_000);
    if (!ports.has(port) && await isFree(port)) ports.add(port);
  }
  return [...ports];
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}

/** Whether something accepts connections on this port of 127.0.0.1. */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

/** Whether the process runs; one that has ended and was not yet waited for does not count. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return !existsSync("/proc/self");
  }
}

/** Ends processes and waits until they are gone: SIGTERM first unless `signal` says otherwise, SIGKILL after 3 s. */
export async function endProcesses(pids: readonly number[], signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
  const send = (which: "SIGTERM" | "SIGKILL") => {
    for (const pid of pids) if (isAlive(pid)) process.kill(pid, which);
  };
  const gone = () => pids.some(isAlive) ? undefined : true;
  send(signal);
  await poll("the end of processes", 3000, gone, 20).catch(() => {
    send("SIGKILL");
    return poll("the end of killed processes", 5000, gone, 20);
  });
}

/**
 * Starts tor on `directory`/torrc, written from `lines`, and answers its pid. Data, log and standard output
 * (`stdout.log`) are in the same directory.
 */
export function startTor(directory: string, lines: readonly string[]): number {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const torrc = join(directory, "torrc");
  writeFileSync(
    torrc,
    [
      ...lines,
      `DataDirectory ${directory}`,
      `Log notice file ${join(directory, "notice.log")}`,
      `PidFile ${join(directory, "pid")}`,
      `__OwningControllerProcess ${process.pid}`,
      "",
    ].join("\n"),
  );
  const output = openSync(join(directory, "stdout.log"), "a");
  try {
    // The defaults file of the system must not add anything: this tor knows our private network only.
    const child = spawn("tor", ["--defaults-torrc", join(directory, "none"), "--ignore-missing-torrc", "-f", torrc], {
      detached: true,
      stdio: ["ignore", output, output],
    });
    child.unref();
    if (child.pid === undefined) throw new Error("Cannot start tor: it has no process id");
    return child.pid;
  } finally {
    closeSync(output);
  }
}

/** The last lines of a tor's log, for error messages. */
export function logTail(directory: string, lines = 12): string {
  return ["notice.log", "stdout.log"].map((name) => {
    const path = join(directory, name);
    return existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(-lines).join("\n") : "";
  }).join("\n");
}
