/** What commands get from outside: the process, the machine, and how a client is made. */
import type { Unsubscribe } from "../base/events.ts";
import type { StreamBackend } from "../client/backend.ts";
import type { TorClientOptions } from "../client/options.ts";
import type { Runtime } from "../runtime/ports.ts";
import type { Process } from "../runtime/process.ts";
import type { Surroundings } from "./places.ts";
import type { BootstrapStatus } from "./reporter.ts";

/** What `run` needs of a client. */
export interface RunningClient {
  readonly backend: StreamBackend;
  onBootstrap(listener: (status: BootstrapStatus) => void): Unsubscribe;
  close(): Promise<void>;
}

export interface AppContext {
  readonly process: Process;
  loadRuntime(): Promise<Runtime>;
  launch(options: TorClientOptions): Promise<RunningClient>;
}

export function surroundingsOf({ env, platform, workingDirectory }: Process): Surroundings {
  return { env, platform, workingDirectory };
}
