import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isTunicError } from "../../src/base/errors.ts";
import { fromHex, toHex } from "../../src/bytes/text.ts";
import { CREATED_FAST_LENGTH, CreateFastClient, createFastServer } from "../../src/crypto/create_fast.ts";
import { sha1 } from "../../src/crypto/digest.ts";
import { fixed, seeded } from "./random.ts";

const x = "78".repeat(20);
const y = "79".repeat(20);

describe("CREATE_FAST", () => {
  test("both halves follow the specification's formula", () => {
    const client = CreateFastClient.start(fixed(x));
    assert.equal(toHex(client.onionSkin), x);
    const answer = createFastServer(fixed(y), client.onionSkin, 72);
    const k0 = fromHex(x + y);
    const k = [0, 1, 2, 3, 4].map((i) => toHex(sha1(k0, Uint8Array.of(i)))).join("");
    assert.equal(toHex(answer.reply), y + k.slice(0, 40));
    assert.equal(toHex(answer.keyMaterial), k.slice(40, 40 + 144));
    assert.deepEqual(client.finish(answer.reply, 72), answer.keyMaterial);
  });

  test("a changed reply is refused", () => {
    for (let at = 0; at < CREATED_FAST_LENGTH; at++) {
      const client = CreateFastClient.start(seeded(at));
      const { reply } = createFastServer(seeded(100), client.onionSkin, 72);
      reply[at]! ^= 0x80;
      assert.throws(
        () => client.finish(reply, 72),
        (error) => isTunicError(error, "crypto") && error.code === "bad-create-fast-kh",
      );
    }
  });

  test("lengths are checked on both sides", () => {
    for (const length of [0, 19, 21]) {
      assert.throws(
        () => createFastServer(seeded(1), new Uint8Array(length), 72),
        (error) => isTunicError(error, "malformed"),
      );
    }
    for (const length of [0, 20, 39, 41]) {
      assert.throws(
        () => CreateFastClient.start(seeded(1)).finish(new Uint8Array(length), 72),
        (error) => isTunicError(error, "malformed"),
      );
    }
  });

  test("finishes once", () => {
    const client = CreateFastClient.start(seeded(1));
    const { reply } = createFastServer(seeded(2), client.onionSkin, 72);
    client.finish(reply, 72);
    assert.throws(() => client.finish(reply, 72), (error) => isTunicError(error, "internal"));
  });
});
