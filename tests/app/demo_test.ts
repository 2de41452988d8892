import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createServer } from "node:net";
import { describe, test } from "node:test";
import { main } from "../../src/app/cli.ts";
import type { AppContext } from "../../src/app/context.ts";
import { PAGE } from "../../src/app/demo/site.ts";
import { EXIT_CODES } from "../../src/app/exit_codes.ts";
import { realContext } from "../../src/app/real_context.ts";
import { TunicError } from "../../src/base/errors.ts";
import { FakeProcess } from "../support/fake_process.ts";
import { poll } from "../support/poll.ts";
import { download } from "../support/socks_client.ts";
import { skipWithoutExecutable, tunicCommand } from "../support/tunic_process.ts";

interface PageEvent {
  readonly event: "page";
  readonly status: number;
  readonly bytes: number;
  readonly startToFirstByteMs: number;
  readonly path: readonly { nickname: string; cellsFromClient: number; cellsToClient: number }[];
}

/** What `demo --once --json` must have said. */
function checkOnce(events: readonly Record<string, unknown>[]): void {
  assert.deepEqual(events.map(({ event, step }) => step ?? event), ["network", "directory", "circuit", "page", "page"]);
  const page = events.at(-1) as unknown as PageEvent;
  assert.equal(page.status, 200);
  assert.equal(page.bytes, PAGE.length);
  assert.equal(page.path.length, 3);
  const [guard, , exit] = page.path;
  assert.match(guard!.nickname, /^r[1-4]$/);
  assert.match(exit!.nickname, /^r[56]$/);
  assert.equal(new Set(page.path.map(({ nickname }) => nickname)).size, 3);
  // BEGIN and the request; CONNECTED and the answer. Each relay before carried one EXTEND2 and EXTENDED2 more, of
  // which a slow machine's END may take one away.
  const [there, back] = [page.path.map((hop) => hop.cellsFromClient), page.path.map((hop) => hop.cellsToClient)];
  assert.ok(there[2]! >= 2 && there[1]! > there[2]! && there[0]! > there[1]!, String(there));
  assert.ok(back[2]! >= 2 && back[0]! > back[2]!, String(back));
}

function once(command: readonly string[]): Promise<{ code: unknown; stdout: string; stderr: string }> {
  const [program, ...first] = command;
  return new Promise((resolve) =>
    execFile(program!, [...first, "demo", "--once", "--json"], (error, stdout, stderr) => {
      resolve({ code: error ? error.code : 0, stdout, stderr });
    })
  );
}

/** A demo with a client that does not work. */
async function withClient(launch: AppContext["launch"]): Promise<{ process: FakeProcess; exitCode: number }> {
  const process = new FakeProcess(["demo", "--once"]);
  return { process, exitCode: await main({ ...realContext(process), launch }) };
}

