/**
 * Listener lines: `SocksPort 9050`, `SocksPort [::1]:auto IsolateDestAddr`, `ControlPort unix:/path` (tor(1),
 * "SocksPort").
 *
 * Names are not resolved, with "localhost" as the exception that needs nobody's help.
 */
import { formatIp, parseIp } from "../bytes/ip.ts";
import { badValue, parseInteger, parsePort, parseWords } from "./torrc_values.ts";

/** Where to listen. */
export type PortAddress =
  | { readonly type: "disabled" }
  /** Port 0 means that the system chooses ("auto"); `host` is `undefined` where only a port was given. */
  | { readonly type: "tcp"; readonly host: string | undefined; readonly port: number }
  | { readonly type: "unix"; readonly path: string };

export interface PortLine {
  readonly address: PortAddress;
  /** The words after the address. */
  readonly flags: readonly string[];
}

const EXPECTED = "[address:]port, [address:]auto, unix:path or 0";

export function parsePortLine(value: string): PortLine {
  const unix = /^unix:(?:"((?:[^"\\]|\\.)*)"|([^\s"]\S*))(?:\s+(.*))?$/.exec(value);
  if (unix) {
    const path = unix[1]?.replace(/\\(.)/g, "$1") ?? unix[2]!;
    if (path === "") throw badValue(value, EXPECTED);
    return { address: { type: "unix", path }, flags: parseWords(unix[3] ?? "") };
  }
  const [first, ...flags] = parseWords(value);
  if (first === undefined) throw badValue(value, EXPECTED);
  return { address: parseListenAddress(first), flags };
}

function parseListenAddress(text: string): PortAddress {
  if (text === "0") return { type: "disabled" };
  if (text.toLowerCase() === "auto") return { type: "tcp", host: undefined, port: 0 };
  if (/^\d+$/.test(text)) return { type: "tcp", host: undefined, port: parsePort(text) };
  const match = /^(?:\[([^\]]*)\]|([^:]*)):([^:]*)$/.exec(text);
  const name = match?.[1] ?? match?.[2];
  const bytes = name === undefined ? undefined : parseIp(name.toLowerCase() === "localhost" ? "127.0.0.1" : name);
  if (!match || !bytes || (match[1] !== undefined) !== (bytes.length === 16)) throw badValue(text, EXPECTED);
  const port = match[3]!.toLowerCase() === "auto" ? 0 : parsePort(match[3]!);
  return { type: "tcp", host: formatIp(bytes), port };
}

/** What a stream must share with another to share its circuit (tor(1), isolation flags). */
export interface IsolationFlags {
  clientAddress: boolean;
  socksAuth: boolean;
  clientProtocol: boolean;
  destinationPort: boolean;
  destinationAddress: boolean;
}

/** How a listener for client traffic behaves; the defaults are C tor's. */
export interface ClientPortOptions {
  readonly isolation: IsolationFlags;
  /** Listeners of one group share circuits; `undefined`: alone. */
  sessionGroup: number | undefined;
  ipv4Traffic: boolean;
  ipv6Traffic: boolean;
  onionTraffic: boolean;
  dnsRequest: boolean;
  preferIpv6: boolean;
  preferSocksNoAuth: boolean;
  keepAliveIsolateSocksAuth: boolean;
  extendedErrors: boolean;
  groupWritable: boolean;
  worldWritable: boolean;
  relaxDirModeCheck: boolean;
  cacheIpv4Dns: boolean;
  cacheIpv6Dns: boolean;
  useIpv4Cache: boolean;
  useIpv6Cache: boolean;
  preferIpv6Automap: boolean;
}

export type SwitchName = Exclude<keyof ClientPortOptions, "isolation" | "sessionGroup">;

/** Flags by their names in lower case; each may have "No" before it. */
const SWITCHES: Readonly<Record<string, readonly SwitchName[] | undefined>> = {
  ipv4traffic: ["ipv4Traffic"],
  ipv6traffic: ["ipv6Traffic"],
  oniontraffic: ["onionTraffic"],
  dnsrequest: ["dnsRequest"],
  preferipv6: ["preferIpv6"],
  prefersocksnoauth: ["preferSocksNoAuth"],
  keepaliveisolatesocksauth: ["keepAliveIsolateSocksAuth"],
  extendederrors: ["extendedErrors"],
  groupwritable: ["groupWritable"],
  worldwritable: ["worldWritable"],
  relaxdirmodecheck: ["relaxDirModeCheck"],
  cacheipv4dns: ["cacheIpv4Dns"],
  cacheipv6dns: ["cacheIpv6Dns"],
  cachedns: ["cacheIpv4Dns", "cacheIpv6Dns"],
  useipv4cache: ["useIpv4Cache"],
  useipv6cache: ["useIpv6Cache"],
  usednscache: ["useIpv4Cache", "useIpv6Cache"],
  preferipv6automap: ["preferIpv6Automap"],
};

