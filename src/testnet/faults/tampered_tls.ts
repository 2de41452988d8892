/** A TLS connection whose bytes are tampered with on the way, by a man in the middle on loopback. */
import { type Duplex, type DuplexHandlers, IGNORE, pump } from "../../base/duplex.ts";
import type { TunicError } from "../../base/errors.ts";
import type { Address, ConnectOptions, Network, TlsSocket } from "../../runtime/ports.ts";

/** What passes is changed where it is written. */
class TamperedDuplex implements Duplex {
  readonly #inner: Duplex;
  readonly #tamper: (bytes: Uint8Array) => Uint8Array;

  constructor(inner: Duplex, tamper: (bytes: Uint8Array) => Uint8Array) {
    this.#inner = inner;
    this.#tamper = tamper;
  }

  get handlers(): DuplexHandlers {
    return this.#inner.handlers;
  }

  set handlers(handlers: DuplexHandlers) {
    this.#inner.handlers = handlers;
  }

  get queued(): number {
    return this.#inner.queued;
  }

  write(bytes: Uint8Array): boolean {
    return this.#inner.write(this.#tamper(bytes));
  }

  pause(): void {
    this.#inner.pause();
  }

  resume(): void {
    this.#inner.resume();
  }

  end(): void {
    this.#inner.end();
  }

  destroy(error?: TunicError): void {
    this.#inner.destroy(error);
  }
}

/** As `connectTls` of `network`. `tamper` gets each piece of either direction. */
export async function connectTampered(
  network: Network,
  to: Address,
  options: ConnectOptions,
  tamper: (bytes: Uint8Array) => Uint8Array,
): Promise<TlsSocket> {
  const far = await network.connectTcp(to, options);
  // A TLS server says nothing before it is asked; it may hang up.
  let isFarClosed = false;
  far.handlers = { ...IGNORE, close: () => isFarClosed = true };
  let isTaken = false;
  try {
    const middle = await network.listenTcp({ host: "127.0.0.1", port: 0 }, (near) => {
      if (isTaken || isFarClosed) {
        near.handlers = IGNORE;
        near.destroy();
        return;
      }
      isTaken = true;
      pump(new TamperedDuplex(near, tamper), new TamperedDuplex(far, tamper), () => {});
    });
    try {
      return await network.connectTls(middle.address, options);
    } finally {
      void middle.close();
    }
  } catch (error) {
    far.destroy();
    throw error;
  }
}
