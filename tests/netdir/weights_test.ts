import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { BandwidthWeights, type Position } from "../../src/netdir/bandwidth_weights.ts";
import { NetParams } from "../../src/netdir/net_params.ts";
import { MicrodescStore } from "../../src/netdir/microdesc_store.ts";
import { NetDir } from "../../src/netdir/net_dir.ts";
import * as flags from "../../src/wire/netdoc/relay_table.ts";
import { bytesOf, type TestRelay, testRelay } from "../support/network_documents.ts";
import { testConsensus, testNetDir } from "../support/test_netdir.ts";

const { FLAG_BAD_EXIT, FLAG_EXIT, FLAG_GUARD, FLAG_V2DIR } = flags;

/** Each weight its own prime, so that a wrong one shows. */
const WEIGHTS = new Map(
  ("Wgg Wgm Wgd Wmg Wmm Wme Wmd Weg Wem Wee Wed Wgb Wmb Web Wdb Wbg Wbm Wbe Wbd").split(" ").map((name, i) =>
    [name, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67][i]!] as const
  ),
);

const params = (scale: number) => new NetParams(new Map([["bwweightscale", scale]]));

describe("bandwidth weights", () => {
  test("follow from the position, the flags and serving the directory", () => {
    const weights = new BandwidthWeights(WEIGHTS, params(1));
    const KINDS: readonly [number, string][] = [
      [0, "m"],
      [FLAG_EXIT, "e"],
      [FLAG_GUARD, "g"],
      [FLAG_EXIT | FLAG_GUARD, "d"],
      [FLAG_EXIT | FLAG_BAD_EXIT, "m"],
      [FLAG_EXIT | FLAG_BAD_EXIT | FLAG_GUARD, "g"],
    ];
    const POSITIONS: readonly [Position, string][] = [["guard", "g"], ["middle", "m"], ["exit", "e"], [
      "directory",
      "b",
    ]];
    for (const [position, p] of POSITIONS) {
      for (const [bits, kind] of KINDS) {
        const own = p === "g" && kind === "e" ? 0 : WEIGHTS.get(`W${p}${kind}`)!;
        assert.equal(weights.factor(bits, position), own, `${position} ${kind}`);
        const directory = p === "b" ? 1 : WEIGHTS.get(`W${kind}b`)!;
        assert.equal(weights.factor(bits | FLAG_V2DIR, position), own * directory, `${position} ${kind} V2Dir`);
      }
    }
  });

  test("are divided by the scale", () => {
    const weights = new BandwidthWeights(WEIGHTS, NetParams.DEFAULTS);
    assert.equal(weights.factor(FLAG_GUARD, "guard"), 2 / 10000);
    assert.equal(new BandwidthWeights(WEIGHTS, params(0)).factor(FLAG_GUARD, "guard"), 2, "a scale of 0 counts as 1");
  });

  test("do not count at all where one of a position's is missing or negative", () => {
    for (
      const broken of [new Map([...WEIGHTS].filter(([name]) => name !== "Wmd")), new Map([...WEIGHTS, ["Wmd", -1]])]
    ) {
      const weights = new BandwidthWeights(broken as Map<string, number>, params(1));
      assert.equal(weights.factor(FLAG_GUARD, "middle"), 1);
      assert.equal(weights.factor(FLAG_GUARD | FLAG_V2DIR, "middle"), 1);
      assert.equal(weights.factor(FLAG_GUARD, "guard"), 2);
    }
  });

  test("multiply a relay's bandwidth", () => {
    const netdir = testNetDir([testRelay(1, { flags: "Guard Running", bandwidth: 500 })]);
    assert.equal(netdir.weight(0, "guard"), 500 * 0.5883);
    assert.equal(netdir.weight(0, "middle"), 500 * 0.4117);
  });
});

describe("the share of usable paths", () => {
  const GUARD = testRelay(1, { flags: "Guard Running", bandwidth: 300 });
  const GUARD2 = testRelay(2, { flags: "Guard Running", bandwidth: 100 });
  const EXIT = testRelay(3, { flags: "Exit Running", bandwidth: 300 });
  const EXIT2 = testRelay(4, { flags: "Exit Running", bandwidth: 200 });
  const MIDDLE = testRelay(5, { flags: "Running", bandwidth: 100 }, { policy: undefined });
  const ALL = [GUARD, GUARD2, EXIT, EXIT2, MIDDLE];

  function usable(relays: readonly TestRelay[], known: readonly TestRelay[]) {
    // Without weights every bandwidth counts as it is.
    const consensus = testConsensus(relays, { bandwidthWeights: "" });
    const netdir = new NetDir(consensus, new MicrodescStore());
    if (known.length > 0) netdir.addMicrodescs(bytesOf(known.map((relay) => relay.microdesc).join("")));
    assert.equal(netdir.fractionUsable(), netdir.usablePaths().fraction);
    return netdir.usablePaths();
  }

  test("is the product of the shares of guards, middles and exits", () => {
    const paths = usable(ALL, [GUARD, EXIT2]);
    assert.deepEqual(paths, {
      guard: 0.75,
      middle: 0.5,
      exit: 0.4,
      fraction: 0.75 * 0.5 * 0.4,
      hasExits: true,
      usable: 5,
      present: 2,
    });
    assert.equal(usable(ALL, ALL).fraction, 1);
    assert.equal(usable(ALL, []).fraction, 0);
    assert.equal(usable(ALL, [GUARD, GUARD2, MIDDLE]).fraction, 0);
    assert.equal(usable(ALL, [EXIT, EXIT2, MIDDLE]).fraction, 0);
    assert.equal(usable([], []).fraction, 0);
  });

  test("takes any relay for the end of a path where there are no exits", () => {
    const paths = usable([GUARD, MIDDLE], [GUARD]);
    assert.equal(paths.hasExits, false);
    assert.equal(paths.exit, 0.75);
    assert.equal(paths.fraction, 0.75 * 0.75);
    const closed = testRelay(6, { flags: "Exit Running" }, { policy: "reject 1-65535" });
    assert.equal(usable([GUARD, closed], [GUARD, closed]).hasExits, false);
    assert.equal(usable([GUARD, closed], [GUARD, closed]).fraction, 1);
    assert.equal(usable([GUARD, closed], [GUARD]).fraction, 0, "it might have been an exit");
  });

  test("counts relays where none has any bandwidth", () => {
    const still = [GUARD, GUARD2, EXIT].map((relay) => ({ ...relay, bandwidth: 0 }));
    const paths = usable(still, still.slice(1));
    assert.equal(paths.guard, 1 / 2);
    assert.equal(paths.middle, 2 / 3);
  });

  test("leaves out relays that no client would use", () => {
    const old = testRelay(7, { flags: "Guard Running", protocols: "Relay=1", bandwidth: 9000 });
    const down = testRelay(8, { flags: "Guard", bandwidth: 9000 });
    assert.equal(usable([...ALL, old, down], ALL).fraction, 1);
    assert.equal(usable([...ALL, old, down], ALL).usable, 5);
  });
});
