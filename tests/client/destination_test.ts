import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isTunicError } from "../../src/base/errors.ts";
import { checkConnected, checkDestination } from "../../src/client/destination.ts";

/** The code of the refusal, or "allowed". */
function verdict(host: string, rejectInternalAddresses = true): string {
  try {
    checkDestination(host, { rejectInternalAddresses });
    return "allowed";
  } catch (error) {
    assert.ok(isTunicError(error));
    assert.ok(host.length < 7 || !error.message.includes(host), "the host is not in the message");
    return error.code;
  }
}

describe("destinations", () => {
  const onion = "pg6mmjiyjmcrsslvykfwnntlaru7p5svn6y2ymmju6nubxndf4pscryd.onion";

  test("of the public network are allowed", () => {
    for (
      const host of ["example.com", "EXAMPLE.COM.", "onion.example", "exit.example", "localhost.example", "onion-x"]
        .concat(["1.1.1.1", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "169.253.0.1", "192.167.0.1"])
        .concat(["2001:db8::1", "::2", "::ffff:8.8.8.8", "fe00::1", "11.0.0.1", "128.0.0.1"])
    ) assert.equal(verdict(host), "allowed", host);
  });

  test("of private networks are refused, unless the network is one for tests", () => {
    for (
      const host of ["localhost", "LOCALHOST.", "a.localhost", "local", "printer.local", "0.0.0.0", "10.0.0.1"]
        .concat(["127.0.0.1", "100.64.0.1", "169.254.1.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"])
        .concat(["::", "::1", "fc00::1", "fdff::1", "fe80::1", "fec0::1", "::ffff:10.0.0.1"])
    ) {
      assert.equal(verdict(host), "internal-address", host);
      assert.equal(verdict(host, false), "allowed", host);
    }
  });

  test("under .onion and .exit never go to an exit", () => {
    for (const internal of [true, false]) {
      for (const host of [onion, `${onion}.`, onion.toUpperCase(), `www.${onion}`]) {
        assert.equal(verdict(host, internal), "onion-unsupported", host);
      }
      const wrongChecksum = onion.replace("pg6m", "pg6n");
      for (const host of ["onion", ".onion", "x.onion", "facebookcorewwwi.onion", wrongChecksum]) {
        assert.equal(verdict(host, internal), "onion-bad-address", host);
      }
      for (const host of ["exit", "relay.exit", "example.com.relay.EXIT."]) {
        assert.equal(verdict(host, internal), "exit-suffix", host);
      }
    }
  });

  test("need a name of a length that there can be", () => {
    for (const host of ["", ".", "a".repeat(256)]) assert.equal(verdict(host), "bad-host");
  });

  test("that an exit names afterwards must be public", () => {
    for (const address of [undefined, "203.0.113.5", "2606:4700::1111"]) checkConnected(address);
    for (const address of ["127.0.0.1", "10.0.0.1", "0.0.0.0", "::", "::1", "fe80::1", "::ffff:192.168.0.1"]) {
      assert.throws(() => checkConnected(address), (error) => isTunicError(error) && error.code === "internal-answer");
    }
  });
});
