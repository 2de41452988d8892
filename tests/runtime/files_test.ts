import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { type ErrorKind, isTunicError } from "../../src/base/errors.ts";
import { utf8 } from "../../src/bytes/text.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { patterned } from "../support/scripted_relay.ts";

const { files } = nodeRuntime;
const isKind = (kind: ErrorKind, code?: string) => (error: unknown) =>
  isTunicError(error, kind) && (code === undefined || error.code === code);
const mode = async (file: string) => (await fs.stat(file)).mode & 0o777;

let directory = "";
const here = (name: string) => path.join(directory, name);
before(async () => {
  directory = await fs.mkdtemp(path.join(os.tmpdir(), "tunic-files-"));
});
after(() => fs.rm(directory, { recursive: true }));

describe("writing a file", () => {
  test("replaces it whole, for its owner only, and leaves nothing else", async () => {
    await files.makePrivateDirectory(here("atomic"));
    const file = here("atomic/state");
    for (const size of [100_000, 10, 0]) {
      await files.writeAtomic(file, patterned(size));
      assert.deepEqual(new Uint8Array((await files.read(file))!), patterned(size));
      assert.equal(await mode(file), 0o600);
    }
    assert.deepEqual(await files.list(here("atomic")), ["state"]);
  });

  test("goes on where a crash has left a temporary file", async () => {
    const file = here("crashed");
    await fs.writeFile(`${file}.new`, patterned(5000));
    await files.writeAtomic(file, utf8("short"));
    assert.deepEqual(new Uint8Array((await files.read(file))!), utf8("short"));
    assert.equal(existsSync(`${file}.new`), false);
  });

  test("that fails leaves the old one, and no other", async () => {
    await files.makePrivateDirectory(here("failing/state"));
    await assert.rejects(files.writeAtomic(here("failing/state"), utf8("x")), isKind("storage"));
    assert.deepEqual(await files.list(here("failing")), ["state"]);
    await assert.rejects(files.writeAtomic(here("nowhere/state"), utf8("x")), isKind("storage", "enoent"));
    await assert.rejects(files.append(here("nowhere/state"), utf8("x")), isKind("storage", "enoent"));
  });

  test("by appending makes it private, too", async () => {
    const file = here("appended");
    await files.append(file, utf8("one "));
    await files.append(file, utf8("two"));
    assert.deepEqual(new Uint8Array((await files.read(file))!), utf8("one two"));
    assert.equal(await mode(file), 0o600);
  });
});

describe("what is not there", () => {
  test("is undefined, empty or false, and can be removed", async () => {
    assert.equal(await files.read(here("missing")), undefined);
    assert.deepEqual(await files.list(here("missing")), []);
    assert.equal(await files.isDirectory(here("missing")), false);
    await files.remove(here("missing"));
  });

  test("is not what is there, but something else", async () => {
    await files.append(here("plain"), utf8("x"));
    await assert.rejects(files.read(directory), isKind("storage"));
    await assert.rejects(files.list(here("plain")), isKind("storage"));
    await assert.rejects(files.makePrivateDirectory(here("plain")), isKind("storage"));
    await assert.rejects(files.remove(directory), isKind("storage"));
    assert.equal(await files.isDirectory(here("plain")), false);
    assert.equal(await files.isDirectory(directory), true);
  });
});

describe("a private directory", () => {
  test("is made with its parents, and closed to others where it was open", async () => {
    const deep = here("a/b/c");
    await files.makePrivateDirectory(deep);
    assert.equal(await mode(deep), 0o700);
    await files.makePrivateDirectory(deep);
    for (const open of [0o755, 0o770, 0o777]) {
      await fs.chmod(deep, open);
      await files.makePrivateDirectory(deep);
      assert.equal(await mode(deep), 0o700);
    }
  });

  test("of another user is refused", { skip: process.getuid?.() !== 0 }, async () => {
    await files.makePrivateDirectory(here("foreign"));
    await fs.chown(here("foreign"), 12_345, 12_345);
    await assert.rejects(files.makePrivateDirectory(here("foreign")), isKind("storage", "wrong-owner"));
  });

  test("that may not be made is refused", { skip: process.getuid?.() === 0 }, async () => {
    await fs.mkdir(here("closed"), { mode: 0o500 });
    await assert.rejects(files.makePrivateDirectory(here("closed/inside")), isKind("storage"));
  });
});

