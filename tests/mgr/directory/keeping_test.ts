import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { toHex } from "../../../src/bytes/text.ts";
import type { NetDir } from "../../../src/netdir/net_dir.ts";
import {
  DirectoryWorld,
  down,
  honest,
  HOUR,
  notFound,
  silent,
  START,
  withClient,
  type WorldClient,
} from "../../support/directory_world.ts";
import { testRelay } from "../../support/network_documents.ts";

/** Lets `ms` pass in steps, and answers at how many of their ends there was no view. */
async function gapsIn(client: WorldClient, ms: number, stepMs: number): Promise<number> {
  let gaps = 0;
  for (let passed = 0; passed < ms; passed += stepMs) {
    await client.world.time.advance(stepMs);
    if (!client.isReady) gaps++;
  }
  return gaps;
}

describe("a consensus", () => {
  test("is replaced at a random time when caches have the next one, long before it ends", async () => {
    const times = new Set<number>();
    for (let seed = 0; seed < 8; seed++) {
      const world = new DirectoryWorld();
      // Different clients, or they would all choose the same time.
      world.mock.random(7 * seed);
      await withClient(world, async (client) => {
        await world.time.advance(3 * HOUR);
        const [, second] = world.askedFor("consensus");
        const { validAfter } = client.views[0]!;
        const after = (second!.at - validAfter) / 60_000;
        assert.ok(after >= 105 && after <= 105 + 75 * 7 / 8, `${after} minutes`);
        times.add(second!.at);
        assert.equal(second!.kind, "relay");
        assert.equal(second!.ifModifiedSince, validAfter);
        assert.ok(client.views[1]!.validAfter > validAfter);
      });
    }
    assert.ok(times.size >= 6, `${times.size} different times`);
  });

  test("is kept fresh for days, with certificates and unchanged microdescriptors asked for once", async () => {
    const world = new DirectoryWorld();
    await withClient(world, async (client) => {
      await world.time.advance(1_000);
      assert.equal(await gapsIn(client, 48 * HOUR, HOUR / 2), 0);
      assert.ok(client.views.length >= 16 && client.views.length <= 28, `${client.views.length} views`);
      assert.equal(world.askedFor("keys").length, 1);
      assert.equal(world.askedFor("micro").length, 2);
      assert.deepEqual(client.problems, []);
    });
  });

  test("that lives for 40 s is enough for a network to be used for an hour", async () => {
    const world = new DirectoryWorld({ intervalMs: 20_000, lifetimeMs: 40_000 });
    await withClient(world, async (client) => {
      await world.time.advance(1_000);
      assert.equal(await gapsIn(client, HOUR, 5_000), 0);
      assert.ok(client.views.length > 80, `${client.views.length} views`);
      assert.ok(world.askedFor("consensus").length < 400);
      assert.ok(client.directory.netdir!.validUntil > world.time.now());
    }, { testing: true });
  });

  test("that nobody replaces is used for a day after its end, then no longer", async () => {
    const world = new DirectoryWorld();
    const last = world.consensusAt(START);
    world.consensus = () => last;
    await withClient(world, async (client) => {
      await world.time.advance(1_000);
      const end = client.views[0]!.validUntil;
      await world.time.advance(end + 24 * HOUR - 1_000 - world.time.now());
      assert.ok(client.isReady);
      await world.time.advance(2_000);
      assert.ok(!client.isReady);
      assert.ok(world.askedFor("consensus").length < 400, `${world.askedFor("consensus").length} requests`);
      assert.deepEqual(client.views.length, 1);
      // The network is there again.
      world.consensus = () => world.consensusAt(world.time.now());
      await world.time.advance(700_000);
      assert.ok(client.isReady);
    });
  });

  test("older than the one in use is not taken for a new one", async () => {
    const world = new DirectoryWorld();
    await withClient(world, async (client) => {
      await world.time.advance(1_000);
      const old = world.consensusAt(START - HOUR);
      world.otherwise = (request, answer) => request.path.includes("consensus") ? { status: 200, body: old } : answer();
      await world.time.advance(6 * HOUR);
      assert.equal(client.views.length, 1);
      assert.equal(client.directory.snapshot().lifetime!.validAfter, client.views[0]!.validAfter);
    });
  });

  test("of a network that was down for hours is replaced within minutes of its return", async () => {
    const world = new DirectoryWorld();
    await withClient(world, async (client) => {
      await world.time.advance(1_000);
      world.otherwise = down;
      await world.time.advance(40 * HOUR);
      assert.ok(!client.isReady);
      const { length } = world.asked;
      assert.ok(length < 1_000, `${length} requests`);
      world.otherwise = honest;
      await world.time.advance(11 * 60_000);
      assert.ok(client.isReady);
      assert.ok(client.directory.netdir!.validUntil > world.time.now());
    });
  });

  test("is replaced when the machine has slept over its end", async () => {
    const world = new DirectoryWorld();
    await withClient(world, async (client) => {
      await world.time.advance(1_000);
      // Asleep: the wall clock goes on, timers do not.
      const asleep = 30 * HOUR;
      const { consensus } = world;
      world.clockErrorMs += asleep;
      world.consensus = () => world.consensusAt(world.time.now() + asleep);
      await world.time.advance(61_000 + 10_000);
      assert.ok(client.isReady);
      assert.equal(client.views.length, 2);
      world.consensus = consensus;
    });
  });
});

