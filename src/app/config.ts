/**
 * From torrc and command line to what the application runs with.
 *
 * All that is wrong is gathered before anything is refused. What C tor knows and tunic does not do yet gets a
 * warning; where ignoring it would show what the user wants hidden (a proxy, bridges), tunic refuses to run.
 */
import { TunicError } from "../base/errors.ts";
import type { TorClientOptions } from "../client/options.ts";
import type { DirectoryAuthority, FallbackDirectory } from "../netdir/authorities.ts";
import { placeText, shown, type TorrcEntry, torrcError } from "../wire/torrc.ts";
import { parseDirAuthority, parseFallbackDir } from "../wire/torrc_directory.ts";
import { parsePolicy, type PolicyRule } from "../wire/torrc_values.ts";
import { badValue, parseBoolean, parseDouble, parseInteger, parseIntervalMs, parseList } from "../wire/torrc_values.ts";
import { mergeEntries, type OptionEntry, valueError } from "./entries.ts";
import { type LogTarget, parseLogLine } from "./log_config.ts";
import { defaultDataDirectory, expandPath, isAbsolute, type Surroundings } from "./places.ts";
import { readSocksPorts, type SocksPortConfig } from "./socks_ports.ts";
import { SAME_AS_TUNIC, UNSAFE_TO_IGNORE } from "./unsupported.ts";

/** What the application runs with. */
export interface Configuration {
  readonly options: TorClientOptions;
  readonly socksPorts: readonly SocksPortConfig[];
  /** Who may use the SOCKS ports; the first rule that matches decides, and everybody may where none does. */
  readonly socksPolicy: readonly PolicyRule[];
  /** Empty where no `Log` line is given. */
  readonly logs: readonly LogTarget[];
  readonly truncateLogFiles: boolean;
  /** Whether addresses and destinations are kept out of logs. */
  readonly safeLogging: boolean;
  readonly warnings: readonly string[];
  /** Why this configuration may be valid for C tor and still not be run by tunic. */
  readonly refusals: readonly TunicError[];
  /** What is in force beside the defaults, by C tor's names. */
  readonly entries: readonly OptionEntry[];
}

/**
 * Reads sources, the lowest first (defaults file, torrc, command line).
 * Throws `config`; its message has one line for each thing that is wrong.
 */
export function configure(sources: readonly (readonly TorrcEntry[])[], surroundings: Surroundings): Configuration {
  const merged = mergeEntries(sources);
  const reader = new OptionReader(merged.options, surroundings, [...merged.warnings], [...merged.errors]);
  const configuration = readAll(reader);
  const [first, ...more] = reader.errors;
  if (!first) return configuration;
  throw new TunicError(reader.errors.map((error) => error.message).join("\n"), {
    kind: "config",
    code: more.length === 0 ? first.code : "several-errors",
    context: more.length === 0 ? first.context : { count: reader.errors.length },
    cause: more.length === 0 ? first.cause : new AggregateError(reader.errors),
  });
}

/** Values of options, with errors gathered instead of thrown. */
export class OptionReader {
  readonly options: ReadonlyMap<string, readonly OptionEntry[]>;
  readonly surroundings: Surroundings;
  readonly warnings: string[];
  readonly errors: TunicError[];
  readonly refusals: TunicError[] = [];

  constructor(
    options: ReadonlyMap<string, readonly OptionEntry[]>,
    surroundings: Surroundings,
    warnings: string[],
    errors: TunicError[],
  ) {
    this.options = options;
    this.surroundings = surroundings;
    this.warnings = warnings;
    this.errors = errors;
  }

  /** Each line's value as `parse` reads it, without those that it refuses. */
  lines<T>(name: string, parse: (value: string, entry: OptionEntry) => T): T[] {
    const values: T[] = [];
    for (const entry of this.options.get(name) ?? []) {
      try {
        values.push(parse(entry.value, entry));
      } catch (error) {
        this.errors.push(valueError(entry, name, error));
      }
    }
    return values;
  }

  one<T>(name: string, parse: (value: string, entry: OptionEntry) => T): T | undefined {
    return this.lines(name, parse)[0];
  }

