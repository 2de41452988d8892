/**
 * Where Zstandard frames begin and end (RFC 8878, section 3.1), without decoding them.
 *
 * The runtimes' decoders take a truncated frame for an empty one, and some stop behind the first of several. Looking
 * at the structure first finds both, and refuses frames that would make the decoder set aside a huge window.
 */
import { TunicError } from "../base/errors.ts";

const MAGIC = 0xfd2f_b528;
/** The lowest four bits are free. */
const SKIPPABLE_MAGIC = 0x184d_2a50;
/** What every decoder must support; what relays send stays below. */
const MAX_WINDOW = 8 * 1024 * 1024;
const MAX_BLOCK = 128 * 1024;
const RLE_BLOCK = 1;
const RESERVED_BLOCK = 3;
/** Encoders make one; each costs a decoder. */
const MAX_FRAMES = 64;

const DICTIONARY_ID_LENGTHS = [0, 1, 2, 4];
const CONTENT_SIZE_LENGTHS = [0, 2, 4, 8];

/** The frames that `bytes` consists of, as views; skippable ones are left out. Throws `malformed` or `limit`. */
export function zstdFrames(bytes: Uint8Array): Uint8Array[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const frames: Uint8Array[] = [];
  let at = 0;
  for (let count = 0; count === 0 || at < bytes.length; count++) {
    if (count === MAX_FRAMES) throw refused("limit", "too-many-frames", `more than ${MAX_FRAMES} frames`);
    const start = at;
    need(bytes, at, 4);
    const magic = view.getUint32(at, true);
    if ((magic & ~15) >>> 0 === SKIPPABLE_MAGIC) {
      need(bytes, at, 8);
      at += 8 + view.getUint32(at + 4, true);
      need(bytes, at, 0);
      continue;
    }
    if (magic !== MAGIC) throw malformed("no frame where one should begin");
    at = endOfFrame(bytes, view, at + 4);
    frames.push(bytes.subarray(start, at));
  }
  return frames;
}

/** `at`: behind the magic number. */
function endOfFrame(bytes: Uint8Array, view: DataView, at: number): number {
  need(bytes, at, 1);
  const descriptor = bytes[at++]!;
  const singleSegment = (descriptor & 0x20) !== 0;
  if (!singleSegment) {
    need(bytes, at, 1);
    const exponent = bytes[at]! >>> 3;
    const base = 2 ** (10 + exponent);
    if (base + (base / 8) * (bytes[at]! & 7) > MAX_WINDOW) throw tooLargeWindow();
    at++;
  }
  at += DICTIONARY_ID_LENGTHS[descriptor & 3]!;
  const sizeLength = singleSegment && descriptor < 0x40 ? 1 : CONTENT_SIZE_LENGTHS[descriptor >>> 6]!;
  need(bytes, at, sizeLength);
  // Without a window of its own, a frame's whole content is its window.
  if (singleSegment && contentSize(view, at, sizeLength) > MAX_WINDOW) throw tooLargeWindow();
  at += sizeLength;
  for (let last = false; !last;) {
    need(bytes, at, 3);
    const header = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16);
    at += 3;
    last = (header & 1) !== 0;
    const type = (header >>> 1) & 3;
    const size = header >>> 3;
    if (type === RESERVED_BLOCK || size > MAX_BLOCK) throw malformed("a block that no encoder makes");
    at += type === RLE_BLOCK ? 1 : size;
  }
  at += (descriptor & 4) !== 0 ? 4 : 0;
  need(bytes, at, 0);
  return at;
}

function contentSize(view: DataView, at: number, length: number): number {
  switch (length) {
    case 1:
      return view.getUint8(at);
    case 2:
      return view.getUint16(at, true) + 256;
    case 4:
      return view.getUint32(at, true);
    default:
      return Number(view.getBigUint64(at, true));
  }
}

function need(bytes: Uint8Array, at: number, count: number): void {
  if (at + count > bytes.length) throw malformed("an end in the middle of a frame");
}

function malformed(found: string): TunicError {
  return refused("malformed", "bad-compression", found);
}

function tooLargeWindow(): TunicError {
  return refused("limit", "zstd-window", `a window of more than ${MAX_WINDOW} bytes`);
}

function refused(kind: "malformed" | "limit", code: string, found: string): TunicError {
  return new TunicError(`Cannot decompress: x-zstd: found ${found}`, { kind, code });
}
