import { describe, test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import { decodeStore, encodeStore } from "../../src/netdir/microdesc_snapshot.ts";
import { MicrodescStore } from "../../src/netdir/microdesc_store.ts";
import { NetDir } from "../../src/netdir/net_dir.ts";
import { hash, hex, testRelay } from "../support/network_documents.ts";
import { rowOf, testNetDir } from "../support/test_netdir.ts";

const id = (n: number) => "$" + hex(testRelay(n).rsaId);
const RELAYS = [
  testRelay(1, {}, { family: `${id(1)} ${id(2)} nobody`, familyIds: "a b" }),
  testRelay(2, {}, { family: `${id(1)} ${id(2)} nobody`, policy6: "reject 25" }),
  testRelay(3, {}, { ed25519Id: undefined, familyIds: "b" }),
  testRelay(4, {}, { policy: undefined }),
];
const netdir = testNetDir(RELAYS);
const SNAPSHOT = encodeStore(netdir.store);
const malformed = (error: unknown) => isTunicError(error, "malformed");

/** `body` with the checksum that belongs to it. */
function sealed(body: Uint8Array): Uint8Array {
  const whole = new Uint8Array(body.length + 32);
  whole.set(body);
  whole.set(hash("sha256", body), body.length);
  return whole;
}

function same(a: NetDir, b: NetDir): void {
  assert.equal(b.missingCount, 0);
  for (let i = 0; i < a.size; i++) {
    assert.deepEqual(b.target(i), a.target(i));
    for (const port of [25, 80, 443]) {
      assert.equal(b.allowsExitTo(i, port), a.allowsExitTo(i, port));
      assert.equal(b.allowsExitTo(i, port, "ipv6"), a.allowsExitTo(i, port, "ipv6"));
    }
    for (let j = 0; j < a.size; j++) assert.equal(b.sameFamily(i, j), a.sameFamily(i, j));
  }
}

describe("a snapshot of microdescriptors", () => {
  test("gives back the same store", () => {
    assert.ok(netdir.sameFamily(rowOf(netdir, "relay1"), rowOf(netdir, "relay2")));
    assert.ok(netdir.sameFamily(rowOf(netdir, "relay1"), rowOf(netdir, "relay3")));
    const store = decodeStore(SNAPSHOT);
    same(netdir, new NetDir(netdir.consensus, store));
    assert.deepEqual(encodeStore(store), SNAPSHOT);
    assert.equal(store.lastListed(0), netdir.validAfter);
    assert.equal(decodeStore(encodeStore(new MicrodescStore())).size, 0);
  });

  test("can be added to after it was read", () => {
    const extended = new NetDir(testNetDir([...RELAYS, testRelay(5)]).consensus, decodeStore(SNAPSHOT));
    assert.equal(extended.missingCount, 1);
    extended.addMicrodescs(Uint8Array.from(testRelay(5).microdesc, (c) => c.charCodeAt(0)));
    assert.equal(extended.missingCount, 0);
    assert.deepEqual(extended.ntorKey(rowOf(extended, "relay5")), hash("sha256", "ntor 5"));
  });

  test("survives pruning with what it still needs, and no more", () => {
    const pruned = netdir.store.pruned(0);
    same(netdir, new NetDir(netdir.consensus, pruned));
    assert.equal(netdir.store.pruned(Infinity).size, 0);
    assert.ok(encodeStore(netdir.store.pruned(Infinity)).length < 100);
  });

  test("is refused after any damage", () => {
    for (let at = 0; at < SNAPSHOT.length; at++) {
      const damaged = SNAPSHOT.slice();
      damaged[at]! ^= 1;
      assert.throws(() => decodeStore(damaged), malformed, `byte ${at}`);
      assert.throws(() => decodeStore(SNAPSHOT.subarray(0, at)), malformed, `cut at ${at}`);
    }
    const longer = new Uint8Array(SNAPSHOT.length + 1);
    longer.set(SNAPSHOT);
    assert.throws(() => decodeStore(longer), malformed);
  });

  test("of another version is refused", () => {
    const body = SNAPSHOT.slice(0, -32);
    body[17] = 2;
    assert.throws(() => decodeStore(sealed(body)), /version 2, expected 1/);
  });

  test("is read or refused, whatever its checksum vouches for", () => {
    const body = SNAPSHOT.slice(0, -32);
    const change = fc.tuple(fc.integer({ min: 18, max: body.length - 1 }), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), fc.nat(20), (changes, cut) => {
        const mutated = body.slice(0, body.length - (cut > 10 ? cut : 0));
        for (const [at, byte] of changes) if (at < mutated.length) mutated[at] = byte;
        try {
          const store = decodeStore(sealed(mutated));
          store.pruned(0);
          for (let slot = 0; slot < store.size; slot++) store.policy(slot).allows(80);
        } catch (error) {
          assert.ok(malformed(error), String(error));
        }
      }),
      { numRuns: 1000 },
    );
  });
});
