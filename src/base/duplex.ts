/**
 * A byte stream in both directions with back-pressure: what sockets and Tor streams have in common.
 *
 * Callbacks rather than WHATWG streams, because the hot path counts its allocations; the library's face wraps
 * it for users.
 */
import type { TunicError } from "./errors.ts";

export interface DuplexHandlers {
  /** Bytes arrived; the array is the receiver's to keep. */
  data(bytes: Uint8Array): void;
  /** The write queue fell under its low-water mark after `write` had answered false. */
  drain(): void;
  /** The peer will send no more. The writing half stays open. */
  end(): void;
  /** Called exactly once, last; without an error the close was orderly. */
  close(error?: TunicError): void;
}

export interface Duplex {
  /** Must be set in the turn of the event loop in which the duplex was obtained; nothing is delivered before. */
  handlers: DuplexHandlers;
  /**
   * Queues bytes, which must not change afterwards. False when more is queued than the high-water mark:
   * whoever writes should wait for `drain`. After `end`, `destroy` or a close the bytes are dropped.
   */
  write(bytes: Uint8Array): boolean;
  /** Bytes that `write` took and that have not gone out yet. */
  readonly queued: number;
  /** Stops `data` (what is already on the way may still come in this turn). */
  pause(): void;
  resume(): void;
  /** Closes the writing half once the queue is empty. */
  end(): void;
  /** Closes both halves now, dropping the queue; `close` is still called, with `error` if given. */
  destroy(error?: TunicError): void;
}

/** Handlers for before anybody listens, or after nobody does. */
export const IGNORE: DuplexHandlers = { data() {}, drain() {}, end() {}, close() {} };

/**
 * Carries bytes both ways between `a` and `b` until both are closed, no faster than the slower side takes
 * them. Calls `done` once, with the first error of either side.
 */
export function pump(a: Duplex, b: Duplex, done: (error: TunicError | undefined) => void): void {
  let open = 2;
  let first: TunicError | undefined;
  const handlers = (from: Duplex, to: Duplex): DuplexHandlers => ({
    data(bytes) {
      if (!to.write(bytes)) from.pause();
    },
    drain() {
      to.resume();
    },
    end() {
      to.end();
    },
    close(error) {
      first ??= error;
      // An orderly close has sent `end` before; what is queued for the other side may still go out.
      if (error) to.destroy();
      else to.end();
      if (--open === 0) done(first);
    },
  });
  a.handlers = handlers(a, b);
  b.handlers = handlers(b, a);
}
