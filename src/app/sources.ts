/** Reads the sources of a configuration: defaults file, torrc, command line. */
import { TunicError } from "../base/errors.ts";
import { makeEntry, shown, type TorrcEntry } from "../wire/torrc.ts";
import { readTorrc, type TorrcFiles } from "../wire/torrc_include.ts";
import { type Configuration, configure } from "./config.ts";
import { defaultTorrcPaths, type Surroundings } from "./places.ts";

/** The flags that say what to read. */
export interface SourceFlags {
  readonly torrcFile?: string;
  readonly defaultsTorrc?: string;
  readonly ignoreMissingTorrc?: boolean;
}

export interface LoadedConfiguration extends Configuration {
  /** The torrc that was read, if any. */
  readonly torrcPath: string | undefined;
}

/**
 * `overrides` are the command line's options as pairs of name and value. Throws `config` for what is wrong, and
 * for a named file that does not exist unless that is to be ignored; `storage` for files that cannot be read.
 */
export async function loadConfiguration(
  flags: SourceFlags,
  overrides: readonly string[],
  surroundings: Surroundings,
  files: TorrcFiles,
): Promise<LoadedConfiguration> {
  const sources: TorrcEntry[][] = [];
  if (flags.defaultsTorrc !== undefined) sources.push(await readNamed(flags.defaultsTorrc, flags, files) ?? []);
  let torrcPath: string | undefined;
  const candidates = flags.torrcFile === undefined ? defaultTorrcPaths(surroundings) : [flags.torrcFile];
  for (const path of candidates) {
    const entries = flags.torrcFile === undefined ? await readTorrc(path, files) : await readNamed(path, flags, files);
    if (!entries) continue;
    sources.push(entries);
    torrcPath = path;
    break;
  }
  sources.push(overrideEntries(overrides));
  return { ...configure(sources, surroundings), torrcPath };
}

async function readNamed(path: string, flags: SourceFlags, files: TorrcFiles): Promise<TorrcEntry[] | undefined> {
  const entries = await readTorrc(path, files);
  if (entries || flags.ignoreMissingTorrc) return entries;
  throw new TunicError(`Cannot read the configuration: found no file ${shown(path)}, expected one`, {
    kind: "config",
    code: "torrc-missing",
  });
}

function overrideEntries(overrides: readonly string[]): TorrcEntry[] {
  const entries: TorrcEntry[] = [];
  for (let i = 0; i + 1 < overrides.length; i += 2) {
    entries.push(makeEntry(overrides[i]!, overrides[i + 1]!.trim(), { file: "the command line", line: 0 }));
  }
  return entries;
}
