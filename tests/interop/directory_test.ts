import { after, describe, test } from "node:test";
import assert from "node:assert/strict";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { ChannelManager } from "../../src/mgr/channels.ts";
import { DirectoryManager, type DirectoryProgress } from "../../src/mgr/directory/mod.ts";
import { GuardManager } from "../../src/mgr/guards/mod.ts";
import type { DirectoryAuthority } from "../../src/netdir/authorities.ts";
import type { NetDir } from "../../src/netdir/net_dir.ts";
import { IN_MEMORY, StateStore } from "../../src/state/state_store.ts";
import type { TunicError } from "../../src/base/errors.ts";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromHex } from "../../src/bytes/text.ts";
import { authoritiesOf } from "./library_client.ts";
import { poll } from "../support/poll.ts";
import { sharedCTorNetwork, skipWithoutCTor } from "./ctor_network.ts";

class Client {
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

  static async start(authorities: readonly DirectoryAuthority[], directory: string = IN_MEMORY): Promise<Client> {
    return new Client(await StateStore.open(nodeRuntime, directory), authorities);
  }

  async close(): Promise<void> {
    await this.directory.close();
    this.guards.close();
    this.channels.close();
    await this.state.close();
  }
}

const skip = skipWithoutCTor();

describe("the directory of a network of C tor", { skip }, () => {
  const directory = mkdtempSync(join(tmpdir(), "tunic-directory-"));
  after(() => rmSync(directory, { recursive: true, force: true }));

  test("is fetched whole, kept fresh over two more consensuses, and found again on disk", async () => {
    const network = await sharedCTorNetwork();
    const authorities = authoritiesOf(network);
    const client = await Client.start(authorities, directory);
    try {
      const netdir = await client.directory.ready(AbortSignal.timeout(20_000));
      assert.equal(netdir.size, network.nodes.length);
      await poll("all microdescriptors", 20_000, () => netdir.missingCount === 0 || undefined);
      for (const node of network.nodes) {
        const relay = netdir.indexOfRsaId(fromHex(node.fingerprint));
        assert.equal(netdir.nickname(relay), node.nickname);
        assert.deepEqual(netdir.addresses(relay), [{ host: "127.0.0.1", port: node.orPort }]);
        assert.equal(netdir.ntorKey(relay)?.length, 32);
      }
      const phases = client.progress.map(({ phase }) => phase);
      for (const phase of ["requesting_status", "loading_status", "loading_keys", "enough_dirinfo"] as const) {
        assert.ok(phases.includes(phase), `${phase} is not among ${phases}`);
      }
      await poll("two more consensuses", 100_000, () => client.views.length >= 3 || undefined);
      const times = client.views.map(({ validAfter }) => validAfter);
      assert.deepEqual(times, [...new Set(times)].sort((a, b) => a - b));
      assert.ok(client.directory.netdir!.validUntil > Date.now() - 5_000);
      assert.deepEqual(client.problems.filter(({ kind }) => kind !== "timeout"), []);
    } finally {
      await client.close();
    }

    // Nobody listens there: all there is to go by is the data directory.
    const deaf = authorities.map((authority) => ({ ...authority, address: { host: "127.0.0.1", port: 9 } }));
    const again = await Client.start(deaf, directory);
    try {
      const netdir = await again.directory.ready(AbortSignal.timeout(2_000));
      assert.equal(netdir.size, network.nodes.length);
      assert.equal(netdir.missingCount, 0);
    } finally {
      await again.close();
    }
  });

  test("is not believed by whom it was not signed for", async () => {
    const network = await sharedCTorNetwork();
    const strangers = authoritiesOf(network).map((authority, i) => ({
      ...authority,
      // One of three remains who it is.
      v3ident: i === 0 ? authority.v3ident : new Uint8Array(20).fill(i),
    }));
    const client = await Client.start(strangers);
    try {
      await assert.rejects(client.directory.ready(AbortSignal.timeout(3_000)));
      assert.equal(client.directory.snapshot().relays, 0);
      assert.ok(client.problems.length > 0);
    } finally {
      await client.close();
    }
  });
});
