import assert from "node:assert/strict";
import { describe, test } from "node:test";
import zlib from "node:zlib";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { fromHex, utf8 } from "../../src/bytes/text.ts";
import { nodeCompression } from "../../src/runtime/node_compression.ts";
import type { Encoding } from "../../src/runtime/ports.ts";
import { zstdFrames } from "../../src/runtime/zstd_frames.ts";
import { SeededRandom } from "../support/seeded_random.ts";

interface Zstd {
  zstdCompressSync(bytes: Uint8Array, options?: { params: Record<number, number> }): Uint8Array;
  constants: Record<string, number>;
}
const zstd = zlib as unknown as Zstd;

const compress: Record<Exclude<Encoding, "identity">, (bytes: Uint8Array) => Uint8Array> = {
  deflate: (bytes) => zlib.deflateSync(bytes),
  gzip: (bytes) => zlib.gzipSync(bytes),
  "x-zstd": (bytes) => zstd.zstdCompressSync(bytes),
};
const encodings = Object.keys(compress) as Exclude<Encoding, "identity">[];
const { decompress } = nodeCompression;
const malformed = (error: unknown) => isTunicError(error, "malformed");
const limit = (error: unknown) => isTunicError(error, "limit");

/** Text that compresses about as directory documents do. */
function document(lines: number): Uint8Array {
  const random = new SeededRandom(lines);
  return utf8(
    Array.from({ length: lines }, (_, i) => `r relay${i} ${String(random.random(20))}\ns Fast Valid\n`).join(""),
  );
}

test("this runtime decodes zstd, zlib and gzip, in that order", () => {
  assert.deepEqual(nodeCompression.encodings, ["x-zstd", "deflate", "gzip", "identity"]);
});

test("identity is passed on within the limit", async () => {
  assert.deepEqual(await decompress("identity", Uint8Array.of(1, 2, 3), 3), Uint8Array.of(1, 2, 3));
  await assert.rejects(decompress("identity", Uint8Array.of(1, 2, 3), 2), limit);
});

for (const encoding of encodings) {
  describe(encoding, () => {
    test("gives back what was compressed, up to the limit and not a byte more", async () => {
      for (const bytes of [new Uint8Array(0), utf8("x"), document(5), document(20_000)]) {
        const packed = compress[encoding](bytes);
        assert.deepEqual(await decompress(encoding, packed, bytes.length), bytes);
        if (bytes.length > 0) await assert.rejects(decompress(encoding, packed, bytes.length - 1), limit);
      }
    });

    test("gives back any bytes", async () => {
      await fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 3000 }), async (bytes) => {
          assert.deepEqual(await decompress(encoding, compress[encoding](bytes), bytes.length), bytes);
        }),
        { numRuns: 30 },
      );
    });

    test("truncated anywhere is malformed", async () => {
      const packed = compress[encoding](document(20));
      for (let length = 0; length < packed.length; length += length > 40 && length < packed.length - 40 ? 37 : 1) {
        await assert.rejects(decompress(encoding, packed.subarray(0, length), 1e6), malformed, `${length} bytes`);
      }
      const large = compress[encoding](document(20_000));
      for (const cut of [1, 4, 100, large.length >> 1]) {
        await assert.rejects(decompress(encoding, large.subarray(0, large.length - cut), 1e8), malformed, `cut ${cut}`);
      }
    });

    test("that is something else is malformed", async () => {
      for (const bytes of [utf8("network-status-version 3"), new Uint8Array(1000), new Uint8Array(70).fill(0xff)]) {
        await assert.rejects(decompress(encoding, bytes, 1e6), malformed);
      }
      for (const other of encodings) {
        if (other !== encoding) {
          await assert.rejects(decompress(encoding, compress[other](document(9)), 1e6), malformed);
        }
      }
    });

    test("with a byte changed is malformed, or was not looked at", async () => {
      const bytes = document(20);
      const packed = compress[encoding](bytes);
      await fc.assert(
        fc.asyncProperty(fc.nat(packed.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
          const bad = packed.slice();
          bad[at]! ^= change;
          try {
            const out = await decompress(encoding, bad, 1e6);
            // zstd has no checksum here, and headers have fields that say nothing.
            if (encoding !== "x-zstd") assert.deepEqual(out, bytes);
          } catch (error) {
            assert.ok(isTunicError(error, "malformed", "limit"), String(error));
          }
        }),
        { numRuns: 60 },
      );
    });

    test("that unpacks to a thousand times the limit stops at the limit", async () => {
      const bomb = compress[encoding](new Uint8Array(64 << 20));
      await assert.rejects(decompress(encoding, bomb, 64 << 10), limit);
    });

    test("in many members has one limit for them all", async () => {
      const member = compress[encoding](new Uint8Array(1000).fill(7));
      const many = concat(...Array.from({ length: 60 }, () => member));
      if (encoding === "deflate") {
        assert.equal((await decompress(encoding, many, 1000)).length, 1000, "zlib ends with its first member");
        return;
      }
      assert.equal((await decompress(encoding, many, 60_000)).length, 60_000);
      await assert.rejects(decompress(encoding, many, 59_999), limit);
      await assert.rejects(decompress(encoding, many, 1000), limit);
      await assert.rejects(decompress(encoding, concat(member, utf8("garbage")), 1e6), malformed);
    });
  });
}

