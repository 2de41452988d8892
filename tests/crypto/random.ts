/** Sources of "randomness" that tests can repeat. */
import { fromHex } from "../../src/bytes/text.ts";
import type { RandomSource } from "../../src/crypto/secrets.ts";

/** Gives the bytes of `hex`, which must be exactly as many as are asked for. */
export function fixed(hex: string): RandomSource {
  return {
    random(count) {
      const bytes = fromHex(hex);
      if (bytes.length !== count) throw new RangeError(`${count} bytes were asked for, ${bytes.length} are there`);
      return bytes;
    },
  };
}

/** The bytes of a linear congruential generator: different, repeatable, not random. */
export function seeded(seed: number): RandomSource {
  let state = BigInt(seed);
  return {
    random(count) {
      return Uint8Array.from({ length: count }, () => {
        state = (state * 6364136223846793005n + 1442695040888963407n) & 0xffff_ffff_ffff_ffffn;
        return Number(state >> 56n);
      });
    },
  };
}
