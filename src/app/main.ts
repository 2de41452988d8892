/** The program: gives the command line the real process and the real machine. */
import { nodeProcess } from "../runtime/process.ts";
import { main } from "./cli.ts";
import { realContext } from "./real_context.ts";

await nodeProcess.exitFlushed(await main(realContext(nodeProcess)));
