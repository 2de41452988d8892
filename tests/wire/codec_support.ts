/** What the tests of binary formats share: values as JSON has them, and properties that every codec keeps. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import { type Codec, decodeWith, encodeWith } from "../../src/bytes/codec.ts";
import { Incomplete, Reader } from "../../src/bytes/reader.ts";
import { toHex } from "../../src/bytes/text.ts";

/** Bytes as hex, maps as objects, fields that are `undefined` left out: comparable with a vector's value. */
export function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return toHex(value);
  if (value instanceof Map) return plain(Object.fromEntries(value));
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, field]) => field !== undefined);
  return Object.fromEntries(entries.map(([name, field]) => [name, plain(field)]));
}

export function assertMalformed(action: () => unknown): void {
  assert.throws(action, (error) => isTunicError(error, "malformed"));
}

/** Whatever bytes come, `decode` gives a value or `malformed`, and only a partial Reader says "incomplete". */
export function assertTotal(codec: Codec<unknown>): void {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 600, size: "max" }), (bytes) => {
    try {
      decodeWith(codec, bytes);
    } catch (error) {
      assert.ok(isTunicError(error, "malformed"), String(error));
    }
    try {
      codec.decode(Reader.partial(bytes, codec.what));
    } catch (error) {
      assert.ok(error instanceof Incomplete || isTunicError(error, "malformed"), String(error));
    }
  }));
}

/** What is encoded decodes to the same value. */
export function assertRoundTrip<T>(codec: Codec<T>, values: fc.Arbitrary<T>): void {
  fc.assert(fc.property(values, (value) => {
    assert.deepEqual(plain(decodeWith(codec, encodeWith(codec, value))), plain(value));
  }));
}

export const bytes = (length: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: length, maxLength: length });

/** Addresses as the formatter writes them; never the unspecified one, which some formats read as "none". */
export const ipv4 = fc.ipV4().filter((text) => text !== "0.0.0.0");
export const ipv6 = fc.constantFrom("::1", "2001:db8::5", "fe80::1:2", "1:2:3:4:5:6:7:8", "::ffff:102:304");
export const u8 = fc.integer({ min: 0, max: 0xff });
export const u16 = fc.integer({ min: 0, max: 0xffff });
export const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
