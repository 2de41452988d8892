/** A data directory in memory, whose failures a test decides. */
import { TunicError } from "../../src/base/errors.ts";
import type { FileLock, Files } from "../../src/runtime/ports.ts";

export class MemoryFiles implements Files {
  readonly contents = new Map<string, Uint8Array>();
  readonly directories = new Set<string>();
  readonly locks = new Set<string>();
  /** How many times each path was written. */
  readonly writes = new Map<string, number>();
  /** The `storage` code that operations fail with while it is set. */
  failure: string | undefined;

  read(path: string): Promise<Uint8Array | undefined> {
    return this.#attempt("read", path, () => this.contents.get(path));
  }

  writeAtomic(path: string, bytes: Uint8Array): Promise<void> {
    return this.#attempt("write", path, () => {
      this.contents.set(path, bytes.slice());
      this.writes.set(path, (this.writes.get(path) ?? 0) + 1);
    });
  }

  append(path: string, bytes: Uint8Array): Promise<void> {
    return this.#attempt("write", path, () => {
      const before = this.contents.get(path) ?? new Uint8Array(0);
      this.contents.set(path, new Uint8Array([...before, ...bytes]));
    });
  }

  remove(path: string): Promise<void> {
    return this.#attempt("remove", path, () => void this.contents.delete(path));
  }

  list(directory: string): Promise<string[]> {
    return this.#attempt("list", directory, () =>
      [...this.contents.keys()]
        .filter((path) => path.startsWith(`${directory}/`))
        .map((path) => path.slice(directory.length + 1)));
  }

  makePrivateDirectory(path: string): Promise<void> {
    return this.#attempt("use", path, () => void this.directories.add(path));
  }

  lock(path: string): Promise<FileLock> {
    if (this.locks.has(path)) {
      return Promise.reject(
        new TunicError(`Cannot use ${path}: process 1 is using it`, { kind: "locked", code: "data-directory-in-use" }),
      );
    }
    this.locks.add(path);
    return Promise.resolve({
      release: () => {
        this.locks.delete(path);
        return Promise.resolve();
      },
    });
  }

  isDirectory(path: string): Promise<boolean> {
    return Promise.resolve(this.directories.has(path));
  }

  #attempt<T>(verb: string, path: string, action: () => T): Promise<T> {
    if (this.failure === undefined) return Promise.resolve(action());
    return Promise.reject(
      new TunicError(`Cannot ${verb} ${path}: failing with ${this.failure}`, { kind: "storage", code: this.failure }),
    );
  }
}
