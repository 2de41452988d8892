import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { TunicError } from "../../src/base/errors.ts";
import { toHex } from "../../src/bytes/text.ts";
import { parseDirAuthority, parseFallbackDir } from "../../src/wire/torrc_directory.ts";
import { parseClientPort, parsePortLine } from "../../src/wire/torrc_ports.ts";
import {
  parseAddressPattern,
  parseAddressPort,
  parseAutoBoolean,
  parseBoolean,
  parseDouble,
  parseInteger,
  parseIntervalMs,
  parseList,
  parseMemoryBytes,
  parseMillisecondInterval,
  parsePolicy,
} from "../../src/wire/torrc_values.ts";

type Parser = (value: string) => unknown;

function accepts(name: string, parser: Parser, cases: Readonly<Record<string, unknown>>): void {
  for (const [value, expected] of Object.entries(cases)) {
    test(`${name}: ${value}`, () => assert.deepEqual(parser(value), expected));
  }
}

function refuses(name: string, parser: Parser, values: readonly string[]): void {
  for (const value of values) {
    test(`${name} refuses ${JSON.stringify(value)}`, () =>
      assert.throws(() => parser(value), (error) => {
        assert.ok(error instanceof TunicError);
        assert.equal(error.kind, "config");
        assert.match(error.message, /^found ".*", expected /);
        return true;
      }));
  }
}

describe("numbers and units", () => {
  accepts("boolean", parseBoolean, { "0": false, "1": true });
  refuses("boolean", parseBoolean, ["", "2", "true", "bad", " 1", "01"]);
  accepts("auto", parseAutoBoolean, { "0": false, "1": true, auto: undefined, AUTO: undefined });
  refuses("auto", parseAutoBoolean, ["", "yes"]);
  accepts("integer", (value) => parseInteger(value), { "-1": -1, "32": 32, "2147483647": 2147483647 });
  refuses("integer", (value) => parseInteger(value), ["", "1.5", "2147483648", "0x10", "1e3", "9".repeat(30)]);
  refuses("positive integer", (value) => parseInteger(value, 0), ["-1"]);
  accepts("double", parseDouble, { "0.67": 0.67, "-1": -1, ".5": 0.5, "1e-2": 0.01 });
  refuses("double", parseDouble, ["", "NaN", "Infinity", "1,5", "0x1", "1e9999"]);
  accepts("interval", parseIntervalMs, {
    "10": 10_000,
    "10 minutes": 600_000,
    "10minutes": 600_000,
    "1.5 Hours": 5_400_000,
    "1 day": 86_400_000,
    "2 weeks": 1_209_600_000,
    "1 month": 2_629_728_000,
    "0": 0,
  });
  refuses("interval", parseIntervalMs, [
    "",
    "-1",
    "10 fortnights",
    "ten",
    "10 minutes ago",
    "100000 months",
    "1 constructor",
  ]);
  accepts("interval of milliseconds", parseMillisecondInterval, { "100 msec": 100, "7": 7, "1 second": 1000 });
  refuses("interval of milliseconds", parseMillisecondInterval, ["1 month", "", "-5 msec"]);
  accepts("memory", parseMemoryBytes, {
    "0": 0,
    "10 bytes": 10,
    "1 KB": 1024,
    "1.5 GB": 1.5 * 2 ** 30,
    "300 MB": 300 * 2 ** 20,
    "1 M": 2 ** 20,
    "8 kbits": 1024,
    "1 terabyte": 2 ** 40,
  });
  refuses("memory", parseMemoryBytes, ["", "1 XB", "MB", "-1 KB", "99999999999999999 TB"]);
  accepts("list", parseList, { "a, b ,,c": ["a", "b", "c"], "": [], " , ": [] });
});

