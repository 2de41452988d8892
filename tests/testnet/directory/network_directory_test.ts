import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { toBase64, toHex } from "../../../src/bytes/text.ts";
import { FLAG_AUTHORITY, FLAG_EXIT, FLAG_RUNNING } from "../../../src/wire/netdoc/relay_table.ts";
import { NetDir } from "../../../src/netdir/net_dir.ts";
import { MicrodescStore } from "../../../src/netdir/microdesc_store.ts";
import { type NetworkDirectory } from "../../../src/testnet/directory/mod.ts";
import { type Consensus, parseConsensus } from "../../../src/wire/netdoc/consensus.ts";
import {
  ask,
  AUTHORITY_KEYS,
  descriptor,
  evidenceFrom,
  FLAGS,
  IDENTITIES,
  INTERVAL_MS,
  listed,
  newDirectory,
  START,
} from "./support.ts";

/** What a client has after it fetched everything. */
async function consensusOf(directory: NetworkDirectory, now = START): Promise<Consensus> {
  const answer = await ask(directory, "/tor/status-vote/current/consensus-microdesc");
  assert.equal(answer.status, 200);
  return parseConsensus(answer.body).verify(await evidenceFrom(directory, now));
}

async function viewOf(directory: NetworkDirectory): Promise<NetDir> {
  const view = new NetDir(await consensusOf(directory), new MicrodescStore());
  for (;;) {
    const missing = view.missingMicrodescs(92);
    if (missing.length === 0) return view;
    const answer = await ask(directory, `/tor/micro/d/${missing.map(toBase64).join("-")}`);
    assert.deepEqual(view.addMicrodescs(answer.body), { added: missing.length, unwanted: 0, malformed: 0 });
  }
}

describe("the directory of a test network", () => {
  test("clients believe its consensus and can use all of its relays", async () => {
    const { directory } = newDirectory({ params: { cc_alg: 2, circwindow: 500 } });
    directory.publish();
    const view = await viewOf(directory);
    const { consensus } = view;
    assert.equal(consensus.method, 35);
    assert.equal(consensus.validAfter, START);
    assert.equal(consensus.freshUntil, START + INTERVAL_MS);
    assert.equal(consensus.validUntil, START + 3 * INTERVAL_MS);
    assert.deepEqual([...consensus.params], [["cc_alg", 2], ["circwindow", 500]]);
    assert.match(consensus.clientVersions, /^0\.4\.7\.1,.*,0\.4\.9\.11,/, "C tor ends itself where there are none");
    assert.ok(consensus.clientProtocols.required.supports("Link", 4));
    assert.equal(consensus.sharedRandomCurrent!.reveals, 3);
    assert.notDeepEqual(consensus.sharedRandomCurrent, consensus.sharedRandomPrevious);
    assert.equal(consensus.bandwidthWeights.size, 19);
    assert.equal(view.size, IDENTITIES.length);
    assert.equal(view.fractionUsable(), 1);
    for (const [i, identity] of IDENTITIES.entries()) {
      const row = view.indexOfRsaId(identity.rsaId);
      assert.equal(view.nickname(row), identity.nickname);
      assert.equal(view.bandwidth(row), 1000 * (i + 1));
      assert.equal(view.has(row, FLAG_AUTHORITY), i < 3);
      assert.equal(view.has(row, FLAG_EXIT), i === 5);
      assert.equal(view.allowsExitTo(row, 80), i === 5);
      const { addresses, ed25519Id, ntorKey } = view.target(row);
      assert.deepEqual(addresses, [{ host: "127.0.0.1", port: 5000 + i }]);
      assert.deepEqual(ed25519Id, identity.ed25519Id);
      assert.deepEqual(ntorKey, identity.ntorKey.publicKey);
    }
  });

  test("families are mutual in the eyes of clients", async () => {
    const { directory } = newDirectory();
    const family = [3, 4].map((i) => `$${toHex(IDENTITIES[i]!.rsaId).toUpperCase()}`);
    for (const i of [3, 4]) directory.list(listed(i, { descriptor: descriptor(i, { family }) }));
    directory.publish();
    const view = await viewOf(directory);
    const row = (i: number) => view.indexOfRsaId(IDENTITIES[i]!.rsaId);
    assert.ok(view.sameFamily(row(3), row(4)));
    assert.ok(!view.sameFamily(row(3), row(5)));
  });

  test("a consensus that too few authorities signed is not believed", async () => {
    const { directory } = newDirectory();
    directory.signBy(AUTHORITY_KEYS.slice(0, 1));
    directory.publish();
    await assert.rejects(consensusOf(directory), { code: "too-few-signatures" });
  });

  test("relays come and go with the next consensus", async () => {
    const { directory, mock } = newDirectory();
    directory.publish();
    directory.unlist(IDENTITIES[4]!.rsaId);
    directory.list(listed(3, { flags: ["Running", "Valid"], bandwidth: 1 }));
    directory.list(listed(5, { flags: FLAGS.filter((flag) => flag !== "Running") }));
    assert.equal((await consensusOf(directory)).relays.size, 6);
    await mock.time.advance(INTERVAL_MS);
    directory.publish();
    const { relays } = await consensusOf(directory);
    assert.equal(relays.size, 4, "neither one that is gone nor one that does not run");
    const row = relays.indexOfRsaId(IDENTITIES[3]!.rsaId);
    assert.equal(relays.bandwidths[row], 1);
    assert.equal(relays.indexOfRsaId(IDENTITIES[4]!.rsaId), -1);
  });

  test("is renewed at the beginning of each interval, until it is closed", async () => {
    const { directory, mock } = newDirectory();
    await mock.time.advance(INTERVAL_MS / 2);
    directory.start();
    const newest = async () => (await consensusOf(directory)).validAfter;
    assert.equal(await newest(), START, "at once, for the interval that is");
    await mock.time.advance(INTERVAL_MS / 2 - 1);
    assert.equal(await newest(), START);
    await mock.time.advance(1);
    assert.equal(await newest(), START + INTERVAL_MS);
    await mock.time.advance(10 * INTERVAL_MS);
    assert.equal(await newest(), START + 11 * INTERVAL_MS);
    directory.close();
    assert.equal(mock.time.pending, 0);
    await mock.time.advance(2 * INTERVAL_MS);
    assert.equal(await newest(), START + 11 * INTERVAL_MS);
  });

  test("two authorities measure too little for any relay to count for more than 20 KB/s", async () => {
    const { directory } = newDirectory();
    const { directory: small } = newDirectory({ authorities: directory.voters.slice(0, 2) });
    small.publish();
    const { body } = await ask(small, "/tor/status-vote/current/consensus-microdesc");
    const text = new TextDecoder().decode(body);
    assert.equal(text.match(/^w Bandwidth=20 Unmeasured=1$/gm)!.length, 6);
  });

  test("an interval must be whole seconds", () => {
    assert.throws(() => newDirectory({ intervalMs: 999 }), RangeError);
    assert.throws(() => newDirectory({ intervalMs: 1500 }), RangeError);
  });
});

