/** The README's tables against the tables of the program: what it promises is what there is. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { pathToFileURL } from "node:url";
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

  test("the example with startTestnet works as it stands", async () => {
    const example = [...readme.matchAll(/^```ts\n([^]*?)^```$/gm)].map(([, code]) => code!)
      .find((code) => code.includes("startTestnet"));
    assert.ok(example);
    const server = createServer((_, response) => response.end("a page"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const directory = mkdtempSync(join(tmpdir(), "tunic-readme-"));
    const said: string[] = [];
    const places = {
      '"./mod.ts"': JSON.stringify(new URL("../../mod.ts", import.meta.url).href),
      ":8000/": `:${(server.address() as AddressInfo).port}/`,
      "console.log(": 'globalThis["tunic-readme-example"](',
    };
    try {
      Object.assign(globalThis, { "tunic-readme-example": (...words: unknown[]) => said.push(words.join(" ")) });
      let code = example;
      for (const [place, text] of Object.entries(places)) {
        assert.ok(code.includes(place), place);
        code = code.replaceAll(place, text);
      }
      const file = join(directory, "example.mjs");
      writeFileSync(file, code);
      await import(pathToFileURL(file).href);
      assert.equal(said[0], "200 a page");
      assert.match(said[1]!, /^TestingTorNetwork 1\nDirAuthority a1 /);
      assert.equal(said.length, 2);
    } finally {
      Reflect.deleteProperty(globalThis, "tunic-readme-example");
      rmSync(directory, { recursive: true });
      server.close();
    }
  });

  test("shows the demo first", () => {
    assert.match(readme, /^[^`]*```sh\nnpx -y deno@[\d.]+ task demo\n```/);
  });
});
