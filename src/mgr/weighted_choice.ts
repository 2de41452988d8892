/** A choice among relays in proportion to their weights (path-spec, section 2.2). */
import { randomBelow, randomFraction, type RandomSource } from "../runtime/random.ts";

/** Draws made before every relay is asked; more than a few are only needed where nearly nothing is acceptable. */
const MAX_DRAWS = 16;

/** What is chosen from: indexes 0 … `size` - 1. */
export interface Candidates {
  readonly size: number;
  /** The weight of one; negative if it may not be chosen at all. Asked twice a choice of every one, so cheap. */
  weight(index: number): number;
  /** Whether one of those may be chosen; asked only of those drawn, so it may be dearer. */
  accepts(index: number): boolean;
}

/**
 * An index among those accepted, each with a probability in proportion to its weight; with equal ones if all
 * weights are 0. -1 if there is none. Takes time in proportion to `size` and no memory.
 */
export function chooseWeighted(random: RandomSource, candidates: Candidates): number {
  const all = sum(candidates, false);
  if (all.count === 0) return -1;
  // Drawing until one is accepted gives those accepted the very probabilities that asking each of them would.
  for (let draw = 0; draw < MAX_DRAWS; draw++) {
    const index = pick(random, candidates, all, false);
    if (candidates.accepts(index)) return index;
  }
  const accepted = sum(candidates, true);
  return accepted.count === 0 ? -1 : pick(random, candidates, accepted, true);
}

interface Sum {
  readonly count: number;
  readonly total: number;
}

function sum(candidates: Candidates, asking: boolean): Sum {
  let count = 0;
  let total = 0;
  for (let i = 0; i < candidates.size; i++) {
    const weight = candidates.weight(i);
    if (weight < 0 || (asking && !candidates.accepts(i))) continue;
    count++;
    total += weight;
  }
  return { count, total };
}

function pick(random: RandomSource, candidates: Candidates, { count, total }: Sum, asking: boolean): number {
  const uniform = total <= 0;
  let left = uniform ? randomBelow(random, count) : randomFraction(random) * total;
  let last = -1;
  for (let i = 0; i < candidates.size; i++) {
    const weight = candidates.weight(i);
    if (weight < 0 || (!uniform && weight === 0) || (asking && !candidates.accepts(i))) continue;
    last = i;
    left -= uniform ? 1 : weight;
    if (left < 0) return i;
  }
  // Rounding may leave a crumb after the last.
  return last;
}
