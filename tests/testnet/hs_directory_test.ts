import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { concat } from "../../src/bytes/bytes.ts";
import { latin1, toBase64, utf8 } from "../../src/bytes/text.ts";
import { type Ed25519PrivateKey, generateEd25519 } from "../../src/crypto/ed25519.ts";
import { SimulatedTime } from "../../src/runtime/mock.ts";
import { DirectoryConnection } from "../../src/testnet/directory_connection.ts";
import { HsDirectory } from "../../src/testnet/hs_directory.ts";
import { blindedKey, makeHsDescriptor, NOW, strangerKey } from "../support/hs_descriptor.ts";
import { Log } from "../support/scripted_relay.ts";
import { SeededRandom } from "../support/seeded_random.ts";

const MINUTE_MS = 60_000;

class World {
  readonly time = new SimulatedTime(NOW);
  readonly directory: HsDirectory;

  constructor(maxDescriptors?: number) {
    this.directory = new HsDirectory({ clock: this.time, maxDescriptors });
  }

  request(method: string, path: string, body: Uint8Array = new Uint8Array(0)) {
    return this.directory.answer({ method, path, headers: new Map(), body });
  }

  /** The status. */
  publish(text: Uint8Array): number {
    return this.request("POST", "/tor/hs/3/publish", text)!.status;
  }

  /** The descriptor, or the status where there is none. */
  find(key: Ed25519PrivateKey = blindedKey): Uint8Array | number {
    const answer = this.request("GET", `/tor/hs/3/${toBase64(key.publicKey)}`)!;
    return answer.status === 200 ? answer.body : answer.status;
  }
}

