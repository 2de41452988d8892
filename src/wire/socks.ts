/**
 * The server's side of SOCKS 4, 4a and 5 as a stepper: bytes in, "send this", "read more" or "finished" out.
 *
 * RFC 1928, RFC 1929, and Tor's additions of socks-extensions.txt: the commands RESOLVE and RESOLVE_PTR, user name
 * and password (or the user name of SOCKS 4) as a mark of isolation rather than a right of access, an
 * authentication message taken even where it was not negotiated, and an answer for browsers that speak HTTP here.
 * Everything a client may send before it is understood is bounded by the formats' own lengths.
 */
import { TunicError } from "../base/errors.ts";
import { type Sensitive, sensitive } from "../base/sensitive.ts";
import { concat } from "../bytes/bytes.ts";
import { formatIp, parseIp } from "../bytes/ip.ts";
import { Incomplete, Reader } from "../bytes/reader.ts";
import { latin1, utf8 } from "../bytes/text.ts";
import { encodeSocksReply, SocksReply } from "./socks_reply.ts";

export type SocksCommand = "connect" | "resolve" | "resolve-ptr";

export interface SocksAuth {
  readonly username: Uint8Array;
  readonly password: Uint8Array;
}

export interface SocksRequest {
  readonly version: 4 | 5;
  readonly command: SocksCommand;
  /** A name in lower case, or an address in its canonical text, without brackets. */
  readonly host: string;
  readonly port: number;
  /** The client sent an address in binary, so it may have resolved a name outside Tor. */
  readonly addressOnly: boolean;
  /** What the client authenticated with; `undefined` where it was nothing, or empty. */
  readonly auth: Sensitive<SocksAuth> | undefined;
}

/** `send`, where present, goes to the client first, whatever else the step says. */
export type SocksStep =
  | { readonly state: "more"; readonly send?: Uint8Array }
  /** `rest`: bytes after the request, which belong to the stream ("optimistic data"). */
  | { readonly state: "request"; readonly send?: Uint8Array; readonly request: SocksRequest; readonly rest: Uint8Array }
  /** The connection must be closed after `send`. */
  | { readonly state: "refused"; readonly send?: Uint8Array; readonly error: TunicError };

export interface SocksHandshakeOptions {
  /** Choose "no authentication" where the client offers that as well as user name and password. */
  readonly preferNoAuth?: boolean;
}

const NO_AUTH = 0;
const USERNAME_PASSWORD = 2;
const NO_ACCEPTABLE_METHOD = 0xff;

const COMMANDS = new Map<number, SocksCommand>([[0x01, "connect"], [0xf0, "resolve"], [0xf1, "resolve-ptr"]]);

const MAX_USERNAME4_BYTES = 512;
const MAX_HOST_BYTES = 255;
const EMPTY = new Uint8Array(0);

/** Initials of the methods of HTTP. */
const HTTP_INITIALS = "GHPCDOT";
const HTTP_ANSWER = utf8(
  "HTTP/1.0 501 This is a SOCKS proxy, not an HTTP proxy\r\n" +
    "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n" +
    "This is a SOCKS proxy, not an HTTP proxy.\n\n" +
    "Your program sent an HTTP request to tunic's SOCKS port. Set this address and port as its SOCKS 5 proxy,\n" +
    "with names resolved by the proxy, and clear its HTTP proxy setting.\n",
);

/** Ends a handshake from within a message's parser. */
class Refusal {
  readonly send: Uint8Array | undefined;
  readonly error: TunicError;

  constructor(detail: string, code: string, send?: Uint8Array) {
    this.send = send;
    this.error = new TunicError(`Cannot serve a SOCKS client: ${detail}`, { kind: "malformed", code });
  }
}

export class SocksHandshake {
  readonly #preferNoAuth: boolean;
  #state: "start" | "auth" | "request" | "done" = "start";
  #mayAuthenticate = false;
  #pending: Uint8Array = EMPTY;
  #auth: Sensitive<SocksAuth> | undefined;
  #replies: Uint8Array[] = [];
  #request: SocksRequest | undefined;

  constructor(options: SocksHandshakeOptions = {}) {
    this.#preferNoAuth = options.preferNoAuth ?? false;
  }

