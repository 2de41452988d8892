/** A format's two directions, side by side, so that one cannot change without the other. */
import { Reader } from "./reader.ts";
import { Writer } from "./writer.ts";

export interface Codec<T> {
  /** The format's name, as errors show it. */
  readonly what: string;
  encode(value: T, writer: Writer): void;
  /** Reads one value; throws `malformed`, or `Incomplete` from a partial Reader. */
  decode(reader: Reader): T;
}

export function encodeWith<T>(codec: Codec<T>, value: T): Uint8Array {
  const writer = new Writer();
  codec.encode(value, writer);
  return writer.finish();
}

/** Decodes `bytes` as exactly one value with nothing after it. */
export function decodeWith<T>(codec: Codec<T>, bytes: Uint8Array): T {
  const reader = Reader.whole(bytes, codec.what);
  const value = codec.decode(reader);
  reader.end();
  return value;
}
