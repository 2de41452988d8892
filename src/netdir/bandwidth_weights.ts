/**
 * How a relay's bandwidth counts in each position of a path (dir-spec 3.8.3, path-spec 2.2).
 *
 * The weights keep scarce positions for the relays that can fill them: they depend on a relay's Guard and Exit flags
 * and on whether it serves the directory. They are looked up once a consensus and folded into one small table.
 */
import { FLAG_BAD_EXIT, FLAG_EXIT, FLAG_GUARD, FLAG_V2DIR } from "../wire/netdoc/relay_table.ts";
import { NetParams } from "./net_params.ts";

/** What a relay is chosen for. */
export type Position = "guard" | "middle" | "exit" | "directory";

const POSITIONS: readonly Position[] = ["guard", "middle", "exit", "directory"];

/** First letters of the weights' names for neither flag, Exit, Guard and both, in that order. */
const KINDS = ["m", "e", "g", "d"];
const POSITION_LETTERS: Readonly<Record<Position, string>> = { guard: "g", middle: "m", exit: "e", directory: "b" };
const DIRECTORY = 4;
const CLASSES = 8;

export class BandwidthWeights {
  /** Factors by position, then by class of relay. */
  readonly #factors = new Float64Array(POSITIONS.length * CLASSES);

  constructor(weights: ReadonlyMap<string, number>, params: NetParams) {
    const scale = params.get("bwweightscale", { default: 10000, min: 1 });
    for (const [p, position] of POSITIONS.entries()) {
      const factors = factorsFor(position, weights, scale);
      this.#factors.set(factors ?? new Float64Array(CLASSES).fill(1), p * CLASSES);
    }
  }

  /** What to multiply the bandwidth of a relay with these flags by. */
  factor(flags: number, position: Position): number {
    return this.#factors[POSITIONS.indexOf(position) * CLASSES + classOf(flags)]!;
  }
}

function classOf(flags: number): number {
  const exit = (flags & (FLAG_EXIT | FLAG_BAD_EXIT)) === FLAG_EXIT ? 1 : 0;
  const guard = (flags & FLAG_GUARD) !== 0 ? 2 : 0;
  return exit + guard + ((flags & FLAG_V2DIR) !== 0 ? DIRECTORY : 0);
}

/** `undefined` where a weight is missing or negative: then bandwidths count as they are, as in C tor. */
function factorsFor(
  position: Position,
  weights: ReadonlyMap<string, number>,
  scale: number,
): Float64Array | undefined {
  const factors = new Float64Array(CLASSES);
  for (const [kind, letter] of KINDS.entries()) {
    // Relays with only the Exit flag are never guards, so there is no Wge.
    const own = position === "guard" && letter === "e"
      ? 0
      : weights.get(`W${POSITION_LETTERS[position]}${letter}`) ?? -1;
    // When choosing directories the weight for serving them is already in the first one.
    const directory = position === "directory" ? scale : weights.get(`W${letter}b`) ?? -1;
    if (own < 0 || directory < 0) return undefined;
    factors[kind] = own / scale;
    factors[kind + DIRECTORY] = (own / scale) * (directory / scale);
  }
  return factors;
}
