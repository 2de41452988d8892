/** The directory of a network of C tor, as our client keeps it. */
import { after, describe, test } from "node:test";
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromHex } from "../../src/bytes/text.ts";
import { DirectoryOnly } from "../support/directory_only.ts";
import { authoritiesOf } from "./library_client.ts";
import { poll } from "../support/poll.ts";
import { sharedCTorNetwork, skipWithoutCTor } from "./ctor_network.ts";

const skip = skipWithoutCTor();

describe("the directory of a network of C tor", { skip }, () => {
  const directory = mkdtempSync(join(tmpdir(), "tunic-directory-"));
  after(() => rmSync(directory, { recursive: true, force: true }));

  test("is fetched whole, kept fresh over two more consensuses, and found again on disk", async () => {
    const network = await sharedCTorNetwork();
    const authorities = authoritiesOf(network);
    const client = await DirectoryOnly.start(authorities, directory);
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
    const again = await DirectoryOnly.start(deaf, directory);
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
    const client = await DirectoryOnly.start(strangers);
    try {
      await assert.rejects(client.directory.ready(AbortSignal.timeout(3_000)));
      assert.equal(client.directory.snapshot().relays, 0);
      assert.ok(client.problems.length > 0);
    } finally {
      await client.close();
    }
  });
});