  /** Takes the next bytes from the client; must not be called after "request" or "refused". */
  step(bytes: Uint8Array): SocksStep {
    if (this.#state === "done") throw new RangeError("the SOCKS handshake is over");
    const input = this.#pending.length === 0 ? bytes : concat(this.#pending, bytes);
    let consumed = 0;
    try {
      while (!this.#request) {
        const reader = Reader.partial(input.subarray(consumed), "SOCKS request");
        this.#message(reader);
        consumed += reader.position;
      }
    } catch (thrown) {
      if (thrown instanceof Incomplete) {
        this.#pending = input.slice(consumed);
        return { state: "more", send: this.#takeReplies() };
      }
      this.#state = "done";
      if (!(thrown instanceof Refusal)) throw thrown;
      if (thrown.send) this.#replies.push(thrown.send);
      return { state: "refused", send: this.#takeReplies(), error: thrown.error };
    }
    this.#state = "done";
    this.#pending = EMPTY;
    return { state: "request", send: this.#takeReplies(), request: this.#request, rest: input.subarray(consumed) };
  }

  #takeReplies(): Uint8Array | undefined {
    if (this.#replies.length === 0) return undefined;
    const replies = concat(...this.#replies);
    this.#replies = [];
    return replies;
  }

  #message(reader: Reader): void {
    const first = reader.u8();
    if (this.#state === "start") this.#start(first, reader);
    // Some clients authenticate though it was not asked for; C tor lets them, so do we, once.
    else if (first === 1 && this.#mayAuthenticate) this.#authenticate(reader);
    else if (this.#state === "auth") throw new Refusal("no authentication message came", "socks-auth", auth(1));
    else this.#request5(first, reader);
  }

  #start(version: number, reader: Reader): void {
    if (version === 5) return this.#methods(reader);
    if (version === 4) return this.#request4(reader);
    if (HTTP_INITIALS.includes(String.fromCharCode(version))) {
      throw new Refusal("it speaks HTTP: this is not an HTTP proxy", "http-on-socks", HTTP_ANSWER);
    }
    throw new Refusal(`found version ${version}, expected 4 or 5`, "socks-version");
  }

  #methods(reader: Reader): void {
    const offered = reader.view(reader.u8());
    const password = offered.includes(USERNAME_PASSWORD);
    const none = offered.includes(NO_AUTH);
    if (!password && !none) {
      throw new Refusal(
        "it offers neither no authentication nor user name and password",
        "socks-method", //
        Uint8Array.of(5, NO_ACCEPTABLE_METHOD),
      );
    }
    const method = password && !(none && this.#preferNoAuth) ? USERNAME_PASSWORD : NO_AUTH;
    this.#replies.push(Uint8Array.of(5, method));
    this.#state = method === NO_AUTH ? "request" : "auth";
    this.#mayAuthenticate = true;
  }

  #authenticate(reader: Reader): void {
    const username = reader.copy(reader.u8());
    const password = reader.copy(reader.u8());
    this.#keepAuth(username, password);
    this.#mayAuthenticate = false;
    this.#state = "request";
    this.#replies.push(auth(0));
  }

  #keepAuth(username: Uint8Array, password: Uint8Array): void {
    if (username.length > 0 || password.length > 0) this.#auth = sensitive({ username, password });
  }

  #request5(version: number, reader: Reader): void {
    const refuse = (detail: string, reply: number = SocksReply.GENERAL_FAILURE): never => {
      throw new Refusal(detail, "socks-request", encodeSocksReply(5, reply));
    };
    if (version !== 5) refuse(`found a request of version ${version}, expected 5`);
    const code = reader.u8();
    const reserved = reader.u8();
    if (reserved !== 0) refuse(`found ${reserved} in a reserved byte, expected 0`);
    const type = reader.u8();
    let host: string | undefined;
    if (type === 1) host = formatIp(reader.view(4));
    else if (type === 4) host = formatIp(reader.view(16));
    else if (type === 3) host = hostOf(latin1(reader.view(reader.u8())));
    else refuse(`found address type ${type}, expected 1, 3 or 4`, SocksReply.ADDRESS_TYPE_NOT_SUPPORTED);
    const port = reader.u16();
    const command = COMMANDS.get(code) ?? refuse(`found command ${code}`, SocksReply.COMMAND_NOT_SUPPORTED);
    if (command === "resolve-ptr" && (host === undefined || !parseIp(host))) {
      refuse("found a name for RESOLVE_PTR, expected an address", SocksReply.ADDRESS_TYPE_NOT_SUPPORTED);
    }
    host ??= refuse("found a malformed host name");
    if (command === "connect" && port === 0) refuse("found port 0");
    this.#request = { version: 5, command, host, port, addressOnly: type !== 3, auth: this.#auth };
  }

  #request4(reader: Reader): void {
    const refuse = (detail: string): never => {
      throw new Refusal(detail, "socks-request", encodeSocksReply(4, SocksReply.GENERAL_FAILURE));
    };
    const code = reader.u8();
    const port = reader.u16();
    const address = reader.copy(4);
    const named = address[0] === 0 && address[1] === 0 && address[2] === 0 && address[3] !== 0;
    const username = untilNul(reader, MAX_USERNAME4_BYTES) ?? refuse("found an endless user name");
    const host = named
      ? hostOf(latin1(untilNul(reader, MAX_HOST_BYTES) ?? refuse("found an endless host name")))
      : address.some((byte) => byte !== 0)
      ? formatIp(address)
      : refuse("found address 0.0.0.0");
    const command = COMMANDS.get(code);
    if (!command || command === "resolve-ptr") return refuse(`found command ${code}`);
    if (host === undefined) return refuse("found a malformed host name");
    if (command === "connect" && port === 0) return refuse("found port 0");
    this.#keepAuth(username, EMPTY);
    this.#request = { version: 4, command, host, port, addressOnly: !named, auth: this.#auth };
  }
}

/** RFC 1929's answer. */
function auth(status: number): Uint8Array {
  return Uint8Array.of(1, status);
}

/** Bytes up to a NUL, which is skipped; `undefined` where more than `limit` come before it. */
function untilNul(reader: Reader, limit: number): Uint8Array | undefined {
  const bytes: number[] = [];
  for (let byte = reader.u8(); byte !== 0; byte = reader.u8()) {
    if (bytes.length === limit) return undefined;
    bytes.push(byte);
  }
  return Uint8Array.from(bytes);
}

/**
 * The canonical form of a name or of an address written as one; `undefined` for what is neither. As in C tor,
 * labels may have underscores, and one dot may end the name.
 */
function hostOf(text: string): string | undefined {
  const bare = text.startsWith("[") && text.endsWith("]") ? text.slice(1, -1) : text;
  const address = parseIp(bare);
  if (address) return formatIp(address);
  if (bare !== text || !/^(?:[a-z0-9][a-z0-9_-]*\.)*[a-z0-9][a-z0-9_-]*\.?$/i.test(text)) return undefined;
  return text.toLowerCase();
}
