import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { normalizeArguments } from "../../src/app/command_line.ts";
import { EXIT_CODES, EXIT_MEANINGS, exitCodeOf } from "../../src/app/exit_codes.ts";
import { isTunicError, TunicError } from "../../src/base/errors.ts";

describe("command line", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["", "--help"],
    ["--version", "--version"],
    ["version", "--version"],
    ["help", "--help"],
    ["help run", "run --help"],
    ["run", "run"],
    ["run --json -f x", "run --json --torrc-file x"],
    ["-f x", "run --torrc-file x"],
    ["--SocksPort 9050", "run -- SocksPort 9050"],
    ["-SocksPort 9050", "run -- SocksPort 9050"],
    ["SocksPort 9050", "run -- SocksPort 9050"],
    ["+SocksPort 9050 --verify-config", "run --verify-config -- +SocksPort 9050"],
    ["--+SocksPort 9050", "run -- +SocksPort 9050"],
    ["run --SocksPort 1 -f x --Log notice", "run --torrc-file x -- SocksPort 1 Log notice"],
    ["run --Unknown --json", "run -- Unknown --json"],
    ["--allow-missing-torrc", "run --ignore-missing-torrc"],
    ["config check --SocksPort 1", "config check -- SocksPort 1"],
    ["config", "config"],
    ["frobnicate now", "frobnicate now"],
    ["testnet --relays 4 --json", "testnet --relays 4 --json"],
    ["demo --once", "demo --once"],
    ["help demo", "demo --help"],
  ];
  for (const [typed, expected] of cases) {
    test(`tunic ${typed}`, () => {
      assert.equal(normalizeArguments(typed.split(" ").filter((word) => word !== "")).join(" "), expected);
    });
  }

  test("a cleared option takes no value", () => {
    assert.deepEqual(normalizeArguments(["/DirAuthority", "SocksPort", "1"]), [
      "run",
      "--",
      "/DirAuthority",
      "",
      "SocksPort",
      "1",
    ]);
  });

  for (
    const [typed, message] of [
      ["run --SocksPort", /"--SocksPort" without a value/],
      ["-f", /"-f" without a value/],
      ["run --jsno", /unknown flag "--jsno"/],
      ["--hash-password x", /a command of C tor/],
    ] as const
  ) {
    test(`tunic ${typed}: refused`, () => {
      assert.throws(() => normalizeArguments(typed.split(" ")), (error) => {
        assert.ok(isTunicError(error, "config"));
        assert.match(error.message, message);
        return true;
      });
    });
  }
});

const KINDS = {
  config: "usage",
  argument: "usage",
  listen: "listen",
  locked: "locked",
  storage: "storage",
  clock: "clock",
  directory: "network",
  unsupported: "unsupported",
  internal: "internal",
  policy: "failure",
} as const;

describe("exit codes", () => {
  test("each name has its own number and a meaning", () => {
    const numbers = Object.values(EXIT_CODES);
    assert.equal(new Set(numbers).size, numbers.length);
    assert.deepEqual(Object.keys(EXIT_MEANINGS).sort(), Object.keys(EXIT_CODES).sort());
  });

  for (const [kind, code] of Object.entries(KINDS)) {
    test(`${kind} is ${code}`, () => {
      assert.equal(exitCodeOf(new TunicError("x", { kind: kind as TunicError["kind"], code: "x" })), EXIT_CODES[code]);
    });
  }

  test("what is no TunicError is a defect", () => {
    assert.equal(exitCodeOf(new TypeError("x")), EXIT_CODES.internal);
    assert.equal(exitCodeOf("x"), EXIT_CODES.internal);
  });
});
