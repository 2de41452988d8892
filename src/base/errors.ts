/**
 * The one error class that leaves tunic.
 *
 * A {@link TunicError} says what could not be done and why ("Cannot …: reason: what was found, what was
 * expected"), and carries a machine-readable `code`, a `kind` from which SOCKS replies, control-port
 * codes, HTTP statuses and exit codes follow, and a hint on when trying again makes sense. The idea of one
 * shared kind, chosen by sensible reaction rather than by place, is Arti's.
 */

/** What went wrong, grouped by what a caller can do about it. */
export type ErrorKind =
  /** A torrc line, command-line option or API option is wrong. */
  | "config"
  /** The caller asked for something impossible. */
  | "argument"
  /** Bytes from outside that no specification allows. */
  | "malformed"
  /** Well-formed, but forbidden at this point of the protocol. */
  | "protocol"
  /** A MAC, digest or signature does not verify. */
  | "crypto"
  /** The peer proved to be somebody other than expected. */
  | "identity"
  /** A connection to a relay could not be made, or broke. */
  | "connection"
  /** A circuit could not be built, or was destroyed. */
  | "circuit"
  /** No relay, path or guard satisfies what was asked. */
  | "no-path"
  /** Directory information is missing, or nobody will give it. */
  | "directory"
  /** The local clock and the network's disagree too much. */
  | "clock"
  /** The far end of a stream refused or closed it; `context.reason` has the relay's END reason. */
  | "stream"
  /** The name could not be resolved by the exit. */
  | "resolve"
  /** Something took longer than its limit. */
  | "timeout"
  /** A bounded resource is used up (queue, memory, expansion limit). */
  | "limit"
  /** A local address or port is in use or may not be bound. */
  | "listen"
  /** The data directory or one of its files cannot be used. */
  | "storage"
  /** Another process holds the data directory. */
  | "locked"
  /** The object was closed, by us. */
  | "closed"
  /** An AbortSignal fired. */
  | "aborted"
  /** Refused because tunic's policy forbids it. */
  | "policy"
  /** Known, but this version cannot do it. */
  | "unsupported"
  /** A defect in tunic. */
  | "internal";

/** When trying the same thing again may help. */
export type Retry =
  | "never"
  /** At once, with another relay or circuit. */
  | "elsewhere"
  /** After a pause. */
  | "later";

/** Facts about a failure; values are printed, so secrets and addresses go in as `Sensitive`. */
export type ErrorContext = Readonly<Record<string, unknown>>;

export interface TunicErrorOptions {
  readonly kind: ErrorKind;
  /** Short stable identifier within the kind, in kebab-case: "bad-ntor-mac". */
  readonly code: string;
  readonly retry?: Retry;
  readonly context?: ErrorContext;
  readonly cause?: unknown;
}

export class TunicError extends Error {
  override readonly name = "TunicError";
  readonly kind: ErrorKind;
  readonly code: string;
  readonly retry: Retry;
  readonly context: ErrorContext;

  constructor(message: string, options: TunicErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = options.kind;
    this.code = options.code;
    this.retry = options.retry ?? "never";
    this.context = options.context ?? {};
  }
}

/** Whether `error` is a TunicError, of one of `kinds` if any are given. */
export function isTunicError(error: unknown, ...kinds: ErrorKind[]): error is TunicError {
  return error instanceof TunicError && (kinds.length === 0 || kinds.includes(error.kind));
}

/** Wraps whatever was thrown, leaving a TunicError as it is. */
export function toTunicError(
  error: unknown,
  message: string,
  options: Omit<TunicErrorOptions, "cause">,
): TunicError {
  if (error instanceof TunicError) return error;
  const detail = error instanceof Error ? error.message : String(error);
  return new TunicError(`${message}: ${detail}`, { ...options, cause: error });
}

/** The error of an aborted operation, from the signal's reason. */
export function abortError(signal: AbortSignal, what: string): TunicError {
  if (signal.reason instanceof TunicError) return signal.reason;
  return new TunicError(`Cannot ${what}: the caller aborted it`, {
    kind: "aborted",
    code: "aborted",
    cause: signal.reason,
  });
}

export function throwIfAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted) throw abortError(signal, what);
}
