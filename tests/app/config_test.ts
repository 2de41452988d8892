import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import { toHexUpper, utf8 } from "../../src/bytes/text.ts";
import { admits } from "../../src/app/client_access.ts";
import { type Configuration, configure } from "../../src/app/config.ts";
import { allOptions, editDistance, findOption, nearestOption } from "../../src/app/option_table.ts";
import { defaultDataDirectory, defaultTorrcPaths, expandPath } from "../../src/app/places.ts";
import { resolveOptions } from "../../src/client/options.ts";
import { parseTorrc } from "../../src/wire/torrc.ts";
import { parsePolicy } from "../../src/wire/torrc_values.ts";

const ID = "FFCB46DB1339DA84674C70D7CB586434C4370441";
const V3 = "14C131DFC5C6F93646BE72FA1401C02A8DF2E8B4";
const AUTHORITY = `DirAuthority test orport=5001 no-v2 v3ident=${V3} 127.0.0.1:7001 ${ID}`;
const HERE = { env: { HOME: "/home/user" }, platform: "linux", workingDirectory: "/work" };

function read(...texts: string[]): Configuration {
  return configure(texts.map((text) => parseTorrc(utf8(text), "torrc")), HERE);
}

function refused(text: string, code: string, message: RegExp): void {
  assert.throws(() => read(text), (error) => {
    assert.ok(isTunicError(error, "config"), String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  });
}

describe("configuration", () => {
  test("nothing said", () => {
    const { options, socksPorts, logs, warnings, refusals, safeLogging } = read("");
    assert.deepEqual(options, { dataDirectory: "/home/user/.local/share/tunic" });
    assert.deepEqual(socksPorts, [{
      address: { host: "127.0.0.1", port: 9050 },
      isolateSocksAuth: true,
      isolateClientAddress: true,
      isolateDestinationAddress: false,
      isolateDestinationPort: false,
      preferNoAuth: false,
      extendedErrors: false,
    }]);
    assert.deepEqual([logs, warnings, refusals, safeLogging], [[], [], [], true]);
  });

  test("everything that is supported", () => {
    const { options, socksPorts, logs, warnings, refusals, safeLogging, truncateLogFiles } = read(`
      DataDirectory ~/tor
      TestingTorNetwork 1
      ${AUTHORITY}
      FallbackDir 127.0.0.1:80 orport=5002 id=${ID} ipv6=[::1]:5003 weight=2
      PathsNeededToBuildCircuits 0.67
      EnforceDistinctSubnets 0
      ClientRejectInternalAddresses 0
      ClientDNSRejectInternalAddresses 0
      MaxCircuitDirtiness 20 seconds
      CircuitsAvailableTimeout 1 hour
      CircuitBuildTimeout 5
      CircuitStreamTimeout 1 minute
      SocksTimeout 30
      MaxClientCircuitsPending 7
      LongLivedPorts 22, 6667
      SocksPort 9150 IsolateDestAddr IsolateDestPort
      SocksPort [::1]:auto NoIsolateSOCKSAuth ExtendedErrors
      SocksPolicy reject 127.0.0.2, accept 127.0.0.0/8
      SocksPolicy reject *
      Log notice stdout
      Log debug-info file log/debug.log
      TruncateLogFile 1
      SafeLogging 0
      ClientOnly 1
      UseDefaultFallbackDirs 1`);
    assert.deepEqual([warnings, refusals], [[], []]);
    const [authority] = options.directoryAuthorities!;
    assert.deepEqual(authority!.address, { host: "127.0.0.1", port: 5001 });
    assert.equal(toHexUpper(authority!.rsaId), ID);
    assert.equal(toHexUpper(authority!.v3ident), V3);
    const [fallback] = options.fallbackDirectories!;
    assert.deepEqual(fallback!.ipv6, { host: "::1", port: 5003 });
    assert.equal(fallback!.weight, 2);
    const { directoryAuthorities: _, fallbackDirectories: __, ...rest } = options;
    assert.deepEqual(rest, {
      dataDirectory: "/home/user/tor",
      testingTorNetwork: true,
      pathsNeededToBuildCircuits: 0.67,
      enforceDistinctSubnets: false,
      clientRejectInternalAddresses: false,
      clientDnsRejectInternalAddresses: false,
      maxCircuitDirtinessMs: 20_000,
      circuitsAvailableTimeoutMs: 3_600_000,
      circuitBuildTimeoutMs: 5_000,
      circuitStreamTimeoutMs: 60_000,
      socksTimeoutMs: 30_000,
      maxClientCircuitsPending: 7,
      longLivedPorts: [22, 6667],
    });
    assert.deepEqual(socksPorts.map(({ address }) => address), [
      { host: "127.0.0.1", port: 9150 },
      { host: "::1", port: 0 },
    ]);
    assert.deepEqual(socksPorts.map((port) => [port.isolateDestinationAddress, port.isolateSocksAuth]), [
      [true, true],
      [false, false],
    ]);
    assert.deepEqual(logs, [
      { from: "notice", to: "err", destination: { type: "stdout" } },
      { from: "debug", to: "info", destination: { type: "file", path: "/work/log/debug.log" } },
    ]);
    assert.deepEqual([safeLogging, truncateLogFiles], [false, true]);
    resolveOptions(options);
  });

  test("without a home, nothing is kept, and that is said", () => {
    const { options, warnings } = configure([], { env: {}, platform: "linux", workingDirectory: "/" });
    assert.equal(options.dataDirectory, undefined);
    assert.match(warnings[0]!, /no home directory and no DataDirectory/);
  });

  test("higher sources replace, append, clear", () => {
    const ports = (...texts: string[]) => read(...texts).socksPorts.map(({ address }) => address.port);
    assert.deepEqual(ports("SocksPort 1\nSocksPort 2", "SocksPort 3"), [3]);
    assert.deepEqual(ports("SocksPort 1\nSocksPort 2", "+SocksPort 3"), [1, 2, 3]);
    assert.deepEqual(ports("SocksPort 1\nSocksPort 2", "/SocksPort"), [9050]);
    assert.deepEqual(ports("SocksPort 1", "SocksPort 2\nSocksPort 3"), [2, 3]);
    assert.deepEqual(ports("SocksPort 1", "/SocksPort\nSocksPort 3\nSocksPort 4"), [3, 4]);
    assert.deepEqual(ports("socksport 1", "SOCKSPORT 0"), []);
  });

  test("an option of one value that is set twice: the last counts, with a warning", () => {
    const { options, warnings } = read("CircuitBuildTimeout 5\nCircuitBuildTimeout 6");
    assert.equal(options.circuitBuildTimeoutMs, 6000);
    assert.deepEqual(warnings, ["torrc:2: CircuitBuildTimeout is set again; torrc:1 has no effect"]);
    assert.deepEqual(read("CircuitBuildTimeout 5", "CircuitBuildTimeout 6").warnings, []);
  });

  test("an empty value gives the default back", () => {
    assert.equal(read("CircuitBuildTimeout 5", "CircuitBuildTimeout").options.circuitBuildTimeoutMs, undefined);
    assert.deepEqual(read("Log").warnings, ["torrc:1: Log has no value and has no effect"]);
  });

  test("values out of range are moved into it, with a warning, as C tor does", () => {
    const { options, warnings } = read("PathsNeededToBuildCircuits 0.1\nMaxCircuitDirtiness 1\nCircuitStreamTimeout 2");
    assert.equal(options.pathsNeededToBuildCircuits, 0.25);
    assert.equal(options.maxCircuitDirtinessMs, 10_000);
    assert.equal(options.circuitStreamTimeoutMs, 10_000);
    assert.equal(warnings.length, 3);
    assert.match(warnings[1]!, /^torrc:2: MaxCircuitDirtiness: "1" is out of range; 10 seconds is used$/);
  });

  test("DirServer is DirAuthority; AlternateDirAuthority counts where neither is given", () => {
    assert.equal(read(AUTHORITY.replace("DirAuthority", "DirServer")).options.directoryAuthorities?.length, 1);
    assert.equal(
      read(AUTHORITY.replace("DirAuthority", "AlternateDirAuthority")).options.directoryAuthorities?.length,
      1,
    );
  });

  test("authorities that sign nothing, or cannot be asked, are named", () => {
    const { options, warnings } = read(`${AUTHORITY}\nDirAuthority a 127.0.0.1:1 ${ID}`);
    assert.equal(options.directoryAuthorities?.length, 1);
    assert.match(warnings[0]!, /^torrc:2: DirAuthority: a has no v3ident=/);
    assert.match(read(AUTHORITY.replace("orport=5001", "")).warnings[0]!, /no orport=/);
  });

  test("options of C tor that are not supported are named, with their place", () => {
    const { warnings } = read(
      "ExitPolicy reject *:*\nLearnCircuitBuildTimeout 0\nHiddenServiceDir /x\nControlPort 9051",
    );
    assert.deepEqual(warnings, [
      "torrc:1: ExitPolicy: this option of C tor is not supported yet and has no effect",
      "torrc:2: LearnCircuitBuildTimeout: this option of C tor is not supported yet and has no effect",
      "torrc:3: HiddenServiceDir: this option of C tor is not supported yet and has no effect",
      "torrc:4: ControlPort: this option of C tor is not supported yet and has no effect",
    ]);
  });

  test("a value that tunic fulfils anyway needs no warning", () => {
    assert.deepEqual(read("ControlPort 0\nRunAsDaemon 0\nUseEntryGuards 1\nUseBridges 0").warnings, []);
  });

  test("what must not be ignored keeps tunic from running", () => {
    const { refusals, warnings } = read("Socks5Proxy 127.0.0.1:1080\nUseBridges 1\nBridge 127.0.0.1:1");
    assert.deepEqual(refusals.map(({ kind, code }) => [kind, code]), [
      ["unsupported", "unsafe-to-ignore"],
      ["unsupported", "unsafe-to-ignore"],
    ]);
    assert.match(refusals[0]!.message, /^Cannot run with torrc:1: Socks5Proxy is not supported yet/);
    assert.match(warnings[0]!, /^torrc:3: Bridge/);
    for (const line of ["FascistFirewall 1", "ReachableAddresses *:443", "ReachableORAddresses reject 18.0.0.0/8"]) {
      assert.equal(read(line).refusals.length, 1, line);
    }
  });

  test("flags and addresses of SocksPort that deserve a warning", () => {
    const { warnings } = read("SocksPort 0.0.0.0:9050 SessionGroup=1 CacheDNS Foo IsolateClientProtocol");
    assert.equal(warnings.length, 5);
    assert.match(
      warnings.join("\n"),
      /unknown flag "Foo"[^]*CacheDNS[^]*IsolateClientProtocol[^]*SessionGroup[^]*loopback/,
    );
  });

  describe("refuses", () => {
    const cases: readonly (readonly [string, string, RegExp])[] = [
      ["SocksProt 9050", "unknown-option", /torrc:1: found unknown option "SocksProt", expected .* SocksPort$/],
      ["\nFrobnicate 1", "unknown-option", /torrc:2: found unknown option "Frobnicate", expected a known one$/],
      ["SocksPort 99999", "bad-value", /torrc:1: SocksPort: found "99999", expected a port from 1 to 65535/],
      ["SocksPort unix:/run/socks", "bad-value", /unix sockets are not supported/],
      ["SocksPort 9050 OnionTrafficOnly", "bad-value", /tunic cannot enforce it/],
      ["SocksPort 0\nSocksPort 9050", "bad-value", /torrc:1: SocksPort: found "0", expected no other/],
      ["SocksPolicy accept", "bad-value", /torrc:1: SocksPolicy/],
      ["TestingTorNetwork 1", "bad-value", /expected 0, or lines of DirAuthority/],
      ["ClientDNSRejectInternalAddresses 0", "bad-value", /expected 1 on the public network/],
      ["TestingTorNetwork yes", "bad-value", /found "yes", expected 0 or 1/],
      ["DirAuthority a b", "bad-value", /torrc:1: DirAuthority: found/],
      [`DirAuthority a 127.0.0.1:1 ${ID}`, "no-authority", /expected at least one/],
      [`${AUTHORITY}\n${AUTHORITY}`, "repeated-authority", /torrc:2.*found a v3ident again/],
      ["FallbackDir 127.0.0.1:80", "bad-value", /torrc:1: FallbackDir: .*expected orport=/],
      ["CircuitBuildTimeout soon", "bad-value", /CircuitBuildTimeout: found "soon", expected an interval/],
      ["CircuitsAvailableTimeout 25 hours", "bad-value", /at most 24 hours/],
      ["MaxClientCircuitsPending 0", "bad-value", /from 1 to 1024/],
      ["LongLivedPorts 22,x", "bad-value", /found "x"/],
      ["Log loud stdout", "bad-value", /torrc:1: Log: found "loud stdout"/],
      ["Log notice file", "bad-value", /Log: found/],
      ["Log notice info stdout", "bad-value", /Log: found/],
      ["SafeLogging 2", "bad-value", /0, 1 or relay/],
      ["RunAsDaemon 1\nDataDirectory here", "bad-value", /not compatible with relative/],
      ["A 1\nSocksPort x\nB 2", "several-errors", /unknown option "A"[^]*SocksPort: found "x"/],
    ];
    for (const [text, code, message] of cases) test(JSON.stringify(text), () => refused(text, code, message));
  });

  test("whatever the text, a configuration that resolves or a config error", () => {
    const names = fc.constantFrom(...allOptions().filter(({ support }) => support === "supported").map((o) => o.name));
    const values = fc.oneof(
      fc.string(),
      fc.constantFrom(
        "0",
        "1",
        "9050",
        "auto",
        "10 minutes",
        "0.5",
        "notice stdout",
        "[circ]info file /x",
        AUTHORITY.slice(13),
      ),
    );
    const lines = fc.array(fc.tuple(fc.constantFrom("", "+", "/"), names, values), { maxLength: 8 });
    fc.assert(
      fc.property(lines, (entries) => {
        const text = entries.map(([sign, name, value]) => `${sign}${name} ${value}`).join("\n");
        try {
          resolveOptions(read(text).options);
        } catch (error) {
          assert.ok(isTunicError(error, "config"), `${String(error)}\n${text}`);
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe("option table", () => {
  test("names in any case, other spellings, and singular forms", () => {
    assert.equal(findOption("SOCKSPORT")?.name, "SocksPort");
    assert.equal(findOption("dirserver")?.name, "DirAuthority");
    assert.equal(findOption("EntryNode")?.name, "EntryNodes");
    assert.equal(findOption("__ControlPort")?.name, "ControlPort");
    assert.equal(findOption("constructor"), undefined);
  });

  test("each option once, all of them C tor's", () => {
    const options = allOptions();
    assert.equal(new Set(options.map(({ name }) => name.toLowerCase())).size, options.length);
    assert.ok(options.length > 380, String(options.length));
  });

  test("the nearest name, if any is near", () => {
    assert.equal(nearestOption("SockPort"), "SocksPort");
    assert.equal(nearestOption("DirAutority"), "DirAuthority");
    assert.equal(nearestOption("DataDir"), "DataDirectory");
    assert.equal(nearestOption("ClientRejectInternalAdresses"), "ClientRejectInternalAddresses");
    assert.equal(nearestOption("JumpingJellyjars"), undefined);
    assert.equal(nearestOption("x".repeat(100_000)), undefined);
  });

  test("edit distance", () => {
    for (
      const [a, b, distance] of [["", "", 0], ["a", "", 1], ["kitten", "sitting", 3], ["flaw", "lawn", 2]] as const
    ) {
      assert.equal(editDistance(a, b), distance);
    }
  });
});

describe("places", () => {
  test("data directory", () => {
    const at = (env: Record<string, string>, platform = "linux") =>
      defaultDataDirectory({ env, platform, workingDirectory: "/" });
    assert.equal(at({ HOME: "/home/u" }), "/home/u/.local/share/tunic");
    assert.equal(at({ HOME: "/home/u", XDG_DATA_HOME: "/data" }), "/data/tunic");
    assert.equal(at({ HOME: "/home/u", XDG_DATA_HOME: "relative" }), "/home/u/.local/share/tunic");
    assert.equal(at({ STATE_DIRECTORY: "/var/lib/tunic:/x", HOME: "/root" }), "/var/lib/tunic");
    assert.equal(at({ HOME: "/Users/u" }, "darwin"), "/Users/u/Library/Application Support/tunic");
    assert.equal(at({ LOCALAPPDATA: "C:/Local" }, "win32"), "C:/Local/tunic");
    assert.equal(at({}), undefined);
  });

  test("torrc: the user's before the system's", () => {
    assert.deepEqual(defaultTorrcPaths({ env: { HOME: "/home/u" }, platform: "linux", workingDirectory: "/" }), [
      "/home/u/.config/tunic/torrc",
      "/etc/tunic/torrc",
    ]);
    assert.deepEqual(
      defaultTorrcPaths({ env: { XDG_CONFIG_HOME: "/c" }, platform: "linux", workingDirectory: "/" })[0],
      "/c/tunic/torrc",
    );
  });

  test("paths", () => {
    assert.equal(expandPath("~/x", HERE), "/home/user/x");
    assert.equal(expandPath("/x", HERE), "/x");
    assert.equal(expandPath("x", HERE), "/work/x");
    assert.equal(expandPath("~other/x", HERE), "/work/~other/x");
  });
});

describe("SocksPolicy", () => {
  for (
    const [policy, host, expected] of [
      ["", "127.0.0.1", true],
      ["accept 127.0.0.0/24, reject *", "127.0.0.9", true],
      ["accept 127.0.0.0/24, reject *", "127.0.1.9", false],
      ["accept 127.0.0.0/24, reject *", "::1", false],
      ["reject *6", "::1", false],
      ["reject *6", "127.0.0.1", true],
      ["reject6 *", "127.0.0.1", true],
      ["reject [2001:db8::]/33", "2001:db8:7fff::1", false],
      ["reject [2001:db8::]/33", "2001:db8:8000::1", true],
      ["accept private, reject *", "192.168.7.7", true],
      ["accept private, reject *", "fe80::1", true],
      ["accept private, reject *", "192.0.2.1", false],
      ["reject 0.0.0.0/0", "1.2.3.4", false],
      ["accept *", "not an address", false],
    ] as const
  ) {
    test(`"${policy}" ${expected ? "admits" : "does not admit"} ${host}`, () => {
      assert.equal(admits(parsePolicy(policy), host), expected);
    });
  }
});
