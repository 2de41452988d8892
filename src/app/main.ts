/** The program: gives the command line the real process and the real machine. */
import { nodeProcess } from "../runtime/process.ts";
import { main } from "./cli.ts";
import type { RunningClient } from "./context.ts";

const exitCode = await main({
  process: nodeProcess,
  loadRuntime: async () => (await import("../runtime/node.ts")).nodeRuntime,
  launch: async (options): Promise<RunningClient> => {
    const { TorClient } = await import("../client/client.ts");
    const client = await TorClient.launch(options);
    return {
      backend: client,
      onBootstrap: (listener) => {
        listener(client.bootstrap);
        client.events.on("bootstrap", listener);
      },
      onProblem: (listener) => void client.events.on("problem", listener),
      close: () => client.close(),
    };
  },
});
await nodeProcess.exitFlushed(exitCode);
