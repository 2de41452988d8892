/**
 * The command line: which command, which flags, which help text.
 *
 * The commands' own modules load when they run, so that `--help` and `--version` answer at once.
 */
import {
  buildApplication,
  buildCommand,
  buildRouteMap,
  type CommandContext,
  numberParser,
  run,
  text_en,
} from "@stricli/core";
import { toTunicError } from "../base/errors.ts";
import { normalizeArguments } from "./command_line.ts";
import type { DemoFlags } from "./commands/demo.ts";
import type { RunFlags } from "./commands/run.ts";
import type { TestnetFlags } from "./commands/testnet.ts";
import type { AppContext } from "./context.ts";
import { EXIT_CODES, EXIT_MEANINGS, exitCodeOf, type ExitName } from "./exit_codes.ts";
import type { SourceFlags } from "./sources.ts";
import { VERSION } from "../client/version.ts";

interface TunicContext extends CommandContext {
  readonly app: AppContext;
  /** Set by the command that ran. */
  result: number | undefined;
}

const SOURCE_FLAGS = {
  torrcFile: { kind: "parsed", parse: String, optional: true, brief: "Read this torrc", placeholder: "path" },
  defaultsTorrc: {
    kind: "parsed",
    parse: String,
    optional: true,
    brief: "Read this file first; the torrc overrides it",
    placeholder: "path",
  },
  ignoreMissingTorrc: { kind: "boolean", optional: true, withNegated: false, brief: "Go on without the named torrc" },
} as const;

const JSON_FLAG = {
  kind: "boolean",
  optional: true,
  withNegated: false,
  brief: "Print each event as a line of JSON",
} as const;

const OVERRIDES = {
  kind: "array",
  parameter: {
    brief: "Options of a torrc, each a name and a value: --SocksPort 9150, +Log 'info stderr', /DirAuthority",
    parse: String,
    placeholder: "option",
  },
} as const;

const exitCodeLines = (Object.keys(EXIT_CODES) as ExitName[]).map((name) =>
  `  ${String(EXIT_CODES[name]).padStart(3)}  ${EXIT_MEANINGS[name]}`
);

const runCommand = buildCommand<RunFlags, string[], TunicContext>({
  loader: async () => {
    const { run } = await import("./commands/run.ts");
    return async function (this: TunicContext, flags: RunFlags, ...overrides: string[]) {
      this.result = await run(flags, overrides, this.app);
    };
  },
  parameters: {
    flags: {
      ...SOURCE_FLAGS,
      verifyConfig: { kind: "boolean", optional: true, withNegated: false, brief: "Only check the configuration" },
      quiet: { kind: "boolean", optional: true, withNegated: false, brief: "Print nothing" },
      hush: { kind: "boolean", optional: true, withNegated: false, brief: "Print only warnings and errors" },
      json: JSON_FLAG,
    },
    aliases: { f: "torrcFile" },
    positional: OVERRIDES,
  },
  docs: {
    brief: "Run a Tor client with a SOCKS port",
    customUsage: ["[-f torrc] [--OptionName value ...] [--verify-config] [--quiet|--hush] [--json]"],
    fullDescription: [
      "Runs a Tor client until SIGINT or SIGTERM. With no configuration it listens for SOCKS on 127.0.0.1:9050.",
      "Options of a torrc may be given as C tor takes them: --SocksPort 9150, +Log 'info stderr', /DirAuthority.",
      "",
      "Exit codes:",
      ...exitCodeLines,
    ].join("\n"),
  },
});

function configCommand(name: "check" | "show", brief: string) {
  return buildCommand<SourceFlags, string[], TunicContext>({
    loader: async () => {
      const commands = await import("./commands/config.ts");
      return async function (this: TunicContext, flags: SourceFlags, ...overrides: string[]) {
        this.result = await commands[name](flags, overrides, this.app);
      };
    },
    parameters: { flags: SOURCE_FLAGS, aliases: { f: "torrcFile" }, positional: OVERRIDES },
    docs: { brief, customUsage: ["[-f torrc] [--OptionName value ...]"] },
  });
}

function numberFlag(brief: string, placeholder: string) {
  return { kind: "parsed", parse: numberParser, optional: true, brief, placeholder } as const;
}

