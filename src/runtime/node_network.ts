/**
 * Sockets and TLS on `node:net` and `node:tls`, which Deno, Bun and Node all have.
 *
 * Only numeric addresses are dialled: a name would be resolved by the system, outside Tor.
 */
import { Buffer } from "node:buffer";
import { constants } from "node:crypto";
import net from "node:net";
import tls from "node:tls";
import { type DuplexHandlers, IGNORE } from "../base/duplex.ts";
import { abortError, TunicError } from "../base/errors.ts";
import { sensitive } from "../base/sensitive.ts";
import type {
  Address,
  ConnectOptions,
  KeyingMaterialExporter,
  Listener,
  Network,
  Socket,
  TlsServerIdentity,
  TlsSocket,
} from "./ports.ts";
import { randomLabel } from "./random.ts";
import { systemRandom } from "./system_random.ts";

class NodeSocket implements Socket {
  readonly #socket: net.Socket;
  readonly remote: Address | undefined;
  readonly local: Address | undefined;
  #handlers: DuplexHandlers = IGNORE;
  #started = false;
  #ended = false;
  #error: TunicError | undefined;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    this.remote = address(socket.remoteAddress, socket.remotePort);
    this.local = address(socket.localAddress, socket.localPort);
    socket.setNoDelay(true);
    socket.pause();
    socket.on("drain", () => this.#handlers.drain());
    socket.on("end", () => this.#handlers.end());
    socket.on("error", (error) => this.#error ??= connectionError("use", this.remote, error));
    socket.on("close", () => {
      const handlers = this.#handlers;
      this.#handlers = IGNORE;
      handlers.close(this.#error);
    });
  }

  get handlers(): DuplexHandlers {
    return this.#handlers;
  }

  set handlers(handlers: DuplexHandlers) {
    this.#handlers = handlers;
    if (this.#started) return;
    this.#started = true;
    this.#socket.on("data", (bytes: Uint8Array) => this.#handlers.data(bytes));
    this.#socket.resume();
  }

  get queued(): number {
    return this.#socket.writableLength;
  }

  write(bytes: Uint8Array): boolean {
    if (this.#ended || this.#socket.destroyed) return true;
    return this.#socket.write(bytes);
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.end();
  }

  destroy(error?: TunicError): void {
    this.#error ??= error;
    this.#socket.destroy();
  }
}

class NodeTlsSocket extends NodeSocket implements TlsSocket {
  readonly peerCertificate: Uint8Array;
  readonly exportKeyingMaterial: KeyingMaterialExporter | undefined;

  constructor(socket: tls.TLSSocket, peerCertificate: Uint8Array) {
    super(socket);
    this.peerCertificate = peerCertificate;
    // Deno's has no such method.
    if (typeof socket.exportKeyingMaterial !== "function") return;
    this.exportKeyingMaterial = (length, label, context) =>
      new Uint8Array(socket.exportKeyingMaterial(length, label, Buffer.from(context)));
  }
}

/** How long a client of a TLS listener may take for TLS. */
const TLS_ACCEPT_TIMEOUT_MS = 30_000;

export const nodeNetwork: Network = {
  async connectTcp(to: Address, options: ConnectOptions): Promise<Socket> {
    requireNumeric(to);
    const socket = net.connect({ host: to.host, port: to.port, allowHalfOpen: true });
    await connected(socket, "connect", to, options);
    return new NodeSocket(socket);
  },

  async connectTls(to: Address, options: ConnectOptions): Promise<TlsSocket> {
    requireNumeric(to);
    const socket = tls.connect({
      host: to.host,
      port: to.port,
      rejectUnauthorized: false,
      minVersion: "TLSv1.2",
      // As C tor does: a server name that says nothing, so that its absence does not say something.
      servername: `www.${randomLabel(systemRandom)}.com`,
      checkServerIdentity: () => undefined,
    });
    await connected(socket, "secureConnect", to, options);
    const certificate = socket.getPeerCertificate(true)?.raw;
    if (!certificate) {
      socket.destroy();
      throw new TunicError(`Cannot connect to ${sensitive(to.host)}: its TLS showed no certificate`, {
        kind: "protocol",
        code: "no-tls-certificate",
        retry: "elsewhere",
      });
    }
    return new NodeTlsSocket(socket, new Uint8Array(certificate));
  },

  listenTcp(at: Address, accept: (socket: Socket) => void): Promise<Listener> {
    return listen(at, net.createServer({ allowHalfOpen: true }, (socket) => accept(new NodeSocket(socket))));
  },

  listenTls(at: Address, identity: TlsServerIdentity, accept: (socket: TlsSocket) => void): Promise<Listener> {
    /** Connections by their clients' ports, until they have finished TLS. */
    const shakingHands = new Map<number | undefined, net.Socket>();
    const server = tls.createServer({
      key: identity.keyPem,
      cert: pemOf(identity.certificate),
      minVersion: "TLSv1.2",
      handshakeTimeout: TLS_ACCEPT_TIMEOUT_MS,
      // Relays resume no sessions: their clients must not be recognizable by a ticket.
      secureOptions: constants.SSL_OP_NO_TICKET,
    }, (socket) => {
      shakingHands.delete(socket.remotePort);
      accept(new NodeTlsSocket(socket, new Uint8Array(0)));
    });
    server.on("connection", (socket: net.Socket) => {
      const port = socket.remotePort;
      shakingHands.set(port, socket);
      socket.on("close", () => {
        if (shakingHands.get(port) === socket) shakingHands.delete(port);
      });
    });
    // A client that fails at TLS is nobody's concern; its socket must be closed all the same.
    server.on("tlsClientError", (_, socket) => socket.destroy());
    return listen(at, server, () => {
      for (const socket of shakingHands.values()) socket.destroy();
    });
  },
};

/** `onClose` runs when the listener closes, before the last connection does. */
function listen(at: Address, server: net.Server, onClose: () => void = () => {}): Promise<Listener> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => reject(listenError(at, error)));
    server.listen({ host: at.host, port: at.port }, () => {
      server.removeAllListeners("error");
      // Running out of descriptors while accepting must not end the process; the next accept may work.
      server.on("error", () => {});
      const bound = server.address() as net.AddressInfo;
      resolve({
        address: { host: bound.address, port: bound.port },
        close: () =>
          new Promise((closed) => {
            server.close(() => closed());
            onClose();
          }),
      });
    });
  });
}

function pemOf(certificate: Uint8Array): string {
  const base64 = Buffer.from(certificate).toString("base64").replace(/.{64}(?=.)/g, "$&\n");
  return `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
}

function address(host: string | undefined, port: number | undefined): Address | undefined {
  return host === undefined || port === undefined ? undefined : { host, port };
}

function requireNumeric(to: Address): void {
  if (net.isIP(to.host) !== 0) return;
  throw new TunicError("Cannot connect: found a name, expected an IP address", {
    kind: "argument",
    code: "name-not-address",
    context: { host: sensitive(to.host) },
  });
}

/** Settles when `event` fires, or with the first of failure, timeout and abort, having destroyed the socket. */
function connected(socket: net.Socket, event: string, to: Address, options: ConnectOptions): Promise<void> {
  const { signal, timeoutMs } = options;
  return new Promise((resolve, reject) => {
    const finish = (error?: TunicError): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      socket.off(event, onConnected);
      socket.off("close", onClose);
      if (!error) {
        socket.off("error", onError);
        return resolve();
      }
      // `onError` stays: destroying may still emit, and an unheard "error" would end the process.
      socket.destroy();
      reject(error);
    };
    const onConnected = (): void => finish();
    const onError = (error: Error): void => finish(connectionError("connect to", to, error));
    const onClose = (): void =>
      finish(connectionError("connect to", to, new Error("the connection closed during its handshake")));
    const onAbort = (): void => finish(abortError(signal!, "connect"));
    const timer = setTimeout(() =>
      finish(
        new TunicError(`Cannot connect to ${sensitive(to.host)}: no answer within ${timeoutMs} ms`, {
          kind: "timeout",
          code: "connect-timeout",
          retry: "elsewhere",
        }),
      ), timeoutMs);
    socket.on(event, onConnected);
    socket.on("error", onError);
    socket.on("close", onClose);
    if (signal?.aborted) onAbort();
    else signal?.addEventListener("abort", onAbort);
  });
}

function connectionError(verb: string, to: Address | undefined, error: Error): TunicError {
  const code = (error as NodeJS.ErrnoException).code;
  return new TunicError(`Cannot ${verb} ${to ? sensitive(to.host) : "a socket"}: ${code ?? error.message}`, {
    kind: "connection",
    code: code === "ECONNREFUSED" ? "refused" : code === "ECONNRESET" ? "reset" : "connection-failed",
    retry: "elsewhere",
    cause: error,
  });
}

function listenError(at: Address, error: NodeJS.ErrnoException): TunicError {
  const reason = error.code === "EADDRINUSE"
    ? "another program uses this port; stop it or choose another port"
    : error.code === "EACCES"
    ? "this user may not use this port; choose one above 1023"
    : error.message;
  return new TunicError(`Cannot listen on ${at.host}:${at.port}: ${reason}`, {
    kind: "listen",
    code: error.code === "EADDRINUSE" ? "port-in-use" : "listen-failed",
    context: { port: at.port },
    cause: error,
  });
}
