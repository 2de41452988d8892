/** The README's tables against the tables of the program: what it promises is what there is. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { EXIT_CODES, EXIT_MEANINGS, type ExitName } from "../../src/app/exit_codes.ts";
import { allOptions } from "../../src/app/option_table.ts";

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");

/** The text between a heading and the next. */
function section(heading: string): string {
  const start = readme.indexOf(`### ${heading}\n`);
  assert.ok(start >= 0, heading);
  const end = readme.indexOf("\n#", start + 1);
  return readme.slice(start, end);
}

describe("README", () => {
  test("names every exit code with its meaning", () => {
    const rows = [...section("Exit codes").matchAll(/^\| *(\d+) *\| (.*?) *\|$/gm)].map((
      [, code, text],
    ) => [Number(code), text]);
    const wanted = (Object.keys(EXIT_CODES) as ExitName[]).map((name) => [EXIT_CODES[name], EXIT_MEANINGS[name]]);
    assert.deepEqual(rows, wanted);
  });

  test("names every supported option, and no other", () => {
    const cells = [...section("torrc").matchAll(/^\| (`.*?) +\| /gm)].map(([, cell]) => cell!);
    const named = cells.flatMap((cell) => [...cell.matchAll(/`(\w+)/g)].map(([, name]) => name!));
    const supported = allOptions().filter(({ support }) => support === "supported").map(({ name }) => name);
    assert.deepEqual(named.sort(), supported.sort());
  });
});
