/**
 * Counts the tests in JUnit reports of `deno test` and `bun test`, and prints "PASSED FAILED SKIPPED".
 *
 * Deno reports a `describe` as a test of its own, named as its tests' names begin; such a one counts only when it
 * failed by itself, in a hook.
 *
 *     deno run --allow-read scripts/count_tests.ts report.xml…
 */
import { readFileSync } from "node:fs";
import process from "node:process";

export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** Counts the tests of one report. */
export function countTests(xml: string): Counts {
  const cases = [...xml.matchAll(/<testcase\b([^>]*?)(?:\/>|>([^]*?)<\/testcase>)/g)].map(([, attributes, body]) => ({
    name: /\bname="([^"]*)"/.exec(attributes!)?.[1] ?? "",
    failed: /<(failure|error)\b/.test(body ?? ""),
    skipped: /<skipped\b/.test(body ?? ""),
  }));
  const groups = new Set<string>();
  const excused = new Set<string>();
  for (const { name, failed } of cases) {
    for (let end = name.lastIndexOf(SEPARATOR); end > 0; end = name.lastIndexOf(SEPARATOR, end - 1)) {
      groups.add(name.slice(0, end));
      if (failed) excused.add(name.slice(0, end));
    }
  }
  const counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const { name, failed, skipped } of cases) {
    if (groups.has(name) && (!failed || excused.has(name))) continue;
    counts[failed ? "failed" : skipped ? "skipped" : "passed"]++;
  }
  return counts;
}

/** Between the names of a group and of what is in it; escaped, as the report has it. */
const SEPARATOR = " &gt; ";

if (import.meta.main) {
  const sum: Counts = { passed: 0, failed: 0, skipped: 0 };
  for (const file of process.argv.slice(2)) {
    const counts = countTests(readFileSync(file, "utf8"));
    for (const key of ["passed", "failed", "skipped"] as const) sum[key] += counts[key];
  }
  console.log(`${sum.passed} ${sum.failed} ${sum.skipped}`);
}
