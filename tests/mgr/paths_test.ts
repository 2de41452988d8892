import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { isTunicError } from "../../src/base/errors.ts";
import { GuardManager } from "../../src/mgr/guards/guard_manager.ts";
import { type Path, type PathOptions, PathSelector } from "../../src/mgr/paths.ts";
import type { NetDir } from "../../src/netdir/net_dir.ts";
import {
  EXIT_FLAGS,
  GUARD_FLAGS,
  makeNetwork,
  MIDDLE_FLAGS,
  numberOf,
  relays,
  rsaIdOf,
  type TestRelay,
} from "../support/network.ts";
import { SeededRandom } from "../support/seeded_random.ts";
import { SimulatedTime } from "../support/simulated_time.ts";
import { assertDistribution } from "../support/statistics.ts";

const WEB = { host: "example.org", port: 443 };
const GUARDS = relays(1, 30, { flags: GUARD_FLAGS });
const MIDDLES = relays(101, 20);
const EXITS = relays(201, 10, { flags: EXIT_FLAGS, policy: "accept 80,443" });
const NETWORK = [...GUARDS, ...MIDDLES, ...EXITS];

function selector(netdir: NetDir | undefined, options: PathOptions = {}, seed = 1): PathSelector {
  const random = new SeededRandom(seed);
  const time = new SimulatedTime();
  const guards = new GuardManager(
    { clock: time.clock, timers: time.timers, random: (count) => random.random(count) },
    { version: "test", ...options },
  );
  const paths = new PathSelector(random, guards, options);
  if (netdir) paths.update(netdir);
  return paths;
}

function hops(path: Path): number[] {
  path.guard.onClosed();
  return path.hops.map((hop) => numberOf(hop.rsaId));
}

function refuses(action: () => unknown, code: string, expected: RegExp): void {
  assert.throws(action, (error) => {
    assert.ok(isTunicError(error, "no-path"), String(error));
    assert.equal(error.code, code);
    assert.match(error.message, expected);
    return true;
  });
}

