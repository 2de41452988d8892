import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { TestAuthority } from "../../support/network_documents.ts";
import { attach, bytesOf, consensusBody, testRelay } from "../../support/network_documents.ts";
import { TunicError } from "../../../src/base/errors.ts";
import { toHex } from "../../../src/bytes/text.ts";
import {
  type Behaviour,
  busy,
  DirectoryWorld,
  down,
  garbage,
  honest,
  HOUR,
  microdescName,
  notFound,
  silent,
  withClient,
} from "../../support/directory_world.ts";

describe("bootstrap", () => {
  test("asks a fallback, then it for certificates, then guards for microdescriptors", async () => {
    const world = new DirectoryWorld();
    await withClient(world, async (client) => {
      await world.time.advance(1_000);
      assert.ok(client.isReady);
      assert.equal(client.directory.netdir!.size, world.relays.length);
      assert.equal(client.directory.netdir!.missingCount, 0);
      assert.deepEqual(world.askedFor("consensus").map(({ kind }) => kind), ["fallback"]);
      assert.deepEqual(world.askedFor("keys").map(({ kind }) => kind), ["fallback"]);
      assert.deepEqual(new Set(world.askedFor("micro").map(({ kind }) => kind)), new Set(["relay"]));
      assert.deepEqual(client.problems, []);
      const phases = client.progress.map(({ phase }) => phase);
      assert.deepEqual([...new Set(phases)], [
        "conn",
        "requesting_status",
        "loading_status",
        "loading_keys",
        "requesting_descriptors",
        "loading_descriptors",
        "enough_dirinfo",
      ]);
      const fractions = client.progress.map(({ fraction }) => fraction);
      assert.deepEqual(fractions, [...fractions].sort((a, b) => a - b));
    });
  });

  test("asks for what its authorities signed", async () => {
    const world = new DirectoryWorld();
    await withClient(world, async () => {
      const short = world.authorities.map(({ v3ident }) => toHex(v3ident).slice(0, 6).toUpperCase()).sort();
      const [asked] = world.askedFor("consensus");
      assert.equal(asked!.path, `/tor/status-vote/current/consensus-microdesc/${short.join("+")}.z`);
      assert.equal(asked!.ifModifiedSince, undefined);
      await Promise.resolve();
    });
  });

  for (const order of [0, 1, 2]) {
    test(`gets through a silent fallback and one that sends garbage (${order})`, async () => {
      const world = new DirectoryWorld();
      const [a, b, c] = world.fallbacks.map(({ rsaId }) => toHex(rsaId));
      const behaviours = [silent, garbage, honest];
      for (const { rsaId } of world.authorities) world.behaviours.set(toHex(rsaId), down);
      [a!, b!, c!].forEach((id, i) => world.behaviours.set(id, behaviours[(i + order) % 3]!));
      await withClient(world, async (client) => {
        await world.time.advance(25_000);
        assert.ok(client.isReady);
      });
    });
  }

  test("turns to authorities after six seconds, not before", async () => {
    const world = new DirectoryWorld();
    for (const { rsaId } of world.fallbacks) world.behaviours.set(toHex(rsaId), down);
    await withClient(world, async (client) => {
      await world.time.advance(5_900);
      assert.deepEqual(new Set(world.asked.map(({ kind }) => kind)), new Set(["fallback"]));
      assert.ok(!client.isReady);
      await world.time.advance(1_000);
      assert.ok(client.isReady);
      assert.deepEqual(client.problemCodes, ["connection/refused"]);
    });
  });

  test("turns to authorities when every fallback is silent", async () => {
    const world = new DirectoryWorld({ fallbacks: 20 });
    for (const { rsaId } of world.fallbacks) world.behaviours.set(toHex(rsaId), silent);
    await withClient(world, async (client) => {
      await world.time.advance(60_000);
      assert.ok(client.isReady);
    });
  });

  test("has three requests at a time where nobody answers", async () => {
    const world = new DirectoryWorld({ fallbacks: 20 });
    world.otherwise = silent;
    await withClient(world, async (client) => {
      const waiting: number[] = [];
      for (let i = 0; i < 120; i++) {
        await world.time.advance(1_000);
        waiting.push(world.waiting);
      }
      assert.equal(Math.max(...waiting), 3);
      assert.ok(new Set(world.asked.map(({ server }) => server)).size > 6);
      assert.deepEqual(client.problemCodes, ["timeout/stalled"]);
    });
  });

  test("asks authorities at once without fallbacks, and in a network for tests", async () => {
    const alone = new DirectoryWorld({ fallbacks: 0 });
    await withClient(alone, async (client) => {
      await alone.time.advance(1_000);
      assert.ok(client.isReady);
      assert.equal(alone.asked[0]!.kind, "authority");
    });
    const testing = new DirectoryWorld();
    testing.otherwise = silent;
    await withClient(testing, async () => {
      await Promise.resolve();
      assert.deepEqual(new Set(testing.asked.map(({ kind }) => kind)), new Set(["fallback", "authority"]));
    }, { testing: true });
  });

  test("lets the others go once one begins to answer", async () => {
    const world = new DirectoryWorld();
    const abandonedAt: number[] = [];
    let requests = 0;
    world.otherwise = async (request, answer, asked) => {
      if (++requests === 1) {
        request.signal?.addEventListener("abort", () => abandonedAt.push(world.time.now()));
        return silent(request, answer, asked);
      }
      // Long after the consensus has come.
      if (request.path.includes("/keys/")) await new Promise<void>((done) => world.time.after(5_000, done));
      return answer();
    };
    await withClient(world, async (client) => {
      await world.time.advance(12_000);
      assert.ok(client.isReady);
      assert.deepEqual(abandonedAt, [world.askedFor("consensus")[1]!.at]);
      assert.equal(world.askedFor("consensus").length, 2);
      assert.deepEqual(client.problems, []);
    });
  });

  test("asks others for certificates that the directory of the consensus does not give", async () => {
    const world = new DirectoryWorld();
    let refused = 0;
    world.otherwise = (request, answer) => {
      if (!request.path.includes("/keys/") || refused++ > 0) return answer();
      return { status: 404, body: new Uint8Array(0) };
    };
    await withClient(world, async (client) => {
      await world.time.advance(1_000);
      assert.ok(client.isReady);
      const [first, second] = world.askedFor("keys");
      assert.notEqual(first!.server, second!.server);
    });
  });

  test("goes on when no directory has a consensus, with growing pauses, and recovers by itself", async () => {
    const world = new DirectoryWorld();
    world.otherwise = notFound;
    await withClient(world, async (client) => {
      await world.time.advance(12 * HOUR);
      assert.ok(!client.isReady);
      assert.ok(world.asked.length < 400, `${world.asked.length} requests`);
      const last = world.asked.filter(({ at }) => at > world.time.now() - HOUR).length;
      assert.ok(last >= 6 && last <= 40, `${last} requests in the last hour`);
      world.otherwise = honest;
      await world.time.advance(600_000);
      assert.ok(client.isReady);
      assert.deepEqual(client.problemCodes, ["directory/directory-refused"]);
    });
  });

  test("does not wait for the pause to end when told that the network is back", async () => {
    const world = new DirectoryWorld();
    world.otherwise = down;
    await withClient(world, async (client) => {
      await world.time.advance(12 * HOUR);
      world.otherwise = honest;
      client.directory.retryNow();
      await world.time.advance(1_000);
      assert.ok(client.isReady);
    });
  });
});

