import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { deflateSync, gzipSync } from "node:zlib";
import { TunicError } from "../../../src/base/errors.ts";
import { Emitter } from "../../../src/base/events.ts";
import { concat } from "../../../src/bytes/bytes.ts";
import { latin1, utf8 } from "../../../src/bytes/text.ts";
import type { ChannelManager } from "../../../src/mgr/channels.ts";
import { DirectoryClient, type DirectoryRequest } from "../../../src/mgr/directory/directory_client.ts";
import type { HopHandshake } from "../../../src/proto/circuit_handshake.ts";
import { mockRuntime } from "../../../src/runtime/mock.ts";
import { FakeDuplex } from "../../support/fake_duplex.ts";

/** A circuit of one hop whose streams the test answers. */
class FakeCircuit {
  readonly #emitter = new Emitter<{ closed: TunicError }>();
  readonly events = { on: this.#emitter.on.bind(this.#emitter) };
  readonly streams: FakeDuplex[] = [];
  closed: TunicError | undefined;
  handshake: HopHandshake["type"] | undefined;
  /** Whether CREATE is never answered. */
  isDeaf = false;

  async create(handshake: HopHandshake, signal: AbortSignal): Promise<void> {
    this.handshake = handshake.type;
    if (!this.isDeaf) return;
    await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason))).finally(() =>
      this.destroy(signal.reason)
    );
  }

  openDirectory(): Promise<FakeDuplex> {
    if (this.closed) return Promise.reject(this.closed);
    const stream = new FakeDuplex();
    this.streams.push(stream);
    return Promise.resolve(stream);
  }

  destroy(error: TunicError): void {
    if (this.closed) return;
    this.closed = error;
    for (const stream of this.streams) stream.destroy(error);
    this.#emitter.emit("closed", error);
  }
}

class Fixture {
  readonly runtime = mockRuntime();
  readonly circuits: FakeCircuit[] = [];
  isDeaf = false;
  failure: TunicError | undefined;
  readonly client: DirectoryClient;
  readonly target = {
    addresses: [{ host: "192.0.2.1", port: 9001 }],
    rsaId: new Uint8Array(20).fill(1),
    ed25519Id: undefined,
  };

  constructor() {
    const channels = {
      get: () =>
        this.failure ? Promise.reject(this.failure) : Promise.resolve({
          newCircuit: () => {
            const circuit = new FakeCircuit();
            circuit.isDeaf = this.isDeaf;
            this.circuits.push(circuit);
            return circuit;
          },
        }),
    } as unknown as ChannelManager;
    this.client = new DirectoryClient({ runtime: this.runtime, channels });
  }

  get time() {
    return this.runtime.time;
  }

  get streams(): FakeDuplex[] {
    return this.circuits.flatMap(({ streams }) => streams);
  }

  async get(request: Partial<DirectoryRequest> = {}, ntorKey?: Uint8Array) {
    const answer = this.client.get({ target: this.target, ntorKey }, {
      what: "a document",
      path: "/tor/some/document.z",
      maxBytes: 100_000,
      timeoutMs: 60_000,
      stallTimeoutMs: 10_000,
      ...request,
    });
    answer.catch(() => {});
    await this.time.settle();
    return { answer, stream: this.streams.at(-1)! };
  }

  /** After the close nothing may be left. */
  async close(): Promise<void> {
    this.client.close();
    await this.time.settle();
    assert.equal(this.time.pending, 0);
    assert.ok(this.circuits.every(({ closed }) => closed));
    assert.equal(this.client.circuitCount, 0);
  }
}

function answer(stream: FakeDuplex, body: Uint8Array, encoding?: string, status = "200 OK"): void {
  const fields = encoding === undefined ? "" : `Content-Encoding: ${encoding}\r\n`;
  stream.handlers.data(concat(utf8(`HTTP/1.0 ${status}\r\n${fields}Content-Length: ${body.length}\r\n\r\n`), body));
}