describe("zstd frames", () => {
  const frame = new Uint8Array(zstd.zstdCompressSync(utf8("frame")));
  const skippable = fromHex("5a2a4d1803000000aabbcc");
  /** A frame with this descriptor and these bytes of header, and one raw block of three bytes. */
  const made = (descriptor: number, header: string) =>
    concat(
      fromHex("28b52ffd"),
      Uint8Array.of(descriptor),
      fromHex(header),
      Uint8Array.of((3 << 3) | 1, 0, 0),
      utf8("abc"),
    );

  test("are cut at their ends, without the skippable ones", () => {
    assert.deepEqual(zstdFrames(concat(frame, skippable, frame)), [frame, frame]);
    assert.deepEqual(zstdFrames(skippable), []);
  });

  test("are found in what the encoder makes with a checksum, large, incompressible, or of one byte over and over", () => {
    const { ZSTD_c_checksumFlag, ZSTD_c_compressionLevel } = zstd.constants;
    const inputs = [document(20_000), new SeededRandom(1).random(300_000), new Uint8Array(3_000_000)];
    for (const input of inputs) {
      for (const params of [{ [ZSTD_c_checksumFlag!]: 1 }, { [ZSTD_c_compressionLevel!]: 19 }]) {
        const packed = zstd.zstdCompressSync(input, { params });
        const frames = zstdFrames(concat(packed, frame));
        // Deno's encoder puts an empty frame with a checksum behind the first.
        assert.ok(frames.length <= 3);
        assert.deepEqual(frames.pop(), frame);
        assert.deepEqual(concat(...frames), new Uint8Array(packed));
      }
    }
  });

  test("are read with every form of header", async () => {
    for (
      const bytes of [
        made(0x20, "03"),
        made(0x60, "0000"),
        made(0xa0, "03000000"),
        made(0xe0, "0300000000000000"),
        made(0x00, "68"),
      ]
    ) {
      assert.equal(zstdFrames(bytes).length, 1);
      // A size of two bytes counts from 256, so three bytes of content are too few for it.
      if (bytes[4] === 0x60) await assert.rejects(decompress("x-zstd", bytes, 1000), malformed);
      else assert.deepEqual(await decompress("x-zstd", bytes, 3), utf8("abc"));
    }
  });

  test("with a window beyond 8 MiB are refused", () => {
    assert.equal(zstdFrames(made(0, "68")).length, 1, "8 MiB");
    for (const header of ["69", "70", "f8"]) assert.throws(() => zstdFrames(made(0, header)), limit, header);
    assert.throws(() => zstdFrames(made(0xa0, "01008000")), limit, "8 MiB and a byte");
    assert.throws(() => zstdFrames(made(0xe0, "00000000000000ff")), limit);
  });

  test("with a block that no encoder makes, or too many of them, are refused", () => {
    const reserved = made(0x20, "03");
    reserved[6] = (3 << 3) | (3 << 1) | 1;
    assert.throws(() => zstdFrames(reserved), malformed);
    assert.throws(() => zstdFrames(concat(...Array.from({ length: 65 }, () => frame))), limit);
    assert.throws(() => zstdFrames(concat(...Array.from({ length: 65 }, () => skippable))), limit);
  });

  test("never make the scanner throw anything but a TunicError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), fc.nat(60), (bytes, at) => {
        const start = concat(frame.subarray(0, at), bytes);
        try {
          for (const found of zstdFrames(start)) assert.ok(found.length >= 9);
        } catch (error) {
          assert.ok(isTunicError(error, "malformed", "limit"), String(error));
        }
      }),
      { numRuns: 500 },
    );
  });
});

test("what this runtime compresses it can read, in every encoding", async () => {
  const bytes = document(200);
  for (const encoding of nodeCompression.encodings) {
    const packed = await nodeCompression.compress(encoding, bytes);
    assert.deepEqual(await decompress(encoding, packed, bytes.length), bytes, encoding);
    assert.ok(encoding === "identity" ? packed === bytes : packed.length < bytes.length / 2, encoding);
    assert.deepEqual(
      await decompress(encoding, await nodeCompression.compress(encoding, new Uint8Array(0)), 0),
      new Uint8Array(0),
    );
  }
});