describe("a directory of onion services", () => {
  test("gives what was published to who asks by the blinded key, and to nobody else", () => {
    const world = new World();
    assert.equal(world.find(), 404);
    assert.equal(world.publish(makeHsDescriptor()), 200);
    assert.deepEqual(world.find(), makeHsDescriptor());
    assert.equal(world.find(strangerKey), 404);
    assert.equal(world.publish(makeHsDescriptor({ blindedKey: strangerKey })), 200);
    assert.deepEqual(world.find(strangerKey), makeHsDescriptor({ blindedKey: strangerKey }));
    assert.deepEqual(world.find(), makeHsDescriptor());
  });

  test("keeps what it was given, whatever becomes of the request", () => {
    const world = new World();
    const text = makeHsDescriptor();
    world.publish(text);
    text.fill(0);
    assert.deepEqual(world.find(), makeHsDescriptor());
  });

  test("puts a newer revision in an older one's place, and keeps it against older ones and its like", () => {
    const world = new World();
    const [older, newer] = [makeHsDescriptor({ revisionCounter: 7 }), makeHsDescriptor({ revisionCounter: 8 })];
    const like = makeHsDescriptor({ revisionCounter: 8, superencrypted: new Uint8Array(100) });
    assert.equal(world.publish(older), 200);
    assert.equal(world.publish(newer), 200);
    assert.equal(world.publish(older), 400);
    assert.equal(world.publish(newer), 400);
    assert.equal(world.publish(like), 400);
    assert.deepEqual(world.find(), newer);
    assert.equal(world.publish(makeHsDescriptor({ blindedKey: strangerKey, revisionCounter: 1 })), 200);
    assert.equal(world.directory.size, 2);
  });

  test("compares revisions as numbers of 64 bits", () => {
    const world = new World();
    assert.equal(world.publish(makeHsDescriptor({ revisionCounter: (1n << 63n) + 1n })), 200);
    assert.equal(world.publish(makeHsDescriptor({ revisionCounter: 1n << 63n })), 400);
    assert.equal(world.publish(makeHsDescriptor({ revisionCounter: 9 })), 400);
    assert.equal(world.publish(makeHsDescriptor({ revisionCounter: (1n << 63n) + 2n })), 200);
  });

  for (
    const [name, text] of [
      ["nothing", new Uint8Array(0)],
      ["no descriptor", utf8("hello\n")],
      ["one that is cut short", makeHsDescriptor().subarray(0, 5_000)],
      ["one signed with another key", makeHsDescriptor({ signer: strangerKey })],
      ["one whose certificate another key made", makeHsDescriptor({ certifier: strangerKey })],
      ["one whose certificate is of another type", makeHsDescriptor({ certificateType: 4 })],
      ["one whose certificate names nobody", makeHsDescriptor({ includeSigningKey: false })],
      ["one whose certificate has expired", makeHsDescriptor({ expiresMs: NOW - 7_200_000 })],
      ["one that is too long", makeHsDescriptor({ superencrypted: new Uint8Array(40_000) })],
      ["two", concat(makeHsDescriptor(), makeHsDescriptor({ revisionCounter: 43 }))],
    ] as [string, Uint8Array][]
  ) {
    test(`takes no upload of ${name}, and keeps what it has`, () => {
      const world = new World();
      assert.equal(world.publish(text), 400);
      assert.equal(world.directory.size, 0);
      world.publish(makeHsDescriptor({ revisionCounter: 1 }));
      assert.equal(world.publish(text), 400);
      assert.deepEqual(world.find(), makeHsDescriptor({ revisionCounter: 1 }));
    });
  }

  test("takes a long one that is within the limit", () => {
    const world = new World();
    const text = makeHsDescriptor({ superencrypted: new Uint8Array(36_000) });
    assert.ok(text.length > 49_000);
    assert.equal(world.publish(text), 200);
    assert.deepEqual(world.find(), text);
  });

  test("forgets a descriptor at the end of its lifetime, whatever the machine's clock says", async () => {
    const world = new World();
    world.publish(makeHsDescriptor());
    await world.time.advance(180 * MINUTE_MS - 1);
    assert.deepEqual(world.find(), makeHsDescriptor());
    await world.time.advance(1);
    assert.equal(world.find(), 404);
    assert.equal(world.directory.size, 0);
    assert.equal(world.publish(makeHsDescriptor({ revisionCounter: 1 })), 200, "nothing is known to be newer");
  });

  test("counts the lifetime from the last upload", async () => {
    const world = new World();
    world.publish(makeHsDescriptor({ revisionCounter: 1 }));
    await world.time.advance(100 * MINUTE_MS);
    assert.equal(world.publish(makeHsDescriptor({ revisionCounter: 2 })), 200);
    await world.time.advance(100 * MINUTE_MS);
    assert.deepEqual(world.find(), makeHsDescriptor({ revisionCounter: 2 }));
  });

  test("lets go the one published longest ago when it is full, expired ones first", async () => {
    const source = new SeededRandom(77);
    const keys = Array.from({ length: 5 }, () => generateEd25519(source));
    const world = new World(3);
    const publish = (i: number, revisionCounter = 1, lifetime = 180) =>
      assert.equal(
        world.publish(makeHsDescriptor({
          blindedKey: keys[i]!,
          revisionCounter,
          edit: (text) => text.replace("lifetime 180", `lifetime ${lifetime}`),
        })),
        200,
      );
    const known = () => keys.map((key) => typeof world.find(key) === "object" ? 1 : 0).join("");
    publish(0);
    publish(1);
    publish(0, 2);
    publish(2, 1, 30);
    assert.equal(known(), "11100");
    publish(3);
    assert.equal(known(), "10110", "0 was published again after 1");
    await world.time.advance(31 * MINUTE_MS);
    publish(4);
    assert.equal(world.directory.size, 3);
    assert.equal(known(), "10011", "2 had expired, though 0 is older");
    publish(4, 2);
    assert.equal(known(), "10011", "what takes its own place needs no room");
  });

  test("answers requests about onion services alone", () => {
    const world = new World();
    world.publish(makeHsDescriptor());
    const name = toBase64(blindedKey.publicKey);
    for (const path of ["/", "/tor/status-vote/current/consensus", "/tor/hs", "/hs/3/publish"]) {
      assert.equal(world.request("GET", path), undefined);
      assert.equal(world.request("POST", path, makeHsDescriptor()), undefined);
    }
    for (
      const path of [
        "/tor/hs/",
        "/tor/hs/3/",
        "/tor/hs/3/publish",
        `/tor/hs/2/${name}`,
        `/tor/hs/4/${name}`,
        `/tor/hs/3/${name}/`,
        `/tor/hs/3/${name.slice(0, -1)}`,
        `/tor/hs/3/${name}AA`,
        `/tor/hs/3/${"*".repeat(43)}`,
        `/tor/hs/3/${name}.z`,
      ]
    ) assert.equal(world.request("GET", path)!.status, 404, path);
    for (const path of ["/tor/hs/3/", "/tor/hs/2/publish", "/tor/hs/3/publish/", `/tor/hs/3/${name}`]) {
      assert.equal(world.request("POST", path, makeHsDescriptor({ revisionCounter: 99 }))!.status, 404, path);
    }
    assert.deepEqual(world.find(), makeHsDescriptor());
    assert.equal(world.request("GET", `/tor/hs/3/${name}=`)!.status, 200, "with its padding too");
  });

  test("is asked over a directory stream", async () => {
    const world = new World();
    const ask = async (request: Uint8Array) => {
      const log = new Log();
      const connection = new DirectoryConnection(world.time, (it) => world.directory.answer(it)!);
      connection.handlers = log.handlers;
      // In pieces, as relay cells bring them.
      for (let at = 0; at < request.length; at += 498) connection.write(request.subarray(at, at + 498));
      await world.time.settle();
      return latin1(log.data);
    };
    const text = makeHsDescriptor();
    const head = `POST /tor/hs/3/publish HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: ${text.length}\r\n\r\n`;
    assert.match(await ask(concat(utf8(head), text)), /^HTTP\/1\.0 200 OK\r\n/);
    const got = await ask(utf8(`GET /tor/hs/3/${toBase64(blindedKey.publicKey)} HTTP/1.0\r\n\r\n`));
    assert.match(got, /^HTTP\/1\.0 200 OK\r\n/);
    assert.equal(got.slice(got.indexOf("\r\n\r\n") + 4), latin1(text));
    assert.match(await ask(utf8("GET /tor/hs/3/nobody HTTP/1.0\r\n\r\n")), /^HTTP\/1\.0 404 /);
  });
});
