/** A {@link Duplex} as a stream of `node:stream`, for what the runtime's libraries do over a socket. */
import { Duplex as NodeDuplex } from "node:stream";
import type { Duplex } from "../base/duplex.ts";
import type { TunicError } from "../base/errors.ts";

type Callback = (error?: Error | null) => void;

/** Takes the duplex over, in the turn in which it was obtained. */
export class DuplexStream extends NodeDuplex {
  readonly #duplex: Duplex;
  #blocked: Callback | undefined;
  #closed = false;
  #error: TunicError | undefined;

  constructor(duplex: Duplex) {
    super({ allowHalfOpen: true });
    this.#duplex = duplex;
    duplex.handlers = {
      data: (bytes) => {
        if (!this.push(bytes)) duplex.pause();
      },
      drain: () => this.#unblock(),
      end: () => void this.push(null),
      close: (error) => {
        this.#closed = true;
        this.#error = error;
        if (error) this.destroy(error);
        this.#unblock(error);
      },
    };
  }

  override _read(): void {
    this.#duplex.resume();
  }

  override _write(chunk: Uint8Array, _encoding: string, callback: Callback): void {
    if (this.#closed) callback(this.#error ?? new Error("the connection is closed"));
    else if (this.#duplex.write(chunk)) callback();
    else this.#blocked = callback;
  }

  override _final(callback: Callback): void {
    this.#duplex.end();
    callback();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#duplex.destroy();
    this.#unblock(error ?? undefined);
    callback(error);
  }

  #unblock(error?: Error): void {
    const blocked = this.#blocked;
    this.#blocked = undefined;
    blocked?.(error);
  }
}
