import assert from "node:assert/strict";
import { describe, test } from "node:test";
import plugin from "../../scripts/lint_plugin.ts";

// Only `deno test` can run lint plugins; the plugin itself never runs anywhere else.
const skip = "Deno" in globalThis ? false : "lint plugins exist in Deno only";

/** What the plugin says about `text` as the content of `file`. */
function lint(file: string, text: string): string[] {
  return Deno.lint.runPlugin(plugin, file, text).map((found) => found.message);
}

describe("lint plugin", { skip }, () => {
  const banned: [text: string, name: string][] = [
    ["Date.now();", "Date.now"],
    ["const f = Date.now;", "Date.now"],
    ['Date["now"]();', "Date.now"],
    ["globalThis.Date.now();", "Date.now"],
    ["new Date();", "new Date()"],
    ["Date();", "Date()"],
    ["performance.now();", "performance.now"],
    ["setTimeout(() => {}, 1);", "setTimeout"],
    ["globalThis.setTimeout(() => {}, 1);", "setTimeout"],
    ["const later = setTimeout;", "setTimeout"],
    ["const o = { setTimeout };", "setTimeout"],
    ["setInterval(() => {}, 1);", "setInterval"],
    ["setImmediate(() => {});", "setImmediate"],
    ["queueMicrotask(() => {});", "queueMicrotask"],
    ["Math.random();", "Math.random"],
    ["crypto.getRandomValues(a);", "crypto.getRandomValues"],
    ["crypto.randomUUID();", "crypto.randomUUID"],
    ["console.log(1);", "console"],
    ["fetch(url);", "fetch"],
    ["new WebSocket(url);", "WebSocket"],
    ["Deno.readFile(name);", "Deno"],
    ["Bun.file(name);", "Bun"],
    ["process.exit(1);", "process"],
    ["Buffer.alloc(1);", "Buffer"],
    ["const { Date } = globalThis;", "all of globalThis"],
    ["const g = globalThis; g.x();", "all of globalThis"],
    ["globalThis[name]();", "all of globalThis"],
  ];
  for (const [text, name] of banned) {
    test(`refuses ${text}`, () => {
      for (const file of ["src/proto/x.ts", "/home/u/tunic/src/mgr/guards/x.ts", "mod.ts", "/home/u/tunic/mod.ts"]) {
        const found = lint(file, text);
        assert.equal(found.length, 1, `${file}: ${found}`);
        assert.ok(found[0]!.startsWith(`Cannot use ${name} in `), found[0]);
        assert.match(found[0]!, /: [a-z].{15,}/, "the reason");
      }
    });
  }

  test("lets src/runtime use everything, and src/crypto only Buffer", () => {
    for (const [text, name] of banned) {
      assert.deepEqual(lint("src/runtime/node.ts", text), []);
      assert.equal(lint("src/crypto/aes.ts", text).length, name === "Buffer" ? 0 : 1, text);
    }
  });

  test("leaves tests, scripts and benchmarks alone", () => {
    for (const file of ["tests/base/x_test.ts", "scripts/x.ts", "bench/x.ts", "/a/tests/support/x.ts"]) {
      assert.deepEqual(lint(file, 'import "node:fs"; console.log(Date.now());'), []);
    }
  });

  const harmless = [
    "new Date(now);",
    "Date.UTC(2026, 0);",
    "Math.max(1, 2);",
    "clock.setTimeout(1);",
    "runtime.process.exit();",
    "function f(process: P) { return process.exit; }",
    "function f({ process }: P) { return process; }",
    "const { fetch } = client; fetch(url);",
    "class A { fetch(): void {} }",
    "interface A { fetch(): void; process: number }",
    "const o = { fetch: 1 };",
    'import { Buffer } from "./buffers.ts"; Buffer.x();',
    "let d: Date = x;",
  ];
  for (const text of harmless) test(`allows ${text}`, () => assert.deepEqual(lint("src/proto/x.ts", text), []));

  test("refuses node: and bun: modules outside runtime and crypto", () => {
    for (
      const text of [
        'import { readFileSync } from "node:fs";',
        'import type { Socket } from "node:net";',
        'export * from "node:fs";',
        'export { join } from "node:path";',
        'const fs = await import("node:fs");',
        'import { serve } from "bun";',
        'import { Database } from "bun:sqlite";',
      ]
    ) {
      assert.match(lint("src/state/x.ts", text).join(), /^Cannot import \S+ in src\/state: /, text);
      assert.deepEqual(lint("src/runtime/x.ts", text), []);
      assert.deepEqual(lint("src/crypto/x.ts", text), []);
    }
    assert.deepEqual(lint("src/state/x.ts", 'import { a } from "../base/mod.ts"; import b from "bunny";'), []);
  });
});