describe("a new view", () => {
  test("takes the old one's place when enough microdescriptors of its relays are there", async () => {
    const world = new DirectoryWorld();
    await withClient(world, async (client) => {
      await world.time.advance(1_000);
      const first = client.directory.netdir;
      world.relays = Array.from({ length: 40 }, (_, i) => testRelay(i + 31));
      world.otherwise = (request, answer, asked) =>
        request.path.includes("/micro/") ? notFound(request, answer, asked) : answer();
      await world.time.advance(3 * HOUR);
      assert.ok(client.directory.snapshot().lifetime!.validAfter > first!.validAfter);
      assert.equal(client.directory.netdir, first);
      // Until then guards are chosen from the old one, too.
      const guard = client.guards.select({ purpose: "traffic" });
      assert.equal(guard.relay, first!.indexOfRsaId(guard.rsaId));
      guard.onClosed();
      world.otherwise = honest;
      await world.time.advance(HOUR / 2);
      assert.notEqual(client.directory.netdir, first);
      assert.equal(client.directory.netdir!.missingCount, 0);
      assert.equal(client.directory.netdir!.indexOfRsaId(testRelay(1).rsaId), -1);
    });
  });

  test("brings few new relays, whose microdescriptors wait for more", async () => {
    const world = new DirectoryWorld();
    await withClient(world, async (client) => {
      await world.time.advance(1_000);
      const before = world.askedFor("micro").length;
      world.relays = [...world.relays, testRelay(100)];
      await world.time.advance(4 * HOUR);
      assert.equal(client.directory.netdir!.missingCount, 0);
      assert.equal(world.askedFor("micro").length, before + 1);
    });
  });

  test("drops microdescriptors that no consensus has named for a week", async () => {
    const world = new DirectoryWorld();
    await withClient(world, async (client) => {
      await world.time.advance(1_000);
      world.relays = Array.from({ length: 40 }, (_, i) => testRelay(i + 2));
      await world.time.advance(6 * 24 * HOUR);
      assert.equal(client.directory.netdir!.store.size, 41);
      await world.time.advance(2 * 24 * HOUR);
      assert.equal(client.directory.netdir!.store.size, 40);
    });
  });
});

