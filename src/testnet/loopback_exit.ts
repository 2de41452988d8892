/** What streams that leave the test network may reach: this machine's loopback addresses, and names that stand for them. */
import { TunicError } from "../base/errors.ts";
import { sensitive } from "../base/sensitive.ts";
import { parseIp } from "../bytes/ip.ts";
import type { ExitService } from "../proto/relay_streams.ts";
import type { Runtime } from "../runtime/ports.ts";
import type { ResolvedAnswer } from "../wire/resolve_messages.ts";
import { type Begin, BeginFlag } from "../wire/stream_messages.ts";

export interface LoopbackExitOptions {
  readonly runtime: Runtime;
  /** Whether a stream to this port may leave here. */
  readonly allowsPort: (port: number) => boolean;
  /** Names and the addresses they stand for, besides "localhost" and names under it. */
  readonly hosts: ReadonlyMap<string, string>;
  /** Whether addresses beyond loopback may be reached; names are still those of `hosts`. */
  readonly allowsOutside: boolean;
  readonly openDirectory: ExitService["openDirectory"];
}

const CONNECT_TIMEOUT_MS = 20_000;
const TTL_SECONDS = 60;

export function loopbackExit(options: LoopbackExitOptions): ExitService {
  const { runtime, allowsPort, hosts, allowsOutside, openDirectory } = options;

  const addressOf = (name: string): string | undefined => {
    if (parseIp(name)) return name;
    if (name === "localhost" || name.endsWith(".localhost")) return "127.0.0.1";
    return hosts.get(name);
  };

  return {
    openDirectory,

    async connect(begin: Begin, signal: AbortSignal) {
      const address = addressOf(begin.host);
      if (!address) throw noSuchName();
      const isIpv6 = parseIp(address)!.length === 16;
      const unwanted = isIpv6 ? !(begin.flags & BeginFlag.IPV6_OKAY) : begin.flags & BeginFlag.IPV4_NOT_OKAY;
      if (!allowsPort(begin.port) || unwanted || !(allowsOutside || isLoopback(address))) {
        throw new TunicError("Cannot connect: the exit policy does not allow it", {
          kind: "policy",
          code: "exit-policy",
          context: { host: sensitive(begin.host), port: begin.port },
        });
      }
      const socket = await runtime.network.connectTcp({ host: address, port: begin.port }, {
        timeoutMs: CONNECT_TIMEOUT_MS,
        signal,
      });
      return { duplex: socket, address };
    },

    resolve(name: string): Promise<readonly ResolvedAnswer[]> {
      const reverse = /^([0-9.]+)\.in-addr\.arpa$/.exec(name);
      if (reverse) {
        const address = reverse[1]!.split(".").reverse().join(".");
        const hostname = address === "127.0.0.1" ? "localhost" : [...hosts].find(([, value]) => value === address)?.[0];
        if (!hostname) return Promise.reject(noSuchName());
        return Promise.resolve([{ kind: "hostname", hostname, ttl: TTL_SECONDS }]);
      }
      const address = addressOf(name);
      if (!address) return Promise.reject(noSuchName());
      const kind = parseIp(address)!.length === 16 ? "ipv6" : "ipv4";
      return Promise.resolve([{ kind, address, ttl: TTL_SECONDS }]);
    },
  };
}

/** 127.0.0.0/8, ::1, and the former written as the latter's kin. */
export function isLoopback(address: string): boolean {
  const bytes = parseIp(address);
  if (!bytes) return false;
  if (bytes.length === 4) return bytes[0] === 127;
  const isMapped = bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
  if (isMapped) return bytes[12] === 127;
  return bytes.subarray(0, 15).every((byte) => byte === 0) && bytes[15] === 1;
}

function noSuchName(): TunicError {
  return new TunicError("Cannot resolve a name: the test network has no such name", {
    kind: "resolve",
    code: "no-such-name",
  });
}