describe("a path", () => {
  test("has a guard, a middle and an exit that accepts the port", () => {
    const paths = selector(makeNetwork(NETWORK));
    for (let i = 0; i < 200; i++) {
      const path = paths.exitPath(WEB);
      assert.equal(path.hops.length, 3);
      assert.deepEqual(path.guard.rsaId, path.hops[0]!.rsaId);
      assert.ok(path.hops.every((hop) => hop.ntorKey.length === 32 && hop.ed25519Id?.length === 32));
      const [guard, middle, exit] = hops(path) as [number, number, number];
      assert.ok(guard <= 30 && exit > 200, `${guard} ${middle} ${exit}`);
      assert.notEqual(middle, guard);
      assert.notEqual(middle, exit);
    }
  });

  test("exits and middles are chosen in proportion to their weights", () => {
    const weights = { Weg: 0, Wee: 10000, Wed: 5000, Wem: 0, Wmg: 4000, Wme: 0, Wmd: 0, Wmm: 10000 };
    const others = { Wgg: 6000, Wgd: 0, Wgm: 6000, Wgb: 10000, Wmb: 10000, Web: 10000, Wdb: 10000 };
    const flagged = (first: number, flags: readonly string[], policy?: string) =>
      Array.from({ length: 8 }, (_, i) => ({ number: first + i, flags, policy, bandwidth: 500 + 400 * i }));
    const network: TestRelay[] = [
      // One guard only, so that it takes nothing away from the middles by chance.
      { number: 1, flags: GUARD_FLAGS, bandwidth: 9000 },
      ...flagged(101, MIDDLE_FLAGS),
      ...flagged(201, EXIT_FLAGS, "accept 443"),
      ...flagged(301, [...EXIT_FLAGS, "Guard"].filter((flag) => flag !== "Stable"), "accept 443"),
      ...flagged(401, MIDDLE_FLAGS, "accept 443"),
      ...flagged(501, [...EXIT_FLAGS, "BadExit"], "accept 443"),
      ...flagged(601, EXIT_FLAGS, "reject 443"),
    ];
    const netdir = makeNetwork(network, { bandwidthWeights: { ...weights, ...others } });
    const paths = selector(netdir);
    const middles = new Array<number>(netdir.size).fill(0);
    const exits = new Array<number>(netdir.size).fill(0);
    for (let i = 0; i < 20_000; i++) {
      const [, middle, exit] = hops(paths.exitPath(WEB)) as [number, number, number];
      middles[netdir.indexOfRsaId(rsaIdOf(middle))]!++;
      exits[netdir.indexOfRsaId(rsaIdOf(exit))]!++;
    }
    const number = (i: number) => numberOf(netdir.rsaId(i));
    const bandwidth = (i: number) => 500 + 400 * ((number(i) - 1) % 100);
    const indexes = Array.from({ length: netdir.size }, (_, i) => i);
    assertDistribution(
      exits,
      indexes.map((i) => {
        if (number(i) > 200 && number(i) < 300) return bandwidth(i);
        return number(i) > 300 && number(i) < 400 ? bandwidth(i) / 2 : 0;
      }),
    );
    // Relays with BadExit count as if they had no Exit flag.
    const isMiddle = (i: number) => [1, 4, 5].includes(Math.floor(number(i) / 100));
    assertDistribution(middles, indexes.map((i) => isMiddle(i) ? bandwidth(i) : 0));
  });

  test("never has two relays of one family or subnet, nor one twice, in random networks", () => {
    for (let seed = 0; seed < 40; seed++) {
      const random = new SeededRandom(1000 + seed);
      const network = NETWORK.map((relay): TestRelay => ({
        ...relay,
        ipv4: `10.${random.below(30)}.${random.below(250)}.${1 + random.below(250)}`,
        ipv6: random.below(2) === 0 ? `2001:${random.below(20).toString(16)}::${relay.number}` : undefined,
        family: NETWORK.filter(() => random.below(4) === 0).map((other) => other.number),
        flags: random.below(3) === 0 ? [...GUARD_FLAGS, "Exit"] : relay.flags,
        policy: random.below(3) === 0 ? "accept 443" : relay.policy,
        bandwidth: random.below(5000),
      }));
      const netdir = makeNetwork(network);
      const paths = selector(netdir, {}, seed);
      for (let i = 0; i < 50; i++) {
        const path = paths.exitPath(WEB);
        path.guard.onClosed();
        const [a, b, c] = path.hops.map((hop) => netdir.indexOfRsaId(hop.rsaId)) as [number, number, number];
        for (const [one, other] of [[a, b], [a, c], [b, c]] as const) {
          assert.notEqual(one, other);
          assert.ok(!netdir.sameFamily(one, other));
          assert.ok(!netdir.sameSubnet(one, other));
        }
      }
    }
  });

  test("relays of one subnet meet where that is allowed, and only there", () => {
    const near = NETWORK.map((relay) => ({ ...relay, ipv4: `10.1.1.${relay.number}` }));
    const paths = selector(makeNetwork(near), { enforceDistinctSubnets: false });
    assert.equal(hops(paths.exitPath(WEB)).length, 3);
    refuses(() => selector(makeNetwork(near)).exitPath(WEB), "no-suitable-guard", /fits the rest of the path/);
  });

  test("in a network of three there is one for every exit that leaves a guard and a middle", () => {
    const flags = [...GUARD_FLAGS, "Exit"];
    const paths = selector(makeNetwork(relays(1, 3, { flags, policy: "accept 1-65535" })));
    const seen = new Set<number>();
    for (let i = 0; i < 60; i++) {
      const chosen = hops(paths.exitPath(WEB));
      assert.deepEqual([...chosen].sort(), [1, 2, 3]);
      seen.add(chosen[2]!);
    }
    assert.ok(seen.size >= 2);
    refuses(
      () => selector(makeNetwork(relays(1, 2, { flags, policy: "accept 443" }))).exitPath(WEB),
      "no-middle",
      /stand/,
    );
  });

  test("another exit is tried where no guard goes with the first", () => {
    const family = GUARDS.map((relay) => relay.number);
    const blocked = EXITS.slice(1).map((exit) => ({ ...exit, family }));
    const guards = GUARDS.map((guard) => ({ ...guard, family: blocked.map((exit) => exit.number) }));
    const paths = selector(makeNetwork([...guards, ...MIDDLES, ...blocked.slice(0, 4), EXITS[0]!]));
    for (let i = 0; i < 20; i++) assert.equal(hops(paths.exitPath(WEB))[2], EXITS[0]!.number);
  });

  test("relays that just failed are left out", () => {
    const paths = selector(makeNetwork(NETWORK));
    const exclude = [...EXITS.slice(1), ...MIDDLES, ...GUARDS.slice(2)].map((relay) => rsaIdOf(relay.number));
    for (let i = 0; i < 10; i++) {
      const [, middle, exit] = hops(paths.exitPath(WEB, { exclude })) as [number, number, number];
      assert.equal(exit, EXITS[0]!.number);
      assert.ok(middle <= 2);
    }
    const all = EXITS.map((relay) => rsaIdOf(relay.number));
    refuses(() => paths.exitPath(WEB, { exclude: all }), "no-exit", /no exit accepts port 443/);
  });

  test("only relays that run, are valid, fast and speak what is needed are used", () => {
    const without = (flag: string, flags: readonly string[]) => flags.filter((one) => one !== flag);
    const bad: TestRelay[] = ["Running", "Valid", "Fast"].map((flag, i) => ({
      number: 301 + i,
      flags: without(flag, EXIT_FLAGS),
      policy: "accept 443",
      bandwidth: 1_000_000,
    }));
    bad.push({ number: 310, flags: EXIT_FLAGS, policy: "accept 443", bandwidth: 1_000_000, described: false });
    bad.push({ number: 311, flags: EXIT_FLAGS, policy: "accept 443", bandwidth: 1_000_000, protocols: "Relay=1" });
    bad.push({ number: 312, flags: ["BadExit", ...EXIT_FLAGS], policy: "accept 443", bandwidth: 10 });
    const paths = selector(makeNetwork([...NETWORK, ...bad]));
    for (let i = 0; i < 300; i++) {
      const [, middle, exit] = hops(paths.exitPath(WEB)) as [number, number, number];
      assert.ok(exit < 300, `${exit}`);
      assert.ok(middle < 300 || middle === 312, `${middle}`);
    }
  });

  test("slow relays serve where there are no fast ones", () => {
    const slow = EXITS.map((exit) => ({ ...exit, flags: exit.flags!.filter((flag) => flag !== "Fast") }));
    assert.ok(hops(selector(makeNetwork([...GUARDS, ...MIDDLES, ...slow])).exitPath(WEB))[2]! > 200);
  });
});

