import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { TunicError } from "../../src/base/errors.ts";
import { logger } from "../../src/base/log.ts";
import { sensitive } from "../../src/base/sensitive.ts";
import { utf8 } from "../../src/bytes/text.ts";
import { main } from "../../src/app/cli.ts";
// The commands load these when they run; here they are loaded before, so that no test waits for a disk.
import "../../src/app/commands/config.ts";
import "../../src/app/commands/run.ts";
import "../../src/serve/socks_listener.ts";
import type { AppContext, RunningClient } from "../../src/app/context.ts";
import { EXIT_CODES } from "../../src/app/exit_codes.ts";
import type { BootstrapStatus } from "../../src/client/bootstrap.ts";
import type { TorClientOptions } from "../../src/client/options.ts";
import { type MockRuntime, mockRuntime } from "../../src/runtime/mock.ts";
import { FakeProcess } from "../support/fake_process.ts";

class FakeClient implements RunningClient {
  readonly backend = {
    openStream: () => Promise.reject(new TunicError("x", { kind: "no-path", code: "x" })),
    resolve: () => Promise.resolve([]),
    resolvePtr: () => Promise.resolve([]),
  };
  closed = 0;
  step: (status: BootstrapStatus) => void = () => {};
  problem: (error: TunicError) => void = () => {};

  onBootstrap(listener: (status: BootstrapStatus) => void): void {
    this.step = listener;
    listener({ percent: 0, tag: "starting", summary: "Starting" });
  }

  onProblem(listener: (error: TunicError) => void): void {
    this.problem = listener;
  }

  close(): Promise<void> {
    this.closed++;
    return Promise.resolve();
  }
}

interface Scene {
  readonly process: FakeProcess;
  readonly client: FakeClient;
  readonly runtime: MockRuntime;
  readonly launched: TorClientOptions[];
  readonly exitCode: Promise<number>;
}

interface SceneOptions {
  readonly terminal?: boolean;
  readonly files?: Readonly<Record<string, string>>;
  readonly launch?: (options: TorClientOptions, client: FakeClient) => Promise<RunningClient>;
  readonly prepare?: (runtime: MockRuntime) => Promise<unknown> | void;
}

async function play(args: readonly string[], options: SceneOptions = {}): Promise<Scene> {
  const process = new FakeProcess(args, options.terminal);
  const client = new FakeClient();
  const runtime = mockRuntime();
  for (const [path, text] of Object.entries(options.files ?? {})) runtime.files.contents.set(path, utf8(text));
  await options.prepare?.(runtime);
  const launched: TorClientOptions[] = [];
  const context: AppContext = {
    process,
    loadRuntime: () => Promise.resolve(runtime),
    launch: (given) => {
      launched.push(given);
      return options.launch ? options.launch(given, client) : Promise.resolve(client);
    },
  };
  return { process, client, runtime, launched, exitCode: main(context) };
}

/** Lets everything that waits for nothing but promises and loaded modules go on until `done`. */
async function until(done: () => boolean): Promise<void> {
  for (let i = 0; i < 1000 && !done(); i++) await new Promise((resolve) => setImmediate(resolve));
  assert.ok(done(), "nothing more happens");
}

const DONE: BootstrapStatus = { percent: 100, tag: "done", summary: "Done" };

