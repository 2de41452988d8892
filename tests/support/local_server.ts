/**
 * The far side of interop tests and benchmarks: an HTTP server on 127.0.0.1 with content that can be checked
 * without being kept.
 *
 *     GET  /hello                  a short text
 *     GET  /bytes/N?pauseMs=P      N bytes of `content`, with a pause after every MiB if asked
 *     POST /sink                   swallows the body; answers { bytes, sha256 } as JSON
 *
 * Run as a program it prints its port and serves until its standard input closes, so that a benchmark does not pay
 * for the server in its own process.
 */
import type { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import { createCipheriv, createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import process from "node:process";
import { fileURLToPath } from "node:url";

export interface LocalServer extends AsyncDisposable {
  readonly port: number;
  /** "http://127.0.0.1:PORT" */
  readonly url: string;
  stop(): Promise<void>;
}

export const HELLO = "Hello from the far side.\n";

const BLOCK_BYTES = 1 << 20;
/** Each MiB is the same block, rotated further by this much: no two places within a test's reach look alike. */
const ROTATION = 4099;
const block = createCipheriv("aes-128-ctr", new Uint8Array(16), new Uint8Array(16)).update(new Uint8Array(BLOCK_BYTES));

/** The content of /bytes/`length`, in pieces that are views of one buffer. */
export function* content(length: number): Generator<Uint8Array> {
  for (let sent = 0, turn = 0; sent < length; turn++) {
    const start = turn * ROTATION % BLOCK_BYTES;
    for (const piece of [block.subarray(start), block.subarray(0, start)]) {
      const wanted = piece.subarray(0, length - sent);
      if (wanted.length > 0) yield wanted;
      sent += wanted.length;
    }
  }
}

/** SHA-256 of /bytes/`length`, in hexadecimal. */
export function contentSha256(length: number): string {
  const hash = createHash("sha256");
  for (const piece of content(length)) hash.update(piece);
  return hash.digest("hex");
}

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? "/", "http://localhost");
  const bytes = /^\/bytes\/(\d{1,12})$/.exec(url.pathname);
  if (url.pathname === "/hello") {
    response.end(HELLO);
  } else if (bytes) {
    const length = Number(bytes[1]);
    const pauseMs = Number(url.searchParams.get("pauseMs") ?? 0);
    response.writeHead(200, { "Content-Length": length, "Content-Type": "application/octet-stream" });
    let sent = 0;
    for (const piece of content(length)) {
      if (response.destroyed) return;
      sent += piece.length;
      if (!response.write(piece)) {
        await new Promise<void>((resolve) => {
          const done = (): void => {
            response.off("drain", done).off("close", done);
            resolve();
          };
          response.on("drain", done).on("close", done);
        });
      }
      if (pauseMs > 0 && sent % BLOCK_BYTES === 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
    response.end();
  } else if (url.pathname === "/sink" && request.method === "POST") {
    const hash = createHash("sha256");
    let length = 0;
    for await (const part of request as AsyncIterable<Uint8Array>) {
      length += part.length;
      hash.update(part);
    }
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify({ bytes: length, sha256: hash.digest("hex") }));
  } else {
    response.writeHead(404).end();
  }
}

/** Starts the server in this process. */
export async function startLocalServer(): Promise<LocalServer> {
  const server = createServer((request, response) => {
    answer(request, response).catch((error) => response.destroy(error as Error));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return handle(port, () =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }));
}

/** Starts the server as a process of its own, on the runtime that runs this one. */
export async function startLocalServerProcess(): Promise<LocalServer> {
  const file = fileURLToPath(import.meta.url);
  const parameters = "Deno" in globalThis ? ["run", "--quiet", "-A", "--no-check", file] : [file];
  const child = spawn(process.execPath, parameters, { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const port = await new Promise<number>((resolve, reject) => {
    child.stdout.once("data", (line: Buffer) => resolve(Number(line)));
    child.once("exit", (code) => reject(new Error(`Cannot start the local server: exit code ${code}`)));
    child.once("error", reject);
  });
  return handle(port, async () => {
    child.kill("SIGKILL");
    await ended;
  });
}

function handle(port: number, stop: () => Promise<void>): LocalServer {
  return { port, url: `http://127.0.0.1:${port}`, stop, [Symbol.asyncDispose]: stop };
}

if (import.meta.main) {
  const { port } = await startLocalServer();
  process.stdin.resume().once("end", () => process.exit(0)).once("close", () => process.exit(0));
  process.stdout.write(`${port}\n`);
}