const strangers = await Promise.all([1, 2, 3].map(() => TestAuthority.create()));

describe("a consensus", () => {
  test("with too few signatures is refused", async () => {
    const world = new DirectoryWorld();
    const signed = new TextDecoder().decode(world.consensusAt(world.time.now()));
    const [body, first] = signed.split("directory-signature ") as [string, string];
    world.consensus = () => bytesOf(attach(`${body}directory-signature `, [first]));
    await withClient(world, async (client) => {
      await world.time.advance(60_000);
      assert.equal(client.directory.snapshot().relays, 0);
      assert.deepEqual(client.problemCodes, ["crypto/too-few-signatures"]);
    });
  });

  test("with one signature repeated is refused", async () => {
    const world = new DirectoryWorld();
    const signed = new TextDecoder().decode(world.consensusAt(world.time.now()));
    const [body, first] = signed.split("directory-signature ") as [string, string];
    world.consensus = () => bytesOf(attach(`${body}directory-signature `, [first, first, first]));
    await withClient(world, async (client) => {
      await world.time.advance(60_000);
      assert.equal(client.directory.snapshot().relays, 0);
      assert.deepEqual(client.problemCodes, ["crypto/too-few-signatures"]);
    });
  });

  test("signed by strangers is refused, and their certificates are not asked for", async () => {
    const world = new DirectoryWorld();
    const body = consensusBody({ relays: [testRelay(1)], authorities: strangers });
    world.consensus = () => bytesOf(attach(body, strangers.map((stranger) => stranger.signature(body))));
    await withClient(world, async (client) => {
      await world.time.advance(60_000);
      assert.equal(client.directory.snapshot().relays, 0);
      assert.equal(world.askedFor("keys").length, 0);
    });
  });

  test("with a changed relay is refused", async () => {
    const world = new DirectoryWorld();
    const signed = new TextDecoder().decode(world.consensusAt(world.time.now()));
    world.consensus = () => bytesOf(signed.replace("w Bandwidth=1000", "w Bandwidth=9000"));
    await withClient(world, async (client) => {
      await world.time.advance(60_000);
      assert.equal(client.directory.snapshot().relays, 0);
      assert.deepEqual(client.problemCodes, ["crypto/too-few-signatures"]);
    });
  });

  test("with certificates of strangers in the place of the authorities' is refused", async () => {
    const world = new DirectoryWorld();
    world.otherwise = (request, answer) => {
      if (!request.path.includes("/keys/")) return answer();
      const fingerprint = toHex(world.authorities[0]!.v3ident).toUpperCase();
      const forged = strangers.map((stranger) => stranger.certificate({ fingerprint }));
      return { status: 200, body: bytesOf(forged.join("")) };
    };
    await withClient(world, async (client) => {
      await world.time.advance(60_000);
      assert.equal(client.directory.snapshot().relays, 0);
      assert.equal(client.directory.snapshot().certificates, 0);
    });
  });
});

