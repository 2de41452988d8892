/** The part of a client that keeps the directory, with what it stands on, and without circuits for streams. */
import type { TunicError } from "../../src/base/errors.ts";
import { ChannelManager } from "../../src/mgr/channels.ts";
import { DirectoryManager, type DirectoryProgress } from "../../src/mgr/directory/mod.ts";
import { GuardManager } from "../../src/mgr/guards/mod.ts";
import type { DirectoryAuthority } from "../../src/netdir/authorities.ts";
import type { NetDir } from "../../src/netdir/net_dir.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { IN_MEMORY, StateStore } from "../../src/state/state_store.ts";

/** Fetches and keeps the directory of a real network, and remembers what it was told meanwhile. */
export class DirectoryOnly {
  readonly channels = new ChannelManager({ runtime: nodeRuntime, connectTimeoutMs: 10_000, idleTimeoutMs: 10_000 });
  readonly guards = new GuardManager(nodeRuntime, { version: "tunic test", enforceDistinctSubnets: false });
  readonly directory: DirectoryManager;
  readonly state: StateStore;
  readonly views: NetDir[] = [];
  readonly progress: DirectoryProgress[] = [];
  readonly problems: TunicError[] = [];

  private constructor(state: StateStore, authorities: readonly DirectoryAuthority[]) {
    this.state = state;
    this.directory = new DirectoryManager({
      runtime: nodeRuntime,
      channels: this.channels,
      guards: this.guards,
      state,
      authorities,
      fallbacks: [],
      pathsNeeded: 0.67,
      testing: true,
    });
    this.directory.events.on("netdir", (netdir) => this.views.push(netdir));
    this.directory.events.on("progress", (progress) => this.progress.push(progress));
    this.directory.events.on("problem", (problem) => this.problems.push(problem));
    this.directory.start();
  }

  static async start(
    authorities: readonly DirectoryAuthority[],
    directory: string = IN_MEMORY,
  ): Promise<DirectoryOnly> {
    return new DirectoryOnly(await StateStore.open(nodeRuntime, directory), authorities);
  }

  async close(): Promise<void> {
    await this.directory.close();
    this.guards.close();
    this.channels.close();
    await this.state.close();
  }
}