describe("addresses", () => {
  accepts("address and port", parseAddressPort, {
    "192.0.2.1:443": { host: "192.0.2.1", port: 443, family: 4 },
    "[2001:DB8::1]:9001": { host: "2001:db8::1", port: 9001, family: 6 },
  });
  refuses("address and port", parseAddressPort, [
    "192.0.2.1",
    "192.0.2.1:0",
    "192.0.2.1:65536",
    "2001:db8::1:443",
    "[192.0.2.1]:443",
    "example.com:80",
    ":80",
    "[::1]",
    "",
  ]);
  const every = { minPort: 1, maxPort: 65535 };
  accepts("pattern", parseAddressPattern, {
    "*:*": { family: "any", network: undefined, prefixBits: 0, ...every },
    "*": { family: "any", network: undefined, prefixBits: 0, ...every },
    "*4:80": { family: "ipv4", network: undefined, prefixBits: 0, minPort: 80, maxPort: 80 },
    "private:*": { family: "private", network: undefined, prefixBits: 0, ...every },
    "127.0.0.0/8:80-443": {
      family: "ipv4",
      network: Uint8Array.of(127, 0, 0, 0),
      prefixBits: 8,
      minPort: 80,
      maxPort: 443,
    },
    "10.0.0.0/255.255.0.0": { family: "ipv4", network: Uint8Array.of(10, 0, 0, 0), prefixBits: 16, ...every },
    "192.0.2.1": { family: "ipv4", network: Uint8Array.of(192, 0, 2, 1), prefixBits: 32, ...every },
    "[::]/0:*": { family: "ipv6", network: new Uint8Array(16), prefixBits: 0, ...every },
  });
  refuses("pattern", parseAddressPattern, [
    "",
    "1.2.3.4/33",
    "[::1]/129",
    "1.2.3.4/255.0.255.0",
    "::1",
    "1.2.3.4:0x50",
    "1.2.3.4:443-80",
    "1.2.3.4:70000",
    "host:80",
  ]);
  accepts("policy", (value) => parsePolicy(value).map(({ accept, pattern }) => `${accept} ${pattern.family}`), {
    "accept *:80,reject *:*": ["true any", "false any"],
    "reject6 *:*": ["false ipv6"],
    "128.0.0.0/1": ["true ipv4"],
    "": [],
  });
  refuses("policy", parsePolicy, ["accept", "deny *:*", "accept *:* *:*"]);
});

describe("ports", () => {
  accepts("port line", parsePortLine, {
    "9050": { address: { type: "tcp", host: undefined, port: 9050 }, flags: [] },
    "0": { address: { type: "disabled" }, flags: [] },
    "auto": { address: { type: "tcp", host: undefined, port: 0 }, flags: [] },
    "127.0.0.1:9050 IsolateDestAddr": {
      address: { type: "tcp", host: "127.0.0.1", port: 9050 },
      flags: ["IsolateDestAddr"],
    },
    "[::1]:AUTO": { address: { type: "tcp", host: "::1", port: 0 }, flags: [] },
    "localhost:9050": { address: { type: "tcp", host: "127.0.0.1", port: 9050 }, flags: [] },
    "unix:/run/tor/socks": { address: { type: "unix", path: "/run/tor/socks" }, flags: [] },
    'unix:"/a b/\\"c" GroupWritable': { address: { type: "unix", path: '/a b/"c' }, flags: ["GroupWritable"] },
  });
  refuses("port line", parsePortLine, [
    "",
    "99999",
    "-1",
    "127.0.0.1",
    "127.0.0.1:0",
    "::1:9050",
    "example.com:9050",
    "unix:",
    'unix:""',
    'unix:"/a',
    "illegal_hostname_chars$()^*%(%",
  ]);

  test("isolation: C tor's defaults", () => {
    assert.deepEqual(parseClientPort("9050").options.isolation, {
      clientAddress: true,
      socksAuth: true,
      clientProtocol: false,
      destinationPort: false,
      destinationAddress: false,
    });
  });

  test("isolation flags, in singular and plural, on and off", () => {
    const { options } = parseClientPort("9050 IsolateDestAddrs isolatedestport NoIsolateSOCKSAuth");
    assert.equal(options.isolation.destinationAddress, true);
    assert.equal(options.isolation.destinationPort, true);
    assert.equal(options.isolation.socksAuth, false);
    assert.equal(options.preferSocksNoAuth, true);
  });

  test("other flags are told apart from unknown ones", () => {
    const { options, given, unknown } = parseClientPort("9050 SessionGroup=3 NoIPv6Traffic ExtendedErrors Foo NoBar");
    assert.equal(options.sessionGroup, 3);
    assert.equal(options.ipv6Traffic, false);
    assert.equal(options.extendedErrors, true);
    assert.deepEqual(given.map(({ name, flag }) => [name, flag]), [
      ["ipv6Traffic", "NoIPv6Traffic"],
      ["extendedErrors", "ExtendedErrors"],
    ]);
    assert.deepEqual(unknown, ["Foo", "NoBar"]);
  });

  test("only onion traffic", () => {
    const { options } = parseClientPort("9050 OnionTrafficOnly");
    assert.deepEqual([options.ipv4Traffic, options.ipv6Traffic, options.dnsRequest, options.onionTraffic], [
      false,
      false,
      false,
      true,
    ]);
  });

  refuses("client port", parseClientPort, [
    "9050 SessionGroup=x",
    "9050 SessionGroup=1 SessionGroup=2",
    "9050 NoIPv4Traffic NoIPv6Traffic NoOnionTraffic",
    "9050 NoIPv4Traffic NoIPv6Traffic",
    "9050 GroupWritable",
    "9050 NoIsolateSOCKSAuth KeepAliveIsolateSOCKSAuth",
  ]);
});

const ID = "FFCB46DB1339DA84674C70D7CB586434C4370441";
const V3 = "14C131DFC5C6F93646BE72FA1401C02A8DF2E8B4";