describe("DirectoryClient", () => {
  test("asks as the specification has it, and unpacks what comes", async () => {
    for (
      const [encoding, pack] of [
        [undefined, (bytes: Uint8Array) => bytes],
        ["identity", (bytes: Uint8Array) => bytes],
        ["deflate", (bytes: Uint8Array) => new Uint8Array(deflateSync(bytes))],
        ["gzip", (bytes: Uint8Array) => new Uint8Array(gzipSync(bytes))],
      ] as const
    ) {
      const fixture = new Fixture();
      const steps: string[] = [];
      const ifModifiedSince = Date.UTC(2026, 0, 29, 6);
      const { answer: result, stream } = await fixture.get({ ifModifiedSince, onStep: (step) => steps.push(step) });
      assert.equal(
        latin1(stream.written),
        "GET /tor/some/document.z HTTP/1.0\r\nHost: 192.0.2.1:9001\r\n" +
          `Accept-Encoding: ${fixture.runtime.compression.encodings.join(", ")}\r\n` +
          "If-Modified-Since: Thu, 29 Jan 2026 06:00:00 GMT\r\n\r\n",
      );
      assert.deepEqual(steps, ["circuit", "sent"]);
      answer(stream, pack(utf8("the document")), encoding);
      assert.deepEqual(await result, { status: 200, body: utf8("the document") });
      assert.deepEqual(steps, ["circuit", "sent", "answering"]);
      await fixture.close();
    }
  });

  test("uses CREATE_FAST only where the onion key is not known", async () => {
    const fast = new Fixture();
    await fast.get();
    assert.equal(fast.circuits[0]!.handshake, "fast");
    await fast.close();
    const ntor = new Fixture();
    await ntor.get({}, new Uint8Array(32).fill(9));
    assert.equal(ntor.circuits[0]!.handshake, 2);
    await ntor.close();
  });

  test("carries requests side by side on one circuit, which it closes when idle", async () => {
    const fixture = new Fixture();
    const first = await fixture.get();
    const second = await fixture.get();
    assert.equal(fixture.circuits.length, 1);
    answer(second.stream, utf8("2"));
    answer(first.stream, utf8("1"));
    assert.deepEqual((await first.answer).body, utf8("1"));
    assert.deepEqual((await second.answer).body, utf8("2"));
    await fixture.time.advance(4_000);
    const third = await fixture.get();
    assert.equal(fixture.circuits.length, 1);
    await fixture.time.advance(8_000);
    assert.ok(!fixture.circuits[0]!.closed, "it is in use");
    answer(third.stream, utf8("3"));
    await third.answer;
    await fixture.time.advance(6_000);
    assert.ok(fixture.circuits[0]!.closed);
    await fixture.get();
    assert.equal(fixture.circuits.length, 2);
    await fixture.close();
  });

  test("gives any status as an answer, without its page", async () => {
    const fixture = new Fixture();
    const { answer: result, stream } = await fixture.get();
    answer(stream, utf8("nothing here"), undefined, "404 Not Found");
    assert.deepEqual(await result, { status: 404, body: new Uint8Array(0) });
    await fixture.close();
  });

  test("refuses a bomb, also one of many members", async () => {
    const zeros = new Uint8Array(50_001);
    const member = new Uint8Array(gzipSync(zeros));
    for (
      const [encoding, body] of [
        ["deflate", new Uint8Array(deflateSync(new Uint8Array(10_000_000)))],
        ["gzip", new Uint8Array(gzipSync(new Uint8Array(10_000_000)))],
        ["gzip", concat(member, member)],
      ] as const
    ) {
      assert.ok(body.length < 100_000);
      const fixture = new Fixture();
      const { answer: result, stream } = await fixture.get();
      answer(stream, body, encoding);
      await assert.rejects(result, { kind: "limit", code: "expansion-limit" });
      await fixture.close();
    }
  });

  test("refuses a body longer than the document may be", async () => {
    const fixture = new Fixture();
    const { answer: result, stream } = await fixture.get();
    answer(stream, new Uint8Array(200_000));
    await assert.rejects(result, { kind: "limit" });
    await fixture.close();
  });

  test("refuses what it did not say it reads, and what is not what it says", async () => {
    const unknown = new Fixture();
    const first = await unknown.get();
    answer(first.stream, utf8("x"), "x-tor-lzma");
    await assert.rejects(first.answer, { kind: "malformed", code: "unknown-content-encoding" });
    await unknown.close();
    const wrong = new Fixture();
    const second = await wrong.get();
    answer(second.stream, utf8("this is not zlib"), "deflate");
    await assert.rejects(second.answer, { kind: "malformed", code: "bad-compression" });
    await wrong.close();
  });

  test("gives up on silence, at every step", async () => {
    const deaf = new Fixture();
    deaf.isDeaf = true;
    const first = await deaf.get();
    await deaf.time.advance(21_000);
    await assert.rejects(first.answer, { kind: "timeout" });
    await deaf.close();
    const mute = new Fixture();
    const second = await mute.get();
    await mute.time.advance(11_000);
    await assert.rejects(second.answer, { kind: "timeout" });
    assert.ok(second.stream.closed);
    await mute.close();
    const slow = new Fixture();
    const third = await slow.get();
    for (let i = 0; i < 13; i++) {
      third.stream.handlers.data(utf8("H"));
      await slow.time.advance(5_000);
    }
    await assert.rejects(third.answer);
    await slow.close();
  });

  test("ends one request when it is aborted, and not its neighbour", async () => {
    const fixture = new Fixture();
    const abort = new AbortController();
    const first = await fixture.get({ signal: abort.signal });
    const second = await fixture.get();
    const [firstStream, secondStream] = fixture.streams;
    abort.abort();
    await assert.rejects(first.answer, { kind: "aborted" });
    assert.ok(firstStream!.closed);
    answer(secondStream!, utf8("still"));
    assert.deepEqual((await second.answer).body, utf8("still"));
    await fixture.close();
  });

  test("tells all requests of a circuit that breaks, and makes another for the next", async () => {
    const fixture = new Fixture();
    const first = await fixture.get();
    const second = await fixture.get();
    fixture.circuits[0]!.destroy(new TunicError("Cannot go on", { kind: "circuit", code: "destroy" }));
    await assert.rejects(first.answer, { kind: "circuit" });
    await assert.rejects(second.answer, { kind: "circuit" });
    await fixture.get();
    assert.equal(fixture.circuits.length, 2);
    await fixture.close();
  });

  test("tries a channel anew after one that could not be opened", async () => {
    const fixture = new Fixture();
    fixture.failure = new TunicError("Cannot connect", { kind: "connection", code: "refused" });
    const { answer: result } = await fixture.get();
    await assert.rejects(result, { kind: "connection" });
    fixture.failure = undefined;
    const { stream } = await fixture.get();
    assert.ok(stream);
    await fixture.close();
  });

  test("ends everything when it is closed, and begins nothing afterwards", async () => {
    const fixture = new Fixture();
    const { answer: result } = await fixture.get();
    await fixture.close();
    await assert.rejects(result, { kind: "closed" });
    const { answer: late } = await fixture.get();
    await assert.rejects(late, { kind: "closed" });
    assert.equal(fixture.circuits.length, 1);
  });
});
