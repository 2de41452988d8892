/**
 * Holds `src/` to its floor plan: which folder may import which, which packages each may use, no cycles between
 * files, a header comment in every file, and no file beyond 800 lines.
 *
 * The table is an allow-list rather than an order: that a folder lies lower does not mean that it may be used.
 * Imports of types count like any others, except in cycles: they are gone when the code runs.
 *
 *     deno run --allow-read scripts/check_layers.ts
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path/posix";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** What a folder of `src/` may import: other folders, and packages (a trailing `*` stands for anything). */
export interface Layer {
  readonly folders: readonly string[];
  readonly packages?: readonly string[];
}

const BELOW_PROTO = ["base", "runtime", "bytes", "crypto", "wire"];

/** The floor plan, lowest floor first. */
export const LAYERS: Readonly<Record<string, Layer>> = {
  base: { folders: [], packages: ["@logtape/logtape"] },
  runtime: { folders: ["base"], packages: ["node:*"] },
  bytes: { folders: ["base"] },
  crypto: { folders: ["base", "bytes"], packages: ["node:*", "@noble/*"] },
  wire: { folders: ["base", "bytes", "crypto"] },
  proto: { folders: BELOW_PROTO },
  netdir: { folders: [...BELOW_PROTO, "proto"] },
  state: { folders: ["base", "runtime", "bytes", "crypto", "wire", "netdir"] },
  mgr: { folders: [...BELOW_PROTO, "proto", "netdir", "state"] },
  client: { folders: [...BELOW_PROTO, "proto", "netdir", "state", "mgr"] },
  testnet: { folders: [...BELOW_PROTO, "proto", "netdir", "mgr"] },
  serve: { folders: [...BELOW_PROTO, "client"] },
  app: {
    folders: [...BELOW_PROTO, "proto", "netdir", "state", "mgr", "client", "testnet", "serve"],
    packages: ["@logtape/logtape", "@stricli/core", "hono", "@hono/node-server"],
  },
};

export const MAX_LINES = 800;

export interface Problem {
  readonly file: string;
  readonly line: number;
  readonly message: string;
}

interface Import {
  readonly specifier: string;
  readonly line: number;
  readonly typeOnly: boolean;
}

/** Everything wrong with these files; keys are paths as "src/base/errors.ts", values their texts. */
export function checkLayers(files: ReadonlyMap<string, string>, layers = LAYERS): Problem[] {
  const problems: Problem[] = [];
  const graph = new Map<string, { target: string; line: number }[]>();
  for (const [file, text] of files) {
    const report = (line: number, message: string) => problems.push({ file, line, message });
    checkShape(text, report);
    const folder = folderOf(file);
    const layer = layers[folder];
    if (!layer) {
      report(1, `folder src/${folder} is not in the floor plan, which knows ${Object.keys(layers).join(", ")}`);
    }
    const edges: { target: string; line: number }[] = [];
    graph.set(file, edges);
    for (const { specifier, line, typeOnly } of importsOf(text)) {
      if (!specifier.startsWith(".")) {
        if (layer && !mayUse(layer, specifier)) {
          report(line, `src/${folder} must not import "${specifier}": it may use ${list(layer.packages ?? [])}`);
        }
        continue;
      }
      const target = normalize(join(dirname(file), specifier));
      if (!files.has(target)) {
        report(line, `imports "${specifier}", which is no file under src/`);
        continue;
      }
      const other = folderOf(target);
      if (layer && other !== folder && !layer.folders.includes(other)) {
        report(line, `src/${folder} must not import "${specifier}": of src/ it may use ${list(layer.folders)}`);
      }
      if (!typeOnly) edges.push({ target, line });
    }
  }
  return [...problems, ...findCycles(graph)];
}

