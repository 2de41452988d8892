/**
 * What a user of the library may choose, and what follows where nothing is said.
 *
 * {@link TorClientOptions} is a plain object; {@link resolveOptions} checks it whole before anything is opened and
 * returns it with every default in place. Names follow C tor's options, with the unit added; so do the defaults.
 */
import { TunicError } from "../base/errors.ts";
import { parseIp } from "../bytes/ip.ts";
import type { DirectoryAuthority, FallbackDirectory } from "../netdir/authorities.ts";
import { publicAuthorities, publicFallbacks } from "../netdir/public_network.ts";
import type { Address, Runtime } from "../runtime/ports.ts";

export interface TorClientOptions {
  /**
   * Where guards and directory documents are kept between runs; created with mode 0700 and locked while the
   * client runs. Without it nothing is written, and every launch begins from nothing, with new guards: good for
   * tests, worse for anonymity.
   */
  readonly dataDirectory?: string;
  /** Whose signatures make a consensus. Default: the public network's authorities. */
  readonly directoryAuthorities?: readonly DirectoryAuthority[];
  /**
   * Whom to ask first for directory documents. Default: the public network's list, or nobody but the authorities
   * where `directoryAuthorities` is given.
   */
  readonly fallbackDirectories?: readonly FallbackDirectory[];
  /**
   * A private network for tests: private addresses may be contacted and asked for, subnets need not differ, and
   * directory requests wait for nothing. Needs `directoryAuthorities`. Default: false.
   */
  readonly testingTorNetwork?: boolean;
  /**
   * Share of all possible paths, by bandwidth, whose relays must be known before circuits are built: 0.25 to 0.95.
   * Default: what the consensus says, else 0.6.
   */
  readonly pathsNeededToBuildCircuits?: number;
  /** Whether relays of one circuit must be in different /16 or /32 networks. Default: true. */
  readonly enforceDistinctSubnets?: boolean;
  /** Whether requests for private addresses are refused. Default: true. */
  readonly clientRejectInternalAddresses?: boolean;
  /** Whether answers of an exit that name private addresses are refused. Default: true. */
  readonly clientDnsRejectInternalAddresses?: boolean;
  /** How long after its first stream a circuit takes new ones; at least 10 s. Default: 10 minutes. */
  readonly maxCircuitDirtinessMs?: number;
  /** How long an unused circuit is kept ready. Default: 30 minutes. */
  readonly circuitsAvailableTimeoutMs?: number;
  /** How long building a circuit may take. Default: 60 s. */
  readonly circuitBuildTimeoutMs?: number;
  /** How long an exit may take to answer a request before another circuit is tried. Default: 10 s at first, then 15 s. */
  readonly circuitStreamTimeoutMs?: number;
  /** How long a request may wait altogether. Default: 2 minutes. */
  readonly socksTimeoutMs?: number;
  /** Circuits being built for requests at one time, 1 to 1024. Default: 32. */
  readonly maxClientCircuitsPending?: number;
  /** Ports whose streams live long, so that their circuits take relays with the Stable flag. */
  readonly longLivedPorts?: readonly number[];
  /** The machine. Default: the real one. */
  readonly runtime?: Runtime;
  /** Stops a launch under way; the launch then fails with kind `aborted`. */
  readonly signal?: AbortSignal;
}

/** Options with every default in place. */
export interface ResolvedOptions {
  readonly dataDirectory: string | undefined;
  readonly directoryAuthorities: readonly DirectoryAuthority[];
  readonly fallbackDirectories: readonly FallbackDirectory[];
  readonly testingTorNetwork: boolean;
  /** `undefined`: what the consensus says. */
  readonly pathsNeededToBuildCircuits: number | undefined;
  readonly enforceDistinctSubnets: boolean;
  readonly clientRejectInternalAddresses: boolean;
  readonly clientDnsRejectInternalAddresses: boolean;
  readonly maxCircuitDirtinessMs: number;
  readonly circuitsAvailableTimeoutMs: number;
  readonly circuitBuildTimeoutMs: number;
  /** `undefined`: 10 s for the first circuit, 15 s for later ones. */
  readonly circuitStreamTimeoutMs: number | undefined;
  readonly socksTimeoutMs: number;
  readonly maxClientCircuitsPending: number;
  readonly longLivedPorts: readonly number[];
  /** `undefined`: the real one. */
  readonly runtime: Runtime | undefined;
  readonly signal: AbortSignal | undefined;
}

