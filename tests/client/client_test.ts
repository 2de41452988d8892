import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isTunicError } from "../../src/base/errors.ts";
import { TorClient, type TorClientOptions } from "../../mod.ts";
import { mockRuntime } from "../../src/runtime/mock.ts";

/** A client whose only authority is not there. */
function optionsOf(runtime: TorClientOptions["runtime"]): TorClientOptions {
  const authority = {
    nickname: "nobody",
    address: { host: "127.0.0.1", port: 5001 },
    dirPort: 7001,
    rsaId: new Uint8Array(20).fill(1),
    v3ident: new Uint8Array(20).fill(2),
  };
  return { runtime, dataDirectory: "/data", directoryAuthorities: [authority], testingTorNetwork: true };
}

describe("a client", () => {
  test("holds its data directory until it is closed, which may be asked for twice", async () => {
    const runtime = mockRuntime();
    const first = await TorClient.launch(optionsOf(runtime));
    await assert.rejects(TorClient.launch(optionsOf(runtime)), (error) => isTunicError(error, "locked"));
    await Promise.all([first.close(), first.close()]);
    await first.close();
    const second = await TorClient.launch(optionsOf(runtime));
    await second.close();
    await runtime.time.settle();
    assert.equal(runtime.time.pending, 0);
  });

  test("is not launched by a call that is aborted, whenever that comes, and nothing is left of it", async () => {
    for (let turns = 0; turns < 40; turns++) {
      const runtime = mockRuntime();
      const abort = new AbortController();
      const launch = TorClient.launch({ ...optionsOf(runtime), signal: abort.signal }).then(
        (client) => client.ready(),
        (error) => Promise.reject(error),
      );
      const refused = assert.rejects(launch, (error) => isTunicError(error, "aborted", "closed"));
      for (let i = 0; i < turns; i++) await Promise.resolve();
      abort.abort();
      await refused;
      await runtime.time.advance(1_000);
      assert.equal(runtime.time.pending, 0, `after ${turns} turns`);
      const again = await TorClient.launch(optionsOf(runtime));
      await again.close();
    }
  });

  test("refuses destinations before it waits for circuits", async () => {
    const runtime = mockRuntime();
    await using tor = await TorClient.launch(optionsOf(runtime));
    await assert.rejects(tor.connect("example.com", 0), (error) => isTunicError(error, "argument"));
    await assert.rejects(tor.connect("x.exit", 80), (error) => isTunicError(error, "policy"));
    await assert.rejects(tor.connect("x.onion", 80), (error) => isTunicError(error, "argument"));
    const abort = new AbortController();
    const waiting = tor.connect("example.com", 80, { signal: abort.signal });
    const aborted = assert.rejects(waiting, (error) => isTunicError(error, "aborted"));
    await runtime.time.settle();
    abort.abort();
    await aborted;
    const closing = assert.rejects(tor.connect("example.com", 80), (error) => isTunicError(error, "closed"));
    await tor.close();
    await closing;
  });
});
