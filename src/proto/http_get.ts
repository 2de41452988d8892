/** One HTTP/1.0 request over a stream of its own, as directories are asked and uploaded to (dir-spec 4). */
import type { Duplex } from "../base/duplex.ts";
import { abortError, toTunicError, TunicError } from "../base/errors.ts";
import { concat } from "../bytes/bytes.ts";
import { utf8 } from "../bytes/text.ts";
import type { Timers } from "../runtime/ports.ts";
import { type HttpMessage, HttpResponseReader } from "../wire/http_response.ts";

export interface HttpGetOptions {
  readonly timers: Timers;
  /** With its query, beginning with "/". */
  readonly path: string;
  readonly host?: string;
  readonly headers?: readonly (readonly [name: string, value: string])[];
  /** Most bytes that the body may have, before it is decompressed. */
  readonly maxBytes: number;
  /** How long the whole may take. */
  readonly timeoutMs: number;
  /** How long nothing at all may come. Default: `timeoutMs`. */
  readonly stallTimeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Called whenever bytes come, before they are looked at. */
  readonly onBytes?: () => void;
}

/**
 * Takes the duplex over, in the turn in which it was obtained, and closes it in every case. Any status is an answer.
 * Rejects with `malformed`, `limit`, `timeout`, `aborted`, or what broke the stream.
 */
export function httpGet(duplex: Duplex, options: HttpGetOptions): Promise<HttpMessage> {
  return exchange(duplex, options, () => requestOf("GET", options));
}

/** As {@link httpGet}, with a body that goes out first. */
export function httpPost(duplex: Duplex, options: HttpGetOptions, body: Uint8Array): Promise<HttpMessage> {
  const headers = [...options.headers ?? [], ["Content-Length", `${body.length}`] as const];
  return exchange(duplex, options, () => concat(requestOf("POST", { ...options, headers }), body));
}

function exchange(duplex: Duplex, options: HttpGetOptions, request: () => Uint8Array): Promise<HttpMessage> {
  const { timers, timeoutMs, signal } = options;
  const stallTimeoutMs = options.stallTimeoutMs ?? timeoutMs;
  const reader = new HttpResponseReader({ maxBodyBytes: options.maxBytes });
  return new Promise((resolve, reject) => {
    let settled = false;
    let progress = false;
    const settle = (outcome: () => void, error?: TunicError): void => {
      if (settled) return;
      settled = true;
      total.cancel();
      stall.cancel();
      signal?.removeEventListener("abort", onAbort);
      outcome();
      duplex.destroy(error);
    };
    const fail = (thrown: unknown): void => {
      const error = toTunicError(thrown, "Cannot get a document", { kind: "internal", code: "http-get-failed" });
      settle(() => reject(error), error);
    };
    const read = (next: () => HttpMessage | undefined): void => {
      if (settled) return;
      try {
        const message = next();
        if (message) settle(() => resolve(message));
      } catch (error) {
        fail(error);
      }
    };
    const onAbort = (): void => fail(abortError(signal!, "get a document"));
    const look = (): void => {
      if (!progress) return fail(timeoutError(`nothing came for ${stallTimeoutMs} ms`));
      progress = false;
      stall = timers.after(stallTimeoutMs, look);
    };
    const total = timers.after(timeoutMs, () => fail(timeoutError(`it was not whole after ${timeoutMs} ms`)));
    let stall = timers.after(stallTimeoutMs, look);
    duplex.handlers = {
      data: (bytes) => {
        progress = true;
        options.onBytes?.();
        read(() => reader.push(bytes));
      },
      drain: () => {},
      end: () => read(() => reader.end()),
      close: (error) => error ? fail(error) : read(() => reader.end()),
    };
    if (signal?.aborted) return onAbort();
    signal?.addEventListener("abort", onAbort);
    read(() => void duplex.write(request()));
  });
}

function requestOf(method: "GET" | "POST", { path, host, headers = [] }: HttpGetOptions): Uint8Array {
  const fields = host === undefined ? headers : [["Host", host] as const, ...headers];
  const lines = [`${method} ${path} HTTP/1.0`, ...fields.map(([name, value]) => `${name}: ${value}`)];
  if (/^\/[\x21-\x7e]*$/.test(path) && lines.every((line) => /^[\x20-\x7e]*$/.test(line))) {
    return utf8(`${lines.join("\r\n")}\r\n\r\n`);
  }
  throw new TunicError("Cannot get a document: found a path or header with characters that HTTP does not allow", {
    kind: "argument",
    code: "bad-http-request",
  });
}

function timeoutError(detail: string): TunicError {
  return new TunicError(`Cannot get a document: ${detail}`, {
    kind: "timeout",
    code: "http-timeout",
    retry: "elsewhere",
  });
}