export const DEFAULT_LONG_LIVED_PORTS: readonly number[] = [
  ...[21, 22, 706, 1863, 5050, 5190, 5222, 5223, 6523, 6667, 6697, 8300],
];

/** The largest delay timers take, 2^31 - 1 ms: 24.8 days. */
const MAX_DURATION_MS = 2 ** 31 - 1;
const MINUTE_MS = 60_000;

/** Throws `argument` for the first option that is wrong. */
export function resolveOptions(options: TorClientOptions = {}): ResolvedOptions {
  for (const name of Object.keys(options)) {
    if (!KNOWN.has(name)) throw wrong(name, "an unknown option", `one of ${[...KNOWN].join(", ")}`);
  }
  const testing = boolean(options, "testingTorNetwork", false);
  const own = options.directoryAuthorities;
  if (own) checkAuthorities(own);
  if (options.fallbackDirectories) checkFallbacks(options.fallbackDirectories);
  if (testing && !own) {
    throw wrong("testingTorNetwork", "true without directoryAuthorities", "a network of your own to test on");
  }
  if (options.signal !== undefined && !(options.signal instanceof AbortSignal)) {
    throw wrong("signal", typeof options.signal, "an AbortSignal");
  }
  const dnsReject = boolean(options, "clientDnsRejectInternalAddresses", !testing);
  if (!dnsReject && !own) {
    throw wrong("clientDnsRejectInternalAddresses", "false on the public network", "true, or directoryAuthorities");
  }
  if (
    options.dataDirectory !== undefined && (typeof options.dataDirectory !== "string" || options.dataDirectory === "")
  ) {
    throw wrong("dataDirectory", JSON.stringify(options.dataDirectory), "a path");
  }
  return Object.freeze({
    dataDirectory: options.dataDirectory,
    directoryAuthorities: own ?? publicAuthorities(),
    fallbackDirectories: options.fallbackDirectories ?? (own ? [] : publicFallbacks()),
    testingTorNetwork: testing,
    pathsNeededToBuildCircuits: optional(options, "pathsNeededToBuildCircuits", 0.25, 0.95),
    enforceDistinctSubnets: boolean(options, "enforceDistinctSubnets", !testing),
    clientRejectInternalAddresses: boolean(options, "clientRejectInternalAddresses", !testing),
    clientDnsRejectInternalAddresses: dnsReject,
    maxCircuitDirtinessMs: duration(options, "maxCircuitDirtinessMs", 10_000) ?? 10 * MINUTE_MS,
    circuitsAvailableTimeoutMs: duration(options, "circuitsAvailableTimeoutMs", 1) ?? 30 * MINUTE_MS,
    circuitBuildTimeoutMs: duration(options, "circuitBuildTimeoutMs", 1) ?? MINUTE_MS,
    circuitStreamTimeoutMs: duration(options, "circuitStreamTimeoutMs", 1),
    socksTimeoutMs: duration(options, "socksTimeoutMs", 1) ?? 2 * MINUTE_MS,
    maxClientCircuitsPending: whole(options, "maxClientCircuitsPending", 1, 1024) ?? 32,
    longLivedPorts: options.longLivedPorts === undefined ? DEFAULT_LONG_LIVED_PORTS : ports(options.longLivedPorts),
    runtime: options.runtime,
    signal: options.signal,
  });
}

const KNOWN: ReadonlySet<string> = new Set<keyof TorClientOptions>([
  "dataDirectory",
  "directoryAuthorities",
  "fallbackDirectories",
  "testingTorNetwork",
  "pathsNeededToBuildCircuits",
  "enforceDistinctSubnets",
  "clientRejectInternalAddresses",
  "clientDnsRejectInternalAddresses",
  "maxCircuitDirtinessMs",
  "circuitsAvailableTimeoutMs",
  "circuitBuildTimeoutMs",
  "circuitStreamTimeoutMs",
  "socksTimeoutMs",
  "maxClientCircuitsPending",
  "longLivedPorts",
  "runtime",
  "signal",
]);

