/**
 * The far end of a BEGIN_DIR stream: one HTTP/1.0 request in, one answer out (dir-spec 4), without a socket.
 */
import { type Duplex, type DuplexHandlers, IGNORE } from "../base/duplex.ts";
import type { TunicError } from "../base/errors.ts";
import { concat } from "../bytes/bytes.ts";
import { latin1, utf8 } from "../bytes/text.ts";
import type { Timers } from "../runtime/ports.ts";

export interface DirectoryRequest {
  readonly method: string;
  /** With its query. */
  readonly path: string;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Uint8Array;
}

export interface DirectoryAnswer {
  readonly status: number;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
}

export type DirectoryHandler = (request: DirectoryRequest) => DirectoryAnswer | Promise<DirectoryAnswer>;

/** More than any client's request; a descriptor or onion-service descriptor that is uploaded is smaller. */
const MAX_REQUEST_BYTES = 256 * 1024;
const PIECE_BYTES = 16 * 1024;
const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  304: "Not modified",
  400: "Bad request",
  404: "Not found",
};

export class DirectoryConnection implements Duplex {
  handlers: DuplexHandlers = IGNORE;
  readonly #timers: Timers;
  readonly #handle: DirectoryHandler;
  #request: Uint8Array = new Uint8Array(0);
  #answering = false;
  #answer: Uint8Array = new Uint8Array(0);
  #answered = false;
  #paused = false;
  #scheduled = false;
  #closed = false;

  constructor(timers: Timers, handle: DirectoryHandler) {
    this.#timers = timers;
    this.#handle = handle;
  }

  get queued(): number {
    return 0;
  }

  write(bytes: Uint8Array): boolean {
    if (this.#closed || this.#answering) return true;
    this.#request = concat(this.#request, bytes);
    const request = readRequest(this.#request);
    if (request === "more" && this.#request.length <= MAX_REQUEST_BYTES) return true;
    this.#answering = true;
    this.#request = new Uint8Array(0);
    if (typeof request === "string") this.#send({ status: 400, headers: [], body: new Uint8Array(0) });
    else this.#serve(request);
    return true;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#schedule();
  }

  end(): void {
    // The client has nothing more to say; its answer still goes out.
  }

  destroy(error?: TunicError): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#answer = new Uint8Array(0);
    const { handlers } = this;
    this.handlers = IGNORE;
    handlers.close(error);
  }

  async #serve(request: DirectoryRequest): Promise<void> {
    try {
      this.#send(await this.#handle(request));
    } catch {
      this.#send({ status: 400, headers: [], body: new Uint8Array(0) });
    }
  }

  #send({ status, headers, body }: DirectoryAnswer): void {
    if (this.#closed) return;
    const lines = [
      `HTTP/1.0 ${status} ${REASONS[status] ?? "Unknown"}`,
      ...headers.map(([name, value]) => `${name}: ${value}`),
      `Content-Length: ${body.length}`,
    ];
    this.#answer = concat(utf8(`${lines.join("\r\n")}\r\n\r\n`), body);
    this.#answered = true;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled || this.#paused || !this.#answered || this.#closed) return;
    this.#scheduled = true;
    this.#timers.soon(() => {
      this.#scheduled = false;
      while (!this.#paused && !this.#closed && this.#answer.length > 0) {
        const piece = this.#answer.subarray(0, PIECE_BYTES);
        this.#answer = this.#answer.subarray(piece.length);
        this.handlers.data(piece);
      }
      if (this.#paused || this.#closed) return;
      this.handlers.end();
      this.destroy();
    });
  }
}

/** The request, once all of it is there; "bad" for what is none. */
function readRequest(bytes: Uint8Array): DirectoryRequest | "more" | "bad" {
  const text = latin1(bytes);
  const headEnd = text.indexOf("\r\n\r\n");
  if (headEnd < 0) return "more";
  const [first, ...lines] = text.slice(0, headEnd).split("\r\n");
  const match = /^(GET|POST) (\/\S*) HTTP\/1\.[01]$/.exec(first!);
  if (!match) return "bad";
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon < 1) return "bad";
    headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  const length = Number(headers.get("content-length") ?? 0);
  if (!(Number.isInteger(length) && length >= 0 && length <= MAX_REQUEST_BYTES)) return "bad";
  const bodyAt = headEnd + 4;
  if (bytes.length < bodyAt + length) return "more";
  return { method: match[1]!, path: match[2]!, headers, body: bytes.slice(bodyAt, bodyAt + length) };
}
