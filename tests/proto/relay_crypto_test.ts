import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { shake256 } from "@noble/hashes/sha3.js";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { latin1, toHex, utf8 } from "../../src/bytes/text.ts";
import { type RelayKeys, splitRelayKeys } from "../../src/crypto/kdf.ts";
import { ClientRelayCrypto, type OpenedCells } from "../../src/proto/relay_crypto.ts";
import { PAYLOAD_LEN } from "../../src/wire/cell.ts";
import {
  RELAY_DATA_AT,
  RELAY_DATA_LEN,
  RELAY_DIGEST_AT,
  RelayCommand,
  relayCommand,
  relayData,
  relayRecognized,
  writeRelayHeader,
} from "../../src/wire/relay_cell.ts";
import { RelayHop } from "../support/relay_hop.ts";
import { SeededRandom } from "../support/seeded_random.ts";
import vector from "../vectors/relay_crypt.json" with { type: "json" };

/** The payloads of the vector as they were before they were sealed. */
function vectorPayloads(): Uint8Array {
  const stream = shake256(utf8(vector.seed), { dkLen: 51 * RELAY_DATA_LEN });
  const payloads = new Uint8Array(51 * PAYLOAD_LEN);
  for (let i = 0; i < 51; i++) {
    writeRelayHeader(payloads, i * PAYLOAD_LEN, RelayCommand.DATA, 1, RELAY_DATA_LEN);
    const data = stream.subarray(i * RELAY_DATA_LEN, (i + 1) * RELAY_DATA_LEN);
    payloads.set(data, i * PAYLOAD_LEN + RELAY_DATA_AT);
  }
  return payloads;
}

const keys = (): RelayKeys[] => vector.keyMaterial.map((text) => splitRelayKeys(utf8(text)));

function client(hops = keys()): ClientRelayCrypto {
  const crypto = new ClientRelayCrypto();
  for (const hop of hops) crypto.addHop(hop);
  return crypto;
}

const cell = (payloads: Uint8Array, index: number) => payloads.subarray(index * PAYLOAD_LEN, (index + 1) * PAYLOAD_LEN);

/** Relays' ends of a circuit. */
class Relays {
  readonly hops = keys().map((hop) => new RelayHop(hop));

  say(hop: number, text: string, command: number = RelayCommand.DATA): Uint8Array {
    let { payload } = this.hops[hop]!.say(command, 1, utf8(text));
    for (let i = hop - 1; i >= 0; i--) payload = this.hops[i]!.pass(payload);
    return payload;
  }
}

/** Notes what is opened, as "hop:text". */
class Opened implements OpenedCells {
  readonly heard: string[] = [];
  readonly digests: string[] = [];
  points: (hop: number) => boolean = () => false;

  isDigestPoint(hop: number, payloads: Uint8Array, at: number): boolean {
    return relayCommand(payloads, at) === RelayCommand.DATA && this.points(hop);
  }

  digest(hop: number, digest: Uint8Array): void {
    this.digests.push(`${hop}:${toHex(digest)}`);
  }

  deliver(hop: number, payloads: Uint8Array, count: number): void {
    assert.equal(payloads.length, count * PAYLOAD_LEN);
    for (let i = 0; i < count; i++) this.heard.push(`${hop}:${latin1(relayData(payloads, i * PAYLOAD_LEN))}`);
  }
}

const badDigest = (error: unknown) => isTunicError(error, "crypto") && error.code === "bad-relay-digest";

describe("sealing relay cells", () => {
  test("gives C tor's bytes, however the cells are batched", () => {
    for (const size of [1, 2, 7, 51]) {
      const crypto = client();
      const payloads = vectorPayloads();
      const sealed: Uint8Array[] = [];
      for (let i = 0; i < 51; i += size) {
        const batch = payloads.subarray(i * PAYLOAD_LEN, Math.min(i + size, 51) * PAYLOAD_LEN);
        sealed.push(crypto.seal(2, batch));
      }
      const whole = concat(...sealed);
      for (const { index, payload } of vector.cells) assert.equal(toHex(cell(whole, index)), payload, `cell ${index}`);
    }
  });

  test("every hop recognizes what is for it and nothing else, with the digests that were asked for", () => {
    const crypto = client();
    const relays = new Relays();
    const random = new SeededRandom(5);
    for (let round = 0; round < 40; round++) {
      const hop = random.below(3);
      const count = 1 + random.below(4);
      const plain = new Uint8Array(count * PAYLOAD_LEN);
      for (let i = 0; i < count; i++) {
        writeRelayHeader(plain, i * PAYLOAD_LEN, RelayCommand.DATA, 1, 5);
        plain.set(random.random(5), i * PAYLOAD_LEN + RELAY_DATA_AT);
      }
      const digests: string[] = [];
      const sealed = crypto.seal(hop, plain, {
        isPoint: (_, at) => (at / PAYLOAD_LEN) % 2 === 0,
        digest: (digest) => digests.push(toHex(digest)),
      });
      const expected: string[] = [];
      for (let i = 0; i < count; i++) {
        let payload = cell(sealed, i);
        for (let at = 0; at <= hop; at++) {
          const opened = relays.hops[at]!.open(payload);
          assert.equal(opened.digest !== undefined, at === hop);
          payload = opened.payload;
          if (opened.digest && i % 2 === 0) expected.push(toHex(opened.digest));
        }
        assert.deepEqual(relayData(payload, 0), relayData(plain, i * PAYLOAD_LEN));
      }
      assert.deepEqual(digests, expected);
    }
  });
});

