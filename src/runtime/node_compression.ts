/**
 * Decompression with a limit on what comes out.
 *
 * The input is fed through a stream and the output counted as it appears, so the limit holds for the sum of
 * all members of a concatenated input (a way past it in C tor: TROVE-2026-022).
 */
import zlib from "node:zlib";
import { TunicError } from "../base/errors.ts";
import type { Compression, Encoding } from "./ports.ts";

type Transform = zlib.Inflate | zlib.Gunzip;

/** Node has zstd from 22.15 on; Deno and Bun have it. */
const createZstdDecompress = (zlib as { createZstdDecompress?: () => Transform }).createZstdDecompress;

const INPUT_STEP = 16 * 1024;

export const nodeCompression: Compression = {
  encodings: createZstdDecompress ? ["x-zstd", "deflate", "gzip", "identity"] : ["deflate", "gzip", "identity"],

  decompress(encoding: Encoding, bytes: Uint8Array, maxBytes: number): Promise<Uint8Array> {
    if (encoding === "identity") {
      return bytes.length > maxBytes ? Promise.reject(tooLarge(maxBytes)) : Promise.resolve(bytes);
    }
    return new Promise((resolve, reject) => {
      const stream = open(encoding);
      const parts: Uint8Array[] = [];
      let length = 0;
      let failed = false;
      const fail = (error: TunicError): void => {
        if (failed) return;
        failed = true;
        stream.destroy();
        reject(error);
      };
      stream.on("data", (part: Uint8Array) => {
        length += part.length;
        if (length > maxBytes) fail(tooLarge(maxBytes));
        else parts.push(part);
      });
      stream.on("error", (error) => fail(notReadable(encoding, error)));
      stream.on("end", () => {
        if (failed) return;
        const whole = new Uint8Array(length);
        let at = 0;
        for (const part of parts) {
          whole.set(part, at);
          at += part.length;
        }
        resolve(whole);
      });
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
  },
};

function open(encoding: Exclude<Encoding, "identity">): Transform {
  switch (encoding) {
    case "deflate":
      return zlib.createInflate();
    case "gzip":
      return zlib.createGunzip();
    case "x-zstd":
      if (createZstdDecompress) return createZstdDecompress();
      throw new TunicError("Cannot decompress: this runtime has no zstd", { kind: "unsupported", code: "no-zstd" });
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