describe("directories", () => {
  test("an authority with everything", () => {
    const line = parseDirAuthority(
      `test000a orport=5101 no-v2 hs v3ident=${V3} ipv6=[::1]:5102 upload=http://127.0.0.1:1/ weight=2 ` +
        `127.0.0.1:7100 FFCB 46DB 1339 DA84 674C 70D7 CB58 6434 C437 0441`,
    );
    assert.equal(line.nickname, "test000a");
    assert.equal(line.host, "127.0.0.1");
    assert.equal(line.orPort, 5101);
    assert.equal(line.dirPort, 7100);
    assert.equal(toHex(line.rsaId).toUpperCase(), ID);
    assert.equal(toHex(line.v3ident!).toUpperCase(), V3);
    assert.deepEqual(line.ipv6, { host: "::1", port: 5102, family: 6 });
    assert.equal(line.weight, 2);
    assert.equal(line.bridge, false);
    assert.deepEqual(line.warnings, []);
  });

  test("an authority with the least", () => {
    const line = parseDirAuthority(`127.0.0.1:1 ${ID.toLowerCase()}`);
    assert.equal(line.nickname, "unnamed");
    assert.equal(line.orPort, 0);
    assert.equal(line.v3ident, undefined);
  });

  test("an unknown flag is a warning", () => {
    assert.deepEqual(parseDirAuthority(`a new=1 127.0.0.1:1 ${ID}`).warnings, ['unknown flag "new=1"']);
  });

  refuses("authority", parseDirAuthority, [
    "",
    "nickname",
    "nickname 127.0.0.1:80",
    `nickname 127.0.0.1 ${ID}`,
    `nickname 127.0.0.1:80 ${ID}00`,
    `nickname 127.0.0.1:80 ${ID.slice(1)}g`,
    `nickname orport=0 127.0.0.1:80 ${ID}`,
    `nickname orport=1 orport=2 127.0.0.1:80 ${ID}`,
    `nickname v3ident=12 127.0.0.1:80 ${ID}`,
    `nickname ipv6=127.0.0.1:1 127.0.0.1:80 ${ID}`,
    `nickname upload=ftp://127.0.0.1:1/ 127.0.0.1:80 ${ID}`,
    `nickname weight=-1 127.0.0.1:80 ${ID}`,
  ]);

  test("a fallback", () => {
    const line = parseFallbackDir(`127.0.0.1:80 orport=9001 id=${ID} ipv6=[2001:db8::1]:9001 weight=3.5`);
    assert.equal(line.host, "127.0.0.1");
    assert.equal(line.orPort, 9001);
    assert.equal(line.weight, 3.5);
    assert.deepEqual(line.ipv6, { host: "2001:db8::1", port: 9001, family: 6 });
    assert.equal(toHex(line.rsaId).toUpperCase(), ID);
    assert.equal(parseFallbackDir(`id=${ID} 192.0.2.1 orport=1`).host, "192.0.2.1");
  });

  refuses("fallback", parseFallbackDir, [
    "",
    `127.0.0.1:80 id=${ID}`,
    "127.0.0.1:80 orport=9001",
    `127.0.0.1:80 127.0.0.2:80 orport=9001 id=${ID}`,
    `orport=9001 id=${ID}`,
    `localhost orport=9001 id=${ID}`,
    `127.0.0.1 orport=99999 id=${ID}`,
    `127.0.0.1 orport=1 id=${"0".repeat(40)}`,
  ]);
});

test("whatever the value, a result or a config error", () => {
  const parsers: Parser[] = [
    parseBoolean,
    parseAutoBoolean,
    (value) => parseInteger(value),
    parseDouble,
    parseIntervalMs,
    parseMillisecondInterval,
    parseMemoryBytes,
    parseAddressPort,
    parseAddressPattern,
    parsePolicy,
    parseClientPort,
    parseDirAuthority,
    parseFallbackDir,
  ];
  const words = fc.constantFrom(
    "127.0.0.1",
    ":",
    "80",
    "[::1]",
    "/",
    "8",
    "unix:",
    '"',
    "\\",
    "accept",
    "orport=",
    "id=",
    ID,
    "-",
    ".",
    "e",
    "auto",
    "SessionGroup=",
    "No",
    "Isolate",
    "constructor",
    "__proto__",
    "toString",
    " ",
    ",",
    "*",
    "10 ",
    "minutes",
  );
  const values = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.array(words, { maxLength: 12 }).map((parts) => parts.join("")),
  );
  fc.assert(
    fc.property(values, (value) => {
      for (const parser of parsers) {
        try {
          parser(value);
        } catch (error) {
          assert.ok(error instanceof TunicError && error.kind === "config", String(error));
        }
      }
    }),
    { numRuns: 1000 },
  );
});
