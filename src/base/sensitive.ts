/**
 * Values that must not reach a log, an error message or a metric by accident.
 *
 * A {@link Sensitive} prints as `[scrubbed]` wherever formatting happens (template strings, JSON, inspection);
 * only {@link Sensitive.reveal} opens it. Client addresses, destinations and names of onion services travel
 * in it from the moment they are parsed.
 */

const PLACEHOLDER = "[scrubbed]";

/** Off by default; torrc's `SafeLogging 0` turns it on for the process. */
let showing = false;

/** Lets sensitive values print in clear: for debugging on a private network. */
export function showSensitiveValues(show: boolean): void {
  showing = show;
}

export class Sensitive<T> {
  readonly #value: T;

  constructor(value: T) {
    this.#value = value;
  }

  /** The value itself, for use, not for printing. */
  reveal(): T {
    return this.#value;
  }

  toString(): string {
    return showing ? String(this.#value) : PLACEHOLDER;
  }

  toJSON(): string {
    return this.toString();
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }

  [Symbol.for("Deno.customInspect")](): string {
    return this.toString();
  }
}

export function sensitive<T>(value: T): Sensitive<T> {
  return new Sensitive(value);
}
