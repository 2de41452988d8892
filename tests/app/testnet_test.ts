import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { main } from "../../src/app/cli.ts";
import { EXIT_CODES } from "../../src/app/exit_codes.ts";
import { realContext } from "../../src/app/real_context.ts";
import { FakeProcess } from "../support/fake_process.ts";
import { poll } from "../support/poll.ts";
import { startLocalServer } from "../support/local_server.ts";
import { download } from "../support/socks_client.ts";

const SMALL = ["--relays", "3", "--exits", "1", "--authorities", "1"];

/** Starts the command and waits until it says it is ready; `stop` is what a user's Ctrl-C does. */
async function start(args: readonly string[], ready = '"ready"') {
  const process = new FakeProcess(args);
  const exitCode = main(realContext(process));
  await poll(ready, 20_000, () => process.out.includes(ready) || process.err !== "" || undefined, 10);
  assert.equal(process.err, "");
  return {
    process,
    stop: () => {
      process.signal("SIGINT");
      return exitCode;
    },
  };
}

/** Whether anybody listens at "host:port". */
function listens(address: string): Promise<boolean> {
  const [host, port] = address.split(":");
  return new Promise((resolve) => {
    const socket = connect(Number(port), host);
    socket.once("connect", () => resolve(true)).once("error", () => resolve(false)).once("connect", () => socket.end());
  });
}

describe("tunic testnet", () => {
  test("a client that gets nothing but the torrc fetches over it; a signal ends it, and nobody listens any more", async () => {
    const directory = mkdtempSync(join(tmpdir(), "tunic-testnet-"));
    const file = join(directory, "a torrc");
    try {
      await using server = await startLocalServer();
      const net = await start(["testnet", ...SMALL, "--torrc", file, "--json"]);
      const [ready] = net.process.events as [{ torrc: string[]; torrcFile: string; relays: { address: string }[] }];
      assert.deepEqual(Object.keys(ready), ["event", "ms", "torrc", "torrcFile", "relays"]);
      assert.equal(ready.torrcFile, file);
      assert.equal(ready.relays.length, 4);
      assert.match(ready.torrc[0]!, /^TestingTorNetwork 1$/);
      assert.ok(readFileSync(file, "utf8").endsWith(`\n${ready.torrc.join("\n")}\n`));
      assert.equal(statSync(file).mode & 0o777, 0o600);
      assert.deepEqual(await Promise.all(ready.relays.map(({ address }) => listens(address))), Array(4).fill(true));

      const client = await start([
        "run",
        "-f",
        file,
        "--SocksPort",
        "auto",
        "--DataDirectory",
        join(directory, "data"),
        "--json",
      ]);
      const { socks } = client.process.events.find(({ event }) => event === "ready") as { socks: [string] };
      const target = { socksPort: Number(socks[0].split(":")[1]), host: "localhost", port: server.port };
      assert.equal((await download(target, "/bytes/100000")).bytes, 100_000);

      assert.equal(await client.stop(), EXIT_CODES.ok);
      assert.equal(await net.stop(), EXIT_CODES.ok);
      assert.deepEqual(net.process.events.slice(1), [{ event: "stopping", signal: "SIGINT" }, { event: "stopped" }]);
      assert.equal(net.process.handlers, 0);
      assert.deepEqual(await Promise.all(ready.relays.map(({ address }) => listens(address))), Array(4).fill(false));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test("without --json the output is a torrc with comments", async () => {
    const net = await start(["testnet", ...SMALL], "Ctrl-C");
    const lines = net.process.out.trimEnd().split("\n");
    assert.deepEqual(
      lines.filter((line) => !line.startsWith("#")).map((line) => line.split(" ")[0]),
      ["TestingTorNetwork", "DirAuthority"],
    );
    assert.match(net.process.out, /^# {3}tor -f testnet\.torrc --DataDirectory "\$\(mktemp -d\)" --SocksPort 9150$/m);
    assert.match(net.process.out, /^# {3}tunic run -f testnet\.torrc /m);
    assert.equal(await net.stop(), EXIT_CODES.ok);
  });

  test("a signal while it starts", async () => {
    const process = new FakeProcess(["testnet", ...SMALL, "--json"]);
    const exitCode = main(realContext(process));
    await poll("a handler", 20_000, () => process.handlers > 0 || undefined, 1);
    process.signal("SIGTERM");
    assert.equal(await exitCode, EXIT_CODES.ok);
    assert.deepEqual(process.events.map(({ event }) => event), ["stopping", "stopped"]);
  });

  for (
    const [args, code, message] of [
      ["--relays 2", "usage", /found relays 2, expected a whole number from 3 to 1000/],
      ["--relays 3 --exits 2", "usage", /found exits 2/],
      ["--authorities 0", "usage", /found authorities 0/],
      ["--interval 0.5", "usage", /found consensus interval in seconds 0\.5/],
      ["--phantom-relays -1", "usage", /found phantomRelays -1/],
      ["--relays many", "usage", /many/],
      ["--frobnicate", "usage", /frobnicate/],
      ["--relays 3 --exits 1 --authorities 1 --torrc /nowhere/at/all", "storage", /Cannot write \/nowhere\/at\/all/],
    ] as const
  ) {
    test(`${args}: refused`, async () => {
      const process = new FakeProcess(["testnet", ...args.split(" ")]);
      assert.equal(await main(realContext(process)), EXIT_CODES[code]);
      assert.match(process.err, message);
      assert.equal(process.out, "");
      assert.equal(process.handlers, 0);
    });
  }
});