describe("a clock", () => {
  for (
    const [title, errorMs, relation] of [
      ["two days behind", -48 * HOUR, /our clock is 1 day and 23 hours behind what the directory says/],
      ["ten days ahead", 240 * HOUR, /our clock is 9 days and 21 hours ahead of what the directory says/],
    ] as const
  ) {
    test(`${title} is told, and does not stop a client for good`, async () => {
      const world = new DirectoryWorld();
      world.clockErrorMs = errorMs;
      await withClient(world, async (client) => {
        await world.time.advance(20_000);
        assert.ok(!client.isReady);
        const clock = client.problems.filter(({ kind }) => kind === "clock");
        assert.ok(clock.length > 0);
        for (const problem of clock) assert.match(problem.message, relation);
        world.clockErrorMs = 0;
        await world.time.advance(700_000);
        assert.ok(client.isReady);
      });
    });
  }

  test("years ahead is told as such, though every certificate has expired by it", async () => {
    const world = new DirectoryWorld();
    world.clockErrorMs = 3 * 365 * 24 * HOUR;
    await withClient(world, async (client) => {
      await world.time.advance(20_000);
      assert.ok(!client.isReady);
      assert.ok(client.problemCodes.includes("clock/clock-ahead"));
      world.clockErrorMs = 0;
      await world.time.advance(700_000);
      assert.ok(client.isReady);
    });
  });

  test("some hours wrong is no obstacle; behind, it is told", async () => {
    const behind = new DirectoryWorld();
    behind.clockErrorMs = -20 * HOUR;
    await withClient(behind, async (client) => {
      await behind.time.advance(20_000);
      assert.ok(client.isReady);
      assert.deepEqual(client.problemCodes, ["clock/clock-doubtful"]);
    });
    const ahead = new DirectoryWorld();
    ahead.clockErrorMs = 20 * HOUR;
    await withClient(ahead, async (client) => {
      await ahead.time.advance(20_000);
      assert.ok(client.isReady);
    });
  });

  test("that a relay contradicts by more than an hour is told while there is no consensus to go by", async () => {
    const world = new DirectoryWorld();
    world.otherwise = silent;
    await withClient(world, async (client) => {
      client.channels.emit("clock-skew", { skewMs: 0.9 * HOUR });
      assert.equal(client.problems.length, 0);
      client.channels.emit("clock-skew", { skewMs: -2 * HOUR });
      assert.match(client.problems[0]!.message, /our clock is 2 hours behind what the directory says/);
      client.channels.emit("clock-skew", { skewMs: 49 * HOUR });
      assert.match(client.problems[1]!.message, /our clock is 2 days and 1 hour ahead of what the directory says/);
      assert.deepEqual(client.problemCodes, ["clock/clock-doubtful"]);
      world.otherwise = honest;
      await world.time.advance(60_000);
      assert.ok(client.isReady);
      const before = client.problems.length;
      client.channels.emit("clock-skew", { skewMs: 49 * HOUR });
      assert.equal(client.problems.length, before);
    });
  });

  test("is blamed for certificates that have expired once two relays have such", async () => {
    const expired: Behaviour = () => {
      throw new TunicError("x", { kind: "clock", code: "certificate-expired", retry: "elsewhere" });
    };
    const world = new DirectoryWorld();
    let first: string | undefined;
    world.otherwise = (request, answer, asked) => {
      if ((first ??= asked.server) !== asked.server) return answer();
      return expired(request, answer, asked);
    };
    await withClient(world, async (client) => {
      await world.time.advance(20_000);
      assert.ok(client.isReady);
      assert.deepEqual(client.problemCodes, ["clock/certificate-expired"]);
    });
    const late = new DirectoryWorld();
    late.otherwise = expired;
    await withClient(late, async (client) => {
      await late.time.advance(20_000);
      assert.deepEqual(client.problemCodes.slice(0, 2), ["clock/certificate-expired", "clock/clock-ahead"]);
    });
  });

  test("is not blamed for one directory's old consensus", async () => {
    const world = new DirectoryWorld();
    let answers = 0;
    const old = world.consensusAt(world.time.now() - 100 * HOUR);
    world.consensus = () => answers++ === 0 ? old : world.consensusAt(world.time.now());
    await withClient(world, async (client) => {
      await world.time.advance(20_000);
      assert.ok(client.isReady);
      assert.deepEqual(client.problemCodes, ["directory/stale-consensus"]);
    });
  });
});

