/**
 * The `bandwidth-weights` of a consensus: how much of each kind of relay's bandwidth goes to each position, so that no
 * position is short of it while another has plenty (dir-spec 3.8.3, consensus methods 10 and 26).
 *
 * Numbers are as the specification has them: whole, and divided towards zero.
 */

/** Bandwidth by the flags that relays have; any unit. */
export interface BandwidthTotals {
  /** Only Guard. */
  readonly guard: number;
  /** Neither. */
  readonly middle: number;
  /** Only Exit. */
  readonly exit: number;
  /** Both. */
  readonly both: number;
}

/** The weights that are solved for; the others follow from them. */
interface Solution {
  readonly Wgg: bigint;
  readonly Wgd: bigint;
  readonly Wmg: bigint;
  readonly Wme: bigint;
  readonly Wmd: bigint;
  readonly Wee: bigint;
  readonly Wed: bigint;
}

interface Problem {
  readonly G: bigint;
  readonly M: bigint;
  readonly E: bigint;
  readonly D: bigint;
  readonly T: bigint;
  readonly scale: bigint;
}

/** By which rounding may miss a balance, in units of the scale. */
const MARGIN = 10n;

/** The arguments of the line, or `undefined` where no weights balance. */
export function bandwidthWeights(totals: BandwidthTotals, weightScale = 10_000): string | undefined {
  // One unit of each, so that small networks have no division by zero.
  const [G, M, E, D] = [totals.guard, totals.middle, totals.exit, totals.both].map((n) =>
    BigInt(Math.trunc(n)) + 1n
  ) as [bigint, bigint, bigint, bigint];
  const scale = BigInt(weightScale);
  const solution = solve({ G, M, E, D, T: G + M + E + D, scale });
  if (solution === undefined) return undefined;
  const { Wgg, Wgd, Wmg, Wme, Wmd, Wee, Wed } = solution;
  return [
    `Wbd=${Wmd} Wbe=${Wme} Wbg=${Wmg} Wbm=${scale} Wdb=${scale}`,
    `Web=${scale} Wed=${Wed} Wee=${Wee} Weg=${Wed} Wem=${Wee}`,
    `Wgb=${scale} Wgd=${Wgd} Wgg=${Wgg} Wgm=${Wgg}`,
    `Wmb=${scale} Wmd=${Wmd} Wme=${Wme} Wmg=${Wmg} Wmm=${scale}`,
  ].join(" ");
}

function solve(problem: Problem): Solution | undefined {
  const { G, E, T } = problem;
  const guardScarce = 3n * G < T;
  const exitScarce = 3n * E < T;
  if (!guardScarce && !exitScarce) return balanced(neitherScarce(problem), problem);
  return guardScarce && exitScarce ? bothScarce(problem) : oneScarce(problem);
}

/** Case 1. */
function neitherScarce({ G, M, E, scale }: Problem): Solution {
  const Wee = (scale * (E + G + M)) / (3n * E);
  const Wmg = (scale * (2n * G - E - M)) / (3n * G);
  const third = scale / 3n;
  return { Wgd: third, Wed: third, Wmd: third, Wee, Wme: scale - Wee, Wmg, Wgg: scale - Wmg };
}

/** Case 2. */
function bothScarce(problem: Problem): Solution | undefined {
  const { G, M, E, D, scale } = problem;
  const full = { Wgg: scale, Wee: scale, Wmg: 0n, Wme: 0n };
  const rare = E < G ? E : G;
  const other = E < G ? G : E;
  if (rare + D < other) return { ...full, Wmd: 0n, Wed: E < G ? scale : 0n, Wgd: E < G ? 0n : scale };
  const Wed = (scale * (D - 2n * E + 4n * G - 2n * M)) / (3n * D);
  const shared = (scale - Wed) / 2n;
  const first = {
    ...full,
    Wee: (scale * (E - G + M)) / E,
    Wme: (scale * (G - M)) / E,
    Wed,
    Wmd: shared,
    Wgd: shared,
  };
  if (isPossible(first, problem) && isBalanced(first, problem)) return first;
  const exits = (scale * (D - 2n * E + G + M)) / (3n * D);
  const middles = (scale * (D - 2n * M + G + E)) / (3n * D);
  const Wmd = middles < 0n ? 0n : middles;
  const second = { ...full, Wed: exits, Wmd, Wgd: scale - exits - Wmd };
  // Where there is too much middle bandwidth, the middle position is not in balance, and that is all that can be done.
  return isPossible(second, problem) && guardsMatchExits(second, problem) ? second : undefined;
}

/** Case 3. */
function oneScarce(problem: Problem): Solution | undefined {
  const { G, M, E, D, T, scale } = problem;
  const guardScarce = G < E;
  const scarce = guardScarce ? G : E;
  if (3n * (scarce + D) < T) {
    if (guardScarce) {
      const Wme = E < M ? 0n : (scale * (E - M)) / (2n * E);
      return { Wgg: scale, Wgd: scale, Wmd: 0n, Wed: 0n, Wmg: 0n, Wme, Wee: scale - Wme };
    }
    const Wmg = G < M ? 0n : (scale * (G - M)) / (2n * G);
    return { Wee: scale, Wed: scale, Wmd: 0n, Wgd: 0n, Wme: 0n, Wmg, Wgg: scale - Wmg };
  }
  if (guardScarce) {
    const Wgd = (scale * (D - 2n * G + E + M)) / (3n * D);
    const Wee = (scale * (E + M)) / (2n * E);
    const rest = (scale - Wgd) / 2n;
    return balanced({ Wgg: scale, Wgd, Wmg: 0n, Wee, Wme: scale - Wee, Wmd: rest, Wed: rest }, problem);
  }
  const Wed = (scale * (D - 2n * E + G + M)) / (3n * D);
  const Wgg = (scale * (G + M)) / (2n * G);
  const rest = (scale - Wed) / 2n;
  return balanced({ Wee: scale, Wed, Wme: 0n, Wgg, Wmg: scale - Wgg, Wmd: rest, Wgd: rest }, problem);
}

function balanced(solution: Solution, problem: Problem): Solution | undefined {
  return isPossible(solution, problem) && isBalanced(solution, problem) ? solution : undefined;
}

/** Whether each kind of relay gives away all that it has and no more. */
function isPossible(solution: Solution, { scale }: Problem): boolean {
  const { Wgg, Wgd, Wmg, Wme, Wmd, Wee, Wed } = solution;
  return near(Wed + Wmd + Wgd, scale, MARGIN) && near(Wmg + Wgg, scale, MARGIN) && near(Wme + Wee, scale, MARGIN) &&
    Object.values(solution).every((weight: bigint) => weight >= 0n && weight <= scale);
}

function guardsMatchExits({ Wgg, Wgd, Wee, Wed }: Solution, { G, E, D, T }: Problem): boolean {
  return near(Wgg * G + Wgd * D, Wee * E + Wed * D, (MARGIN * T) / 3n);
}

function isBalanced(solution: Solution, problem: Problem): boolean {
  const { Wgg, Wgd, Wmg, Wme, Wmd } = solution;
  const { G, M, E, D, T, scale } = problem;
  const guards = Wgg * G + Wgd * D;
  return guardsMatchExits(solution, problem) &&
    near(guards, M * scale + Wmd * D + Wme * E + Wmg * G, (MARGIN * T) / 3n);
}

function near(a: bigint, b: bigint, margin: bigint): boolean {
  return a - b <= margin && b - a <= margin;
}
