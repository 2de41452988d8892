import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { parseIp, toHexUpper } from "../../src/bytes/mod.ts";
import { publicAuthorities, publicFallbacks } from "../../src/netdir/public_network.ts";
import excerpt from "../vectors/netdoc_public_excerpt.json" with { type: "json" };

const addresses = (
  all: readonly { address: { host: string; port: number }; ipv6?: { host: string; port: number } }[],
) => all.flatMap((one) => one.ipv6 === undefined ? [one.address] : [one.address, one.ipv6]);

describe("the public network's directories", () => {
  test("are nine authorities, the ones that a real consensus names", () => {
    const authorities = publicAuthorities();
    assert.equal(authorities.length, 9);
    const named = [...excerpt.consensus.matchAll(/^dir-source (\S+) (\S+) \S+ (\S+) (\d+) (\d+)$/gm)];
    assert.deepEqual(
      authorities.map((one) => [one.nickname, toHexUpper(one.v3ident), one.address.host, one.dirPort, one.address.port])
        .sort(),
      named.map((
        [, nickname, identity, ip, dirPort, orPort],
      ) => [nickname, identity, ip, Number(dirPort), Number(orPort)])
        .sort(),
    );
  });

  test("are 200 fallbacks, each another relay", () => {
    const fallbacks = publicFallbacks();
    assert.equal(fallbacks.length, 200);
    assert.equal(new Set(fallbacks.map((one) => toHexUpper(one.rsaId))).size, 200);
  });

  test("have addresses and identities of the right form", () => {
    for (const { rsaId } of [...publicAuthorities(), ...publicFallbacks()]) assert.equal(rsaId.length, 20);
    for (const { host, port } of addresses([...publicAuthorities(), ...publicFallbacks()])) {
      assert.ok(parseIp(host), host);
      assert.ok(port > 0 && port < 65536);
    }
  });
});
