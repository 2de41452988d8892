import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { LinkedSignal, unlessAborted } from "../../src/base/abort.ts";
import { isTunicError, TunicError } from "../../src/base/errors.ts";

describe("unlessAborted", () => {
  test("gives what the promise comes to", async () => {
    const { signal } = new AbortController();
    assert.equal(await unlessAborted(Promise.resolve(5), signal, "count"), 5);
    assert.equal(await unlessAborted(Promise.resolve(5), undefined, "count"), 5);
    await assert.rejects(unlessAborted(Promise.reject(new Error("no")), signal, "count"), /no/);
  });

  test("rejects with the signal's reason, before or during the wait", async () => {
    const controller = new AbortController();
    const waiting = unlessAborted(new Promise(() => {}), controller.signal, "count");
    controller.abort();
    for (const promise of [waiting, unlessAborted(Promise.resolve(5), controller.signal, "count")]) {
      await assert.rejects(promise, (error) => isTunicError(error, "aborted") && /Cannot count/.test(error.message));
    }
    const reason = new TunicError("Cannot wait", { kind: "timeout", code: "late" });
    await assert.rejects(unlessAborted(new Promise(() => {}), AbortSignal.abort(reason), "count"), reason);
  });
});

describe("a linked signal", () => {
  test("fires with the first of its sources, and with its reason", () => {
    const [a, b] = [new AbortController(), new AbortController()];
    using link = new LinkedSignal(a.signal, undefined, b.signal);
    assert.equal(link.signal.aborted, false);
    b.abort("b");
    a.abort("a");
    link.abort("itself");
    assert.equal(link.signal.reason, "b");
    using late = new LinkedSignal(new AbortController().signal, a.signal);
    assert.equal(late.signal.reason, "a");
  });

  test("has nothing to do with its sources once it is disposed of", () => {
    const source = new AbortController();
    const link = new LinkedSignal(source.signal);
    link[Symbol.dispose]();
    source.abort();
    assert.equal(link.signal.aborted, false);
  });
});
