/**
 * A {@link Duplex} as users meet it: WHATWG streams in both directions, with back-pressure that reaches the relay.
 *
 * Bytes that are written are copied, since what is queued must not change; bytes that are read belong to the reader.
 */
import { Deferred } from "../base/deferred.ts";
import type { Duplex } from "../base/duplex.ts";
import { TunicError } from "../base/errors.ts";

/** What may wait in memory for the reader before the other side is told to stop. */
const HIGH_WATER = 64 * 1024;
/** Longer writes are cut, so that one of any length waits for the network piece by piece. */
const MAX_PIECE = 32 * 1024;

export class TorConnection implements AsyncDisposable {
  /** Ends when the far end ends; fails with a TunicError when the stream breaks; cancelling closes the connection. */
  readonly readable: ReadableStream<Uint8Array>;
  /** Closing it sends what was written, then ends the stream: Tor streams do not stay half open. */
  readonly writable: WritableStream<Uint8Array>;
  readonly #duplex: Duplex;
  readonly #closed = new Deferred<void>();
  #reader!: ReadableStreamDefaultController<Uint8Array>;
  #writer!: WritableStreamDefaultController;
  #readerDone = false;
  #drained: Deferred<void> | undefined;

  /** Takes the duplex over, in the turn in which it was obtained. */
  constructor(duplex: Duplex) {
    this.#duplex = duplex;
    this.readable = new ReadableStream<Uint8Array>({
      start: (controller) => void (this.#reader = controller),
      pull: () => duplex.resume(),
      cancel: () => this.#stopReading(),
    }, { highWaterMark: HIGH_WATER, size: (chunk) => chunk!.byteLength });
    this.writable = new WritableStream<Uint8Array>({
      start: (controller) => void (this.#writer = controller),
      write: (chunk) => this.#write(chunk),
      close: () => duplex.end(),
      abort: () => duplex.destroy(),
    });
    duplex.handlers = {
      data: (bytes) => {
        if (this.#readerDone) return;
        this.#reader.enqueue(bytes);
        if (this.#reader.desiredSize! <= 0) duplex.pause();
      },
      drain: () => this.#drained?.resolve(),
      end: () => this.#endReading(),
      close: (error) => this.#onClose(error),
    };
  }

  /** Resolves once both directions are closed; rejects with what broke the stream. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  /** Ends the connection: what was written still goes out, what was not read is dropped. */
  async close(): Promise<void> {
    this.#stopReading();
    await this.#closed.promise.catch(() => {});
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #stopReading(): void {
    this.#endReading();
    if (this.#duplex.queued === 0) return this.#duplex.destroy();
    this.#duplex.end();
    this.#duplex.resume();
  }

  #endReading(): void {
    if (this.#readerDone) return;
    this.#readerDone = true;
    try {
      this.#reader.close();
    } catch {
      // The reader has cancelled, and with that closed it.
    }
  }

  async #write(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; at += MAX_PIECE) {
      if (this.#closed.settled) throw closedError();
      if (this.#duplex.write(chunk.slice(at, at + MAX_PIECE))) continue;
      this.#drained = new Deferred();
      await this.#drained.promise;
    }
  }

  #onClose(error: TunicError | undefined): void {
    const reason = error ?? closedError();
    if (error) this.#closed.reject(error);
    else this.#closed.resolve();
    this.#drained?.reject(reason);
    this.#writer.error(reason);
    if (!error || this.#readerDone) return this.#endReading();
    this.#readerDone = true;
    this.#reader.error(error);
  }
}

function closedError(): TunicError {
  return new TunicError("Cannot write: the connection is closed", { kind: "closed", code: "stream-closed" });
}