const ISOLATIONS: Readonly<Record<string, keyof IsolationFlags | undefined>> = {
  isolateclientaddr: "clientAddress",
  isolatesocksauth: "socksAuth",
  isolateclientprotocol: "clientProtocol",
  isolatedestport: "destinationPort",
  isolatedestaddr: "destinationAddress",
};

export interface GivenSwitch {
  readonly name: SwitchName;
  /** The flag as written. */
  readonly flag: string;
}

export interface ClientPort {
  readonly address: PortAddress;
  readonly options: ClientPortOptions;
  /** The switches that were written, whatever their value. */
  readonly given: readonly GivenSwitch[];
  /** Flags nobody knows, as written. */
  readonly unknown: readonly string[];
}

/** A line of SocksPort or of its kin. Throws `config` for flags that contradict each other or the address. */
export function parseClientPort(value: string): ClientPort {
  const { address, flags } = parsePortLine(value);
  const options: ClientPortOptions = {
    isolation: {
      clientAddress: address.type !== "unix",
      socksAuth: true,
      clientProtocol: false,
      destinationPort: false,
      destinationAddress: false,
    },
    sessionGroup: undefined,
    ipv4Traffic: true,
    ipv6Traffic: true,
    onionTraffic: true,
    dnsRequest: true,
    preferIpv6: false,
    preferSocksNoAuth: false,
    keepAliveIsolateSocksAuth: false,
    extendedErrors: false,
    groupWritable: false,
    worldWritable: false,
    relaxDirModeCheck: false,
    cacheIpv4Dns: false,
    cacheIpv6Dns: false,
    useIpv4Cache: false,
    useIpv6Cache: false,
    preferIpv6Automap: true,
  };
  const given: GivenSwitch[] = [];
  const unknown: string[] = [];
  for (const flag of flags) applyFlag(flag, options, given, unknown);
  checkFlags(value, address, options, given);
  if (!options.isolation.socksAuth) options.preferSocksNoAuth = true;
  return { address, options, given, unknown };
}

function applyFlag(flag: string, options: ClientPortOptions, given: GivenSwitch[], unknown: string[]): void {
  const lower = flag.toLowerCase();
  if (lower.startsWith("sessiongroup=")) {
    if (options.sessionGroup !== undefined) throw badValue(flag, "SessionGroup once a line");
    options.sessionGroup = parseInteger(flag.slice("SessionGroup=".length), 0);
    return;
  }
  const no = lower.startsWith("no");
  const name = no ? lower.slice(2) : lower;
  const isolation = lookUp(ISOLATIONS, name.replace(/s$/, ""));
  const switches = lookUp(SWITCHES, name);
  if (isolation) options.isolation[isolation] = !no;
  else if (switches) {
    for (const key of switches) {
      options[key] = !no;
      given.push({ name: key, flag });
    }
  } else if (lower === "oniontrafficonly") {
    for (const key of ["ipv4Traffic", "ipv6Traffic", "dnsRequest"] as const) {
      options[key] = false;
      given.push({ name: key, flag });
    }
  } else unknown.push(flag);
}

function lookUp<T>(table: Readonly<Record<string, T | undefined>>, name: string): T | undefined {
  return Object.hasOwn(table, name) ? table[name] : undefined;
}

function checkFlags(
  value: string,
  address: PortAddress,
  options: ClientPortOptions,
  given: readonly GivenSwitch[],
): void {
  const { ipv4Traffic, ipv6Traffic, onionTraffic, dnsRequest } = options;
  if (!ipv4Traffic && !ipv6Traffic && !onionTraffic) {
    throw badValue(value, "at least one of IPv4Traffic, IPv6Traffic and OnionTraffic");
  }
  if (!ipv4Traffic && !ipv6Traffic && dnsRequest) {
    throw badValue(value, "NoDNSRequest where both IPv4Traffic and IPv6Traffic are off");
  }
  const unixOnly: SwitchName[] = ["groupWritable", "worldWritable", "relaxDirModeCheck"];
  if (address.type !== "unix" && given.some(({ name }) => unixOnly.includes(name))) {
    throw badValue(value, "GroupWritable, WorldWritable and RelaxDirModeCheck only with unix:path");
  }
  if (options.keepAliveIsolateSocksAuth && !options.isolation.socksAuth) {
    throw badValue(value, "KeepAliveIsolateSOCKSAuth only with IsolateSOCKSAuth");
  }
}
