/** `SocksPort` lines: where to listen, and what streams of one port may share. */
import { type ClientPort, parseClientPort } from "../wire/torrc_ports.ts";
import { badValue } from "../wire/torrc_values.ts";
import { parseIp } from "../bytes/ip.ts";
import type { Address } from "../runtime/ports.ts";
import type { OptionReader } from "./config.ts";
import type { OptionEntry } from "./entries.ts";

export interface SocksPortConfig {
  readonly address: Address;
  readonly isolateSocksAuth: boolean;
  readonly isolateClientAddress: boolean;
  readonly isolateDestinationAddress: boolean;
  readonly isolateDestinationPort: boolean;
  readonly preferNoAuth: boolean;
  readonly extendedErrors: boolean;
}

export const DEFAULT_SOCKS_ADDRESS: Address = { host: "127.0.0.1", port: 9050 };

/** The listeners asked for: one on the default address where nothing is said, none after `SocksPort 0`. */
export function readSocksPorts(reader: OptionReader): SocksPortConfig[] {
  if (!reader.options.has("SocksPort")) return [toConfig(parseClientPort("9050"))];
  const lines = reader.lines("SocksPort", (value, entry) => ({ entry, port: checked(value, entry, reader) }));
  const active = lines.filter(({ port }) => port.address.type === "tcp");
  if (active.length > 0 && active.length < lines.length) {
    reader.lines("SocksPort", (value) => {
      if (parseClientPort(value).address.type === "disabled") throw badValue(value, "no other SocksPort beside it");
    });
  }
  return active.map(({ port }) => toConfig(port));
}

function checked(value: string, entry: OptionEntry, reader: OptionReader): ClientPort {
  const port = parseClientPort(value);
  const { address, options, given, unknown } = port;
  if (address.type === "unix") throw badValue(value, "a TCP port: unix sockets are not supported yet");
  for (const flag of unknown) reader.warn(entry, `unknown flag ${JSON.stringify(flag)} has no effect`);
  for (const name of ["ipv4Traffic", "ipv6Traffic", "onionTraffic", "dnsRequest"] as const) {
    if (!options[name]) throw badValue(value, "no flag that forbids a kind of traffic: tunic cannot enforce it yet");
  }
  const unused = given.filter(({ name }) => !HONOURED.has(name)).map(({ flag }) => flag);
  if (options.isolation.clientProtocol) unused.push("IsolateClientProtocol");
  if (options.sessionGroup !== undefined) unused.push("SessionGroup");
  for (const flag of new Set(unused)) reader.warn(entry, `flag ${flag} is not supported yet and has no effect`);
  if (address.type === "tcp" && address.host !== undefined && !isLoopback(address.host)) {
    reader.warn(entry, `${address.host} is not a loopback address: others may be able to use this port`);
  }
  return port;
}

const HONOURED: ReadonlySet<string> = new Set([
  ...["ipv4Traffic", "ipv6Traffic", "onionTraffic", "dnsRequest"],
  ...["extendedErrors", "preferSocksNoAuth"],
]);

function toConfig({ address, options }: ClientPort): SocksPortConfig {
  const { isolation } = options;
  const { host = DEFAULT_SOCKS_ADDRESS.host, port } = address as Extract<ClientPort["address"], { type: "tcp" }>;
  return {
    address: { host, port },
    isolateSocksAuth: isolation.socksAuth,
    isolateClientAddress: isolation.clientAddress,
    isolateDestinationAddress: isolation.destinationAddress,
    isolateDestinationPort: isolation.destinationPort,
    preferNoAuth: options.preferSocksNoAuth,
    extendedErrors: options.extendedErrors,
  };
}

export function isLoopback(host: string): boolean {
  const bytes = parseIp(host);
  if (!bytes) return false;
  if (bytes.length === 4) return bytes[0] === 127;
  return bytes.every((byte, i) => byte === (i === 15 ? 1 : 0));
}
