import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import { fromHex, toHex } from "../../src/bytes/text.ts";
import { NTOR_ONION_SKIN_LENGTH, NTOR_REPLY_LENGTH, NtorClient, ntorServer } from "../../src/crypto/ntor.ts";
import { X25519PrivateKey } from "../../src/crypto/x25519.ts";
import vector from "../vectors/crypto_ntor.json" with { type: "json" };
import x25519 from "../vectors/crypto_x25519.json" with { type: "json" };
import { fixed, seeded } from "./random.ts";

const id = fromHex(vector.id);
const relay = { rsaId: id, ntorKey: fromHex(vector.B) };
const onionKey = () => new X25519PrivateKey(fromHex(vector.b));
const startClient = () => NtorClient.start(fixed(vector.x), relay);
const cryptoError = (code: string) => (error: unknown) => isTunicError(error, "crypto") && error.code === code;

describe("ntor", () => {
  test("the client's half matches the vector", () => {
    const client = startClient();
    assert.equal(toHex(client.onionSkin), vector.onionSkin);
    const k = client.finish(fromHex(vector.reply), vector.keyMaterial.length / 2);
    assert.equal(toHex(k), vector.keyMaterial);
  });

  test("the relay's half matches the vector", () => {
    const answer = ntorServer(fixed(vector.y), id, [onionKey()], fromHex(vector.onionSkin), 72);
    assert.equal(toHex(answer.reply), vector.reply);
    assert.equal(toHex(answer.keyMaterial), vector.keyMaterial);
  });

  test("both halves agree, whichever of the relay's onion keys the client knows", () => {
    const random = seeded(1);
    const old = new X25519PrivateKey(random.random(32));
    const client = NtorClient.start(random, { rsaId: id, ntorKey: old.publicKey });
    const answer = ntorServer(random, id, [onionKey(), old], client.onionSkin, 92);
    assert.deepEqual(client.finish(answer.reply, 92), answer.keyMaterial);
  });

  test("a reply with any bit changed is refused", () => {
    fc.assert(
      fc.property(fc.nat(NTOR_REPLY_LENGTH * 8 - 1), (bit) => {
        // The highest bit of a coordinate does not count in the group, but AUTH covers it.
        const reply = fromHex(vector.reply);
        reply[bit >> 3]! ^= 1 << (bit & 7);
        assert.throws(() => startClient().finish(reply, 72), cryptoError("bad-ntor-mac"));
      }),
      { numRuns: 60 },
    );
  });

  test("a reply of any other length is malformed", () => {
    for (let length = 0; length <= NTOR_REPLY_LENGTH + 2; length++) {
      if (length === NTOR_REPLY_LENGTH) continue;
      const reply = new Uint8Array(length);
      reply.set(fromHex(vector.reply).subarray(0, length));
      assert.throws(() => startClient().finish(reply, 72), (error) => isTunicError(error, "malformed"));
    }
  });

  test("an onion skin of any other length is malformed", () => {
    for (const length of [0, 1, 20, 52, NTOR_ONION_SKIN_LENGTH - 1, NTOR_ONION_SKIN_LENGTH + 1, 505]) {
      const skin = new Uint8Array(length);
      skin.set(fromHex(vector.onionSkin).subarray(0, length));
      assert.throws(
        () => ntorServer(seeded(2), id, [onionKey()], skin, 72),
        (error) => isTunicError(error, "malformed"),
      );
    }
  });

  test("low-order points are refused on both sides", () => {
    for (const point of x25519.lowOrder.points) {
      const reply = fromHex(vector.reply);
      reply.set(fromHex(point));
      assert.throws(() => startClient().finish(reply, 72), cryptoError("x25519-degenerate"));
      const skin = fromHex(vector.onionSkin);
      skin.set(fromHex(point), 52);
      assert.throws(
        () => ntorServer(seeded(3), id, [onionKey()], skin, 72),
        cryptoError("x25519-degenerate"),
      );
      const client = NtorClient.start(seeded(4), { rsaId: id, ntorKey: fromHex(point) });
      assert.throws(() => client.finish(fromHex(vector.reply), 72), cryptoError("x25519-degenerate"));
    }
  });

  test("the relay refuses an onion skin for another identity or key", () => {
    const skins = [0, 19, 20, 51].map((at) => {
      const skin = fromHex(vector.onionSkin);
      skin[at]! ^= 1;
      return skin;
    });
    for (const skin of skins) {
      assert.throws(() => ntorServer(seeded(5), id, [onionKey()], skin, 72), cryptoError("unknown-ntor-key"));
    }
  });

  test("a relay that answers with another onion key is refused", () => {
    const random = seeded(6);
    const client = NtorClient.start(random, relay);
    const impostor = new X25519PrivateKey(random.random(32));
    const skin = client.onionSkin.slice();
    skin.set(impostor.publicKey, 20);
    const answer = ntorServer(random, id, [impostor], skin, 72);
    assert.throws(() => client.finish(answer.reply, 72), cryptoError("bad-ntor-mac"));
  });

  test("a reply to one handshake does not finish another", () => {
    const random = seeded(7);
    const answer = ntorServer(random, id, [onionKey()], NtorClient.start(random, relay).onionSkin, 72);
    assert.throws(() => NtorClient.start(random, relay).finish(answer.reply, 72), cryptoError("bad-ntor-mac"));
  });

  test("finishes once", () => {
    const client = startClient();
    client.finish(fromHex(vector.reply), 72);
    assert.throws(() => client.finish(fromHex(vector.reply), 72), (error) => isTunicError(error, "internal"));
  });

  test("refuses a relay without a proper identity or key", () => {
    const source = () => fixed(vector.x);
    assert.throws(() => NtorClient.start(source(), { rsaId: id.subarray(1), ntorKey: relay.ntorKey }), RangeError);
    assert.throws(() => NtorClient.start(source(), { rsaId: id, ntorKey: relay.ntorKey.subarray(1) }), RangeError);
  });
});
