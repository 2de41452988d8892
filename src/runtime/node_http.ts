/**
 * HTTP/1.1 (RFC 9112) and TLS by `node:http` and `node:tls`, over a connection that is handed in.
 *
 * The parser is llhttp in strict mode on Deno, Bun and Node alike.
 */
import http from "node:http";
import type { Duplex as NodeDuplex, Readable } from "node:stream";
import { pipeline } from "node:stream";
import tls from "node:tls";
import zlib from "node:zlib";
import type { Duplex } from "../base/duplex.ts";
import { isTunicError, TunicError } from "../base/errors.ts";
import { DuplexStream } from "./duplex_stream.ts";
import type { HttpClient, HttpRequest, HttpResponse } from "./ports.ts";

const MAX_HEAD_BYTES = 64 * 1024;
/** Bytes of the body that may wait for the reader. */
const HIGH_WATER = 64 * 1024;
/** Encodings one around the other; servers use one. */
const MAX_ENCODINGS = 3;

export const nodeHttp: HttpClient = { exchange };

function exchange(connection: Duplex, request: HttpRequest): Promise<HttpResponse> {
  const { signal } = request;
  const raw = new DuplexStream(connection);
  /** What there is to destroy, the outermost last. */
  const layers: { destroy(): void }[] = [raw];
  const close = (): void => {
    for (const layer of layers.toReversed()) layer.destroy();
  };
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => fail(headTimeout(request.headTimeoutMs)), request.headTimeoutMs);
    const stop = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    };
    const fail = (error: unknown): void => {
      stop();
      close();
      reject(error);
    };
    const onAbort = (): void => fail(signal!.reason);
    let answer: http.IncomingMessage | undefined;
    raw.on("error", (error) => fail(httpError(error)));
    if (signal?.aborted) return onAbort();
    signal?.addEventListener("abort", onAbort);
    try {
      const secure = request.tls ? startTls(raw, request.tls) : undefined;
      secure?.on("error", (error) => fail(tlsError(error)));
      if (secure) layers.push(secure);
      const message = send(secure ?? raw, request, fail);
      layers.push(message);
      message.on("error", (error) => {
        // Said first by the request even where it is the answer's body that is wrong.
        answer?.destroy(httpError(error));
        fail(httpError(error));
      });
      message.on("response", (response) => {
        answer = response;
        stop();
        const body = decoded(response, request.method);
        resolve({
          status: response.statusCode!,
          statusText: response.statusMessage ?? "",
          headers: pairs(response.rawHeaders),
          body: bodyStream(body, signal, close),
        });
      });
    } catch (error) {
      fail(
        new TunicError(`Cannot get a page: ${(error as Error).message}`, {
          kind: "argument",
          code: "bad-http-request",
          cause: error,
        }),
      );
    }
  });
}

function startTls(raw: NodeDuplex, options: NonNullable<HttpRequest["tls"]>): tls.TLSSocket {
  const { serverName, trust } = options;
  return tls.connect({
    socket: raw,
    // An address is not a server name (RFC 6066 section 3), but the certificate is checked for it all the same.
    servername: /^[\d.]+$|:/.test(serverName) ? "" : serverName,
    host: serverName,
    ca: trust ? [...tls.rootCertificates, ...trust] : undefined,
    ALPNProtocols: ["http/1.1"],
    minVersion: "TLSv1.2",
    rejectUnauthorized: true,
  });
}

function send(stream: NodeDuplex, request: HttpRequest, fail: (error: unknown) => void): http.ClientRequest {
  const message = http.request({
    method: request.method,
    path: request.target,
    // Used only while no agent is named: with one, even `false`, http would open a socket of its own. Should that
    // ever happen, it would have to look this host up, and cannot.
    createConnection: () => stream,
    host: "nowhere.invalid",
    lookup: (name, _options, callback) => callback(new Error(`${name} is not looked up`), "", 4),
    setHost: false,
    maxHeaderSize: MAX_HEAD_BYTES,
  });
  // Heard from here on: a header that is refused leaves a request whose connection is about to close.
  message.on("error", () => {});
  for (const [name, value] of request.headers) message.appendHeader(name, value);
  message.shouldKeepAlive = false;
  const { body } = request;
  if (body instanceof Uint8Array) message.setHeader("Content-Length", body.length);
  else if (body) message.setHeader("Transfer-Encoding", "chunked");
  if (!body || body instanceof Uint8Array) message.end(body);
  else sendStream(body, message).catch(fail);
  return message;
}

