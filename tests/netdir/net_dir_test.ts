import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { isTunicError } from "../../src/base/errors.ts";
import { formatIp } from "../../src/bytes/mod.ts";
import { MicrodescStore } from "../../src/netdir/microdesc_store.ts";
import { NetDir } from "../../src/netdir/net_dir.ts";
import { FLAG_EXIT, FLAG_GUARD } from "../../src/wire/netdoc/relay_table.ts";
import { bytesOf, hash, hex, testRelay } from "../support/network_documents.ts";
import { rowOf, testConsensus, testNetDir } from "../support/test_netdir.ts";

const RELAYS = Array.from({ length: 6 }, (_, n) => testRelay(n));

describe("NetDir", () => {
  test("answers for each relay what its documents say", () => {
    const relay = testRelay(1, { ipv6: "[2001:db8::7]:443", flags: "Exit Running", bandwidth: 77 });
    const netdir = testNetDir([...RELAYS.slice(2), relay]);
    const i = rowOf(netdir, "relay1");
    assert.equal(netdir.size, 5);
    assert.deepEqual(netdir.rsaId(i), relay.rsaId);
    assert.equal(netdir.indexOfRsaId(relay.rsaId), i);
    assert.equal(netdir.indexOfRsaId(hash("sha1", "nobody")), -1);
    assert.equal(netdir.indexOfRsaId(new Uint8Array(3)), -1);
    assert.deepEqual(netdir.ntorKey(i), hash("sha256", "ntor 1"));
    assert.deepEqual(netdir.ed25519Id(i), hash("sha256", "ed25519 1"));
    assert.equal(netdir.bandwidth(i), 77);
    assert.ok(netdir.has(i, FLAG_EXIT));
    assert.ok(!netdir.has(i, FLAG_EXIT | FLAG_GUARD));
    assert.ok(netdir.supports(i, "Relay", 2));
    assert.ok(!netdir.supports(i, "Relay", 6));
    assert.equal(formatIp(netdir.ipv6(i)!.address), "2001:db8::7");
    assert.deepEqual(netdir.target(i), {
      addresses: [{ host: "10.1.0.1", port: 9001 }, { host: "2001:db8::7", port: 443 }],
      rsaId: relay.rsaId,
      ed25519Id: hash("sha256", "ed25519 1"),
      ntorKey: hash("sha256", "ntor 1"),
    });
    assert.equal(netdir.ipv6(rowOf(netdir, "relay2")), undefined);
  });

  test("knows nothing beyond the consensus without microdescriptors", () => {
    const netdir = new NetDir(testConsensus(RELAYS), new MicrodescStore());
    assert.equal(netdir.missingCount, 6);
    assert.equal(netdir.hasMicrodesc(0), false);
    assert.equal(netdir.ntorKey(0), undefined);
    assert.equal(netdir.ed25519Id(0), undefined);
    assert.equal(netdir.allowsExitTo(0, 80), false);
    assert.equal(netdir.sameFamily(0, 1), false);
    assert.throws(() => netdir.target(0), (error) => isTunicError(error, "directory"));
  });

  test("takes in microdescriptors that the consensus names, and no others", () => {
    const netdir = new NetDir(testConsensus(RELAYS), new MicrodescStore());
    const missing = netdir.missingMicrodescs(2);
    assert.equal(missing.length, 2);
    assert.equal(netdir.missingMicrodescs().length, 6);
    assert.equal(netdir.missingMicrodescs(Infinity, 4).length, 2);
    // The same relay with another key: its digest is not the one in the consensus.
    const other = testRelay(0, {}, { ntorKey: hash("sha256", "of somebody else") });
    assert.deepEqual(netdir.addMicrodescs(bytesOf(other.microdesc)), { added: 0, unwanted: 1, malformed: 0 });
    assert.equal(netdir.store.size, 0);
    const text = bytesOf(RELAYS[0]!.microdesc + RELAYS[1]!.microdesc);
    assert.deepEqual(netdir.addMicrodescs(text), { added: 2, unwanted: 0, malformed: 0 });
    assert.deepEqual(netdir.addMicrodescs(text), { added: 0, unwanted: 2, malformed: 0 });
    assert.equal(netdir.missingCount, 4);
    assert.equal(netdir.missingMicrodescs().length, 4);
    assert.deepEqual(netdir.ntorKey(rowOf(netdir, "relay0")), hash("sha256", "ntor 0"));
    assert.throws(() => netdir.addMicrodescs(bytesOf("nothing\n")), (error) => isTunicError(error, "malformed"));
  });

  test("does not ask again for a microdescriptor that cannot be read", () => {
    const relay = testRelay(9, {}, { policy: "never" });
    const netdir = new NetDir(testConsensus([relay]), new MicrodescStore());
    assert.deepEqual(netdir.addMicrodescs(bytesOf(relay.microdesc)), { added: 0, unwanted: 0, malformed: 1 });
    assert.equal(netdir.hasMicrodesc(0), false);
    assert.equal(netdir.missingCount, 0);
    assert.deepEqual(netdir.missingMicrodescs(), []);
  });

  test("gives one microdescriptor to all relays that have it", () => {
    const { microdesc } = testRelay(1);
    const netdir = testNetDir([testRelay(1), testRelay(2, { microdesc })]);
    assert.equal(netdir.missingCount, 0);
    assert.ok(netdir.hasMicrodesc(0) && netdir.hasMicrodesc(1));
  });

  test("finds the microdescriptors of the last consensus in its store", () => {
    const old = testNetDir(RELAYS);
    const later = {
      validAfter: "2026-02-01 06:00:00",
      freshUntil: "2026-02-01 07:00:00",
      validUntil: "2026-02-01 09:00:00",
    };
    const netdir = new NetDir(testConsensus([testRelay(7), ...RELAYS.slice(0, 3)], later), old.store);
    assert.equal(netdir.missingCount, 1);
    assert.equal(old.store.pruned(netdir.validAfter).size, 3);
    assert.equal(old.store.pruned(old.validAfter).size, 6);
    assert.equal(new NetDir(netdir.consensus, old.store.pruned(netdir.validAfter)).missingCount, 1);
  });

  test("does not give an Ed25519 identity that the authorities do not agree on", () => {
    const netdir = testNetDir([
      testRelay(1, { flags: "NoEdConsensus Running" }),
      testRelay(2, {}, { ed25519Id: undefined }),
    ]);
    for (const nickname of ["relay1", "relay2"]) {
      assert.equal(netdir.ed25519Id(rowOf(netdir, nickname)), undefined);
      assert.equal(netdir.target(rowOf(netdir, nickname)).ed25519Id, undefined);
    }
  });

  test("believes policies, but not of bad exits", () => {
    const netdir = testNetDir([
      testRelay(1, {}, { policy: "accept 80,443", policy6: undefined }),
      testRelay(2, { flags: "BadExit Exit Running" }, { policy: "accept 1-65535" }),
      testRelay(3, {}, { policy: undefined, policy6: "reject 25" }),
      testRelay(4, {}, { policy: undefined }),
      testRelay(5, {}, { policy: "reject 1-65535" }),
    ]);
    const [one, two, three, four, five] = [1, 2, 3, 4, 5].map((n) => rowOf(netdir, `relay${n}`)) as [
      number,
      number,
      number,
      number,
      number,
    ];
    assert.ok(netdir.allowsExitTo(one, 443));
    assert.ok(!netdir.allowsExitTo(one, 25));
    assert.ok(!netdir.allowsExitTo(one, 443, "ipv6"));
    assert.ok(!netdir.allowsExitTo(two, 80));
    assert.ok(!netdir.allowsExitTo(three, 80));
    assert.ok(netdir.allowsExitTo(three, 80, "ipv6"));
    assert.deepEqual([one, three, four, five].map((i) => netdir.allowsSomeExit(i)), [true, true, false, false]);
  });

  test("sees families only where both sides declare them", () => {
    const id = (n: number) => "$" + hex(testRelay(n).rsaId);
    const netdir = testNetDir([
      testRelay(1, {}, { family: `${id(1)} ${id(2)} ${id(3)}` }),
      testRelay(2, {}, { family: `${id(1)}=relay1 ${id(2)}` }),
      testRelay(3),
      testRelay(4, {}, { family: "relay5" }),
      testRelay(5, {}, { family: "RELAY4 $00 ?" }),
      testRelay(6, {}, { familyIds: "ed25519:aaa ed25519:bbb" }),
      testRelay(7, {}, { familyIds: "ed25519:bbb" }),
      testRelay(8, {}, { familyIds: "ed25519:ccc" }),
    ]);
    const same = (a: number, b: number) => {
      const [i, j] = [rowOf(netdir, `relay${a}`), rowOf(netdir, `relay${b}`)];
      assert.equal(netdir.sameFamily(i, j), netdir.sameFamily(j, i));
      return netdir.sameFamily(i, j);
    };
    assert.ok(same(1, 2));
    assert.ok(same(1, 1));
    assert.ok(!same(1, 3), "relay3 declares nothing");
    assert.ok(!same(2, 3));
    assert.ok(same(4, 5), "nicknames, in any case");
    assert.ok(same(6, 7));
    assert.ok(!same(6, 8));
    assert.ok(!same(7, 8));
  });

  test("heeds the parameters that switch families off", () => {
    const ids = testRelay(1, {}, { familyIds: "a", family: "relay2" });
    const other = testRelay(2, {}, { familyIds: "a", family: "relay1" });
    assert.ok(testNetDir([ids, other], { params: "use-family-ids=0" }).sameFamily(0, 1));
    assert.ok(testNetDir([ids, other], { params: "use-family-lists=0" }).sameFamily(0, 1));
    assert.ok(!testNetDir([ids, other], { params: "use-family-ids=0 use-family-lists=0" }).sameFamily(0, 1));
  });

  test("sees relays of one subnet", () => {
    const netdir = testNetDir([
      testRelay(1, { ipv4: "192.0.2.1" }),
      testRelay(2, { ipv4: "192.0.99.1", ipv6: "[2001:db8:1::1]:1" }),
      testRelay(3, { ipv4: "192.1.2.1", ipv6: "[2001:db8:2::1]:1" }),
      testRelay(4, { ipv4: "200.0.2.1", ipv6: "[2001:db9::1]:1" }),
    ]);
    const same = (a: number, b: number) => netdir.sameSubnet(rowOf(netdir, `relay${a}`), rowOf(netdir, `relay${b}`));
    assert.ok(same(1, 2));
    assert.ok(same(2, 3));
    assert.ok(!same(1, 3));
    assert.ok(!same(3, 4));
    assert.ok(!same(1, 4));
  });

  test("holds parameters to their limits", () => {
    const { params } = testNetDir(RELAYS, { params: "a=5 b=-7" });
    assert.equal(params.get("a", { default: 1 }), 5);
    assert.equal(params.get("a", { default: 1, max: 4 }), 4);
    assert.equal(params.get("b", { default: 1, min: 0, max: 4 }), 0);
    assert.equal(params.get("c", { default: 1, min: 0 }), 1);
  });
});
