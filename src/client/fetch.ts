/**
 * `fetch` (fetch.spec.whatwg.org) over streams that a {@link StreamBackend} opens.
 *
 * Each request has a stream of its own. No cookies, no cache, no service workers, no CORS: there is no origin and no
 * page. What a request says about this machine is the same everywhere: the headers of {@link DEFAULT_HEADERS},
 * neither runtime nor system nor language; how TLS says hello is the runtime's, which a server can tell apart.
 */
import { isTunicError, toTunicError, TunicError } from "../base/errors.ts";
import type { HttpClient, HttpResponse } from "../runtime/ports.ts";
import type { StreamBackend } from "./backend.ts";

export interface FetchInit extends RequestInit {
  /** Requests with different keys never share a circuit. Default: the context's key. */
  readonly isolation?: string;
}

export interface FetchContext {
  readonly backend: StreamBackend;
  readonly http: HttpClient;
  readonly isolation: string;
  /** Certificates in PEM that are trusted for https besides the runtime's. */
  readonly trust?: readonly string[];
  /** How long TLS and the head of an answer may take together. Default: 2 minutes. */
  readonly headTimeoutMs?: number;
}

/** What goes out where the caller sets nothing else: what many programs send, and nothing about this one. */
const DEFAULT_HEADERS: readonly (readonly [string, string])[] = [
  ["user-agent", "Mozilla/5.0"],
  ["accept", "*/*"],
  ["accept-encoding", "gzip, deflate, br"],
];

/** Headers that frame a message or belong to its connection; the caller's are dropped, as by the standard. */
const OWN_HEADERS = ["connection", "content-length", "expect", "host", "keep-alive", "te", "trailer"].concat(
  ["transfer-encoding", "upgrade"],
);

const MAX_REDIRECTS = 20;
const REDIRECT_STATUSES = [301, 302, 303, 307, 308];
const HEAD_TIMEOUT_MS = 120_000;

interface Exchange {
  url: URL;
  method: string;
  headers: Headers;
  /** Bytes can be sent again after a redirect, a stream cannot. */
  body: Uint8Array | ReadableStream<Uint8Array> | undefined;
}

/**
 * Rejects with a TunicError (`argument`, `protocol`, `identity`, `malformed`, or what opening the stream failed with)
 * where `fetch` would reject with a TypeError, and with the signal's reason where that fired.
 */
export async function torFetch(
  context: FetchContext,
  input: string | URL | Request,
  init: FetchInit = {},
): Promise<Response> {
  const { isolation, ...plain } = init;
  const request = parseRequest(input, plain);
  const { signal } = request;
  const mode = request.redirect;
  const exchange: Exchange = {
    url: new URL(request.url),
    method: request.method,
    headers: prepareHeaders(request.headers, plain.body),
    body: await bodyOf(request, input, plain),
  };
  for (let redirects = 0;; redirects++) {
    const answer = await perform(context, exchange, isolation ?? context.isolation, signal);
    const location = answer.headers.find(([name]) => name.toLowerCase() === "location")?.[1];
    const redirected = REDIRECT_STATUSES.includes(answer.status) && location !== undefined;
    if (!redirected || mode === "manual") return toResponse(answer, exchange, redirects > 0);
    await answer.body.cancel();
    if (mode === "error") throw protocolError("found a redirect, which the request forbids", "redirect-forbidden");
    if (redirects === MAX_REDIRECTS) throw protocolError(`found more than ${MAX_REDIRECTS} redirects`, "redirect-loop");
    follow(exchange, answer.status, location);
  }
}

function parseRequest(input: string | URL | Request, init: RequestInit): Request {
  let request: Request;
  try {
    // A body that is a stream needs the word `duplex`, which not every runtime's types know.
    request = new Request(
      input,
      init.body instanceof ReadableStream ? { ...init, duplex: "half" } as RequestInit : init,
    );
  } catch (error) {
    throw toTunicError(error, "Cannot fetch", { kind: "argument", code: "bad-request" });
  }
  const { protocol, username, password } = new URL(request.url);
  if (username !== "" || password !== "") throw argumentError("found credentials in the URL");
  if (protocol === "http:" || protocol === "https:") return request;
  throw argumentError(`found a URL of scheme ${protocol}, expected http: or https:`);
}