describe("opening relay cells", () => {
  test("keeps their order, whichever hops speak and however they are batched", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.constantFrom(0, 1, 2, 2, 2), fc.nat(999)), { minLength: 1, maxLength: 40 }),
        fc.array(fc.integer({ min: 1, max: 32 }), { minLength: 1, maxLength: 8 }),
        (messages, sizes) => {
          const relays = new Relays();
          const said = messages.map(([hop, number]) => relays.say(hop, String(number)));
          const crypto = client();
          const opened = new Opened();
          for (let at = 0, i = 0; at < said.length; i++) {
            const size = sizes[i % sizes.length]!;
            crypto.open(concat(...said.slice(at, at + size)), opened);
            at += size;
          }
          assert.deepEqual(opened.heard, messages.map(([hop, number]) => `${hop}:${number}`));
        },
      ),
      { numRuns: 60 },
    );
  });

  test("gives the digest at the cells where one is wanted, of every hop", () => {
    const relays = new Relays();
    const crypto = client();
    const opened = new Opened();
    opened.points = () => true;
    const expected: string[] = [];
    const batch: Uint8Array[] = [];
    for (const hop of [2, 2, 0, 2, 1, 1, 2]) {
      let { payload, digest } = relays.hops[hop]!.say(RelayCommand.DATA, 1, utf8("x"));
      for (let i = hop - 1; i >= 0; i--) payload = relays.hops[i]!.pass(payload);
      batch.push(payload);
      expected.push(`${hop}:${toHex(digest)}`);
    }
    crypto.open(concat(...batch), opened);
    assert.deepEqual(opened.digests, expected);
  });

  test("refuses a cell with any byte changed, and delivers nothing of it", () => {
    for (let at = 0; at < PAYLOAD_LEN; at++) {
      const payload = new Relays().say(2, "hello");
      payload[at]! ^= 1 << (at & 7);
      const opened = new Opened();
      assert.throws(() => client().open(payload, opened), badDigest, `byte ${at}`);
      assert.deepEqual(opened.heard, []);
    }
  });

  test("refuses a batch with any byte changed but the digest fields before its last cell, and delivers nothing", () => {
    const said = (): Uint8Array => {
      const relays = new Relays();
      return concat(relays.say(2, "one"), relays.say(2, "two"), relays.say(2, "three"));
    };
    const open = (batch: Uint8Array): string[] => {
      const opened = new Opened();
      assert.throws(() => client().open(batch, opened), badDigest);
      return opened.heard;
    };
    for (let at = 0; at < 3 * PAYLOAD_LEN; at += 1) {
      const inCell = at % PAYLOAD_LEN;
      if (at < 2 * PAYLOAD_LEN && inCell >= RELAY_DIGEST_AT && inCell < RELAY_DIGEST_AT + 4) continue;
      const batch = said();
      batch[at]! ^= 0x80;
      assert.deepEqual(open(batch), [], `byte ${at}`);
    }
    const [one, two, three] = [0, 1, 2].map((index) => cell(said(), index).slice());
    assert.deepEqual(open(concat(two!, one!, three!)), [], "swapped");
    assert.deepEqual(open(concat(one!, three!)), [], "one left out");
    assert.deepEqual(open(concat(one!, one!)), [], "one twice");
  });

  test("the digest of a cell before the last says nothing that the last one's does not", () => {
    const relays = new Relays();
    const batch = concat(relays.say(2, "one"), relays.say(2, "two"));
    batch[RELAY_DIGEST_AT]! ^= 1;
    const opened = new Opened();
    client().open(batch, opened);
    assert.deepEqual(opened.heard, ["2:one", "2:two"]);
  });

  test("refuses what a hop in the middle says if it was changed on the way", () => {
    for (const at of [0, 1, 2, 3, 5, 8, 9, 11, 200, PAYLOAD_LEN - 1]) {
      const payload = new Relays().say(1, "hello");
      payload[at]! ^= 1;
      const opened = new Opened();
      assert.throws(() => client().open(payload, opened), badDigest, `byte ${at}`);
      assert.deepEqual(opened.heard, []);
    }
  });

  test("a stranger's cell that looks recognized at a hop is still the last hop's", () => {
    // Two equal layers undo each other, so the first hop sees the plaintext with its recognized field of zero.
    const [first, second, third] = keys();
    const equal = [first!, { ...second!, kb: third!.kb }, third!];
    const hops = equal.map((hop) => new RelayHop(hop));
    const payload = ["one", "two", "three"].map((text) => {
      const inner = hops[1]!.pass(hops[2]!.say(RelayCommand.DATA, 1, utf8(text)).payload);
      assert.equal(relayRecognized(inner, 0), 0);
      return hops[0]!.pass(inner);
    });
    const opened = new Opened();
    client(equal).open(concat(...payload), opened);
    assert.deepEqual(opened.heard, ["2:one", "2:two", "2:three"]);
  });
});