describe("tunic demo", () => {
  test("--once, in this process", async () => {
    const process = new FakeProcess(["demo", "--once", "--json"]);
    assert.equal(await main(realContext(process)), EXIT_CODES.ok);
    assert.equal(process.err, "");
    checkOnce(process.events);
    assert.equal(process.handlers, 0);
  });

  for (const from of ["source", "executable"] as const) {
    test(`--once, as a program from ${from}`, {
      skip: from === "executable" && skipWithoutExecutable(),
    }, async () => {
      const { code, stdout, stderr } = await once(tunicCommand(from));
      assert.deepEqual([code, stderr], [0, ""]);
      checkOnce(stdout.trimEnd().split("\n").map((line) => JSON.parse(line)));
    });
  }

  test("for people: steps, path and cells; colours and progress on a terminal alone", async () => {
    const plain = new FakeProcess(["demo", "--once"]);
    assert.equal(await main(realContext(plain)), EXIT_CODES.ok);
    assert.match(plain.out, /^ {2}✓ network +\d+ ms {2}3 authorities and 6 relays, 2 of them exits, on loopback\n/);
    assert.match(
      plain.out,
      /^ {2}client {3}→ {3}r[1-4] +→ [ar]\d +→ r[56] +→ tunic\.test:\d+\n {2}cells there +\d+ +\d+ +\d+\n/m,
    );
    assert.match(plain.out, /^ {2}\d+ ms from nothing to the first byte/m);
    assert.ok(!plain.out.includes("\x1b"));
    const terminal = new FakeProcess(["demo", "--once"], true);
    assert.equal(await main(realContext(terminal)), EXIT_CODES.ok);
    assert.match(terminal.out, /… directory +Asking for networkstatus consensus/);
    assert.match(terminal.out, /\r\x1b\[2K {2}\x1b\[32m✓\x1b\[0m/);
  });

  test("goes on, serves SOCKS at another port than a taken one, shows each stream, ends with a signal", async () => {
    const taken = createServer();
    // Where something else has the usual port already, that will do.
    await new Promise<void>((resolve) =>
      taken.once("error", () => resolve()).listen(9050, "127.0.0.1", () => resolve())
    );
    const process = new FakeProcess(["demo", "--json"]);
    const exitCode = main(realContext(process));
    try {
      await poll("ready", 20_000, () => process.out.includes('"ready"') || undefined, 10);
      const ready = process.events.find(({ event }) => event === "ready") as Record<"socks" | "url" | "curl", string>;
      assert.equal(ready.curl, `curl --socks5-hostname ${ready.socks} ${ready.url}`);
      const socksPort = Number(ready.socks.split(":")[1]);
      assert.notEqual(socksPort, 9050);
      const { hostname, port } = new URL(ready.url);
      const target = { socksPort, host: hostname, port: Number(port) };
      assert.equal((await download(target, "/")).bytes, PAGE.length);
      assert.equal((await download(target, "/bytes/300000")).bytes, 300_000);
      const streams = process.events.filter(({ event }) => event === "stream") as unknown as { path: string[] }[];
      assert.equal(streams.length, 2);
      for (const { path } of streams) assert.equal(path.length, 3);
    } finally {
      process.signal("SIGINT");
      taken.close();
    }
    assert.equal(await exitCode, EXIT_CODES.ok);
    assert.equal(process.events.at(-1)!.event, "stopped");
  });

  test("a signal while the client starts", async () => {
    const process = new FakeProcess(["demo", "--json"]);
    const exitCode = main(realContext(process));
    await poll("the network", 20_000, () => process.out.includes('"network"') || undefined, 1);
    process.signal("SIGTERM");
    assert.equal(await exitCode, EXIT_CODES.ok);
    assert.equal(process.events.at(-1)!.event, "stopped");
    assert.ok(!process.out.includes('"page"'));
  });

  test("a client that cannot be launched", async () => {
    const { process, exitCode } = await withClient(() =>
      Promise.reject(new TunicError("Cannot launch: reason", { kind: "no-path", code: "x" }))
    );
    assert.equal(exitCode, EXIT_CODES.network);
    assert.equal(process.err, "error: Cannot launch: reason\n");
  });

  test("a client that opens no stream", async () => {
    let closed = 0;
    const failure = new TunicError("Cannot open a stream: reason", { kind: "stream", code: "x" });
    const { process, exitCode } = await withClient(() =>
      Promise.resolve({
        backend: {
          openStream: () => Promise.reject(failure),
          resolve: () => Promise.reject(failure),
          resolvePtr: () => Promise.reject(failure),
        },
        onBootstrap: (listener) => listener({ percent: 100, tag: "done", summary: "Done" }),
        onProblem: () => {},
        close: () => Promise.resolve(void closed++),
      })
    );
    assert.equal(exitCode, EXIT_CODES.failure);
    assert.equal(process.err, "error: Cannot open a stream: reason\n");
    assert.equal(closed, 1);
  });

  test("a page that came around the network is none", async () => {
    const { process, exitCode } = await withClient((options) =>
      Promise.resolve({
        backend: {
          openStream: ({ port }) =>
            options.runtime!.network.connectTcp({ host: "127.0.0.1", port }, { timeoutMs: 5_000 }),
          resolve: () => Promise.resolve([]),
          resolvePtr: () => Promise.resolve([]),
        },
        onBootstrap: (listener) => listener({ percent: 100, tag: "done", summary: "Done" }),
        onProblem: () => {},
        close: () => Promise.resolve(),
      })
    );
    assert.equal(exitCode, EXIT_CODES.failure);
    assert.match(process.err, /wrong path: found 0 relays, expected 3/);
  });
});
