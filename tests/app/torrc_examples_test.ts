/** C tor's examples of configurations: what it accepts is read alike, what it refuses and tunic supports is refused. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isTunicError } from "../../src/base/errors.ts";
import { utf8 } from "../../src/bytes/text.ts";
import { normalizeArguments } from "../../src/app/command_line.ts";
import { findOption, type OptionInfo } from "../../src/app/option_table.ts";
import { loadConfiguration, type LoadedConfiguration } from "../../src/app/sources.ts";
import { parseTorrc } from "../../src/wire/torrc.ts";
import { parseIntervalMs, parseList, parseMemoryBytes, parseMillisecondInterval } from "../../src/wire/torrc_values.ts";
import vectors from "../vectors/torrc_conf_examples.json" with { type: "json" };
import { MemoryFiles } from "../support/memory_files.ts";

interface Example {
  readonly name: string;
  readonly files: Readonly<Record<string, string | { readonly latin1: string }>>;
  readonly cmdline?: readonly string[];
  readonly expected?: string;
  readonly error?: string;
}

const examples = vectors.cases as unknown as readonly Example[];

const SURROUNDINGS = { env: { HOME: "/home/user" }, platform: "linux", workingDirectory: "/conf" };

async function load({ files, cmdline = [] }: Example): Promise<LoadedConfiguration> {
  const memory = new MemoryFiles();
  for (const [path, content] of Object.entries(files)) {
    const bytes = typeof content === "string" ? utf8(content) : Uint8Array.from(content.latin1, (c) => c.charCodeAt(0));
    memory.contents.set(`/conf/${path}`, bytes);
    const slash = path.lastIndexOf("/");
    if (slash > 0) memory.directories.add(`/conf/${path.slice(0, slash)}`);
  }
  const inputs = normalizeArguments(["run", ...cmdline]);
  const defaultsTorrc = "torrc.defaults" in files ? "/conf/torrc.defaults" : undefined;
  return await loadConfiguration(
    { torrcFile: "/conf/torrc", defaultsTorrc },
    inputs.slice(inputs.indexOf("--") + 1, inputs.includes("--") ? undefined : 0),
    SURROUNDINGS,
    memory,
  );
}

/** Errors of C tor that hold for tunic as well: the code, and what the message must say. */
const REFUSED: Readonly<Record<string, readonly [code: string, message: RegExp]>> = {
  contactinfo_notutf8: ["torrc-encoding", /UTF-8/],
  empty_4: ["torrc-missing", /found no file "\/conf\/torrc"/],
  example_2: ["unknown-option", /unknown option "JumpingJellyjars"/],
  missing_cl_arg: ["bad-command-line", /--hash-password/],
  relay_02: ["several-errors", /DirCache: found "bad", expected 0 or 1\n.*BridgeRelay: found "bad", expected 0 or 1/],
  relpath_rad: ["bad-value", /RunAsDaemon is not compatible with relative/],
};

/** Valid for C tor, and still not to be run by tunic: the options that must not be ignored. */
const NOT_RUN: Readonly<Record<string, readonly string[]>> = {
  bug_31495_1: ["UseBridges"],
  bug_31495_2: ["EntryNodes", "UseBridges"],
  bug_31495_3: ["UseBridges"],
  large_1: [
    ...["DisableNetwork", "EntryNodes", "ExcludeExitNodes", "ExcludeNodes", "ExitNodes", "FascistFirewall"],
    ...["MiddleNodes", "OutboundBindAddress", "OutboundBindAddressOR", "ReachableAddresses"],
    ...["ReachableDirAddresses", "ReachableORAddresses", "Socks5Proxy", "StrictNodes"],
  ],
  multiple_routerset_1: ["EntryNodes", "EntryNodes"],
  multiple_routerset_2: ["EntryNodes"],
  multiple_routerset_3: ["EntryNodes", "EntryNodes", "EntryNodes"],
};

/** Numbers in the smallest unit, lists in parts: C tor prints "10 GB" as bytes. */
function canonical({ name, type }: OptionInfo, value: string): unknown[] {
  switch (type) {
    case "nodes":
    case "list":
      return parseList(value);
    case "size":
      // C tor cuts rates to 31 bits.
      return [Math.min(parseMemoryBytes(value), name.startsWith("Bandwidth") ? 2 ** 31 - 1 : Infinity)];
    case "interval":
      return [parseIntervalMs(value)];
    case "millisecond-interval":
      return [parseMillisecondInterval(value)];
    default:
      return [value];
  }
}

/** Values by option, each list in order; lists between commas as one. */
function byOption(pairs: readonly (readonly [string, string])[]): Map<string, unknown[]> {
  const values = new Map<string, unknown[]>();
  for (const [written, value] of pairs) {
    const option = findOption(written);
    assert.ok(option, `${written} is not in the table`);
    values.set(option.name, [...values.get(option.name) ?? [], ...canonical(option, value)]);
  }
  return values;
}

describe("C tor's conf_examples", () => {
  test("are all here", () => assert.equal(examples.length, 83));

  for (const example of examples) {
    const { name, expected, error } = example;
    const refused = REFUSED[name];
    if (refused) {
      test(`${name} is refused`, async () => {
        await assert.rejects(load(example), (thrown) => {
          assert.ok(isTunicError(thrown, "config"), String(thrown));
          assert.equal(thrown.code, refused[0]);
          assert.match(thrown.message, refused[1]);
          return true;
        });
      });
      continue;
    }
    test(`${name} is read`, async () => {
      const { entries, warnings, refusals } = await load(example);
      assert.deepEqual(
        refusals.map(({ message }) => /: (\w+) is not supported yet/.exec(message)?.[1]).sort(),
        NOT_RUN[name] ?? [],
      );
      // What is not supported is named, one way or the other.
      const told = [...warnings, ...refusals.map(({ message }) => message)].join("\n");
      for (const { option, value } of entries) {
        const fulfilled = ["0", "1"].includes(value);
        if (option.support === "unsupported" && !fulfilled) assert.ok(told.includes(option.name), option.name);
      }
      if (error !== undefined) return assert.ok(warnings.length + refusals.length > 0);
      const wanted = byOption(
        parseTorrc(utf8(expected ?? ""), "expected").map(({ name, value }) => [name, value] as const),
      );
      const found = byOption(entries.map(({ name, value }) => [name, value] as const));
      for (const [option, values] of found) {
        // C tor prints no option that has its default value.
        if (wanted.has(option)) assert.deepEqual(values, wanted.get(option), option);
      }
    });
  }

  test("obsolete options are named when they have a value, and only then", async () => {
    const example = examples.find(({ name }) => name === "obsolete_1")!;
    const loud = await load(example);
    assert.equal(loud.warnings.length, parseTorrc(utf8(example.files["torrc"] as string), "torrc").length);
    assert.ok(loud.warnings.length > 60);
    assert.ok(loud.warnings.every((warning) => /is obsolete and has no effect$/.test(warning)));
    const silent = await load(examples.find(({ name }) => name === "obsolete_2")!);
    assert.deepEqual(silent.warnings, []);
  });
});
