/** Files on `node:fs`: private modes, atomic replacement, and a lock that a crash does not leave behind. */
import { constants, readFileSync } from "node:fs";
import fs from "node:fs/promises";
import path from "node:path";
import process from "node:process";
import { TunicError } from "../base/errors.ts";
import type { FileLock, Files } from "./ports.ts";

const PRIVATE_FILE = 0o600;
const PRIVATE_DIRECTORY = 0o700;

export const nodeFiles: Files = {
  async read(file: string): Promise<Uint8Array | undefined> {
    try {
      return await fs.readFile(file);
    } catch (error) {
      if (codeOf(error) === "ENOENT") return undefined;
      throw storageError("read", file, error);
    }
  },

  async writeAtomic(file: string, bytes: Uint8Array): Promise<void> {
    const temporary = `${file}.new`;
    try {
      const handle = await fs.open(temporary, "w", PRIVATE_FILE);
      try {
        await handle.writeFile(bytes);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await fs.rename(temporary, file);
    } catch (error) {
      await fs.rm(temporary, { force: true }).catch(() => {});
      throw storageError("write", file, error);
    }
  },

  async append(file: string, bytes: Uint8Array): Promise<void> {
    try {
      await fs.appendFile(file, bytes, { mode: PRIVATE_FILE });
    } catch (error) {
      throw storageError("write", file, error);
    }
  },

  async remove(file: string): Promise<void> {
    try {
      await fs.rm(file, { force: true });
    } catch (error) {
      throw storageError("remove", file, error);
    }
  },

  async list(directory: string): Promise<string[]> {
    try {
      return await fs.readdir(directory);
    } catch (error) {
      if (codeOf(error) === "ENOENT") return [];
      throw storageError("list", directory, error);
    }
  },

  async isDirectory(directory: string): Promise<boolean> {
    try {
      return (await fs.stat(directory)).isDirectory();
    } catch (error) {
      if (codeOf(error) === "ENOENT") return false;
      throw storageError("look at", directory, error);
    }
  },

  async makePrivateDirectory(directory: string): Promise<void> {
    try {
      await fs.mkdir(directory, { recursive: true, mode: PRIVATE_DIRECTORY });
      const { mode, uid } = await fs.stat(directory);
      const self = process.getuid?.();
      if (self !== undefined && uid !== self) {
        throw new TunicError(`Cannot use ${directory}: it belongs to user ${uid}, expected ${self}`, {
          kind: "storage",
          code: "wrong-owner",
        });
      }
      // As C tor does: a directory of ours that others may enter is closed to them.
      if (self !== undefined && (mode & 0o077) !== 0) await fs.chmod(directory, PRIVATE_DIRECTORY);
      await fs.access(directory, constants.R_OK | constants.W_OK | constants.X_OK);
    } catch (error) {
      throw storageError("use", directory, error);
    }
  },

  lock,
};

/** Locks this process holds, since it cannot tell itself from itself by process id. */
const held = new Set<string>();

async function lock(file: string): Promise<FileLock> {
  const name = path.resolve(file);
  const mark = `${process.pid} ${startTime(process.pid) ?? "?"}\n`;
  if (held.has(name)) throw lockedBy(file, process.pid);
  held.add(name);
  try {
    for (let attempt = 0; attempt < 3; attempt++) {
      if (await create(name, mark)) {
        return {
          async release() {
            await fs.rm(name, { force: true });
            held.delete(name);
          },
        };
      }
      const found = await fs.readFile(name, "utf8").catch(() => "");
      const [pid, started] = found.trim().split(" ");
      const owner = Number(pid);
      const alive = Number.isInteger(owner) && owner > 0 && owner !== process.pid && isAlive(owner) &&
        (started === "?" || started === startTime(owner));
      if (alive) throw lockedBy(file, owner);
      await clear(name, found);
    }
    throw lockedBy(file, undefined);
  } catch (error) {
    held.delete(name);
    throw error instanceof TunicError ? error : storageError("lock", file, error);
  }
}

/** The file appears with its content: nobody can read it empty and take it for a stale one. */
async function create(name: string, mark: string): Promise<boolean> {
  const temporary = `${name}.${process.pid}`;
  try {
    await fs.writeFile(temporary, mark, { mode: PRIVATE_FILE });
    await fs.link(temporary, name);
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST") return false;
    throw error;
  } finally {
    await fs.rm(temporary, { force: true });
  }
}

/** Takes away the lock file that says `stale`, unless another process has put its own in its place meanwhile. */
async function clear(name: string, stale: string): Promise<void> {
  const aside = `${name}.${process.pid}`;
  try {
    await fs.rename(name, aside);
    if (await fs.readFile(aside, "utf8") !== stale) await fs.link(aside, name);
  } catch (error) {
    if (codeOf(error) !== "ENOENT" && codeOf(error) !== "EEXIST") throw error;
  } finally {
    await fs.rm(aside, { force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return codeOf(error) === "EPERM";
  }
}

/** When the process began, in the kernel's ticks: tells a process from a later one of the same number. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
  } catch {
    return undefined;
  }
}

function lockedBy(file: string, pid: number | undefined): TunicError {
  const who = pid === undefined ? "another process" : `process ${pid}`;
  return new TunicError(
    `Cannot use ${path.dirname(file)}: ${who} is using it; stop that one or choose another data directory`,
    { kind: "locked", code: "data-directory-in-use", context: { pid } },
  );
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code;
}

function storageError(verb: string, file: string, error: unknown): TunicError {
  if (error instanceof TunicError) return error;
  const code = codeOf(error);
  const reason = code === "ENOSPC"
    ? "the disk is full"
    : code === "EACCES" || code === "EPERM"
    ? "this user may not"
    : code === "EROFS"
    ? "the file system is read-only"
    : error instanceof Error
    ? error.message
    : String(error);
  return new TunicError(`Cannot ${verb} ${file}: ${reason}`, {
    kind: "storage",
    code: code?.toLowerCase() ?? "storage",
    cause: error,
  });
}
