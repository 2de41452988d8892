/** The machine and the client as they are, for a process that may be the real one. */
import type { Process } from "../runtime/process.ts";
import type { AppContext, RunningClient } from "./context.ts";

export function realContext(process: Process): AppContext {
  return {
    process,
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
  };
}
