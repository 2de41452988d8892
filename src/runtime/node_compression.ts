/**
 * Compression, and decompression with a limit on what comes out.
 *
 * The input is fed through a stream and the output counted as it appears, so the limit holds for the sum of
 * all members of a concatenated input (a way past it in C tor: TROVE-2026-022).
 */
import zlib from "node:zlib";
import { TunicError } from "../base/errors.ts";
import type { Compression, Encoding } from "./ports.ts";
import { zstdFrames } from "./zstd_frames.ts";

type Transform = zlib.Inflate | zlib.Gunzip;

/** Node has zstd from 22.15 on; Deno and Bun have it. */
const createZstdDecompress = (zlib as { createZstdDecompress?: () => Transform }).createZstdDecompress;

type Compress = (bytes: Uint8Array, done: (error: Error | null, result: Uint8Array) => void) => void;
const zstdCompress = (zlib as { zstdCompress?: Compress }).zstdCompress;

const INPUT_STEP = 16 * 1024;

export const nodeCompression: Compression = {
  encodings: createZstdDecompress ? ["x-zstd", "deflate", "gzip", "identity"] : ["deflate", "gzip", "identity"],

  async decompress(encoding: Encoding, bytes: Uint8Array, maxBytes: number): Promise<Uint8Array> {
    if (encoding === "identity") {
      if (bytes.length > maxBytes) throw tooLarge(maxBytes);
      return bytes;
    }
    const out = new Output(maxBytes);
    const members = encoding === "x-zstd" ? zstdFrames(bytes) : [bytes];
    for (const member of members) await unpack(open(encoding), encoding, member, out);
    return out.whole();
  },

  compress(encoding: Encoding, bytes: Uint8Array): Promise<Uint8Array> {
    if (encoding === "identity") return Promise.resolve(bytes);
    const compress = compressorFor(encoding);
    return new Promise((resolve, reject) =>
      compress(bytes, (error, result) => error ? reject(error) : resolve(new Uint8Array(result)))
    );
  },
};

function compressorFor(encoding: Exclude<Encoding, "identity">): Compress {
  switch (encoding) {
    case "deflate":
      return zlib.deflate;
    case "gzip":
      return zlib.gzip;
    case "x-zstd":
      if (zstdCompress) return zstdCompress;
      throw noZstd();
  }
}

function noZstd(): TunicError {
  return new TunicError("Cannot use zstd: this runtime does not have it", { kind: "unsupported", code: "no-zstd" });
}

/** What has come out so far, of all members together. */
class Output {
  readonly #maxBytes: number;
  readonly #parts: Uint8Array[] = [];
  #length = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  add(part: Uint8Array): void {
    this.#length += part.length;
    if (this.#length > this.#maxBytes) throw tooLarge(this.#maxBytes);
    this.#parts.push(part);
  }

  whole(): Uint8Array {
    const whole = new Uint8Array(this.#length);
    let at = 0;
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }
}

function unpack(stream: Transform, encoding: Encoding, bytes: Uint8Array, out: Output): Promise<void> {
  return new Promise((resolve, reject) => {
    let failed = false;
    const fail = (error: unknown): void => {
      if (failed) return;
      failed = true;
      stream.destroy();
      reject(error);
    };
    stream.on("data", (part: Uint8Array) => {
      if (failed) return;
      try {
        out.add(part);
      } catch (error) {
        fail(error);
      }
    });
    stream.on("error", (error) => fail(notReadable(encoding, error)));
    stream.on("end", () => resolve());
    let at = 0;
    // In small steps, so that a bomb is noticed before all of it has been unpacked.
    const feed = (): void => {
      if (failed) return;
      if (at >= bytes.length) {
        stream.end();
        return;
      }
      const step = bytes.subarray(at, at += INPUT_STEP);
      stream.write(step, () => feed());
    };
    feed();
  });
}

function open(encoding: Exclude<Encoding, "identity">): Transform {
  switch (encoding) {
    case "deflate":
      return zlib.createInflate();
    case "gzip":
      return zlib.createGunzip();
    case "x-zstd":
      if (createZstdDecompress) return createZstdDecompress();
      throw noZstd();
  }
}

function notReadable(encoding: Encoding, error: Error): TunicError {
  return new TunicError(`Cannot decompress: ${encoding} says ${error.message}`, {
    kind: "malformed",
    code: "bad-compression",
    cause: error,
  });
}

function tooLarge(maxBytes: number): TunicError {
  return new TunicError(`Cannot decompress: the limit is ${maxBytes} bytes, and more came out`, {
    kind: "limit",
    code: "expansion-limit",
    context: { maxBytes },
  });
}
