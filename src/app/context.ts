/** What commands get from outside: the process, the machine, and how a client is made. */
import type { TunicError } from "../base/errors.ts";
import type { StreamBackend } from "../client/backend.ts";
import type { BootstrapStatus } from "../client/bootstrap.ts";
import type { TorClientOptions } from "../client/options.ts";
import type { Runtime } from "../runtime/ports.ts";
import type { Process } from "../runtime/process.ts";
import type { Surroundings } from "./places.ts";

/** What `run` needs of a client. */
export interface RunningClient {
  readonly backend: StreamBackend;
  /** Where it stands, and each step from there. */
  onBootstrap(listener: (status: BootstrapStatus) => void): void;
  /** What the user should know and the client tries to overcome. */
  onProblem(listener: (error: TunicError) => void): void;
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
