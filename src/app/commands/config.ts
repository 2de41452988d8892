/** `tunic config check` and `tunic config show`: what a configuration means, without running it. */
import { toTunicError } from "../../base/errors.ts";
import { placeText, quoteValue } from "../../wire/torrc.ts";
import { type AppContext, surroundingsOf } from "../context.ts";
import { EXIT_CODES, exitCodeOf } from "../exit_codes.ts";
import { addressText, Reporter } from "../reporter.ts";
import { loadConfiguration, type LoadedConfiguration, type SourceFlags } from "../sources.ts";

/** Says whether `tunic run` would start with this configuration. Answers the exit code. */
export function check(flags: SourceFlags, overrides: readonly string[], context: AppContext): Promise<number> {
  return withConfiguration(flags, overrides, context, (configuration) => {
    const { torrcPath, entries } = configuration;
    context.process.stdout.write(
      `Configuration was valid: ${entries.length} options from ${torrcPath ?? "no torrc"}\n`,
    );
  });
}

/** Prints what is in force, as a torrc, each line with the place it comes from. Answers the exit code. */
export function show(flags: SourceFlags, overrides: readonly string[], context: AppContext): Promise<number> {
  return withConfiguration(flags, overrides, context, ({ entries, options, socksPorts }) => {
    const lines = entries.map((entry) => `${entry.option.name} ${quoteValue(entry.value)}  # ${placeText(entry)}`);
    const given = new Set(entries.map(({ option }) => option.name));
    if (!given.has("DataDirectory") && options.dataDirectory !== undefined) {
      lines.push(`DataDirectory ${quoteValue(options.dataDirectory)}  # default`);
    }
    if (!given.has("SocksPort")) {
      lines.push(...socksPorts.map(({ address }) => `SocksPort ${addressText(address)}  # default`));
    }
    context.process.stdout.write(lines.map((line) => `${line}\n`).join(""));
  });
}

async function withConfiguration(
  flags: SourceFlags,
  overrides: readonly string[],
  context: AppContext,
  use: (configuration: LoadedConfiguration) => void,
): Promise<number> {
  const { stdout, stderr, env } = context.process;
  const reporter = new Reporter({
    stdout,
    stderr,
    verbosity: "all",
    json: false,
    showProgress: false,
    colour: !env["NO_COLOR"],
  });
  try {
    const { files } = await context.loadRuntime();
    const configuration = await loadConfiguration(flags, overrides, surroundingsOf(context.process), files);
    for (const warning of configuration.warnings) reporter.warning(warning);
    for (const refusal of configuration.refusals) reporter.failure(refusal, EXIT_CODES.unsupported);
    if (configuration.refusals.length > 0) return EXIT_CODES.unsupported;
    use(configuration);
    return EXIT_CODES.ok;
  } catch (error) {
    const failure = toTunicError(error, "Cannot go on", { kind: "internal", code: "defect" });
    const exitCode = exitCodeOf(failure);
    reporter.failure(failure, exitCode);
    return exitCode;
  }
}
