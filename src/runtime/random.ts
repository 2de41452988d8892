/** Unbiased choices from a runtime's random bytes. */

/** Something that gives random bytes: a Runtime, or a test's seeded generator. */
export interface RandomSource {
  random(count: number): Uint8Array;
}

/** A whole number, 0 ≤ n < `limit` ≤ 2^48, every one equally likely. */
export function randomBelow(source: RandomSource, limit: number): number {
  if (!(limit > 0 && limit <= 2 ** 48)) throw new RangeError(`a limit of ${limit} is not within 1 … 2^48`);
  const ceiling = 2 ** 48 - (2 ** 48 % limit);
  for (;;) {
    const b = source.random(6);
    const n = ((b[0]! << 16) | (b[1]! << 8) | b[2]!) * 2 ** 24 + ((b[3]! << 16) | (b[4]! << 8) | b[5]!);
    if (n < ceiling) return n % limit;
  }
}

/** A number, 0 ≤ x < 1, with 48 random bits. */
export function randomFraction(source: RandomSource): number {
  return randomBelow(source, 2 ** 48) / 2 ** 48;
}

/** A copy in random order (Fisher and Yates). */
export function shuffled<T>(source: RandomSource, items: readonly T[]): T[] {
  const copy = [...items];
  for (let i = copy.length - 1; i > 0; i--) {
    const j = randomBelow(source, i + 1);
    [copy[i], copy[j]] = [copy[j]!, copy[i]!];
  }
  return copy;
}

/** 4 to 25 random characters of base32, as C tor's invented host names have. */
export function randomLabel(source: RandomSource): string {
  const length = 4 + randomBelow(source, 22);
  let label = "";
  for (const byte of source.random(length)) label += "abcdefghijklmnopqrstuvwxyz234567"[byte & 31];
  return label;
}
