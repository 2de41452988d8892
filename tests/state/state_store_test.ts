import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { chmod, mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { isTunicError } from "../../src/base/errors.ts";
import { fromUtf8, utf8 } from "../../src/bytes/text.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import type { GuardRecord } from "../../src/state/guard_records.ts";
import { IN_MEMORY, StateStore } from "../../src/state/state_store.ts";
import { MemoryFiles } from "../support/memory_files.ts";
import { SimulatedTime } from "../support/simulated_time.ts";

const GUARD: GuardRecord = {
  rsaId: new Uint8Array(20).fill(7),
  nickname: "seven",
  addedOn: 1_760_000_000_000,
  addedBy: "tunic 0.1.0",
  isListed: true,
  firstUnlistedAt: undefined,
  confirmedOn: undefined,
  unknown: {},
};

function simulated() {
  const files = new MemoryFiles();
  const time = new SimulatedTime();
  return { files, time, open: () => StateStore.open({ files, timers: time.timers }, "/data/") };
}

describe("a state store", () => {
  test("makes its directory private, locks it, and lets it go", async () => {
    const { files, open } = simulated();
    const store = await open();
    assert.ok(files.directories.has("/data"));
    assert.deepEqual([...files.locks], ["/data/lock"]);
    await assert.rejects(open(), (error) => isTunicError(error, "locked"));
    await store.close();
    assert.equal(files.locks.size, 0);
    await (await open()).close();
  });

  test("gathers changes and asks for the value only when it writes", async () => {
    const { files, time, open } = simulated();
    const store = await open();
    let asked = 0;
    for (let i = 0; i < 10; i++) {
      store.guards.save(() => {
        asked++;
        return [GUARD];
      });
      await time.advance(50);
    }
    assert.equal(files.writes.size, 0);
    await time.advance(1_000);
    assert.equal(files.writes.get("/data/guards.json"), 1);
    assert.equal(asked, 1);
    assert.deepEqual(await store.guards.load(), [GUARD]);
    await store.close();
    assert.equal(time.waiting, 0);
  });

  test("writes what is waiting when it closes, and nothing after", async () => {
    const { files, time, open } = simulated();
    const store = await open();
    store.consensus.save(() => utf8("network-status-version 3"));
    store.microdescriptors.save(() => utf8("onion-key"));
    store.certificates.save(() => utf8("dir-key-certificate-version 3"));
    await store.close();
    assert.deepEqual([...files.contents.keys()].sort(), [
      "/data/certificates",
      "/data/consensus-microdesc",
      "/data/microdescriptors",
    ]);
    store.consensus.save(() => utf8("later"));
    await time.advance(100_000);
    assert.equal(fromUtf8(files.contents.get("/data/consensus-microdesc")!), "network-status-version 3");
    assert.equal(time.waiting, 0);
  });

  test("a change during a write is written too", async () => {
    const { files, time, open } = simulated();
    const store = await open();
    store.consensus.save(() => {
      store.consensus.save(() => utf8("second"));
      return utf8("first");
    });
    await time.advance(1_000);
    assert.equal(fromUtf8(files.contents.get("/data/consensus-microdesc")!), "first");
    await time.advance(1_000);
    assert.equal(fromUtf8(files.contents.get("/data/consensus-microdesc")!), "second");
    await store.close();
  });

  test("survives a full disk: the client goes on, the write is tried again", async () => {
    const { files, time, open } = simulated();
    const store = await open();
    files.failure = "enospc";
    store.guards.save(() => [GUARD]);
    await time.advance(1_000);
    await assert.rejects(
      store.flush(),
      (error) => isTunicError(error, "storage") && /free some space/.test(error.message),
    );
    files.failure = undefined;
    await time.advance(59_000);
    assert.equal(files.contents.size, 0);
    await time.advance(1_000);
    assert.equal(files.contents.size, 1);
    await store.close();
  });

  test("a close that cannot write says so, and still lets the directory go", async () => {
    const { files, time, open } = simulated();
    const store = await open();
    store.guards.save(() => [GUARD]);
    files.failure = "erofs";
    await assert.rejects(
      store.close(),
      (error) => isTunicError(error, "storage") && /can be written/.test(error.message),
    );
    assert.equal(files.locks.size, 0);
    assert.equal(time.waiting, 0);
  });

  test("sets a corrupted file aside and goes on without it", async () => {
    const { files, time, open } = simulated();
    const store = await open();
    files.contents.set("/data/guards.json", utf8('{"version":1,"guards":[{'));
    assert.equal(await store.guards.load(), undefined);
    assert.equal(fromUtf8(files.contents.get("/data/guards.json.bad")!), '{"version":1,"guards":[{');
    assert.ok(!files.contents.has("/data/guards.json"));
    store.guards.save(() => [GUARD]);
    await time.advance(1_000);
    assert.deepEqual(await store.guards.load(), [GUARD]);
    await store.close();
  });

  test("a reader that finds a document wrong has it set aside", async () => {
    const { files, open } = simulated();
    const store = await open();
    await store.consensus.setAside("nothing there");
    assert.equal(files.contents.size, 0);
    files.contents.set("/data/consensus-microdesc", utf8("truncat"));
    await store.consensus.setAside("no signatures");
    assert.deepEqual([...files.contents.keys()], ["/data/consensus-microdesc.bad"]);
    await store.close();
  });

  test("a file that cannot be read is an error that says what to do", async () => {
    const { files, open } = simulated();
    const store = await open();
    files.failure = "eacces";
    await assert.rejects(
      store.guards.load(),
      (error) => isTunicError(error, "storage") && /give this user the right to it/.test(error.message),
    );
    files.failure = undefined;
    await store.close();
  });

  test("without a directory nothing is kept", async () => {
    for (const directory of [undefined, IN_MEMORY]) {
      const time = new SimulatedTime();
      const files = new MemoryFiles();
      files.failure = "nothing may be touched";
      await using store = await StateStore.open({ files, timers: time.timers }, directory);
      assert.equal(store.directory, undefined);
      store.guards.save(() => [GUARD]);
      assert.equal(await store.guards.load(), undefined);
      await store.guards.setAside("whatever");
      await store.flush();
      assert.equal(time.waiting, 0);
    }
  });
});

describe("a state store on a real disk", () => {
  test("has private modes, survives a restart, leaves no lock", async () => {
    const parent = await mkdtemp(path.join(tmpdir(), "tunic-state-"));
    try {
      const directory = path.join(parent, "deep", "data");
      {
        await using store = await StateStore.open(nodeRuntime, directory);
        await assert.rejects(StateStore.open(nodeRuntime, directory), (error) => isTunicError(error, "locked"));
        store.guards.save(() => [GUARD]);
        store.consensus.save(() => utf8("network-status-version 3"));
      }
      assert.equal((await stat(directory)).mode & 0o777, 0o700);
      assert.deepEqual((await readdir(directory)).sort(), ["consensus-microdesc", "guards.json"]);
      for (const name of await readdir(directory)) {
        assert.equal((await stat(path.join(directory, name))).mode & 0o777, 0o600, name);
      }
      await chmod(directory, 0o755);
      await using store = await StateStore.open(nodeRuntime, directory);
      assert.equal((await stat(directory)).mode & 0o777, 0o700);
      assert.deepEqual(await store.guards.load(), [GUARD]);
      assert.equal(fromUtf8((await store.consensus.load())!), "network-status-version 3");
    } finally {
      await rm(parent, { recursive: true, force: true });
    }
  });

  test("a file in the directory's place is an error that says what to do", async () => {
    const parent = await mkdtemp(path.join(tmpdir(), "tunic-state-"));
    try {
      const file = path.join(parent, "file");
      await writeFile(file, "");
      await assert.rejects(
        StateStore.open(nodeRuntime, file),
        (error) => isTunicError(error, "storage") && /choose a DataDirectory/.test(error.message),
      );
    } finally {
      await rm(parent, { recursive: true, force: true });
    }
  });
});