describe("what a path is for", () => {
  test("long-lived ports are served by stable relays", () => {
    const unstable = [...MIDDLE_FLAGS, "Exit"].filter((flag) => flag !== "Stable");
    const network = [
      ...GUARDS,
      ...relays(101, 5),
      ...relays(151, 50, { flags: unstable.filter((flag) => flag !== "Exit") }),
      ...relays(201, 3, { flags: EXIT_FLAGS, policy: "accept 22,443" }),
      ...relays(251, 30, { flags: unstable, policy: "accept 22,443" }),
    ];
    const paths = selector(makeNetwork(network));
    const ssh = { host: "example.org", port: 22 };
    let isUnstable = false;
    for (let i = 0; i < 100; i++) {
      const path = paths.exitPath(ssh);
      assert.ok(path.isStable && paths.serves(path, ssh));
      const [, middle, exit] = hops(path) as [number, number, number];
      assert.ok(exit <= 203 && (middle < 151 || middle > 200), `${middle} ${exit}`);
      const other = paths.exitPath(WEB);
      isUnstable ||= !other.isStable;
      assert.equal(paths.serves(other, ssh), other.isStable);
      assert.ok(hops(paths.exitPath(WEB, { stable: true }))[2]! <= 203);
      hops(other);
    }
    assert.ok(isUnstable);
    assert.ok(paths.needsStable(6697) && !paths.needsStable(443));
    assert.ok(selector(undefined, { longLivedPorts: [443] }).needsStable(443));
  });

  test("an IPv6 address needs an exit that lets IPv6 out; a name and an IPv4 address do not", () => {
    const six = { number: 299, flags: EXIT_FLAGS, policy: "reject 1-65535", policy6: "accept 443" };
    const paths = selector(makeNetwork([...NETWORK, six]));
    for (let i = 0; i < 50; i++) {
      assert.equal(hops(paths.exitPath({ host: "2001:db8::1", port: 443 }))[2], 299);
      assert.notEqual(hops(paths.exitPath({ host: "192.0.2.1", port: 443 }))[2], 299);
      assert.notEqual(hops(paths.exitPath(WEB))[2], 299);
    }
    const path = paths.exitPath({ host: "2001:db8::1", port: 443 });
    assert.ok(paths.serves(path, { host: "2001:db8::2", port: 443 }));
    assert.ok(!paths.serves(path, WEB));
    refuses(
      () => selector(makeNetwork(NETWORK)).exitPath({ host: "::1", port: 443 }),
      "no-exit",
      /port 443 over IPv6/,
    );
  });

  test("what no exit accepts is said, with the port", () => {
    const paths = selector(makeNetwork(NETWORK));
    refuses(
      () => paths.exitPath({ host: "example.org", port: 25 }),
      "no-exit",
      /^Cannot choose a path: no exit accepts port 25: none of 10 exits \(10 with microdescriptors\) does$/,
    );
    const bare = selector(makeNetwork([...GUARDS, ...MIDDLES, ...relays(201, 4, { ...EXITS[0], described: false })]));
    refuses(() => bare.exitPath(WEB), "no-exit", /none of 4 exits \(0 with microdescriptors\)/);
  });

  test("before there is a consensus that is said", () => {
    for (const ask of ["resolvePath", "internalPath", "directoryHop"] as const) {
      refuses(() => selector(undefined)[ask](), "no-directory", /no consensus/);
    }
    refuses(() => selector(undefined).exitPath(WEB), "no-directory", /no consensus/);
  });

  test("whether a path serves a destination is asked of the newest consensus", () => {
    const paths = selector(makeNetwork(NETWORK));
    const path = paths.exitPath(WEB);
    assert.ok(paths.serves(path, WEB));
    assert.ok(!paths.serves(path, { host: "example.org", port: 25 }));
    paths.update(makeNetwork([...GUARDS, ...MIDDLES]));
    assert.ok(!paths.serves(path, WEB));
  });

  test("names are resolved by any exit that lets something out", () => {
    const odd = { number: 298, flags: EXIT_FLAGS, policy: "accept 9999", bandwidth: 50_000 };
    const closed = { number: 299, flags: EXIT_FLAGS, policy: "reject 1-65535", bandwidth: 50_000 };
    const bad = { number: 297, flags: ["BadExit", ...EXIT_FLAGS], policy: "accept 443", bandwidth: 50_000 };
    const paths = selector(makeNetwork([...NETWORK, odd, closed, bad]));
    const chosen = new Set(Array.from({ length: 100 }, () => hops(paths.resolvePath())[2]!));
    assert.ok(chosen.has(298) && chosen.size > 1);
    assert.ok(!chosen.has(299) && !chosen.has(297));
    refuses(() => selector(makeNetwork([...GUARDS, ...MIDDLES])).resolvePath(), "no-exit", /resolves names/);
  });

  test("an internal path ends anywhere", () => {
    const paths = selector(makeNetwork([...GUARDS, ...MIDDLES]));
    const last = new Set(Array.from({ length: 100 }, () => hops(paths.internalPath({ stable: true }))[2]!));
    assert.ok(last.size > 20);
    refuses(() => selector(makeNetwork([])).internalPath(), "no-exit", /none of 0/);
  });

  test("directory requests go to guards, even undescribed ones, but not to those excluded", () => {
    const paths = selector(makeNetwork(relays(1, 25, { flags: GUARD_FLAGS, described: false, ipv6: "2001:db8::9" })));
    const hop = paths.directoryHop();
    assert.equal(hop.circuit, undefined);
    assert.deepEqual(hop.channel.rsaId, hop.guard.rsaId);
    assert.equal(hop.channel.addresses.length, 2);
    assert.equal(hop.channel.ed25519Id, undefined);
    for (let i = 0; i < 20; i++) {
      assert.notDeepEqual(paths.directoryHop([hop.guard.rsaId]).guard.rsaId, hop.guard.rsaId);
    }
    const described = selector(makeNetwork(NETWORK)).directoryHop();
    assert.equal(described.circuit?.ntorKey.length, 32);
    assert.deepEqual(described.channel.rsaId, described.guard.rsaId);
  });
});