  boolean(name: string): boolean | undefined {
    return this.one(name, parseBoolean);
  }

  /** Milliseconds; C tor's 0 means the default. */
  interval(name: string): number | undefined {
    return this.one(name, parseIntervalMs) || undefined;
  }

  warn(entry: OptionEntry, message: string): void {
    this.warnings.push(`${placeText(entry)}: ${entry.option.name}: ${message}`);
  }

  /** A value raised or lowered into what is allowed, with a warning, as C tor does it. */
  clamped(name: string, value: number | undefined, min: number, max: number, unit: string, scale = 1) {
    if (value === undefined || (value >= min && value <= max)) return value;
    const [entry] = this.options.get(name)!;
    const used = value < min ? min : max;
    this.warn(entry!, `${shown(entry!.value)} is out of range; ${used / scale}${unit} is used`);
    return used;
  }
}

function readAll(reader: OptionReader): Configuration {
  const { surroundings } = reader;
  checkUnsupported(reader);
  const authorities = readAuthorities(reader);
  const logs = reader.lines("Log", (value, entry) => {
    const { target, warnings } = parseLogLine(value);
    for (const warning of warnings) reader.warn(entry, warning);
    return target;
  }).filter((target) => target !== undefined).map((target) =>
    target.destination.type === "file"
      ? { ...target, destination: { type: "file" as const, path: expandPath(target.destination.path, surroundings) } }
      : target
  );
  const options: TorClientOptions = {
    dataDirectory: readDataDirectory(reader),
    directoryAuthorities: authorities,
    fallbackDirectories: readFallbacks(reader),
    testingTorNetwork: reader.one("TestingTorNetwork", (value) => {
      const testing = parseBoolean(value);
      if (testing && !authorities) throw badValue(value, "0, or lines of DirAuthority that name a network to test on");
      return testing;
    }),
    pathsNeededToBuildCircuits: readPathsNeeded(reader),
    enforceDistinctSubnets: reader.boolean("EnforceDistinctSubnets"),
    clientRejectInternalAddresses: reader.boolean("ClientRejectInternalAddresses"),
    clientDnsRejectInternalAddresses: reader.one("ClientDNSRejectInternalAddresses", (value) => {
      const reject = parseBoolean(value);
      if (!reject && !authorities) throw badValue(value, "1 on the public network");
      return reject;
    }),
    maxCircuitDirtinessMs: readDuration(reader, "MaxCircuitDirtiness", 10_000),
    circuitsAvailableTimeoutMs: reader.one("CircuitsAvailableTimeout", (value) => {
      const timeout = parseIntervalMs(value);
      if (timeout > 86_400_000) throw badValue(value, "at most 24 hours");
      return timeout || undefined;
    }),
    circuitBuildTimeoutMs: readDuration(reader, "CircuitBuildTimeout", 1000),
    circuitStreamTimeoutMs: readDuration(reader, "CircuitStreamTimeout", 10_000),
    socksTimeoutMs: readDuration(reader, "SocksTimeout", 1000),
    maxClientCircuitsPending: reader.one("MaxClientCircuitsPending", (value) => parseInteger(value, 1, 1024)),
    longLivedPorts: reader.one(
      "LongLivedPorts",
      (value) => parseList(value).map((port) => parseInteger(port, 1, 65535)),
    ),
  };
  return {
    options: withoutUndefined(options),
    socksPorts: readSocksPorts(reader),
    socksPolicy: reader.lines("SocksPolicy", parsePolicy).flat(),
    logs,
    truncateLogFiles: reader.boolean("TruncateLogFile") ?? false,
    safeLogging: reader.one("SafeLogging", (value) => {
      if (!["0", "1", "relay"].includes(value.toLowerCase())) throw badValue(value, "0, 1 or relay");
      return value === "1";
    }) ?? true,
    warnings: reader.warnings,
    refusals: reader.refusals,
    entries: [...reader.options.values()].flat(),
  };
}

function withoutUndefined(options: TorClientOptions): TorClientOptions {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
}

