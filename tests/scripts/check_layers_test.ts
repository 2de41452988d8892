import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { checkLayers, LAYERS, MAX_LINES, readSources } from "../../scripts/check_layers.ts";

const HEADER = "/** What this file is for. */\n";

/** The problems of files given without headers, as "file:line: message". */
function check(files: Record<string, string>): string[] {
  const map = new Map(Object.entries(files).map(([file, text]) => [`src/${file}`, HEADER + text]));
  return checkLayers(map).map(({ file, line, message }) => `${file}:${line}: ${message}`);
}

const BASE = { "base/a.ts": "export const a = 1;\n" };

describe("check_layers", () => {
  test("finds nothing wrong with this project", () => {
    const files = readSources(fileURLToPath(new URL("../..", import.meta.url)));
    assert.ok(files.size > 50);
    assert.deepEqual(checkLayers(files), []);
  });

  test("lets a folder import what its line of the plan names", () => {
    assert.deepEqual(check({ ...BASE, "bytes/b.ts": 'import { a } from "../base/a.ts";\nexport const b = a;\n' }), []);
  });

  const upward = {
    "an import": 'import { c } from "../client/c.ts";',
    "an import over several lines": 'import {\n  c,\n} from "../client/c.ts";',
    "an import of a type": 'import type { c } from "../client/c.ts";',
    "a re-export": 'export * from "../client/c.ts";',
    "a dynamic import": 'const { c } = await import("../client/c.ts");',
    "a type by import": 'type C = typeof import("../client/c.ts").c;',
    "an import for its effects": 'import "../client/c.ts";',
    "an import in single quotes": "import { c } from '../client/c.ts';",
    "a second import of a line": 'import "./x.ts"; import { c } from "../client/c.ts";',
  };
  for (const [what, text] of Object.entries(upward)) {
    test(`refuses ${what} of a higher folder, with its line`, () => {
      const files = { "client/c.ts": "export const c = 1;\n", "proto/x.ts": "" };
      const found = check({ ...files, "proto/p.ts": `\nconst other = 1;\n${text}\n` });
      const line = what === "an import over several lines" ? 6 : 4;
      assert.equal(found.length, 1);
      assert.match(
        found[0]!,
        new RegExp(`^src/proto/p\\.ts:${line}: src/proto must not import "\\.\\./client/c\\.ts"`),
      );
    });
  }

  test("refuses a lower folder that the plan does not name", () => {
    const found = check({ "runtime/r.ts": "export {};\n", "bytes/b.ts": 'export * from "../runtime/r.ts";\n' });
    assert.equal(found.length, 1);
    assert.match(found[0]!, /src\/bytes\/b\.ts:2: .*"\.\.\/runtime\/r\.ts": of src\/ it may use base$/);
  });

  test("refuses packages and node modules outside their folders", () => {
    const noble = 'import { sha256 } from "@noble/hashes/sha2.js";\n';
    const fs = 'import { readFileSync } from "node:fs";\n';
    assert.deepEqual(check({ "crypto/c.ts": noble + fs, "runtime/r.ts": fs }), []);
    const found = check({ "wire/w.ts": noble + fs, "runtime/r.ts": noble });
    assert.deepEqual(found.map((line) => line.split(": it may")[0]), [
      'src/wire/w.ts:2: src/wire must not import "@noble/hashes/sha2.js"',
      'src/wire/w.ts:3: src/wire must not import "node:fs"',
      'src/runtime/r.ts:2: src/runtime must not import "@noble/hashes/sha2.js"',
    ]);
  });

  test("refuses a file that is not there, one outside src/, and a folder without a place", () => {
    assert.match(
      check({ "base/a.ts": 'import "./gone.ts";\n' })[0]!,
      /a\.ts:2: imports "\.\/gone\.ts", which is no file/,
    );
    assert.match(check({ "base/a.ts": 'import "../../tests/x.ts";\n' })[0]!, /a\.ts:2: imports .* which is no file/);
    assert.match(check({ "attic/a.ts": "export {};\n" })[0]!, /folder src\/attic is not in the floor plan/);
  });

  test("refuses cycles, naming the way round; types make none", () => {
    const ring = {
      "base/a.ts": 'import { b } from "./b.ts";\nexport const a = b;\n',
      "base/b.ts": 'import { c } from "./c.ts";\nexport const b = c;\n',
      "base/c.ts": 'import { a } from "./a.ts";\nexport const c = a;\n',
    };
    const found = check(ring);
    assert.equal(found.length, 1);
    assert.match(
      found[0]!,
      /c\.ts:2: closes a cycle .*: src\/base\/a\.ts → src\/base\/b\.ts → src\/base\/c\.ts → src\/base/,
    );
    for (const types of ['import type { a } from "./a.ts";', 'import { type a } from "./a.ts";']) {
      assert.deepEqual(check({ ...ring, "base/c.ts": `${types}\nexport const c = 1;\n` }), []);
    }
    assert.equal(check({ ...ring, "base/c.ts": 'import { type a, a as x } from "./a.ts";\n' }).length, 1);
    assert.equal(check({ "base/self.ts": 'import "./self.ts";\n' }).length, 1);
  });

  test("refuses a file without header and one that is too long", () => {
    const at = (text: string) => checkLayers(new Map([["src/base/a.ts", text]]));
    assert.deepEqual(at("/** Idea. */\nexport {};\n"), []);
    assert.deepEqual(at("#!/usr/bin/env -S deno run\n/* Idea. */\nexport {};\n"), []);
    assert.match(at("export {};\n")[0]!.message, /no header comment/);
    assert.match(at("")[0]!.message, /no header comment/);
    const long = (lines: number) => HEADER + "export {};\n".repeat(lines - 1);
    assert.deepEqual(at(long(MAX_LINES)), []);
    const [problem] = at(long(MAX_LINES + 1));
    assert.deepEqual([problem!.line, problem!.message], [
      MAX_LINES + 1,
      `has ${MAX_LINES + 1} lines, and ${MAX_LINES} is the limit`,
    ]);
  });

  test("takes no example in a comment for an import", () => {
    const text =
      '/**\nimport "../client/c.ts";\n*/\n// import "../client/c.ts";\n  /* import("../client/c.ts") */\nexport {};\n';
    assert.deepEqual(check({ "base/a.ts": text }), []);
  });

  test("has a plan in which no two folders may import each other", () => {
    const names = Object.keys(LAYERS);
    names.forEach((name, index) => {
      for (const folder of LAYERS[name]!.folders) assert.ok(names.indexOf(folder) < index, `${name} uses ${folder}`);
    });
  });
});