async function bodyOf(request: Request, input: unknown, init: RequestInit): Promise<Exchange["body"]> {
  if (!request.body) return undefined;
  const streamed = init.body === undefined ? input instanceof Request : init.body instanceof ReadableStream;
  return streamed ? request.body : new Uint8Array(await request.arrayBuffer());
}

function prepareHeaders(given: Headers, body: unknown): Headers {
  const headers = new Headers(DEFAULT_HEADERS.map(([name, value]) => [name, value] as [string, string]));
  for (const [name, value] of given) headers.set(name, value);
  for (const name of OWN_HEADERS) headers.delete(name);
  // Bun's Request leaves this to its own fetch.
  if (typeof body === "string" && !headers.has("content-type")) headers.set("content-type", "text/plain;charset=UTF-8");
  return headers;
}

async function perform(
  context: FetchContext,
  { url, method, headers, body }: Exchange,
  isolation: string,
  signal: AbortSignal,
): Promise<HttpResponse> {
  signal.throwIfAborted();
  const secure = url.protocol === "https:";
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const port = url.port === "" ? (secure ? 443 : 80) : Number(url.port);
  try {
    const connection = await context.backend.openStream({ host, port, isolation, signal });
    return await context.http.exchange(connection, {
      method,
      target: url.pathname + url.search,
      headers: [["host", url.host], ...headers],
      body,
      tls: secure ? { serverName: host, trust: context.trust } : undefined,
      headTimeoutMs: context.headTimeoutMs ?? HEAD_TIMEOUT_MS,
      signal,
    });
  } catch (error) {
    if (body instanceof ReadableStream) body.cancel(error).catch(() => {});
    if (signal.aborted) throw signal.reason;
    if (isTunicError(error)) throw error;
    throw toTunicError(error, "Cannot fetch", { kind: "internal", code: "fetch-failed" });
  }
}

/** Turns the exchange into the one that the redirect asks for (Fetch standard, "HTTP-redirect fetch"). */
function follow(exchange: Exchange, status: number, location: string): void {
  const from = exchange.url;
  const to = URL.canParse(location, from) ? new URL(location, from) : undefined;
  if (!to || (to.protocol !== "http:" && to.protocol !== "https:")) {
    throw protocolError("found a redirect to no http: or https: URL", "bad-redirect");
  }
  if (to.hash === "") to.hash = from.hash;
  to.username = to.password = "";
  if (status !== 303 && exchange.body instanceof ReadableStream) {
    throw protocolError(
      "found a redirect of a request whose body is a stream and cannot be sent again",
      "bad-redirect",
    );
  }
  const { method } = exchange;
  const becomesGet = status === 303 ? method !== "GET" && method !== "HEAD" : status < 303 && method === "POST";
  if (becomesGet) {
    exchange.method = "GET";
    exchange.body = undefined;
    for (const name of ["encoding", "language", "location", "type"]) exchange.headers.delete(`content-${name}`);
  }
  if (to.origin !== from.origin) {
    for (const name of ["authorization", "proxy-authorization", "cookie"]) exchange.headers.delete(name);
  }
  exchange.url = to;
}

function toResponse(answer: HttpResponse, { url, method }: Exchange, redirected: boolean): Response {
  const { status, statusText } = answer;
  const empty = method === "HEAD" || [204, 205, 304].includes(status);
  if (empty) answer.body.cancel().catch(() => {});
  const headers = new Headers();
  for (const [name, value] of answer.headers) {
    try {
      headers.append(name, value);
    } catch {
      // A value that a header may not have, such as one with a control character, is as good as none.
    }
  }
  if (status < 200 || status > 599) throw protocolError(`found status ${status}`, "bad-status");
  const response = new Response(empty ? null : answer.body, { status, statusText, headers });
  const shown = new URL(url);
  shown.hash = "";
  Object.defineProperties(response, { url: { value: shown.href }, redirected: { value: redirected } });
  return response;
}

function argumentError(detail: string): TunicError {
  return new TunicError(`Cannot fetch: ${detail}`, { kind: "argument", code: "bad-request" });
}

function protocolError(detail: string, code: string): TunicError {
  return new TunicError(`Cannot fetch: ${detail}`, { kind: "protocol", code });
}
