/** curl as the user's program: what it prints, or a digest of it when it is large. */
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";

export interface CurlResult {
  /** 0 when all went well; 97 is a refusal by the SOCKS proxy, 18 and 56 are broken transfers. */
  readonly exitCode: number;
  /** What the server sent; empty when only its digest was asked for. */
  readonly text: string;
  readonly bytes: number;
  /** SHA-256 of what the server sent, in hexadecimal. */
  readonly sha256: string;
  /** curl's own words, on failure. */
  readonly message: string;
}

export interface CurlOptions {
  /** Through this SOCKS port of 127.0.0.1; names are resolved by the proxy. */
  readonly socksPort?: number;
  /** SOCKS user name and password, "name:password". */
  readonly user?: string;
  /** Default 60 s. */
  readonly timeoutSeconds?: number;
  /** Keep only size and digest of the answer. */
  readonly digestOnly?: boolean;
  /** Further parameters of curl. */
  readonly parameters?: readonly string[];
  /** The body of an upload. */
  readonly upload?: Iterable<Uint8Array>;
}

export async function curl(url: string, options: CurlOptions = {}): Promise<CurlResult> {
  const parameters = ["--silent", "--show-error", "--noproxy", "", "--max-time", String(options.timeoutSeconds ?? 60)];
  if (options.socksPort !== undefined) parameters.push("--socks5-hostname", `127.0.0.1:${options.socksPort}`);
  if (options.user !== undefined) parameters.push("--proxy-user", options.user);
  // With "-T -" the body is streamed, and curl does not wait for "100 Continue" longer than it must.
  if (options.upload) parameters.push("-X", "POST", "-H", "Expect:", "-T", "-");
  const child = spawn("curl", ["--disable", ...parameters, ...options.parameters ?? [], url], { stdio: "pipe" });
  const hash = createHash("sha256");
  const parts: Uint8Array[] = [];
  let bytes = 0;
  let message = "";
  child.stdout.on("data", (part: Uint8Array) => {
    bytes += part.length;
    hash.update(part);
    if (!options.digestOnly) parts.push(part);
  });
  child.stderr.on("data", (part: Uint8Array) => message += Buffer.from(part).toString());
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve(code ?? -1));
  });
  child.stdin.on("error", () => {/* curl has ended early; its exit code says why */});
  if (options.upload) await feed(child.stdin, options.upload, ended);
  child.stdin.end();
  const exitCode = await ended;
  return {
    exitCode,
    text: Buffer.concat(parts).toString(),
    bytes,
    sha256: hash.digest("hex"),
    message: message.trim(),
  };
}

async function feed(
  stdin: NodeJS.WritableStream,
  upload: Iterable<Uint8Array>,
  ended: Promise<number>,
): Promise<void> {
  for (const piece of upload) {
    if (!stdin.writable) return;
    if (!stdin.write(piece)) await Promise.race([ended, new Promise<void>((resolve) => stdin.once("drain", resolve))]);
  }
}
