/**
 * Entries of several sources, brought into one view of each option (tor(1); C tor's doc/torrc_format.txt, "Mid-level
 * semantics").
 *
 * Sources are ranked: a file of defaults, the torrc, the command line. An option in a higher source replaces all
 * its lines in lower ones; `+Option` adds to them instead, `/Option` clears them. Within one source the lines of an
 * option of several values add up, and of any other the last one counts.
 */
import type { TunicError } from "../base/errors.ts";
import { placeText, shown, type TorrcEntry, torrcError } from "../wire/torrc.ts";
import {
  badValue,
  parseAutoBoolean,
  parseBoolean,
  parseDouble,
  parseInteger,
  parseIntervalMs,
  parseList,
  parseMemoryBytes,
  parseMillisecondInterval,
} from "../wire/torrc_values.ts";
import { findOption, isCumulative, nearestOption, type OptionInfo, type ValueType } from "./option_table.ts";

/** An entry whose name is known. */
export interface OptionEntry extends TorrcEntry {
  readonly option: OptionInfo;
}

export interface MergedEntries {
  /** By C tor's spelling; without entries that were cleared, replaced or obsolete. */
  readonly options: ReadonlyMap<string, readonly OptionEntry[]>;
  readonly warnings: readonly string[];
  /** Unknown names and values of the wrong type. */
  readonly errors: readonly TunicError[];
}

/** Merges sources, the lowest first. */
export function mergeEntries(sources: readonly (readonly TorrcEntry[])[]): MergedEntries {
  const options = new Map<string, OptionEntry[]>();
  const warnings: string[] = [];
  const errors: TunicError[] = [];
  for (const source of sources) {
    const touched = new Set<string>();
    for (const entry of source) {
      const option = findOption(entry.name);
      if (!option) errors.push(unknownOption(entry));
      else if (option.support === "obsolete") {
        if (entry.value !== "") warnings.push(`${placeText(entry)}: ${option.name} is obsolete and has no effect`);
      } else {
        const error = entry.value === "" || entry.command === "clear" ? undefined : checkType(entry, option);
        if (error) errors.push(error);
        else apply({ ...entry, option }, options, touched, warnings);
      }
    }
  }
  return { options, warnings, errors };
}

function apply(
  entry: OptionEntry,
  options: Map<string, OptionEntry[]>,
  touched: Set<string>,
  warnings: string[],
): void {
  const { option, command, value } = entry;
  const { name } = option;
  if (command === "clear") {
    options.delete(name);
    touched.add(name);
    return;
  }
  if (value === "") {
    if (isCumulative(option)) warnings.push(`${placeText(entry)}: ${name} has no value and has no effect`);
    else options.delete(name);
    return;
  }
  const before = options.get(name);
  const again = touched.has(name);
  touched.add(name);
  if (isCumulative(option) && before && (again || command === "append")) {
    before.push(entry);
    return;
  }
  if (again && before) {
    warnings.push(`${placeText(entry)}: ${name} is set again; ${placeText(before[0]!)} has no effect`);
  }
  options.set(name, [entry]);
}

function unknownOption(entry: TorrcEntry): TunicError {
  const nearest = nearestOption(entry.name);
  const hint = nearest ? `, such as ${nearest}` : "";
  return torrcError(entry, `found unknown option ${shown(entry.name)}, expected a known one${hint}`, "unknown-option");
}

/** The error to report for a value that is not of its option's type. */
function checkType(entry: TorrcEntry, option: OptionInfo): TunicError | undefined {
  try {
    CHECKS[option.type]?.(entry.value);
    return undefined;
  } catch (error) {
    return valueError(entry, option.name, error);
  }
}

/** An error of a value parser, with option and place. */
export function valueError(entry: TorrcEntry, name: string, error: unknown): TunicError {
  const reason = error instanceof Error ? error.message : String(error);
  return torrcError(entry, `${name}: ${reason}`, "bad-value", error);
}

const CHECKS: Readonly<Partial<Record<ValueType, (value: string) => unknown>>> = {
  boolean: parseBoolean,
  "auto-boolean": parseAutoBoolean,
  count: (value) => parseInteger(value, 0),
  integer: (value) => parseInteger(value),
  number: parseDouble,
  interval: parseIntervalMs,
  "millisecond-interval": parseMillisecondInterval,
  "interval-list": (value) => {
    const parts = parseList(value);
    if (parts.length === 0) throw badValue(value, "at least one interval");
    parts.forEach(parseIntervalMs);
  },
  size: parseMemoryBytes,
};
