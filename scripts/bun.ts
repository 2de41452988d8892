/**
 * Runs Bun with the parameters given, wherever it is: on the PATH, or from npm.
 *
 * The npm package hides its program behind a launcher that Deno's task shell cannot run, so it is asked once where
 * the program is.
 *
 *     deno run -A scripts/bun.ts test
 */
import { spawnSync } from "node:child_process";
import process from "node:process";

const FROM_NPM = "bun@1.4.5";
const LOWEST = [1, 4];

/** The path of a Bun that is new enough; throws when there is none and npm gives none. */
export function findBun(): string {
  if (isUsable("bun")) return "bun";
  const answer = spawnSync("npx", ["-y", FROM_NPM, "-p", "process.execPath"], { encoding: "utf8" });
  const path = answer.stdout?.trim() ?? "";
  if (answer.status !== 0 || !isUsable(path)) {
    const found = answer.error?.message ?? (answer.stderr?.trim() || path || "nothing");
    throw new Error(
      `Cannot find Bun: "npx -y ${FROM_NPM}" gave ${found}, and the PATH has none of at least ${LOWEST.join(".")}`,
    );
  }
  return path;
}

function isUsable(program: string): boolean {
  const answer = spawnSync(program, ["--version"], { encoding: "utf8" });
  const version = /^(\d+)\.(\d+)\./.exec(answer.stdout ?? "");
  if (answer.status !== 0 || !version) return false;
  const [major, minor] = [Number(version[1]), Number(version[2])];
  return major > LOWEST[0]! || (major === LOWEST[0] && minor >= LOWEST[1]!);
}

/** Runs Bun on this terminal and answers its exit code. */
export function runBun(parameters: readonly string[]): number {
  return spawnSync(findBun(), parameters, { stdio: "inherit" }).status ?? 1;
}

if (import.meta.main) process.exit(runBun(process.argv.slice(2)));