const testnetCommand = buildCommand<TestnetFlags, [], TunicContext>({
  loader: async () => {
    const { testnet } = await import("./commands/testnet.ts");
    return async function (this: TunicContext, flags: TestnetFlags) {
      this.result = await testnet(flags, this.app);
    };
  },
  parameters: {
    flags: {
      relays: numberFlag("Relays that are no authorities, exits included; default 6", "count"),
      exits: numberFlag("How many of them are exits; default 2", "count"),
      authorities: numberFlag("Directory authorities; default 3", "count"),
      torrc: {
        kind: "parsed",
        parse: String,
        optional: true,
        brief: "Write what a client needs to know to this file, too",
        placeholder: "path",
      },
      interval: numberFlag("Time between consensuses; default 300", "seconds"),
      phantomRelays: numberFlag("Relays that are listed and not run, to test at the public network's size", "count"),
      json: JSON_FLAG,
    },
  },
  docs: {
    brief: "Run a whole Tor network on this machine",
    fullDescription: [
      "Runs authorities, relays and exits of a Tor network in one process, on 127.0.0.1, until SIGINT or SIGTERM, and",
      "prints the lines of a torrc that make any Tor client use it. Its exits connect to this machine only.",
    ].join("\n"),
  },
});

const demoCommand = buildCommand<DemoFlags, [], TunicContext>({
  loader: async () => {
    const { demo } = await import("./commands/demo.ts");
    return async function (this: TunicContext, flags: DemoFlags) {
      this.result = await demo(flags, this.app);
    };
  },
  parameters: {
    flags: {
      once: { kind: "boolean", optional: true, withNegated: false, brief: "End when the page is there" },
      json: JSON_FLAG,
    },
  },
  docs: {
    brief: "Show a page fetched over a Tor network of its own",
    fullDescription: [
      "Starts a Tor network, a website behind one of its exits and a client, all on this machine, fetches a page by",
      "three relays, shows which they were and what it took, and leaves a SOCKS port to play with.",
    ].join("\n"),
  },
});

const root = buildRouteMap({
  routes: {
    run: runCommand,
    demo: demoCommand,
    testnet: testnetCommand,
    config: buildRouteMap({
      routes: {
        check: configCommand("check", "Say whether a configuration is valid"),
        show: configCommand("show", "Print the options in force, and where each comes from"),
      },
      docs: { brief: "Look at a configuration without running it" },
    }),
  },
  docs: {
    brief: "tunic, a Tor client",
    fullDescription: [
      "tunic, a Tor client. Not made or endorsed by the Tor Project.",
      "",
      "tunic run                     SOCKS on 127.0.0.1:9050, over Tor",
      "tunic -f torrc                likewise, with a torrc, as for C tor",
      "tunic --SocksPort 9150        likewise, with options of a torrc",
      "tunic demo                    a page by three relays, all of it on this machine",
      "tunic testnet                 a Tor network on this machine, for any Tor client",
    ].join("\n"),
  },
});

const application = buildApplication(root, {
  name: "tunic",
  versionInfo: { currentVersion: `tunic ${VERSION}` },
  scanner: { caseStyle: "allow-kebab-for-camel", allowArgumentEscapeSequence: true },
  documentation: { caseStyle: "convert-camel-to-kebab", disableAnsiColor: true, onlyRequiredInUsageLine: true },
  localization: { text: { ...text_en, briefs: { ...text_en.briefs, argumentEscapeSequence: "Only options follow" } } },
});

/** Runs what the process's arguments ask for. Answers the exit code; throws nothing. */
export async function main(app: AppContext): Promise<number> {
  const { stdout, stderr, env, args } = app.process;
  let inputs: string[];
  try {
    inputs = normalizeArguments(args);
  } catch (error) {
    const failure = toTunicError(error, "Cannot read the command line", { kind: "internal", code: "defect" });
    stderr.write(`error: ${failure.message}\n`);
    return exitCodeOf(failure);
  }
  const process = { stdout, stderr, env, exitCode: undefined as number | string | null | undefined };
  const context: TunicContext = { process, app, result: undefined };
  await run(application, inputs, { ...context, process, forCommand: () => context });
  if (context.result !== undefined) return context.result;
  const code = Number(process.exitCode ?? 0);
  // The library's own codes below zero are about the command line, but for the one that is a defect of ours.
  return code === 0 ? EXIT_CODES.ok : code === 1 ? EXIT_CODES.internal : EXIT_CODES.usage;
}
