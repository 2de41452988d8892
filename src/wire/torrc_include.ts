/**
 * `%include`: the entries of other files in the place of the line that names them (tor(1), "The configuration
 * file format").
 *
 * The path may be a file, a directory (its files in lexical order, without those that begin with a dot and
 * without its subdirectories) or a pattern with `*` and `?`. A relative path starts at the directory of the file
 * that includes. Files come in through {@link TorrcFiles}; depth and number are bounded.
 */
import { MAX_TORRC_ENTRIES, parseTorrc, shown, type TorrcEntry, torrcError, type TorrcPlace } from "./torrc.ts";

/** Reading of files, as a runtime gives it. */
export interface TorrcFiles {
  /** `undefined` where there is no such file. */
  read(path: string): Promise<Uint8Array | undefined>;
  /** Names in a directory, in any order. */
  list(directory: string): Promise<string[]>;
  isDirectory(path: string): Promise<boolean>;
}

/** Files within files, and files in all, as C tor and as plenty. */
export const MAX_INCLUDE_DEPTH = 31;
export const MAX_INCLUDED_FILES = 1000;

/**
 * The entries of `path` and of everything it includes, in order; `undefined` where `path` does not exist.
 * Throws `config` for what is ill-formed, and what `files` throws for what cannot be read.
 */
export async function readTorrc(path: string, files: TorrcFiles): Promise<TorrcEntry[] | undefined> {
  const bytes = await files.read(path);
  if (!bytes) return undefined;
  const reading: Reading = { files, entries: [], filesRead: 1 };
  await add(reading, bytes, path, 0);
  return reading.entries;
}

interface Reading {
  readonly files: TorrcFiles;
  readonly entries: TorrcEntry[];
  filesRead: number;
}

async function add(reading: Reading, bytes: Uint8Array, path: string, depth: number): Promise<void> {
  for (const entry of parseTorrc(bytes, path)) {
    if (entry.name !== "%include" || entry.command !== "set") {
      if (reading.entries.length === MAX_TORRC_ENTRIES) {
        throw torrcError(entry, `found more than ${MAX_TORRC_ENTRIES} entries, expected fewer`, "torrc-too-long");
      }
      reading.entries.push(entry);
      continue;
    }
    if (entry.value === "") throw torrcError(entry, "found %include alone, expected a path after it", "bad-include");
    if (depth + 1 > MAX_INCLUDE_DEPTH) {
      throw torrcError(
        entry,
        `found files included more than ${MAX_INCLUDE_DEPTH} deep, expected fewer`,
        "include-too-deep",
      );
    }
    for (const file of await filesOf(reading, entry, resolvePath(directoryOf(path), entry.value))) {
      if (++reading.filesRead > MAX_INCLUDED_FILES) {
        throw torrcError(entry, `found more than ${MAX_INCLUDED_FILES} files, expected fewer`, "include-too-many");
      }
      const included = await reading.files.read(file);
      if (!included) throw missing(entry, file);
      await add(reading, included, file, depth + 1);
    }
  }
}

/** The files that a path or pattern stands for, in order. */
async function filesOf({ files }: Reading, place: TorrcPlace, path: string): Promise<string[]> {
  const pattern = hasWildcard(path);
  const matches = pattern ? await expand(files, place, path) : [path];
  const found: string[] = [];
  for (const match of matches) {
    if (!(await files.isDirectory(match))) {
      found.push(match);
      continue;
    }
    for (const name of (await files.list(match)).sort(lexical)) {
      const inside = join(match, name);
      if (!name.startsWith(".") && !(await files.isDirectory(inside))) found.push(inside);
    }
  }
  return found;
}

function missing(place: TorrcPlace, path: string): Error {
  return torrcError(place, `found no file ${shown(path)} to include, expected one`, "include-missing");
}

/** The paths that match a pattern, sorted. */
async function expand(files: TorrcFiles, place: TorrcPlace, pattern: string): Promise<string[]> {
  let paths = [pattern.startsWith("/") ? "/" : ""];
  for (const segment of pattern.split("/").filter((part) => part !== "")) {
    const next: string[] = [];
    if (!hasWildcard(segment)) {
      const name = segment.replace(/\\(.)/g, "$1");
      for (const path of paths) next.push(join(path, name));
    } else {
      for (const path of paths) {
        const directory = path === "" ? "." : path;
        if (!(await files.isDirectory(directory))) continue;
        for (const name of await files.list(directory)) {
          if (name.startsWith(".") && !segment.startsWith(".")) continue;
          if (matches(segment, name)) next.push(join(path, name));
        }
      }
    }
    if (next.length > MAX_INCLUDED_FILES) {
      throw torrcError(place, `found more than ${MAX_INCLUDED_FILES} files, expected fewer`, "include-too-many");
    }
    paths = next;
  }
  const existing: string[] = [];
  for (const path of paths) {
    if ((await files.isDirectory(path)) || (await files.read(path)) !== undefined) existing.push(path);
  }
  return existing.sort(lexical);
}

/** Whether `name` matches: `*`, `?`, and after a backslash the next character itself. Takes linear steps per `*`. */
export function matches(pattern: string, name: string): boolean {
  const parts: string[] = [];
  for (let i = 0; i < pattern.length; i++) {
    if (pattern[i] === "\\" && i + 1 < pattern.length) parts.push(`=${pattern[++i]}`);
    else parts.push(pattern[i] === "*" || pattern[i] === "?" ? pattern[i]! : `=${pattern[i]}`);
  }
  let p = 0;
  let n = 0;
  let star = -1;
  let resume = 0;
  while (n < name.length) {
    const part = parts[p];
    if (part === "*") {
      star = p++;
      resume = n;
    } else if (part === "?" || part === `=${name[n]}`) {
      p++;
      n++;
    } else if (star >= 0) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (parts[p] === "*") p++;
  return p === parts.length;
}

function hasWildcard(path: string): boolean {
  return /(?:^|[^\\])(?:\\\\)*[*?]/.test(path);
}

function lexical(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function directoryOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : slash === 0 ? "/" : path.slice(0, slash);
}

function join(directory: string, name: string): string {
  return directory === "" ? name : directory.endsWith("/") ? directory + name : `${directory}/${name}`;
}

function resolvePath(directory: string, path: string): string {
  return path.startsWith("/") ? path : join(directory, path);
}
