/** A duplex whose far side is the test. */
import { type Duplex, type DuplexHandlers, IGNORE } from "../../src/base/duplex.ts";
import type { TunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";

export class FakeDuplex implements Duplex {
  handlers: DuplexHandlers = IGNORE;
  /** What was written and counts as not gone out, while {@link blocked}. */
  queued = 0;
  /** While set, `write` answers false and nothing goes out. */
  blocked = false;
  paused = false;
  ended = false;
  closed = false;
  writtenBytes = 0;
  readonly #written: Uint8Array[] = [];

  get written(): Uint8Array {
    return concat(...this.#written);
  }

  write(bytes: Uint8Array): boolean {
    if (this.ended || this.closed) return true;
    this.#written.push(bytes);
    this.writtenBytes += bytes.length;
    if (this.blocked) this.queued += bytes.length;
    return !this.blocked;
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  end(): void {
    this.ended = true;
  }

  destroy(error?: TunicError): void {
    if (this.closed) return;
    this.closed = true;
    this.queued = 0;
    this.handlers.close(error);
  }

  /** The far side takes what is queued. */
  unblock(): void {
    this.blocked = false;
    this.queued = 0;
    this.handlers.drain();
  }
}
