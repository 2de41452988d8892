/** A small SOCKS 5 client for tests that want hundreds of streams, or Tor's own commands, which curl has not. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { connect, type Socket } from "node:net";

export interface SocksTarget {
  readonly socksPort: number;
  readonly host: string;
  readonly port: number;
  readonly user?: string;
}

const CONNECT = 1;
export const RESOLVE = 0xf0;
export const RESOLVE_PTR = 0xf1;

export interface SocksAnswer {
  /** The reply code: 0 for success. */
  readonly code: number;
  /** BND.ADDR as text. */
  readonly address: string;
  readonly socket: Socket;
}

/** Speaks the SOCKS handshake; a name goes as a name. The socket is open if the answer is 0. */
export async function socksRequest(target: SocksTarget, command = CONNECT): Promise<SocksAnswer> {
  const socket = connect(target.socksPort, "127.0.0.1");
  const read = reader(socket);
  try {
    socket.write(target.user === undefined ? Buffer.from([5, 1, 0]) : Buffer.from([5, 1, 2]));
    const [, method] = await read(2);
    if (method === 2) {
      const user = Buffer.from(target.user!);
      socket.write(Buffer.concat([Buffer.from([1, user.length]), user, Buffer.from([1, 120])]));
      await read(2);
    }
    const host = Buffer.from(target.host);
    const port = Buffer.from([target.port >> 8, target.port & 255]);
    socket.write(Buffer.concat([Buffer.from([5, command, 0, 3, host.length]), host, port]));
    const [, code, , type] = await read(4);
    // C tor says type 0 where a lookup failed, and zeros follow as of an IPv4 address.
    const length = type === 3 ? (await read(1))[0]! : type === 4 ? 16 : 4;
    const bytes = await read(length);
    await read(2);
    const address = type === 3 ? bytes.toString() : type === 4 ? bytes.toString("hex") : [...bytes].join(".");
    return { code: code!, address, socket };
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

export interface Download {
  readonly bytes: number;
  readonly sha256: string;
  /** From the beginning of the SOCKS request to the first byte of the answer. */
  readonly firstByteMs: number;
}

/** GET over a stream of its own; throws what broke it. */
export async function download(target: SocksTarget, path: string): Promise<Download> {
  const started = performance.now();
  const { code, socket } = await socksRequest(target);
  if (code !== 0) {
    socket.destroy();
    throw new Error(`SOCKS reply ${code}`);
  }
  return await new Promise((resolve, reject) => {
    const hash = createHash("sha256");
    let head: Buffer | undefined = Buffer.alloc(0);
    let bytes = 0;
    let firstByteMs = 0;
    socket.on("data", (part: Buffer) => {
      firstByteMs ||= performance.now() - started;
      if (head) {
        head = Buffer.concat([head, part]);
        const end = head.indexOf("\r\n\r\n");
        if (end < 0) return;
        part = head.subarray(end + 4);
        head = undefined;
      }
      bytes += part.length;
      hash.update(part);
    });
    socket.once("error", reject);
    socket.once("close", () => resolve({ bytes, sha256: hash.digest("hex"), firstByteMs }));
    socket.write(`GET ${path} HTTP/1.0\r\nHost: ${target.host}\r\n\r\n`);
  });
}

/** Reads exactly `count` bytes at a time, leaving the rest to whoever comes next. */
function reader(socket: Socket): (count: number) => Promise<Buffer> {
  return (count) =>
    new Promise((resolve, reject) => {
      const attempt = (): void => {
        const bytes = socket.read(count) as Buffer | null;
        if (bytes === null) return;
        finish();
        resolve(bytes);
      };
      const fail = (error?: Error): void => {
        finish();
        reject(error ?? new Error("the SOCKS port closed the connection"));
      };
      const onClose = (): void => fail();
      const finish = (): void => {
        socket.off("readable", attempt).off("error", fail).off("close", onClose);
      };
      socket.on("readable", attempt).once("error", fail).once("close", onClose);
      attempt();
    });
}
