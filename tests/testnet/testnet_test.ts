/** The test network itself: what it binds to, whom it connects to, what it refuses, what it leaves behind. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isTunicError, startTestnet, type TestnetOptions, TunicError } from "../../mod.ts";
import { toHexUpper } from "../../src/bytes/text.ts";
import { ChannelManager } from "../../src/mgr/channels.ts";
import { publicAuthorities } from "../../src/netdir/public_network.ts";
import { ntorHandshake } from "../../src/proto/circuit_handshake.ts";
import type { CircuitTarget } from "../../src/proto/target.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import { isLoopback } from "../../src/testnet/loopback_exit.ts";
import { TestRelay } from "../../src/testnet/relay.ts";
import { launchTestClient, openSockets } from "../support/client_tests.ts";
import { HELLO, startLocalServer } from "../support/local_server.ts";
import { poll } from "../support/poll.ts";
import { ObservedMachine, startObservedNetwork } from "../support/test_network.ts";

describe("a test network", () => {
  test("is ready when it has started, and gone when it was closed, with whatever was under way", async () => {
    const before = openSockets();
    await using server = await startLocalServer();
    const listening = openSockets() - before;
    for (let round = 0; round < 3; round++) {
      const network = await startObservedNetwork();
      const { net, machine } = network;
      assert.equal(machine.listened.length, 9);
      const tor = await launchTestClient(net.directoryAuthorities);
      assert.equal(await (await tor.fetch(`${server.url}/hello`)).text(), HELLO);
      const endless = await tor.fetch(`${server.url}/bytes/${1 << 30}`);
      const reader = endless.body!.getReader();
      await reader.read();
      assert.ok(machine.connections > 0);
      await Promise.all([net.close(), net.close()]);
      await assert.rejects(async () => {
        while (!(await reader.read()).done);
      });
      await tor.close();
      await poll("the end of all connections", 5_000, () => machine.connections === 0 || undefined, 10);
      assert.deepEqual([machine.timers, machine.listeners], [0, 0]);
      await poll("the end of all sockets", 5_000, () => openSockets() <= before + listening || undefined, 10);
    }
  });

  test("leaves nothing behind when it cannot start", async () => {
    const machine = new ObservedMachine();
    const { runtime } = machine;
    let left = 6;
    const refusal = new TunicError("Cannot listen: no more ports", { kind: "listen", code: "test" });
    const network = {
      ...runtime.network,
      listenTls: (...parameters: Parameters<typeof runtime.network.listenTls>) =>
        left-- > 0 ? runtime.network.listenTls(...parameters) : Promise.reject(refusal),
    };
    await assert.rejects(startTestnet({ runtime: { ...runtime, network } }), (error) => error === refusal);
    assert.equal(machine.listened.length, 6);
    assert.equal(machine.listeners, 0);
    assert.equal(machine.timers, 0);
  });

  test("binds to loopback and refuses everything else", async () => {
    await using network = await startObservedNetwork({ relays: 3, exits: 1, authorities: 1 });
    assert.deepEqual([...new Set(network.machine.listened.map(({ host }) => host))], ["127.0.0.1"]);
    const { identity } = network.net.relay("r1");
    const exit = { openDirectory: never, connect: never, resolve: never };
    for (const host of ["0.0.0.0", "::", "192.168.1.1", "8.8.8.8", "fe80::1", "128.0.0.1", "::ffff:10.0.0.1"]) {
      const options = { runtime: nodeRuntime, identity, address: { host, port: 0 }, exit, circuitWindow: 1000 };
      const refused = (error: unknown) => isTunicError(error, "policy") && error.code === "not-loopback";
      await assert.rejects(TestRelay.start(options), refused, host);
    }
  });

  for (
    const [name, options] of Object.entries<TestnetOptions>({
      "too few relays": { relays: 2 },
      "more exits than there may be": { relays: 4, exits: 3 },
      "no exits": { exits: 0 },
      "too many authorities": { authorities: 10 },
      "half a relay": { relays: 6.5 },
      "an interval of a second and a half": { consensusIntervalMs: 1500 },
      "no interval": { consensusIntervalMs: 0 },
      "phantoms beyond count": { phantomRelays: 1e9 },
      "a name that stands for a name": { hosts: { "web.tunic.test": "example.com" } },
    })
  ) {
    test(`refuses ${name}`, async () => {
      const { runtime, listened } = new ObservedMachine();
      await assert.rejects(startTestnet({ runtime, ...options }), (error) => isTunicError(error, "argument"));
      assert.equal(listened.length, 0);
    });
  }

  test("knows its relays by name", async () => {
    await using net = await startTestnet({ relays: 3, exits: 1, authorities: 1 });
    assert.deepEqual(net.relays.map(({ nickname, role }) => `${nickname} ${role}`), [
      "a1 authority",
      "r1 relay",
      "r2 relay",
      "r3 exit",
    ]);
    assert.throws(() => net.relay("r9"), { code: "no-such-relay" });
    const { orPort } = net.relay("r2");
    await net.relay("r2").kill();
    assert.ok(!net.relay("r2").isRunning);
    await net.relay("r2").kill();
    await net.relay("r2").restart();
    assert.ok(net.relay("r2").isRunning);
    assert.equal(net.relay("r2").orPort, orPort);
  });

  test("lets streams out to this machine only, and to no name that it was not told", async () => {
    const hosts = { "Web.Tunic.test": "127.0.0.1", "outside.tunic.test": "192.0.2.1" };
    await using network = await startObservedNetwork({ hosts });
    await using server = await startLocalServer();
    await using tor = await launchTestClient(network.net.directoryAuthorities, { socksTimeoutMs: 10_000 });
    for (const name of ["web.tunic.test", "WEB.tunic.TEST", "localhost", "a.localhost", "127.0.0.1"]) {
      const connection = await tor.connect(name, server.port);
      connection.close();
    }
    for (const name of ["192.0.2.1", "10.0.0.1", "2001:db8::1", "outside.tunic.test", "0.0.0.0"]) {
      await assert.rejects(tor.connect(name, 80), (error) => isTunicError(error, "stream", "no-path"), name);
    }
    for (const name of ["www.torproject.org", "tunic.test", "localhost.example"]) {
      await assert.rejects(tor.connect(name, 80), (error) => isTunicError(error, "stream", "resolve"), name);
      await assert.rejects(tor.resolve(name, { isolation: "" }), (error) => isTunicError(error, "resolve"), name);
    }
    assert.ok(network.machine.contacted.every(({ host }) => isLoopback(host)));
    assert.equal(network.machine.contacted.filter(({ port }) => port === server.port).length, 5);
  });

  test("extends no circuit to another network's relays", async () => {
    await using network = await startObservedNetwork();
    const { net, machine } = network;
    const targetOf = (nickname: string, host = "127.0.0.1"): CircuitTarget => {
      const { identity, orPort } = net.relay(nickname);
      const { rsaId, ed25519Id, ntorKey } = identity;
      return { addresses: [{ host, port: orPort }], rsaId, ed25519Id, ntorKey: ntorKey.publicKey };
    };
    const channels = new ChannelManager({ runtime: nodeRuntime, connectTimeoutMs: 5_000, idleTimeoutMs: 5_000 });
    try {
      const channel = await channels.get(targetOf("r1"));
      for (const host of ["192.0.2.1", "2001:db8::1", "0.0.0.0", "127.0.0.1"]) {
        const circuit = channel.newCircuit(1000);
        await circuit.create(ntorHandshake(nodeRuntime, targetOf("r1")));
        const second = targetOf("r2", host);
        const extended = circuit.extend(second, ntorHandshake(nodeRuntime, second), AbortSignal.timeout(5_000));
        if (isLoopback(host)) await extended;
        else await assert.rejects(extended, (error) => isTunicError(error, "circuit"), host);
      }
      assert.ok(machine.contacted.every(({ host }) => isLoopback(host)));
    } finally {
      channels.close();
    }
  });

  test("has nothing in common with the public network, and no client of one is a client of the other", async () => {
    await using net = await startTestnet({ relays: 3, exits: 1 });
    const publicIds = new Set(publicAuthorities().flatMap((it) => [toHexUpper(it.v3ident), toHexUpper(it.rsaId)]));
    for (const { rsaId, v3ident } of net.directoryAuthorities) {
      assert.ok(!publicIds.has(toHexUpper(rsaId)) && !publicIds.has(toHexUpper(v3ident)));
    }
    assert.equal(net.torrc[0], "TestingTorNetwork 1");
    assert.equal(net.torrc.filter((line) => line.startsWith("DirAuthority ")).length, 3);
    // Who believes the public authorities alone, and asks this network's relays, gets nothing that it may use.
    const impostors = publicAuthorities().slice(0, 3).map((authority, i) => ({
      ...net.directoryAuthorities[i]!,
      v3ident: authority.v3ident,
    }));
    const tor = await launchTestClient(impostors);
    try {
      await assert.rejects(tor.ready(AbortSignal.timeout(1_000)), (error) => isTunicError(error));
      assert.equal(tor.snapshot.circuits.building, 0);
    } finally {
      await tor.close();
    }
  });
});

function never(): never {
  throw new Error("nobody asks for this");
}
