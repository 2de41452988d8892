/** The system's random generator. */
import { randomFillSync } from "node:crypto";
import type { RandomSource } from "./random.ts";

export const systemRandom: RandomSource = {
  random(count: number): Uint8Array {
    return randomFillSync(new Uint8Array(count));
  },
};