describe("tunic run", () => {
  test("from start to ready to a signal", async () => {
    const { process, client, launched, exitCode, runtime } = await play(["run"]);
    await until(() => process.out.includes("starting"));
    client.step({ percent: 45, tag: "requesting_descriptors", summary: "Asking for relay descriptors" });
    client.step({ percent: 46, tag: "requesting_descriptors", summary: "Asking for relay descriptors" });
    client.step(DONE);
    process.signal("SIGTERM");
    assert.equal(await exitCode, EXIT_CODES.ok);
    assert.equal(
      process.out,
      [
        "Bootstrapped 0% (starting): Starting",
        "Bootstrapped 45% (requesting_descriptors): Asking for relay descriptors",
        "Bootstrapped 100% (done): Done",
        "ready: SOCKS on 127.0.0.1:9050",
        "SIGTERM: closing (once more to stop at once)",
        "closed",
        "",
      ].join("\n"),
    );
    assert.equal(process.err, "");
    assert.equal(launched[0]!.dataDirectory, "/home/user/.local/share/tunic");
    assert.equal(launched[0]!.runtime, runtime);
    assert.equal(client.closed, 1);
    assert.equal(process.handlers, 0);
    // The port is free again.
    await (await runtime.network.listenTcp({ host: "127.0.0.1", port: 9050 }, () => {})).close();
  });

  test("--json: one object a line", async () => {
    const { process, client, exitCode } = await play(["run", "--json", "--SocksPort", "[::1]:9150", "--ORPort", "1"]);
    await until(() => process.out.includes("starting"));
    client.step(DONE);
    process.signal("SIGINT");
    await exitCode;
    const events = process.out.trimEnd().split("\n").map((line) => JSON.parse(line));
    assert.deepEqual(events, [
      {
        event: "warning",
        message: "the command line: ORPort: this option of C tor is not supported yet and has no effect",
      },
      { event: "listening", socks: ["[::1]:9150"] },
      { event: "bootstrap", percent: 0, tag: "starting", summary: "Starting" },
      { event: "bootstrap", percent: 100, tag: "done", summary: "Done" },
      { event: "ready", socks: ["[::1]:9150"] },
      { event: "stopping", signal: "SIGINT" },
      { event: "stopped" },
    ]);
    assert.equal(process.err, "");
  });

  test("on a terminal the phases share a line", async () => {
    const { process, client, exitCode } = await play(["run"], { terminal: true });
    await until(() => process.out.includes("starting"));
    client.problem(new TunicError("Cannot ask", { kind: "directory", code: "x" }));
    client.step(DONE);
    process.signal("SIGINT");
    await exitCode;
    assert.match(
      process.out,
      /^\r\x1b\[2K.*Bootstrapped 0% \(starting\): Starting\n\r\x1b\[2K.*100% \(done\): Done\nready/,
    );
    assert.match(process.err, /warning.*: Cannot ask\n/);
  });

  test("--quiet says nothing, --hush only what is wrong", async () => {
    for (const [flag, err] of [["--quiet", ""], ["--hush", "warning: Cannot ask\n"]] as const) {
      const { process, client, exitCode, launched } = await play(["run", flag]);
      await until(() => launched.length > 0 && process.handlers > 0 && client.step.length > 0);
      await until(() => client.problem.length > 0);
      client.problem(new TunicError("Cannot ask", { kind: "directory", code: "x" }));
      client.step(DONE);
      process.signal("SIGINT");
      assert.equal(await exitCode, 0);
      assert.deepEqual([process.out, process.err], ["", err]);
    }
  });

  test("a second signal ends the process at once", async () => {
    const { process, exitCode, client } = await play(["run"]);
    await until(() => process.out.includes("starting"));
    process.signal("SIGINT");
    process.signal("SIGINT");
    assert.equal(process.exited, EXIT_CODES.forced);
    await exitCode;
    assert.equal(client.closed, 1);
  });

  test("a signal during the launch stops it", async () => {
    const { process, exitCode } = await play(["run"], {
      launch: ({ signal }) =>
        new Promise((_, reject) => signal!.addEventListener("abort", () => reject(signal!.reason as Error))),
    });
    await until(() => process.handlers > 0);
    process.signal("SIGINT");
    assert.equal(await exitCode, EXIT_CODES.ok);
    assert.match(process.out, /closed\n$/);
  });

  for (
    const [kind, code] of [["locked", "locked"], ["storage", "storage"], ["clock", "clock"], [
      "internal",
      "internal",
    ]] as const
  ) {
    test(`a launch that fails with ${kind}`, async () => {
      const { process, exitCode, runtime } = await play(["run"], {
        launch: () => Promise.reject(new TunicError("Cannot launch: reason", { kind, code: "x" })),
      });
      assert.equal(await exitCode, EXIT_CODES[code]);
      assert.equal(process.err, "error: Cannot launch: reason\n");
      await (await runtime.network.listenTcp({ host: "127.0.0.1", port: 9050 }, () => {})).close();
    });
  }

  test("a wrong clock before the client works ends the run with its own code; afterwards it is a warning", async () => {
    const clock = new TunicError("Cannot use the consensus: the clock is wrong", {
      kind: "clock",
      code: "clock-ahead",
    });
    const early = await play(["run"]);
    await until(() => early.process.out.includes("starting"));
    early.client.problem(clock);
    assert.equal(await early.exitCode, EXIT_CODES.clock);
    assert.equal(early.client.closed, 1);
    const late = await play(["run"]);
    await until(() => late.process.out.includes("starting"));
    late.client.step(DONE);
    late.client.problem(clock);
    late.process.signal("SIGINT");
    assert.equal(await late.exitCode, EXIT_CODES.ok);
    assert.match(late.process.err, /^warning: Cannot use the consensus/);
  });

  test("what one relay says of the clock is a warning", async () => {
    for (const code of ["clock-doubtful", "certificate-expired"]) {
      const { process, client, exitCode } = await play(["run"]);
      await until(() => process.out.includes("starting"));
      client.problem(new TunicError("Cannot rely on the local clock", { kind: "clock", code }));
      client.step(DONE);
      process.signal("SIGINT");
      assert.equal(await exitCode, EXIT_CODES.ok, code);
      assert.match(process.err, /^warning: Cannot rely on the local clock/);
    }
  });

  test("what goes wrong again and again is said once", async () => {
    const { process, client, exitCode } = await play(["run"]);
    await until(() => process.out.includes("starting"));
    const problem = (message: string) => client.problem(new TunicError(message, { kind: "connection", code: "x" }));
    problem("a");
    problem("a");
    problem("b");
    problem("b");
    client.step({ percent: 5, tag: "conn", summary: "Connecting" });
    problem("b");
    process.signal("SIGINT");
    await exitCode;
    assert.equal(process.err, "warning: a\nwarning: b\nwarning: b\n");
  });

  test("a port in use", async () => {
    const { process, exitCode, launched } = await play(["run", "--json"], {
      prepare: (runtime) => runtime.network.listenTcp({ host: "127.0.0.1", port: 9050 }, () => {}),
    });
    assert.equal(await exitCode, EXIT_CODES.listen);
    assert.deepEqual(launched, []);
    const { event, kind, exitCode: told } = JSON.parse(process.out);
    assert.deepEqual([event, kind, told], ["error", "listen", EXIT_CODES.listen]);
  });

  test("what must not be ignored is refused before anything opens", async () => {
    const { process, exitCode, launched } = await play(["--UseBridges", "1"]);
    assert.equal(await exitCode, EXIT_CODES.unsupported);
    assert.match(process.err, /^error: Cannot run with the command line: UseBridges is not supported yet/);
    assert.deepEqual(launched, []);
  });

  test("torrc, defaults and command line", async () => {
    const files = {
      "/torrc": "%include inc\nSocksPort 1",
      "/inc": "SocksTimeout 7",
      "/defaults": "SocksPort 2\nSocksTimeout 8",
    };
    const { process, client, exitCode, launched } = await play(
      ["-f", "/torrc", "--defaults-torrc", "/defaults", "+SocksPort", "3"],
      { files },
    );
    await until(() => process.out.includes("starting"));
    client.step(DONE);
    process.signal("SIGINT");
    await exitCode;
    assert.match(process.out, /ready: SOCKS on 127\.0\.0\.1:1, 127\.0\.0\.1:3\n/);
    assert.equal(launched[0]!.socksTimeoutMs, 7000);
  });

  test("the user's torrc is read without being named", async () => {
    const files = { "/home/user/.config/tunic/torrc": "SocksPort 0" };
    const { process, client, exitCode } = await play(["run"], { files });
    await until(() => process.out.includes("starting"));
    client.step(DONE);
    process.signal("SIGINT");
    await exitCode;
    assert.match(process.out, /ready: no listeners\n/);
  });

  test("--verify-config", async () => {
    const good = await play(["--verify-config"]);
    assert.equal(await good.exitCode, 0);
    assert.equal(good.process.out, "Configuration was valid\n");
    const bad = await play(["--verify-config", "-f", "/torrc"], { files: { "/torrc": "\nSocksProt 1\nSocksPort x" } });
    assert.equal(await bad.exitCode, EXIT_CODES.usage);
    assert.deepEqual(bad.process.err.trimEnd().split("\n"), [
      'error: Cannot use /torrc:2: found unknown option "SocksProt", expected a known one, such as SocksPort',
      'error: Cannot use /torrc:3: SocksPort: found "x", expected [address:]port, [address:]auto, unix:path or 0',
    ]);
    const missing = await play(["--verify-config", "-f", "/none"]);
    assert.equal(await missing.exitCode, EXIT_CODES.usage);
    const ignored = await play(["--verify-config", "-f", "/none", "--ignore-missing-torrc"]);
    assert.equal(await ignored.exitCode, 0);
  });

  test("the log goes where Log lines say, without what is sensitive", async () => {
    const { process, client, exitCode, runtime } = await play(["-f", "/torrc"], {
      files: { "/torrc": "Log notice file /log\nLog warn stderr" },
    });
    await until(() => process.out.includes("starting"));
    const log = logger("test");
    log.info("went to {address}\nforged", { address: sensitive("192.0.2.1") });
    log.debug("not this");
    log.warn("and {thing}", { thing: { a: 1 } });
    client.step(DONE);
    process.signal("SIGINT");
    await exitCode;
    const text = new TextDecoder().decode(runtime.files.contents.get("/log"));
    assert.match(text, /^\w{3} \d\d \d\d:\d\d:\d\d\.\d{3} \[notice\] Bootstrapped 0% \(starting\): Starting\n/);
    assert.match(text, /\[notice\] went to \[scrubbed\]\\x0aforged\n.*\[warn\] and \{"a":1\}\n/);
    assert.ok(!text.includes("not this"));
    assert.match(process.err, /^.* \[warn\] and \{"a":1\}\n$/);
    log.warn("after the end");
    assert.ok(!process.err.includes("after the end"));
  });

  test("a log file that cannot be written", async () => {
    const { exitCode, launched } = await play(["--Log", "notice file /log"], {
      prepare: (runtime) => {
        runtime.files.writeError = new TunicError("Cannot write", { kind: "storage", code: "x" });
      },
    });
    assert.equal(await exitCode, EXIT_CODES.storage);
    assert.deepEqual(launched, []);
  });
});

describe("tunic", () => {
  test("--version", async () => {
    const { process, exitCode } = await play(["--version"]);
    assert.equal(await exitCode, 0);
    assert.match(process.out, /^tunic \d+\.\d+\.\d+\n$/);
  });

  test("alone, help", async () => {
    const { process, exitCode } = await play([]);
    assert.equal(await exitCode, 0);
    assert.match(process.out, /USAGE/);
  });

  test("run --help names the exit codes", async () => {
    const { process, exitCode } = await play(["run", "--help"]);
    assert.equal(await exitCode, 0);
    assert.match(process.out, /Exit codes:\n +0 +success/);
  });

  test("an unknown command", async () => {
    const { process, exitCode } = await play(["rum"]);
    assert.equal(await exitCode, EXIT_CODES.usage);
    assert.match(process.err, /did you mean `run`/);
  });

  test("config check and show", async () => {
    const files = { "/torrc": 'SocksPort 1 # here\nLog "notice file /a b"' };
    const shown = await play(["config", "show", "-f", "/torrc", "+SocksPort", "2"], { files });
    assert.equal(await shown.exitCode, 0);
    assert.deepEqual(shown.process.out.trimEnd().split("\n"), [
      "SocksPort 1  # /torrc:1",
      "SocksPort 2  # the command line",
      "Log notice file /a b  # /torrc:2",
      "DataDirectory /home/user/.local/share/tunic  # default",
    ]);
    const checked = await play(["config", "check", "-f", "/torrc"], { files });
    assert.equal(await checked.exitCode, 0);
    const refused = await play(["config", "check", "--UseBridges", "1"]);
    assert.equal(await refused.exitCode, EXIT_CODES.unsupported);
    const wrong = await play(["config", "show", "--UseBridges", "2"]);
    assert.equal(await wrong.exitCode, EXIT_CODES.usage);
  });
});