describe("phantom relays", () => {
  test("are relays to clients, as large as public ones, and weigh nothing in any position", async () => {
    const { directory } = newDirectory({ phantomRelays: 2000 });
    directory.publish();
    const view = await viewOf(directory);
    assert.equal(view.size, 2006);
    assert.equal(view.usablePaths().usable, 2006);
    const real = new Set(IDENTITIES.map(({ rsaId }) => view.indexOfRsaId(rsaId)));
    for (let i = 0; i < view.size; i++) {
      if (real.has(i)) continue;
      assert.equal(view.flags(i) & ~(FLAG_RUNNING | (1 << 13)), 0);
      for (const position of ["guard", "middle", "exit", "directory"] as const) {
        assert.equal(view.weight(i, position), 0);
      }
      assert.ok(!view.allowsSomeExit(i));
      assert.ok(view.ipv4(i) >= 240 * 2 ** 24, "an address that nobody has");
    }
    assert.equal(view.fractionUsable(), 1);
  });

  test("their microdescriptors have the sizes of public ones, and families that their members agree on", async () => {
    const { directory } = newDirectory({ phantomRelays: 1000 });
    directory.publish();
    const view = await viewOf(directory);
    const sizes: number[] = [];
    for (let i = 0; i < view.size; i++) {
      const digest = view.consensus.relays.microdescDigests.subarray(i * 32, i * 32 + 32);
      sizes.push(directory.documents.microdesc(toBase64(digest))!.length);
    }
    sizes.sort((a, b) => a - b);
    const mean = sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
    const median = sizes[sizes.length >> 1]!;
    assert.ok(mean > 3800 && mean < 4600, `mean ${mean}`);
    assert.ok(median > 550 && median < 700, `median ${median}`);
    const [first] = Array.from({ length: view.size }, (_, i) => i).map((i) =>
      Array.from({ length: view.size }, (_, j) => j).filter((j) => view.sameFamily(i, j))
    ).filter((family) => family.length === 250);
    assert.ok(first, "a family of 250");
    for (const i of first) assert.ok(first.every((j) => view.sameFamily(i, j)));
  });
});
