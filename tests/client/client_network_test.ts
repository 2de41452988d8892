import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ErrorKind, isTunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { encodeWith } from "../../src/bytes/codec.ts";
import { fromBase64, latin1, toHex, utf8 } from "../../src/bytes/text.ts";
import { TorClient, type TorClientOptions } from "../../mod.ts";
import { RelayCommand } from "../../src/wire/relay_cell.ts";
import { RESOLVED, type ResolvedAnswer } from "../../src/wire/resolve_messages.ts";
import { EndReason } from "../../src/wire/stream_messages.ts";
import { bytesOf, consensusText, hash, TestAuthority } from "../support/network_documents.ts";
import { connects, type ExitScript, RelayNetwork, SECOND, silent, TIMES } from "../support/relay_network.ts";

const isKind = (kind: ErrorKind, code?: string) => (error: unknown) =>
  isTunicError(error, kind) && (code === undefined || error.code === code);

const AUTHORITY = await TestAuthority.create();

/** A relay's answers on streams of one circuit: HTTP requests in, documents out. */
function serves(document: (request: string) => Uint8Array): ExitScript {
  return (circuit, { command, streamId }) => {
    if (command === RelayCommand.BEGIN_DIR || command === RelayCommand.BEGIN) circuit.say(circuit.connected(streamId));
    if (command !== RelayCommand.DATA) return;
    const request = latin1(circuit.dataOf(streamId));
    if (!request.endsWith("\r\n\r\n")) return;
    const body = document(request);
    const answer = concat(utf8(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`), body);
    for (let at = 0; at < answer.length; at += 498) circuit.say(circuit.data(streamId, answer.subarray(at, at + 498)));
    circuit.say(circuit.end(streamId, EndReason.DONE));
  };
}

class World {
  readonly network = new RelayNetwork();
  readonly events: string[] = [];

  constructor() {
    const { relays } = this.network;
    const consensus = bytesOf(
      consensusText({ relays: relays.map(({ descriptor }) => descriptor), authorities: [AUTHORITY], ...TIMES }),
    );
    this.network.directory = serves((request) => {
      const path = /^GET (\S+)/.exec(request)![1]!;
      if (path.includes("consensus-microdesc")) return consensus;
      if (path.includes("/keys/")) return bytesOf(AUTHORITY.certificate());
      const names = path.replace("/tor/micro/d/", "").replace(/\.z$/, "").split("-");
      const wanted = new Set(names.map((name) => toHex(fromBase64(name))));
      const found = relays.map(({ descriptor }) => descriptor.microdesc)
        .filter((text) => wanted.has(toHex(hash("sha256", text))));
      return bytesOf(found.join(""));
    });
  }

  get time() {
    return this.network.time;
  }

  async launch(options: Partial<TorClientOptions> = {}): Promise<TorClient> {
    const { target } = this.network.relays[0]!.relay;
    const authority = {
      nickname: "authority",
      address: target.addresses[0]!,
      dirPort: 80,
      rsaId: target.rsaId,
      v3ident: AUTHORITY.identity,
    };
    const client = await TorClient.launch({
      runtime: this.network.runtime,
      dataDirectory: "/data",
      directoryAuthorities: [authority],
      testingTorNetwork: true,
      clientRejectInternalAddresses: true,
      clientDnsRejectInternalAddresses: true,
      ...options,
    });
    client.events.on("bootstrap", ({ tag }) => this.events.push(tag));
    client.events.on("stream", ({ state }) => this.events.push(`stream ${state}`));
    return client;
  }

  async ready(options: Partial<TorClientOptions> = {}): Promise<TorClient> {
    const client = await this.launch(options);
    await this.settled(client.ready(), 10 * SECOND);
    return client;
  }

  async settled<T>(promise: Promise<T>, ms = 1): Promise<T> {
    promise.catch(() => {});
    for (let i = 0; i < 10; i++) await this.time.advance(ms / 10);
    return await promise;
  }

  async close(client: TorClient): Promise<void> {
    await this.settled(client.close());
    await this.time.advance(SECOND);
    assert.equal(this.time.pending, 0);
    assert.equal(this.network.openLinks, 0);
  }
}

describe("a client over a network of relays", () => {
  test("gets there, closes, and starts again from what it has kept", async () => {
    const world = new World();
    const first = await world.ready();
    assert.equal(first.bootstrap.percent, 100);
    assert.equal(world.events.at(-1), "done");
    await world.close(first);
    await assert.rejects(first.ready(), isKind("closed"));
    await assert.rejects(first.connect("example.com", 443), isKind("closed"));
    const asked = world.network.circuits.length;
    const second = await world.ready();
    assert.ok(world.network.circuits.length - asked < asked);
    await world.close(second);
  });

  test("opens streams, fetches, and shares circuits by isolation key", async () => {
    const world = new World();
    const client = await world.ready();
    for (const isolation of [undefined, undefined, "a", "b", "a"]) {
      await (await world.settled(client.connect("example.com", 443, { isolation }))).close();
    }
    assert.equal(client.snapshot.circuits.dirty, 3);
    world.network.script = serves((request) => utf8(`you asked for ${/^GET (\S+)/.exec(request)![1]}`));
    const response = await world.settled(client.fetch("http://example.com/there"));
    assert.equal(await world.settled(response.text()), "you asked for /there");
    assert.equal(client.snapshot.circuits.dirty, 3);
    await world.close(client);
    assert.ok(world.events.includes("stream open") && world.events.includes("stream closed"));
  });

  test("checks an IPv6 address in brackets as one without", async () => {
    const world = new World();
    const client = await world.ready();
    await assert.rejects(client.connect("[::1]", 443), isKind("policy", "internal-address"));
    await assert.rejects(client.connect("[2001:db8::1]", 443), isKind("no-path", "no-exit"));
    await world.close(client);
  });

  test("tells no secrets in what it shows", async () => {
    const world = new World();
    const client = await world.ready();
    await world.settled(client.connect("secret.example.com", 443, { isolation: "hush" }));
    const shown = JSON.stringify(client.snapshot);
    assert.ok(!/secret|hush|10\.\d|relay\d/.test(shown), shown);
    assert.equal(client.snapshot.streams, 1);
    await world.close(client);
  });

  test("resolves literals by itself, and refuses answers from private networks", async () => {
    const world = new World();
    const client = await world.ready();
    const heard = () => world.network.circuits.flatMap((circuit) => circuit.all(RelayCommand.RESOLVE)).length;
    for (const [literal, type] of [["203.0.113.7", "ipv4"], ["2001:db8::7", "ipv6"]] as const) {
      assert.deepEqual(await client.resolve(literal, { isolation: "" }), [{ type, value: literal, ttlSeconds: 0 }]);
    }
    await assert.rejects(client.resolve("10.0.0.1", { isolation: "" }), isKind("policy"));
    assert.equal(heard(), 0);
    let list: ResolvedAnswer[] = [];
    world.network.script = (circuit, { command, streamId }) => {
      if (command !== RelayCommand.RESOLVE) return;
      circuit.say(circuit.payload(2, RelayCommand.RESOLVED, streamId, encodeWith(RESOLVED, list)));
    };
    const inside: ResolvedAnswer = { kind: "ipv4", address: "192.168.0.1", ttl: 60 };
    list = [inside, { kind: "ipv4", address: "203.0.113.9", ttl: 60 }];
    assert.deepEqual(
      await world.settled(client.resolve("example.com", { isolation: "" })),
      [{ type: "ipv4", value: "203.0.113.9", ttlSeconds: 60 }],
    );
    list = [inside];
    await assert.rejects(
      world.settled(client.resolve("example.com", { isolation: "" })),
      isKind("resolve", "no-answer"),
    );
    list = [{ kind: "hostname", hostname: "example.com", ttl: 60 }];
    assert.deepEqual(await world.settled(client.resolvePtr("203.0.113.9", { isolation: "" })), ["example.com"]);
    await world.close(client);
  });

  test("closes in whatever moment of a launch, and with requests under way", async () => {
    for (let turns = 0; turns < 120; turns += 7) {
      const world = new World();
      const client = await world.launch();
      const waiting = [
        client.ready(),
        client.connect("example.com", 443),
        client.resolve("a.example", { isolation: "" }),
      ];
      const outcomes = Promise.allSettled(waiting);
      for (let i = 0; i < turns; i++) {
        await new Promise((resolve) => setImmediate(resolve));
        if (i % 5 === 4) await world.time.settle();
      }
      world.network.script = silent;
      await world.close(client);
      for (const outcome of await outcomes) {
        if (outcome.status === "rejected") {
          assert.ok(isTunicError(outcome.reason, "closed", "circuit", "resolve"), `${outcome.reason}`);
        }
      }
    }
  });

  test("lets streams that are open end with the reason", async () => {
    const world = new World();
    const client = await world.ready();
    world.network.script = connects;
    const connection = await world.settled(client.connect("example.com", 443));
    const closed = assert.rejects(connection.closed, isKind("closed"));
    await world.close(client);
    await closed;
  });
});
