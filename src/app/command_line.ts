/**
 * The command line as users of C tor type it, brought into the form the command-line library reads.
 *
 * C tor's options stand there as in a torrc, with one dash, two or none (`--SocksPort 9050`, `+Log "info stderr"`,
 * `/DirAuthority`), mixed with flags such as `-f`. {@link normalizeArguments} puts the flags first and the options,
 * as pairs of name and value, after a `--`; it also finds the command where none is named.
 */
import { TunicError } from "../base/errors.ts";
import { shown } from "../wire/torrc.ts";
import { findOption } from "./option_table.ts";

/** Flags of `run` and `config`, with whether a value follows. */
const FLAGS: Readonly<Record<string, { readonly name: string; readonly takesValue: boolean } | undefined>> = {
  "-f": { name: "--torrc-file", takesValue: true },
  "--torrc-file": { name: "--torrc-file", takesValue: true },
  "--defaults-torrc": { name: "--defaults-torrc", takesValue: true },
  "--ignore-missing-torrc": { name: "--ignore-missing-torrc", takesValue: false },
  "--allow-missing-torrc": { name: "--ignore-missing-torrc", takesValue: false },
  "--verify-config": { name: "--verify-config", takesValue: false },
  "--quiet": { name: "--quiet", takesValue: false },
  "--hush": { name: "--hush", takesValue: false },
  "--json": { name: "--json", takesValue: false },
  "--help": { name: "--help", takesValue: false },
  "-h": { name: "--help", takesValue: false },
};

/** C tor's other commands. */
const COMMANDS_OF_TOR = new Set([
  ...["--hash-password", "--dump-config", "--list-fingerprint", "--keygen", "--key-expiration", "--list-modules"],
  ...["--library-versions", "--list-torrc-options", "--list-deprecated-options", "--nt-service", "-nt-service"],
  ...["--dbg-dump-subsystem-list"],
]);

const CONFIG_COMMANDS = new Set(["check", "show"]);

/** Arguments for the command-line library. Throws `config` for what cannot be read. */
export function normalizeArguments(args: readonly string[]): string[] {
  const [first, ...rest] = args;
  if (first === undefined) return ["--help"];
  switch (first) {
    case "run":
      return ["run", ...splitOptions(rest)];
    case "config": {
      const [command, ...more] = rest;
      if (command === undefined || !CONFIG_COMMANDS.has(command)) return [...args];
      return ["config", command, ...splitOptions(more)];
    }
    case "testnet":
    case "demo":
      return [...args];
    case "help":
      return [...rest, "--help"];
    case "version":
    case "-V":
      return ["--version"];
    case "--version":
    case "--help":
    case "-h":
      return [first];
  }
  // `tunic -f torrc` and `tunic SocksPort 9050`, as for C tor; another word is a command nobody knows.
  const isOption = /^[-+/]/.test(first) || findOption(first) !== undefined;
  return isOption ? ["run", ...splitOptions(args)] : [...args];
}

function splitOptions(args: readonly string[]): string[] {
  const flags: string[] = [];
  const options: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    const flag = Object.hasOwn(FLAGS, arg) ? FLAGS[arg] : undefined;
    if (COMMANDS_OF_TOR.has(arg)) {
      throw usage(`found ${arg}, a command of C tor that tunic does not have, expected an option or a flag`);
    }
    const name = flag ? flag.name : arg.replace(/^--?/, "");
    const takesValue = flag ? flag.takesValue : !name.startsWith("/");
    const value = takesValue ? args[++i] : "";
    if (value === undefined) {
      // Somebody who mistypes a flag should hear that, rather than of a value it never had.
      if (!flag && !findOption(name.replace(/^\+/, ""))) {
        throw usage(`found unknown flag ${shown(arg)}, expected one that --help shows`);
      }
      throw usage(`found ${shown(arg)} without a value, expected one after it`);
    }
    if (!flag) options.push(name, value);
    else if (takesValue) flags.push(name, value);
    else flags.push(name);
  }
  return options.length > 0 ? [...flags, "--", ...options] : flags;
}

function usage(reason: string): TunicError {
  return new TunicError(`Cannot use the command line: ${reason}`, { kind: "config", code: "bad-command-line" });
}
