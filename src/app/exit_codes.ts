/** What the process's exit code says: one table, from the kinds of {@link TunicError}. */
import { type ErrorKind, isTunicError } from "../base/errors.ts";

export const EXIT_CODES = {
  /** All went well, or a signal asked to stop and everything closed. */
  ok: 0,
  /** A failure with no code of its own. */
  failure: 1,
  /** The command line, a torrc or an option is wrong. */
  usage: 2,
  /** A port to listen on is in use, or may not be bound. */
  listen: 3,
  /** Another process uses the data directory. */
  locked: 4,
  /** The data directory, or a file, cannot be read or written. */
  storage: 5,
  /** The clock is wrong, or the network's documents are from another time. */
  clock: 6,
  /** The Tor network could not be reached. */
  network: 7,
  /** The configuration asks for what tunic cannot do, and ignoring it would not be safe. */
  unsupported: 8,
  /** A defect in tunic. */
  internal: 70,
  /** A second signal arrived before everything had closed. */
  forced: 130,
} as const;

export type ExitName = keyof typeof EXIT_CODES;

/** One line on each code, for help texts. */
export const EXIT_MEANINGS: Readonly<Record<ExitName, string>> = {
  ok: "success, or stopped by a signal and closed cleanly",
  failure: "any other failure",
  usage: "wrong command line, torrc or option",
  listen: "a port to listen on is in use or may not be bound",
  locked: "the data directory is in use by another process",
  storage: "the data directory or a file cannot be read or written",
  clock: "the clock is wrong",
  network: "the Tor network cannot be reached",
  unsupported: "the configuration asks for what tunic cannot do yet and must not ignore",
  internal: "a defect in tunic",
  forced: "stopped by a second signal before everything had closed",
};

const BY_KIND: Readonly<Record<ErrorKind, ExitName>> = {
  config: "usage",
  argument: "usage",
  listen: "listen",
  locked: "locked",
  storage: "storage",
  clock: "clock",
  connection: "network",
  directory: "network",
  circuit: "network",
  "no-path": "network",
  timeout: "network",
  identity: "network",
  unsupported: "unsupported",
  internal: "internal",
  malformed: "failure",
  protocol: "failure",
  crypto: "failure",
  stream: "failure",
  resolve: "failure",
  limit: "failure",
  closed: "failure",
  aborted: "failure",
  policy: "failure",
};

/** The exit code for whatever was thrown; what is no TunicError is a defect. */
export function exitCodeOf(error: unknown): number {
  return EXIT_CODES[isTunicError(error) ? BY_KIND[error.kind] : "internal"];
}
