/**
 * A socket with faults between it and its user. While there are none it passes everything on as it is; what is held
 * back when a fault is healed goes out in its order.
 */
import { type DuplexHandlers, IGNORE } from "../../base/duplex.ts";
import { TunicError } from "../../base/errors.ts";
import type { Address, KeyingMaterialExporter, Runtime, Socket, TlsSocket } from "../../runtime/ports.ts";
import type { ConnectionFaults } from "./connection_faults.ts";
import { Lane, type LaneItem } from "./lane.ts";

export interface FaultySocketOptions {
  readonly runtime: Pick<Runtime, "clock" | "timers">;
  readonly faults: ConnectionFaults;
  /** Changes what is written, before it waits for anything. Default: nothing does. */
  readonly tamper?: (bytes: Uint8Array) => Uint8Array;
}

const HIGH_WATER_BYTES = 64 * 1024;
const LOW_WATER_BYTES = 16 * 1024;
/** How long what was written before a reset may take to go out. */
const LINGER_MS = 500;

export class FaultySocket implements Socket {
  handlers: DuplexHandlers = IGNORE;
  readonly remote: Address | undefined;
  readonly local: Address | undefined;
  readonly #inner: Socket;
  readonly #options: FaultySocketOptions;
  readonly #in: Lane;
  readonly #out: Lane;
  #isActive: boolean;
  /** Bytes in both directions since connections began to be reset. */
  #carried = 0;
  #paused = false;
  #ended = false;
  /** `write` has answered false. */
  #full = false;
  #innerBlocked = false;
  #innerClosed = false;
  #closed = false;

  /** To be called in the turn in which `inner` was obtained; takes it over. */
  constructor(inner: Socket, options: FaultySocketOptions) {
    const { runtime, faults } = options;
    this.#inner = inner;
    this.#options = options;
    this.remote = inner.remote;
    this.local = inner.local;
    this.#in = new Lane({
      runtime,
      faults,
      direction: "in",
      isReady: () => !this.#paused,
      deliver: (item) => this.#arrive(item),
      moved: () => this.#inMoved(),
    });
    this.#out = new Lane({
      runtime,
      faults,
      direction: "out",
      isReady: () => !this.#innerBlocked,
      deliver: (item) => this.#send(item),
      moved: () => this.#outMoved(),
    });
    this.#isActive = faults.isActive;
    faults.addListener(this);
    inner.handlers = {
      data: (bytes) => this.#onData(bytes),
      drain: () => {
        this.#innerBlocked = false;
        this.#out.run();
      },
      end: () => this.#in.push("end"),
      close: (error) => this.#onInnerClosed(error),
    };
  }

  get queued(): number {
    return this.#out.waitingBytes + this.#inner.queued;
  }

  write(bytes: Uint8Array): boolean {
    if (this.#closed || this.#ended) return true;
    const sent = this.#options.tamper?.(bytes) ?? bytes;
    if (!this.#isActive && this.#out.isEmpty) {
      this.#innerBlocked = !this.#inner.write(sent);
      this.#full = this.#innerBlocked;
    } else {
      this.#out.push(sent);
      this.#full = this.#out.waitingBytes > HIGH_WATER_BYTES;
    }
    return !this.#full;
  }

  pause(): void {
    this.#paused = true;
    this.#inner.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#in.run();
  }

  end(): void {
    if (this.#closed || this.#ended) return;
    this.#ended = true;
    if (!this.#isActive && this.#out.isEmpty) this.#inner.end();
    else this.#out.push("end");
  }

  destroy(error?: TunicError): void {
    if (this.#closed) return;
    this.#in.drop();
    this.#out.drop();
    if (this.#innerClosed) this.#finish(error);
    else this.#inner.destroy(error);
  }

  faultsChanged(): void {
    const { faults } = this.#options;
    this.#isActive = faults.isActive;
    if (faults.resetAfterBytes === Infinity) this.#carried = 0;
    this.#in.forgetLimit();
    this.#out.forgetLimit();
    this.#in.run();
    this.#out.run();
  }

  #onData(bytes: Uint8Array): void {
    if (!this.#isActive && this.#in.isEmpty && !this.#paused) return this.handlers.data(bytes);
    this.#in.push(bytes);
    if (this.#in.waitingBytes > HIGH_WATER_BYTES) this.#inner.pause();
  }

  #onInnerClosed(error: TunicError | undefined): void {
    if (this.#closed) return;
    this.#innerClosed = true;
    this.#out.drop();
    // What a broken connection still held is lost; what came before an orderly end is not.
    if (error || this.#in.isEmpty || this.#options.faults.isSilent) this.#finish(error);
    else this.#in.push("close");
  }

  #arrive(item: LaneItem): void {
    if (item === "end") this.handlers.end();
    else if (item === "close") this.#finish(undefined);
    else {
      const left = this.#leftBeforeReset(item);
      if (left === undefined) this.handlers.data(item);
      else {
        if (left > 0) this.handlers.data(item.subarray(0, left));
        this.#reset();
      }
    }
  }

  #send(item: LaneItem): void {
    if (item === "end") this.#inner.end();
    else if (item !== "close") {
      const left = this.#leftBeforeReset(item);
      if (left === undefined) this.#innerBlocked = !this.#inner.write(item);
      else {
        if (left > 0) this.#inner.write(item.subarray(0, left));
        this.#reset();
      }
    }
  }

  /** How many bytes of `item` pass before the reset; `undefined` if it is not due yet. */
  #leftBeforeReset(item: Uint8Array): number | undefined {
    const limit = this.#options.faults.resetAfterBytes;
    if (limit === Infinity) return undefined;
    const left = Math.max(0, limit - this.#carried);
    this.#carried += item.length;
    return item.length < left ? undefined : left;
  }

  #reset(): void {
    if (this.#closed) return;
    const inner = this.#inner;
    this.#options.faults.countReset();
    const linger = this.#options.runtime.timers.after(LINGER_MS, () => inner.destroy());
    inner.handlers = { ...IGNORE, close: () => linger.cancel() };
    inner.resume();
    inner.end();
    this.#finish(
      new TunicError("Cannot use a socket: the connection was reset", {
        kind: "connection",
        code: "reset",
        retry: "elsewhere",
      }),
    );
  }

  #inMoved(): void {
    if (!this.#closed && !this.#paused && this.#in.waitingBytes <= LOW_WATER_BYTES) this.#inner.resume();
  }

  #outMoved(): void {
    if (!this.#full || this.#innerBlocked || this.#closed || this.#out.waitingBytes > LOW_WATER_BYTES) return;
    this.#full = false;
    this.handlers.drain();
  }

  #finish(error: TunicError | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#in.drop();
    this.#out.drop();
    this.#options.faults.removeListener(this);
    const { handlers } = this;
    this.handlers = IGNORE;
    handlers.close(error);
  }
}

export class FaultyTlsSocket extends FaultySocket implements TlsSocket {
  readonly peerCertificate: Uint8Array;
  readonly exportKeyingMaterial: KeyingMaterialExporter | undefined;

  constructor(inner: TlsSocket, options: FaultySocketOptions) {
    super(inner, options);
    this.peerCertificate = inner.peerCertificate;
    this.exportKeyingMaterial = inner.exportKeyingMaterial;
  }
}
