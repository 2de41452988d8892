/** A process that locks the file it is told, says how it went, and stays until its input ends or it is killed. */
import process from "node:process";
import { nodeRuntime } from "../../src/runtime/node.ts";

const [path] = process.argv.slice(2);
try {
  const lock = await nodeRuntime.files.lock(path!);
  process.stdout.write("held\n");
  process.stdin.on("end", () => void lock.release());
  process.stdin.resume();
} catch (error) {
  process.stdout.write(`${(error as { kind?: string }).kind}\n`);
}
