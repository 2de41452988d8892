/** Handling of secret bytes: comparison that takes the same time wherever they differ, and wiping. */
import { timingSafeEqual } from "node:crypto";

/** Where keys and nonces come from: a Runtime, or a test's seeded generator. */
export interface RandomSource {
  /** `count` unpredictable bytes in an array of their own. */
  random(count: number): Uint8Array;
}

/** Whether two secrets are equal; only their lengths show in the time it takes. */
export function equalSecrets(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

/** Overwrites secrets that are not needed any more. */
export function wipe(...secrets: readonly Uint8Array[]): void {
  for (const secret of secrets) secret.fill(0);
}