describe("microdescriptors", () => {
  test("of other relays in the place of one are not accepted, and asked for elsewhere", async () => {
    const world = new DirectoryWorld();
    let liar: string | undefined;
    world.otherwise = (request, answer, { server }) => {
      if (!request.path.includes("/micro/") || (liar ??= server) !== server) return answer();
      const others = [testRelay(201), testRelay(202), testRelay(203)];
      return { status: 200, body: bytesOf(others.map(({ microdesc }) => microdesc).join("")) };
    };
    await withClient(world, async (client) => {
      await world.time.advance(60_000);
      assert.ok(client.isReady);
      const netdir = client.directory.netdir!;
      assert.equal(netdir.missingCount, 0);
      assert.equal(netdir.store.size, world.relays.length);
      assert.ok(client.problemCodes.includes("directory/wrong-microdescriptors"));
      const name = microdescName(world.relays[0]!);
      const askedOf = world.askedFor("micro").filter(({ path }) => path.includes(name)).map(({ server }) => server);
      assert.notEqual(askedOf.at(-1), liar);
    });
  });

  test("altered on the way are not accepted", async () => {
    const world = new DirectoryWorld();
    world.otherwise = (request, answer) => {
      const { status, body } = answer();
      if (!request.path.includes("/micro/")) return { status, body };
      return { status, body: bytesOf(new TextDecoder().decode(body).replaceAll("accept 80,443", "accept 1-65535")) };
    };
    await withClient(world, async (client) => {
      await world.time.advance(HOUR);
      assert.ok(!client.isReady);
      assert.equal(client.directory.snapshot().missingMicrodescs, world.relays.length);
      assert.ok(world.asked.length < 200, `${world.asked.length} requests`);
    });
  });

  test("are asked of fallbacks when guards do not have them", async () => {
    for (const refusal of [notFound, busy, down, garbage, silent]) {
      const world = new DirectoryWorld();
      world.otherwise = (request, answer, asked) => asked.kind === "relay" ? refusal(request, answer, asked) : answer();
      await withClient(world, async (client) => {
        await world.time.advance(100_000);
        assert.ok(client.isReady, refusal.name);
        // A guard that says no is there; one that cannot be reached is to be avoided by circuits as well.
        const { primary, usablePrimary } = client.guards.snapshot;
        assert.equal(primary, 3);
        assert.equal(usablePrimary < primary, refusal === down || refusal === silent, refusal.name);
      });
    }
  });

  test("are asked for in batches of hundreds", async () => {
    const world = new DirectoryWorld({ relays: 1_200 });
    await withClient(world, async (client) => {
      await world.time.advance(1_000);
      assert.ok(client.isReady);
      const counts = world.askedFor("micro").map(({ path }) => path.split("-").length);
      assert.deepEqual(counts, [400, 400, 400]);
      assert.ok(new Set(world.askedFor("micro").map(({ server }) => server)).size <= 3);
    });
  });

  test("that nobody has are asked for now and then", async () => {
    const world = new DirectoryWorld();
    const lost = microdescName(world.relays[0]!);
    world.otherwise = (request, answer) => {
      const { status, body } = answer();
      if (!request.path.includes("/micro/")) return { status, body };
      return { status, body: bytesOf(new TextDecoder().decode(body).replace(world.relays[0]!.microdesc, "")) };
    };
    await withClient(world, async (client) => {
      await world.time.advance(50 * 60_000);
      assert.ok(client.isReady);
      const count = world.askedFor("micro").filter(({ path }) => path.includes(lost)).length;
      assert.ok(count >= 4 && count <= 8, `asked ${count} times`);
    });
  });
});