describe("the cache", () => {
  async function filled(): Promise<DirectoryWorld> {
    const world = new DirectoryWorld();
    const client = await world.client();
    await world.time.advance(1_000);
    assert.ok(client.isReady);
    await client.close();
    world.asked.length = 0;
    return world;
  }

  const CONSENSUS = "/data/consensus-microdesc";
  const CERTIFICATES = "/data/certificates";
  const MICRODESCRIPTORS = "/data/microdescriptors";

  test("lets a client start without any network", async () => {
    const world = await filled();
    world.otherwise = down;
    await withClient(world, async (client) => {
      assert.ok(client.isReady);
      assert.equal(client.directory.netdir!.missingCount, 0);
      assert.deepEqual(client.progress.map(({ phase }) => phase), ["requesting_descriptors", "enough_dirinfo"]);
      await world.time.advance(60_000);
      assert.equal(world.asked.length, 0);
    });
  });

  test("is used while a new consensus is fetched, up to a day after its end", async () => {
    const world = await filled();
    await world.time.advance(26 * HOUR);
    world.otherwise = silent;
    await withClient(world, async (client) => {
      assert.ok(client.isReady);
      assert.ok(world.askedFor("consensus").length > 0);
      await Promise.resolve();
    });
    await world.time.advance(2 * HOUR);
    await withClient(world, async (client) => {
      assert.ok(!client.isReady);
      assert.deepEqual(client.problems, []);
      world.otherwise = honest;
      await world.time.advance(60_000);
      assert.ok(client.isReady);
      assert.equal(world.askedFor("keys").length, 0);
      assert.equal(world.askedFor("micro").length, 0);
    });
  });

  for (const path of [CONSENSUS, CERTIFICATES, MICRODESCRIPTORS]) {
    for (const damage of ["missing", "empty", "truncated", "garbled", "altered"] as const) {
      test(`does no harm when ${path} is ${damage}`, async () => {
        const world = await filled();
        const { contents } = world.mock.files;
        const whole = contents.get(path)!;
        const half = whole.length >> 1;
        if (damage === "missing") contents.delete(path);
        else if (damage === "empty") contents.set(path, new Uint8Array(0));
        else if (damage === "truncated") contents.set(path, whole.slice(0, half));
        else if (damage === "garbled") contents.set(path, whole.map((byte, i) => byte ^ (i * 7)));
        else contents.set(path, whole.map((byte, i) => i === half ? byte ^ 1 : byte));
        await withClient(world, async (client) => {
          await world.time.advance(60_000);
          assert.ok(client.isReady);
          // Two certificates of three are enough, if the third can be read.
          const mayBeEnough = path === CERTIFICATES && damage === "altered";
          assert.ok(world.asked.length > 0 || mayBeEnough, "what was damaged has to be fetched");
          assert.equal(client.directory.netdir!.missingCount, 0);
        });
        // And what was fetched is in the place of what was damaged.
        world.asked.length = 0;
        world.otherwise = down;
        await withClient(world, async (client) => {
          assert.ok(client.isReady);
          await Promise.resolve();
        });
      });
    }
  }

  test("of other authorities is not believed", async () => {
    const world = await filled();
    const other = new DirectoryWorld();
    const strangers = other.authorities.map((authority, i) => ({
      ...authority,
      v3ident: new Uint8Array(20).fill(i),
    }));
    Object.assign(world, { authorities: strangers });
    world.otherwise = down;
    await withClient(world, async (client) => {
      assert.ok(!client.isReady);
      assert.equal(client.directory.snapshot().certificates, 0);
      await Promise.resolve();
    });
  });

  test("from the future says that the clock is behind", async () => {
    const world = await filled();
    world.otherwise = down;
    world.clockErrorMs = -72 * HOUR;
    await withClient(world, async (client) => {
      assert.ok(!client.isReady);
      assert.ok(client.problemCodes.includes("clock/clock-behind"));
      await Promise.resolve();
    });
  });
});

describe("ready", () => {
  test("resolves for all who wait, and at once when there is a view", async () => {
    const world = new DirectoryWorld();
    await withClient(world, async (client) => {
      const waiting = [client.directory.ready(), client.directory.ready(new AbortController().signal)];
      await world.time.advance(1_000);
      const views = await Promise.all([...waiting, client.directory.ready()]);
      assert.deepEqual(new Set<NetDir | undefined>(views), new Set([client.directory.netdir]));
    });
  });

  test("rejects when it is aborted or the manager closes, and not for failures", async () => {
    const world = new DirectoryWorld();
    world.otherwise = down;
    let closing: Promise<unknown> | undefined;
    await withClient(world, async (client) => {
      const abort = new AbortController();
      const aborted = assert.rejects(client.directory.ready(abort.signal), { kind: "aborted" });
      closing = assert.rejects(client.directory.ready(), { kind: "closed" });
      await world.time.advance(60_000);
      assert.ok(client.problems.length > 0);
      abort.abort();
      await aborted;
    });
    await closing;
  });

  test("rejects after the close", async () => {
    const world = new DirectoryWorld();
    const client = await world.client();
    await client.close();
    await assert.rejects(client.directory.ready(), { kind: "closed" });
  });
});

test("a close in the middle of everything ends it", async () => {
  for (const document of ["consensus", "/keys/", "/micro/"]) {
    const world = new DirectoryWorld();
    world.otherwise = (request, answer, asked) =>
      request.path.includes(document) ? silent(request, answer, asked) : answer();
    await withClient(world, async (client) => {
      await world.time.advance(8_000);
      assert.ok(world.waiting > 0, document);
      assert.ok(!client.isReady);
    });
  }
});

test("a snapshot counts and names nobody", async () => {
  const world = new DirectoryWorld();
  await withClient(world, async (client) => {
    await world.time.advance(1_000);
    const snapshot = client.directory.snapshot();
    assert.deepEqual({ ...snapshot, refreshAt: undefined, lifetime: undefined }, {
      progress: { phase: "enough_dirinfo", fraction: 0.75, summary: snapshot.progress.summary },
      ready: true,
      lifetime: undefined,
      relays: 40,
      missingMicrodescs: 0,
      pathsUsable: 1,
      pathsNeeded: 0.6,
      certificates: 3,
      refreshAt: undefined,
      microdescRequests: 0,
      problem: undefined,
    });
    assert.ok(!JSON.stringify(snapshot).includes(toHex(world.relays[0]!.rsaId)));
  });
});