async function sendStream(body: ReadableStream<Uint8Array>, message: http.ClientRequest): Promise<void> {
  const reader = body.getReader();
  const gone = new Promise<void>((resolve) => message.once("close", resolve));
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (message.destroyed) return;
      if (done) break;
      if (!message.write(value)) await Promise.race([gone, new Promise((resolve) => message.once("drain", resolve))]);
      if (message.destroyed) return;
    }
    message.end();
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** The body as its content encodings have it; one that is not known is left for the caller to see. */
function decoded(response: http.IncomingMessage, method: string): Readable {
  const names = (response.headers["content-encoding"] ?? "").toLowerCase().split(",").map((name) => name.trim());
  const empty = method === "HEAD" || response.statusCode === 204 || response.statusCode === 304;
  if (empty || names[0] === "" || names.length > MAX_ENCODINGS) return response;
  let stream: Readable = response;
  for (const name of names.reverse()) {
    const decoder = name === "gzip" || name === "x-gzip"
      ? zlib.createGunzip()
      : name === "deflate"
      ? zlib.createInflate()
      : name === "br"
      ? zlib.createBrotliDecompress()
      : undefined;
    if (!decoder) return stream;
    // `pipeline` tells the last stream of every error before it; nothing is left to do for its callback.
    stream = pipeline(stream, decoder, () => {});
  }
  return stream;
}

function bodyStream(body: Readable, signal: AbortSignal | undefined, close: () => void): ReadableStream<Uint8Array> {
  let finished = false;
  let onAbort: () => void;
  const finish = (): boolean => {
    if (finished) return false;
    finished = true;
    signal?.removeEventListener("abort", onAbort);
    return true;
  };
  return new ReadableStream<Uint8Array>({
    start(controller) {
      const fail = (error: unknown): void => {
        if (!finish()) return;
        controller.error(error);
        close();
      };
      onAbort = () => fail(signal!.reason);
      signal?.addEventListener("abort", onAbort);
      body.on("data", (chunk: Uint8Array) => {
        if (finished) return;
        controller.enqueue(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength));
        if (controller.desiredSize! <= 0) body.pause();
      });
      body.on("end", () => {
        if (!finish()) return;
        controller.close();
        close();
      });
      body.on("error", (error) => fail(httpError(error)));
      body.on("close", () => fail(httpError(new Error("the connection closed before the end of the body"))));
      body.pause();
    },
    pull: () => void body.resume(),
    cancel() {
      finish();
      close();
    },
  }, { highWaterMark: HIGH_WATER, size: (chunk) => chunk!.byteLength });
}

function pairs(raw: readonly string[]): [string, string][] {
  const headers: [string, string][] = [];
  for (let i = 0; i + 1 < raw.length; i += 2) headers.push([raw[i]!, raw[i + 1]!]);
  return headers;
}

function headTimeout(timeoutMs: number): TunicError {
  return new TunicError(`Cannot get a page: no answer from its server within ${timeoutMs} ms`, {
    kind: "timeout",
    code: "http-timeout",
    retry: "later",
  });
}

function tlsError(error: Error): TunicError {
  if (isTunicError(error)) return error;
  const code = (error as NodeJS.ErrnoException).code ?? "";
  // Whatever else TLS finds wrong comes as a code of OpenSSL's; these are about who the server is.
  const identity = /CERT|SIGNED|ISSUER|ALTNAME|VERIFY|CRL|CHAIN/.test(code);
  return new TunicError(`Cannot speak TLS with the server: ${code || error.message}`, {
    kind: identity ? "identity" : "connection",
    code: identity ? "bad-certificate" : "tls-failed",
    cause: error,
  });
}

function httpError(error: Error): TunicError {
  if (isTunicError(error)) return error;
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const malformed = code.startsWith("HPE_") || code.startsWith("Z_") || code.startsWith("ERR__ERROR_FORMAT") ||
    code.startsWith("ERR_BROTLI");
  return new TunicError(`Cannot get a page: ${code || error.message}`, {
    kind: malformed ? "malformed" : "connection",
    code: malformed ? "bad-http" : "http-failed",
    cause: error,
  });
}