describe("a lock", () => {
  const script = fileURLToPath(new URL("../support/lock_holder.ts", import.meta.url));
  const children: ChildProcess[] = [];
  after(() => {
    for (const child of children) child.kill("SIGKILL");
  });

  /** Another process that tries to lock `file`, and how it went. */
  async function holder(file: string): Promise<{ child: ChildProcess; answer: string }> {
    const command = "Deno" in globalThis ? ["run", "-A", script] : [script];
    const child = spawn(process.execPath, [...command, file], { stdio: ["pipe", "pipe", "inherit"] });
    children.push(child);
    const answer = await new Promise<string>((resolve) => {
      let text = "";
      child.stdout!.on("data", (bytes) => {
        text += bytes;
        if (text.includes("\n")) resolve(text.trim());
      });
    });
    return { child, answer };
  }

  const gone = (child: ChildProcess) => new Promise<void>((resolve) => child.once("exit", () => resolve()));

  test("is held once in a process, until it is released", async () => {
    const file = here("lock");
    const lock = await files.lock(file);
    await assert.rejects(files.lock(file), isKind("locked"));
    await assert.rejects(files.lock(`${directory}/./lock`), isKind("locked"));
    await lock.release();
    assert.equal(existsSync(file), false);
    await (await files.lock(file)).release();
  });

  test("held by another process is refused, naming it, until that one has gone", async () => {
    const file = here("lock-between");
    const { child, answer } = await holder(file);
    assert.equal(answer, "held");
    await assert.rejects(files.lock(file), (error) => {
      assert.ok(isKind("locked", "data-directory-in-use")(error));
      return String(error).includes(String(child.pid));
    });
    const exit = gone(child);
    child.stdin!.end();
    await exit;
    await (await files.lock(file)).release();
  });

  test("held here is refused to another process", async () => {
    const file = here("lock-here");
    const lock = await files.lock(file);
    const { child, answer } = await holder(file);
    assert.equal(answer, "locked");
    child.stdin!.end();
    await lock.release();
  });

  test("of a process that was killed is taken over", async () => {
    const file = here("lock-killed");
    const { child } = await holder(file);
    const exit = gone(child);
    child.kill("SIGKILL");
    await exit;
    assert.equal(existsSync(file), true);
    await (await files.lock(file)).release();
  });

  test(
    "of a process whose number another one has now is taken over",
    { skip: !existsSync("/proc/self/stat") },
    async () => {
      const file = here("lock-reused");
      await fs.writeFile(file, `${process.ppid} 1\n`);
      await (await files.lock(file)).release();
    },
  );

  test("of a dead process goes to one of many that want it at once", async () => {
    await files.makePrivateDirectory(here("race"));
    const file = here("race/lock");
    await fs.writeFile(file, "999999999 5\n");
    const holders = await Promise.all(Array.from({ length: 5 }, () => holder(file)));
    const answers = holders.map(({ answer }) => answer).sort();
    assert.deepEqual(answers, ["held", "locked", "locked", "locked", "locked"]);
    assert.deepEqual(await files.list(here("race")), ["lock"]);
    const exits = holders.map(({ child }) => child.exitCode === null ? gone(child) : undefined);
    for (const { child } of holders) child.stdin!.end();
    await Promise.all(exits);
    assert.deepEqual(await files.list(here("race")), []);
  });

  test("that says nothing sensible is taken over", async () => {
    const file = here("lock-garbage");
    for (const text of ["", "garbage", "-1 ?", "0 ?", "1e9 ?", "999999999 5"]) {
      await fs.writeFile(file, text);
      await (await files.lock(file)).release();
    }
  });

  test("in a directory that is not there is a failure of storage", async () => {
    await assert.rejects(files.lock(here("nowhere/lock")), isKind("storage"));
    await assert.rejects(files.lock(here("nowhere/lock")), isKind("storage"));
  });
});
