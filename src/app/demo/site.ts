/** The website of `tunic demo`: a page, and as many bytes as one asks for, on 127.0.0.1. */
import { createAdaptorServer } from "@hono/node-server";
import { Hono } from "hono";
import { TunicError } from "../../base/errors.ts";
import { Deferred } from "../../base/deferred.ts";

export interface DemoSite extends AsyncDisposable {
  readonly port: number;
}

export const PAGE = [
  "Hello from behind the exit!",
  "",
  "This request came through three relays. The first knew who asks, but not for what; the last knew for what,",
  "but not who; the one between knew neither. So it is with this server.",
  "",
  "GET /bytes/<count> for a download of that many bytes.",
  "",
].join("\n");

const HOST = "127.0.0.1";
const BLOCK = new Uint8Array(64 * 1024);
const MAX_BYTES = 1e12;

/** Throws `listen`. */
export async function startDemoSite(): Promise<DemoSite> {
  const app = new Hono();
  app.get("/", (context) => context.text(PAGE));
  app.get("/bytes/:count{[0-9]+}", (context) => {
    const count = Math.min(Number(context.req.param("count")), MAX_BYTES);
    return context.body(zeros(count), 200, {
      "content-type": "application/octet-stream",
      "content-length": String(count),
    });
  });
  const server = createAdaptorServer({ fetch: app.fetch, hostname: HOST });
  const listening = new Deferred<void>();
  server.once("error", (cause) => listening.reject(cannotListen(cause)));
  server.listen(0, HOST, () => listening.resolve());
  await listening.promise;
  const address = server.address();
  if (address === null || typeof address === "string") throw cannotListen(undefined);
  return {
    port: address.port,
    async [Symbol.asyncDispose]() {
      const closed = new Deferred<void>();
      server.close(() => closed.resolve());
      if ("closeAllConnections" in server) server.closeAllConnections();
      await closed.promise;
    },
  };
}

function zeros(count: number): ReadableStream<Uint8Array> {
  let left = count;
  return new ReadableStream({
    pull(controller) {
      if (left === 0) return controller.close();
      const block = BLOCK.slice(0, left);
      left -= block.length;
      controller.enqueue(block);
    },
  });
}

function cannotListen(cause: unknown): TunicError {
  return new TunicError(`Cannot listen on ${HOST}: the system gives no port`, {
    kind: "listen",
    code: "no-port",
    cause,
  });
}