function checkShape(text: string, report: (line: number, message: string) => void): void {
  if (!/^(#!.*\n)?\/\*/.test(text)) report(1, "has no header comment: the first line must open one that says the idea");
  const lines = text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
  if (lines > MAX_LINES) report(MAX_LINES + 1, `has ${lines} lines, and ${MAX_LINES} is the limit`);
}

function folderOf(file: string): string {
  return file.split("/")[1] ?? "";
}

function mayUse(layer: Layer, specifier: string): boolean {
  return (layer.packages ?? []).some((allowed) =>
    allowed.endsWith("*") ? specifier.startsWith(allowed.slice(0, -1)) : specifier === allowed
  );
}

function list(names: readonly string[]): string {
  return names.length === 0 ? "nothing" : names.join(", ");
}

/** Static imports and re-exports, which begin a line, and dynamic ones and types by `import("…")`, anywhere. */
function importsOf(text: string): Import[] {
  const code = withoutComments(text);
  const lineAt = (index: number) => code.slice(0, index).split("\n").length;
  const found: Import[] = [];
  const statement = /(?:^|;)[ \t]*(?:import|export)\b([^;"'`]*?)(?:\bfrom\s*)?["']([^"']+)["']/gm;
  for (const match of code.matchAll(statement)) {
    const [whole, clause = "", specifier = ""] = match;
    const isImport = /\bfrom\s*["'][^"']+["']$/.test(whole) || /^;?[ \t]*import\s*["']/.test(whole);
    if (!isImport) continue;
    found.push({ specifier, line: lineAt(match.index + whole.length), typeOnly: isTypeOnly(clause) });
  }
  for (const match of code.matchAll(/\bimport\s*\(\s*["'`]([^"'`]+)["'`]/g)) {
    const typeOnly = /\btypeof\s*$|[:<|&=]\s*$/.test(code.slice(0, match.index)) &&
      !/\bawait\s*$/.test(code.slice(0, match.index));
    found.push({ specifier: match[1]!, line: lineAt(match.index), typeOnly });
  }
  return found;
}

/** `type { … }`, or braces in which every name has its own `type`. */
function isTypeOnly(clause: string): boolean {
  if (/^\s*type\s/.test(clause)) return true;
  const names = /^\s*\{([^}]*)\}\s*$/.exec(clause)?.[1]?.split(",").map((name) => name.trim()).filter(Boolean);
  return names !== undefined && names.length > 0 && names.every((name) => name.startsWith("type "));
}

/** Blanks comments that begin a line, keeping line numbers: examples in them are no imports. */
function withoutComments(text: string): string {
  return text.replace(/^[ \t]*\/\*[^]*?\*\/|^[ \t]*\/\/.*$/gm, (comment) => comment.replace(/[^\n]/g, " "));
}

/** One problem for each import that closes a cycle, in a walk from every file. */
function findCycles(graph: ReadonlyMap<string, readonly { target: string; line: number }[]>): Problem[] {
  const problems: Problem[] = [];
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string) => {
    path.push(file);
    for (const { target, line } of graph.get(file) ?? []) {
      const from = path.indexOf(target);
      if (from >= 0) {
        const cycle = [...path.slice(from), target].join(" → ");
        problems.push({ file, line, message: `closes a cycle of imports: ${cycle}` });
      } else if (!done.has(target)) {
        visit(target);
      }
    }
    path.pop();
    done.add(file);
  };
  for (const file of graph.keys()) if (!done.has(file)) visit(file);
  return problems;
}

/** All TypeScript files under `root`/src, keyed as {@link checkLayers} wants them. */
export function readSources(root: string): Map<string, string> {
  const files = readdirSync(join(root, "src"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => join(entry.parentPath, entry.name))
    .toSorted();
  return new Map(files.map((file) => [relative(root, file), readFileSync(file, "utf8")]));
}

if (import.meta.main) {
  const files = readSources(fileURLToPath(new URL("..", import.meta.url)));
  const problems = checkLayers(files);
  for (const { file, line, message } of problems) console.error(`${file}:${line}: ${message}`);
  console.log(`Layers: ${files.size} files, ${problems.length} problems`);
  process.exit(problems.length > 0 || files.size === 0 ? 1 : 0);
}