function wrong(name: string, found: string, expected: string): TunicError {
  return new TunicError(`Cannot use option ${name}: found ${found}, expected ${expected}`, {
    kind: "argument",
    code: "bad-option",
    context: { option: name },
  });
}

type NamesOf<T> = { [K in keyof TorClientOptions]-?: TorClientOptions[K] extends T | undefined ? K : never }[
  keyof TorClientOptions
];

function boolean(options: TorClientOptions, name: NamesOf<boolean>, otherwise: boolean): boolean {
  const value = options[name] ?? otherwise;
  if (typeof value !== "boolean") throw wrong(name, String(value), "true or false");
  return value;
}

function optional(
  options: TorClientOptions,
  name: NamesOf<number>,
  min: number,
  max: number,
): number | undefined {
  const value = options[name];
  if (value === undefined) return undefined;
  if (!(typeof value === "number" && value >= min && value <= max)) {
    throw wrong(name, String(value), `a number from ${min} to ${max}`);
  }
  return value;
}

function duration(options: TorClientOptions, name: NamesOf<number>, min: number): number | undefined {
  return optional(options, name, min, MAX_DURATION_MS);
}

function whole(options: TorClientOptions, name: NamesOf<number>, min: number, max: number): number | undefined {
  const value = optional(options, name, min, max);
  if (value !== undefined && !Number.isInteger(value)) throw wrong(name, String(value), "a whole number");
  return value;
}

function ports(list: readonly number[]): readonly number[] {
  if (!Array.isArray(list)) throw wrong("longLivedPorts", typeof list, "a list of ports");
  for (const port of list) {
    if (!(Number.isInteger(port) && port >= 1 && port <= 65535)) {
      throw wrong("longLivedPorts", String(port), "ports from 1 to 65535");
    }
  }
  return list;
}

function checkAuthorities(list: readonly DirectoryAuthority[]): void {
  const name = "directoryAuthorities";
  if (!Array.isArray(list)) throw wrong(name, typeof list, "a list");
  if (list.length === 0) throw wrong(name, "an empty list", "at least one authority");
  const seen = new Set<string>();
  for (const { nickname, address, ipv6, rsaId, v3ident } of list) {
    const who = `${name}, ${nickname}`;
    checkAddress(who, address, 0);
    if (ipv6) checkAddress(who, ipv6, 1);
    checkLength(`${who}, rsaId`, rsaId, 20);
    checkLength(`${who}, v3ident`, v3ident, 20);
    const identity = v3ident.join();
    // Two entries with one identity would be one voter counted in the total twice.
    if (seen.has(identity)) throw wrong(who, "a v3ident that another authority has", "one of its own");
    seen.add(identity);
  }
}

function checkFallbacks(list: readonly FallbackDirectory[]): void {
  for (const [i, { address, ipv6, rsaId, ed25519Id, weight }] of list.entries()) {
    const who = `fallbackDirectories, entry ${i}`;
    checkAddress(who, address, 1);
    if (ipv6) checkAddress(who, ipv6, 1);
    checkLength(`${who}, rsaId`, rsaId, 20);
    if (ed25519Id) checkLength(`${who}, ed25519Id`, ed25519Id, 32);
    if (weight !== undefined && !(weight >= 0 && weight < Infinity)) throw wrong(who, `weight ${weight}`, "0 or more");
  }
}

function checkAddress(name: string, { host, port }: Address, minPort: number): void {
  if (!parseIp(host)) throw wrong(name, `host ${JSON.stringify(host)}`, "an IPv4 or IPv6 address");
  if (!(Number.isInteger(port) && port >= minPort && port <= 65535)) {
    throw wrong(name, `port ${port}`, `a port from ${minPort} to 65535`);
  }
}

function checkLength(name: string, bytes: Uint8Array, length: number): void {
  if (!(bytes instanceof Uint8Array && bytes.length === length)) {
    throw wrong(name, bytes instanceof Uint8Array ? `${bytes.length} bytes` : typeof bytes, `${length} bytes`);
  }
}
