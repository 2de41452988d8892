/**
 * Builds dist/tunic-linux-x64: the program and Bun in one file.
 *
 * With bytecode it starts in a third of the time and takes 4 MB more of disk. The embedded source map costs half a
 * megabyte, no memory, and lets a user's stack trace name our lines. An executable must not change its ways by files
 * that happen to lie where it is started, so Bun's own configuration files are not read.
 *
 *     deno run -A scripts/build.ts
 */
import { mkdirSync, rmSync, statSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { runBun } from "./bun.ts";

const OUTPUT = "dist/tunic-linux-x64";

process.chdir(fileURLToPath(new URL("..", import.meta.url)));
mkdirSync("dist", { recursive: true });
rmSync(OUTPUT, { force: true });
const exitCode = runBun([
  "build",
  ...["--compile", "--target=bun-linux-x64", "--minify", "--bytecode", "--format=esm", "--sourcemap=linked"],
  ...["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"],
  ...["src/app/main.ts", `--outfile=${OUTPUT}`],
]);
if (exitCode === 0) {
  rmSync(`${OUTPUT}.map`, { force: true });
  console.log(`${OUTPUT}: ${(statSync(OUTPUT).size / 1e6).toFixed(1)} MB`);
}
process.exit(exitCode);
