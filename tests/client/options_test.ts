import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isTunicError } from "../../src/base/errors.ts";
import { resolveOptions, type TorClientOptions } from "../../src/client/options.ts";
import type { DirectoryAuthority } from "../../src/netdir/authorities.ts";

const AUTHORITY: DirectoryAuthority = {
  nickname: "test",
  address: { host: "127.0.0.1", port: 5001 },
  dirPort: 7001,
  rsaId: new Uint8Array(20).fill(1),
  v3ident: new Uint8Array(20).fill(2),
};

describe("options", () => {
  test("defaults are C tor's", () => {
    const options = resolveOptions();
    assert.equal(options.dataDirectory, undefined);
    assert.equal(options.testingTorNetwork, false);
    assert.equal(options.pathsNeededToBuildCircuits, undefined);
    assert.equal(options.enforceDistinctSubnets, true);
    assert.equal(options.clientRejectInternalAddresses, true);
    assert.equal(options.clientDnsRejectInternalAddresses, true);
    assert.equal(options.maxCircuitDirtinessMs, 600_000);
    assert.equal(options.circuitBuildTimeoutMs, 60_000);
    assert.equal(options.circuitStreamTimeoutMs, undefined);
    assert.equal(options.socksTimeoutMs, 120_000);
    assert.equal(options.maxClientCircuitsPending, 32);
    assert.ok(options.longLivedPorts.includes(22));
    assert.equal(options.directoryAuthorities.length, 9);
    assert.ok(options.fallbackDirectories.length > 100);
    assert.ok(Object.isFrozen(options));
  });

  test("a network of one's own has none of the public network's directories", () => {
    const options = resolveOptions({ directoryAuthorities: [AUTHORITY] });
    assert.deepEqual(options.directoryAuthorities, [AUTHORITY]);
    assert.deepEqual(options.fallbackDirectories, []);
  });

  test("a test network changes what C tor changes, and what is said wins", () => {
    const options = resolveOptions({
      testingTorNetwork: true,
      directoryAuthorities: [AUTHORITY],
      clientRejectInternalAddresses: true,
    });
    assert.equal(options.enforceDistinctSubnets, false);
    assert.equal(options.clientDnsRejectInternalAddresses, false);
    assert.equal(options.clientRejectInternalAddresses, true);
  });

  const fallback = { address: { host: "192.0.2.1", port: 443 }, rsaId: new Uint8Array(20) };
  const wrong: Readonly<Record<string, unknown>> = {
    "an unknown option": { socksPort: 9050 },
    "a test network without authorities": { testingTorNetwork: true },
    "private answers on the public network": { clientDnsRejectInternalAddresses: false },
    "no authorities": { directoryAuthorities: [] },
    "one authority twice": { directoryAuthorities: [AUTHORITY, AUTHORITY] },
    "an authority with a name for an address": {
      directoryAuthorities: [{ ...AUTHORITY, address: { host: "localhost", port: 1 } }],
    },
    "an authority with a short identity": { directoryAuthorities: [{ ...AUTHORITY, rsaId: new Uint8Array(19) }] },
    "an authority with a short v3ident": { directoryAuthorities: [{ ...AUTHORITY, v3ident: new Uint8Array(21) }] },
    "an authority with a bad port": {
      directoryAuthorities: [{ ...AUTHORITY, address: { host: "127.0.0.1", port: 65536 } }],
    },
    "a fallback without port": { fallbackDirectories: [{ ...fallback, address: { host: "192.0.2.1", port: 0 } }] },
    "a fallback with a short key": { fallbackDirectories: [{ ...fallback, ed25519Id: new Uint8Array(31) }] },
    "a fallback with a negative weight": { fallbackDirectories: [{ ...fallback, weight: -1 }] },
    "too few paths": { pathsNeededToBuildCircuits: 0.1 },
    "too many paths": { pathsNeededToBuildCircuits: 1 },
    "paths that are no number": { pathsNeededToBuildCircuits: NaN },
    "a number for a boolean": { enforceDistinctSubnets: 1 },
    "a text for a number": { socksTimeoutMs: "10" },
    "short dirtiness": { maxCircuitDirtinessMs: 9_999 },
    "an endless timeout": { circuitBuildTimeoutMs: Infinity },
    "no circuits": { maxClientCircuitsPending: 0 },
    "half a circuit": { maxClientCircuitsPending: 1.5 },
    "a port too high": { longLivedPorts: [22, 65536] },
    "one port for a list": { longLivedPorts: 22 },
    "one authority for a list": { directoryAuthorities: AUTHORITY },
    "a signal that is none": { signal: 5 },
    "an empty data directory": { dataDirectory: "" },
  };
  for (const [name, options] of Object.entries(wrong)) {
    test(`${name}: refused`, () => {
      assert.throws(() => resolveOptions(options as TorClientOptions), (error) => {
        assert.ok(isTunicError(error, "argument"), String(error));
        assert.equal(error.code, "bad-option");
        assert.match(error.message, /^Cannot use option .*: found .*, expected .*/);
        return true;
      });
    });
  }
});
