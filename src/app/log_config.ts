/**
 * `Log` lines: which messages go where (tor(1), "Log").
 *
 * `minSeverity[-maxSeverity] [stderr|stdout|file PATH]`, with ranges for single domains in brackets before them.
 * C tor's severities become LogTape's levels: err → error, warn → warning, notice → info, info and debug → debug.
 */
import { badValue, parseWords } from "../wire/torrc_values.ts";
import { shown } from "../wire/torrc.ts";

/** C tor's severities, the least important first. */
export const SEVERITIES = ["debug", "info", "notice", "warn", "err"] as const;
export type Severity = (typeof SEVERITIES)[number];

export interface LogTarget {
  /** The least and the most important severity to write. */
  readonly from: Severity;
  readonly to: Severity;
  readonly destination: { readonly type: "stdout" | "stderr" } | { readonly type: "file"; readonly path: string };
}

export interface LogLine {
  /** Nothing where the line asks for what is not supported; then there are warnings. */
  readonly target: LogTarget | undefined;
  readonly warnings: readonly string[];
}

const EXPECTED = 'such as "notice stdout", "debug-warn stderr" or "info file /path"';

/** Throws `config` for an ill-formed line. */
export function parseLogLine(value: string): LogLine {
  const warnings: string[] = [];
  let rest = value.trim();
  let range: [Severity, Severity] | undefined;
  let domains = false;
  for (;;) {
    const bracket = /^\[([^\]]*)\]\s*/.exec(rest);
    if (bracket) {
      domains = true;
      rest = rest.slice(bracket[0].length);
    }
    const word = /^\S+/.exec(rest)?.[0];
    if (word === undefined || /^(?:file|stdout|stderr|syslog|android)$/i.test(word)) break;
    const found = parseRange(word, value);
    // Topics are not C tor's domains, so the widest of the ranges holds for all.
    if (range && !domains) throw badValue(value, EXPECTED);
    range = range ? [least(range[0], found[0]), most(range[1], found[1])] : found;
    rest = rest.slice(word.length).trimStart();
  }
  if (!range) throw badValue(value, EXPECTED);
  if (domains) warnings.push("log domains are not supported yet: the line counts for messages of all domains");
  const [from, to] = range;
  const [type, ...path] = parseWords(rest);
  switch (type?.toLowerCase()) {
    case undefined:
    case "stdout":
      if (path.length > 0) break;
      return { target: { from, to, destination: { type: "stdout" } }, warnings };
    case "stderr":
      if (path.length > 0) break;
      return { target: { from, to, destination: { type: "stderr" } }, warnings };
    case "file":
      if (path.length === 0) break;
      return { target: { from, to, destination: { type: "file", path: rest.slice(4).trim() } }, warnings };
    case "syslog":
    case "android":
      return { target: undefined, warnings: [`${shown(type!)} is not supported yet: the line has no effect`] };
  }
  throw badValue(value, EXPECTED);
}

function parseRange(word: string, value: string): [Severity, Severity] {
  const [low, high, ...more] = word.toLowerCase().split("-");
  const from = SEVERITIES.find((severity) => severity === low);
  const to = high === undefined ? "err" : SEVERITIES.find((severity) => severity === high);
  if (!from || !to || more.length > 0) throw badValue(value, EXPECTED);
  return [from, to];
}

function least(a: Severity, b: Severity): Severity {
  return SEVERITIES.indexOf(a) < SEVERITIES.indexOf(b) ? a : b;
}

function most(a: Severity, b: Severity): Severity {
  return SEVERITIES.indexOf(a) < SEVERITIES.indexOf(b) ? b : a;
}