/** Warns of, or refuses, what C tor would do and tunic will not. */
function checkUnsupported(reader: OptionReader): void {
  for (const [name, entries] of reader.options) {
    for (const entry of entries) {
      if (entry.option.support !== "unsupported") continue;
      if (SAME_AS_TUNIC[name]?.includes(entry.value.toLowerCase())) continue;
      const reason = UNSAFE_TO_IGNORE[name];
      if (reason) {
        const message = `${name} is not supported yet, and ignoring it would not be safe: ${reason}`;
        const { code, context } = torrcError(entry, message, "unsafe-to-ignore");
        reader.refusals.push(
          new TunicError(`Cannot run with ${placeText(entry)}: ${message}`, { kind: "unsupported", code, context }),
        );
      } else {
        reader.warn(entry, "this option of C tor is not supported yet and has no effect");
      }
    }
  }
}

function readDataDirectory(reader: OptionReader): string | undefined {
  const { surroundings, options } = reader;
  const path = reader.one("DataDirectory", (value) => {
    const daemon = options.get("RunAsDaemon")?.[0]?.value === "1";
    if (daemon && !value.startsWith("~") && !isAbsolute(value, surroundings.platform)) {
      throw badValue(value, "an absolute path: RunAsDaemon is not compatible with relative ones");
    }
    return expandPath(value, surroundings);
  });
  const directory = path ?? defaultDataDirectory(surroundings);
  if (directory === undefined) {
    reader.warnings.push("found no home directory and no DataDirectory: guards and documents will not be kept");
  }
  return directory;
}

/** `undefined` where no line names an authority. */
function readAuthorities(reader: OptionReader): DirectoryAuthority[] | undefined {
  const name = reader.options.has("DirAuthority") ? "DirAuthority" : "AlternateDirAuthority";
  const lines = reader.lines(name, (value, entry) => ({ entry, ...parseDirAuthority(value) }));
  const authorities: DirectoryAuthority[] = [];
  for (const { entry, nickname, host, orPort, dirPort, ipv6, rsaId, v3ident, warnings } of lines) {
    for (const warning of warnings) reader.warn(entry, `${warning} has no effect`);
    if (!v3ident) {
      reader.warn(entry, `${nickname} has no v3ident= and so signs no consensus; the line has no effect`);
      continue;
    }
    if (orPort === 0) reader.warn(entry, `${nickname} has no orport= and will not be asked for anything`);
    if (authorities.some((other) => other.v3ident.join() === v3ident.join())) {
      reader.errors.push(torrcError(entry, `${name}: found a v3ident again, expected each once`, "repeated-authority"));
      continue;
    }
    authorities.push({
      nickname,
      address: { host, port: orPort },
      ...(ipv6 && { ipv6: { host: ipv6.host, port: ipv6.port } }),
      dirPort,
      rsaId,
      v3ident,
    });
  }
  if (lines.length > 0 && authorities.length === 0 && reader.errors.length === 0) {
    const [{ entry }] = lines as [(typeof lines)[0]];
    reader.errors.push(
      torrcError(entry, `${name}: found no line with v3ident=, expected at least one`, "no-authority"),
    );
  }
  return authorities.length > 0 ? authorities : undefined;
}

function readFallbacks(reader: OptionReader): FallbackDirectory[] | undefined {
  const lines = reader.lines("FallbackDir", parseFallbackDir);
  if (lines.length === 0) return reader.boolean("UseDefaultFallbackDirs") === false ? [] : undefined;
  return lines.map(({ host, orPort, ipv6, rsaId, weight }) => ({
    address: { host, port: orPort },
    ...(ipv6 && { ipv6: { host: ipv6.host, port: ipv6.port } }),
    rsaId,
    weight,
  }));
}

function readPathsNeeded(reader: OptionReader): number | undefined {
  const value = reader.one("PathsNeededToBuildCircuits", parseDouble);
  if (value === undefined || value < 0) return undefined;
  return reader.clamped("PathsNeededToBuildCircuits", value, 0.25, 0.95, "");
}

function readDuration(reader: OptionReader, name: string, minMs: number): number | undefined {
  return reader.clamped(name, reader.interval(name), minMs, 2 ** 31 - 1, " seconds", 1000);
}
