import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { sha1, sha256 } from "../../../src/crypto/digest.ts";
import { toHex, utf8 } from "../../../src/bytes/text.ts";
import { countVotes } from "../../../src/testnet/directory/consensus_count.ts";
import type { RelayStatus } from "../../../src/testnet/directory/relay_status.ts";
import { makeVote, PROTOCOL_LINES, type Vote, type VoteContent } from "../../../src/testnet/directory/vote.ts";
import { AUTHORITY_KEYS, START } from "./support.ts";

function status(n: number, changes: Partial<RelayStatus> = {}): RelayStatus {
  return {
    nickname: `relay${n}`,
    rsaId: new Uint8Array(20).fill(n),
    ed25519Id: sha256(utf8(`ed25519 ${n}`)),
    descriptorDigest: sha1(utf8(`descriptor ${n}`)),
    microdescDigest: sha256(utf8(`microdesc ${n}`)),
    published: START,
    ipv4: "127.0.0.1",
    orPort: 9000 + n,
    dirPort: 0,
    flags: ["Fast", "Running", "Valid"],
    version: "Tor 0.4.9.11",
    protocols: "Link=4-5",
    bandwidth: 100,
    policy: "reject 1-65535",
    ...changes,
  };
}

/** One vote for each list of relays, and whatever else votes may differ in. */
function votesFor(lists: readonly (readonly RelayStatus[])[], changes: readonly Partial<VoteContent>[] = []): Vote[] {
  return lists.map((relays, i) =>
    makeVote({
      voter: {
        nickname: `auth${i}`,
        keys: AUTHORITY_KEYS[i]!,
        rsaId: new Uint8Array(20),
        certificate: "",
        host: "127.0.0.1",
        orPort: 5000,
        dirPort: 0,
        contact: "nobody",
      },
      lifetime: { validAfter: START, freshUntil: START + 60_000, validUntil: START + 180_000 },
      voteDelayMs: 2000,
      distributionDelayMs: 2000,
      protocols: PROTOCOL_LINES,
      knownFlags: ["Fast", "Guard", "Running", "Valid"],
      params: new Map(),
      sharedRandom: {
        previous: { reveals: 0, value: new Uint8Array(32) },
        current: { reveals: 0, value: new Uint8Array(32) },
        voteLines: "",
      },
      relays,
      ...changes[i],
    })
  );
}

const count = (...lists: RelayStatus[][]) => countVotes(votesFor(lists), 3).relays;

describe("counting votes", () => {
  test("a relay is listed if more than half of all authorities list it", () => {
    const relays = count([status(1), status(2), status(4)], [status(2), status(3), status(4)], [status(4), status(5)]);
    assert.deepEqual(relays.map((entry) => entry.status.nickname), ["relay2", "relay4"]);
    assert.deepEqual(count([status(1)]), [], "one of three that exist, though the only one that voted");
  });

  test("a flag is given if more than half of those who know it give it", () => {
    const guard = ["Fast", "Guard", "Running", "Valid"];
    const without = ["Running", "Valid"];
    assert.deepEqual(
      count([status(1, { flags: guard })], [status(1, { flags: guard })], [status(1, { flags: without })])
        .map(({ flags }) => flags),
      [guard],
    );
    assert.deepEqual(
      count([status(1, { flags: guard })], [status(1, { flags: without })], [status(1, { flags: without })])
        .map(({ flags }) => flags),
      [without],
    );
    const knowsNoGuard = { knownFlags: ["Fast", "Running", "Valid"] };
    const votes = votesFor([[status(1, { flags: guard })], [status(1)], [status(1)]], [{}, knowsNoGuard, knowsNoGuard]);
    assert.deepEqual(countVotes(votes, 3).relays[0]!.flags, guard, "one of one");
  });

  test("a relay that most find not running or not valid is left out", () => {
    const down = status(1, { flags: ["Fast", "Valid"] });
    const invalid = status(1, { flags: ["Fast", "Running"] });
    assert.equal(count([down], [down], [status(1)]).length, 0);
    assert.equal(count([invalid], [invalid], [status(1)]).length, 0);
    assert.equal(count([down], [status(1)], [status(1)]).length, 1);
  });

  test("descriptor and place come from what most say, and of equals from the one published last", () => {
    const moved = status(1, { orPort: 1, descriptorDigest: sha1(utf8("moved")), policy: "accept 80" });
    const later = status(1, { orPort: 2, published: START + 1000, policy: "accept 443" });
    const most = count([status(1)], [moved], [moved])[0]!.status;
    assert.deepEqual([most.orPort, most.policy], [1, "accept 80"]);
    const tie = count([status(1)], [moved], [later])[0]!.status;
    assert.deepEqual([tie.orPort, tie.policy], [2, "accept 443"]);
  });

  test("bandwidth is the median of three measurements, or little", () => {
    const measured = (...values: number[]) => count(...values.map((bandwidth) => [status(1, { bandwidth })]))[0]!;
    assert.deepEqual([measured(5, 900, 70).bandwidth, measured(5, 900, 70).unmeasured], [70, false]);
    assert.deepEqual([measured(900, 700).bandwidth, measured(900, 700).unmeasured], [20, true]);
    assert.equal(measured(7, 3).bandwidth, 3, "the lower one of two");
    const params = { params: new Map([["maxunmeasuredbw", 500]]) };
    const votes = votesFor([[status(1, { bandwidth: 900 })], [status(1, { bandwidth: 800 })]], [params, params]);
    assert.equal(countVotes(votes, 3).relays[0]!.bandwidth, 500);
  });

  test("an Ed25519 identity that most do not confirm is marked", () => {
    const other = status(1, { ed25519Id: new Uint8Array(32).fill(1) });
    const third = status(1, { ed25519Id: new Uint8Array(32).fill(2) });
    assert.deepEqual(count([status(1)], [other], [third])[0]!.flags, ["Fast", "NoEdConsensus", "Running", "Valid"]);
    const agreed = count([other], [status(1)], [status(1)])[0]!;
    assert.deepEqual([agreed.flags, agreed.status.ed25519Id], [["Fast", "Running", "Valid"], status(1).ed25519Id]);
  });

  test("parameters are those that most set, at the lower median", () => {
    const set = (params: Record<string, number>) => ({ params: new Map(Object.entries(params)) });
    const votes = votesFor([[], [], []], [set({ a: 1, b: 7 }), set({ a: 9, c: 1 }), set({ a: 3, c: 2 })]);
    assert.deepEqual([...countVotes(votes, 3).params], [["a", 3], ["c", 1]]);
  });

  test("times are medians, and authorities come by their identities", () => {
    const lifetime = (shift: number) => ({
      lifetime: { validAfter: START + shift, freshUntil: START + 60_000 + shift, validUntil: START + 180_000 + shift },
    });
    const content = countVotes(votesFor([[], [], []], [lifetime(0), lifetime(5000), lifetime(1000)]), 3);
    assert.equal(content.lifetime.validAfter, START + 1000);
    const names = content.votes.map(({ voter }) => toHex(voter.keys.identity));
    assert.deepEqual(names, AUTHORITY_KEYS.map(({ identity }) => toHex(identity)).sort());
    assert.ok(content.knownFlags.includes("NoEdConsensus"));
  });

  test("no votes are no consensus", () => assert.throws(() => countVotes([], 3), RangeError));
});
