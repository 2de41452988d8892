/**
 * Counting votes: what most authorities say about the network and each relay (dir-spec 3.8, method 35).
 *
 * What all authorities of a test network agree on anyway (versions, required protocols, delays) is taken from the
 * first vote; what a test may have them differ in is counted.
 */
import { compare, equal } from "../../bytes/bytes.ts";
import { latin1, toHex } from "../../bytes/text.ts";
import type { Lifetime } from "../../wire/netdoc/consensus.ts";
import { bandwidthWeights } from "./bandwidth_weights.ts";
import type { ConsensusEntry, RelayStatus } from "./relay_status.ts";
import type { Vote } from "./vote.ts";

export interface ConsensusContent
  extends Pick<Vote, "voteDelayMs" | "distributionDelayMs" | "protocols" | "sharedRandom"> {
  readonly lifetime: Lifetime;
  readonly knownFlags: readonly string[];
  readonly params: ReadonlyMap<string, number>;
  /** Ascending by their authorities' identities. */
  readonly votes: readonly Vote[];
  /** Ascending by their RSA identities. */
  readonly relays: readonly ConsensusEntry[];
  /** `undefined` where none balance. */
  readonly bandwidthWeights: string | undefined;
}

const NO_ED_CONSENSUS = "NoEdConsensus";
/** Below so many measurements a relay counts as not measured. */
const MIN_MEASUREMENTS = 3;
const DEFAULT_MAX_UNMEASURED = 20;

/** `authorities`: how many there are, whether they voted or not. */
export function countVotes(votes: readonly Vote[], authorities: number): ConsensusContent {
  const [first] = votes;
  if (first === undefined) throw new RangeError("no votes to count");
  const ordered = [...votes].sort((a, b) => compare(a.voter.keys.identity, b.voter.keys.identity));
  const median = (of: (lifetime: Lifetime) => number): number => lowMedian(votes.map(({ lifetime }) => of(lifetime)));
  const params = countParams(votes, authorities);
  const relays = countRelays(ordered, authorities, params);
  return {
    voteDelayMs: first.voteDelayMs,
    distributionDelayMs: first.distributionDelayMs,
    protocols: first.protocols,
    sharedRandom: first.sharedRandom,
    lifetime: {
      validAfter: median(({ validAfter }) => validAfter),
      freshUntil: median(({ freshUntil }) => freshUntil),
      validUntil: median(({ validUntil }) => validUntil),
    },
    knownFlags: [...new Set([...votes.flatMap(({ knownFlags }) => knownFlags), NO_ED_CONSENSUS])].sort(),
    params,
    votes: ordered,
    relays,
    bandwidthWeights: weightsOf(relays, params.get("bwweightscale")),
  };
}

/** Those that most authorities set, or at least three. */
function countParams(votes: readonly Vote[], authorities: number): Map<string, number> {
  const values = new Map<string, number[]>();
  for (const { params } of votes) {
    for (const [name, value] of params) values.set(name, [...values.get(name) ?? [], value]);
  }
  const needed = Math.min(3, Math.floor(authorities / 2) + 1);
  return new Map([...values].filter(([, all]) => all.length >= needed).map(([name, all]) => [name, lowMedian(all)]));
}

/** Goes through all votes at once, from the lowest identity to the highest. */
function countRelays(
  votes: readonly Vote[],
  authorities: number,
  params: ReadonlyMap<string, number>,
): ConsensusEntry[] {
  const maxUnmeasured = Math.max(1, params.get("maxunmeasuredbw") ?? DEFAULT_MAX_UNMEASURED);
  const positions = votes.map(() => 0);
  const relays: ConsensusEntry[] = [];
  for (;;) {
    let lowest: Uint8Array | undefined;
    for (let v = 0; v < votes.length; v++) {
      const id = votes[v]!.relays[positions[v]!]?.rsaId;
      if (id !== undefined && (lowest === undefined || compare(id, lowest) < 0)) lowest = id;
    }
    if (lowest === undefined) return relays;
    const opinions: Opinion[] = [];
    for (let v = 0; v < votes.length; v++) {
      const status = votes[v]!.relays[positions[v]!];
      if (status === undefined || !equal(status.rsaId, lowest)) continue;
      positions[v]!++;
      opinions.push({ status, vote: votes[v]! });
    }
    if (2 * opinions.length <= authorities) continue;
    const entry = countRelay(opinions, votes, authorities, maxUnmeasured);
    if (entry !== undefined) relays.push(entry);
  }
}

interface Opinion {
  readonly status: RelayStatus;
  readonly vote: Vote;
}

/** `undefined` for a relay that most do not find running and valid. */
function countRelay(
  opinions: readonly Opinion[],
  votes: readonly Vote[],
  authorities: number,
  maxUnmeasured: number,
): ConsensusEntry | undefined {
  const statuses = opinions.map(({ status }) => status);
  const ed25519 = mostCommon(statuses, ({ ed25519Id }) => latin1(ed25519Id), () => 0);
  const agreed = 2 * ed25519.count > authorities;
  // The relay's descriptor and place go together; of those told most often, the one published last counts.
  const listing = mostCommon(
    statuses,
    tupleOf,
    (a, b) => b.published - a.published || compare(a.descriptorDigest, b.descriptorDigest),
  ).value;
  const matching = statuses.filter((status) => status === listing || tupleOf(status) === tupleOf(listing));
  const flags = countFlags(opinions, votes);
  if (!flags.includes("Running") || !flags.includes("Valid")) return undefined;
  if (!agreed) flags.push(NO_ED_CONSENSUS);
  const common = <Value>(of: (status: RelayStatus) => Value, among = statuses): Value =>
    of(mostCommon(among, (status) => String(of(status)), (a, b) => String(of(a)) < String(of(b)) ? 1 : -1).value);
  const status: RelayStatus = {
    ...listing,
    ed25519Id: ed25519.value.ed25519Id,
    ipv6: common(({ ipv6 }) => ipv6),
    version: common(({ version }) => version),
    protocols: common(({ protocols }) => protocols),
    policy: common(({ policy }) => policy, matching),
    microdescDigest: mostCommon(matching, (each) => toHex(each.microdescDigest), () => 0).value.microdescDigest,
  };
  const median = lowMedian(statuses.map(({ bandwidth }) => bandwidth));
  const unmeasured = statuses.length < MIN_MEASUREMENTS;
  return {
    status,
    flags: flags.sort(),
    bandwidth: unmeasured ? Math.min(median, maxUnmeasured) : median,
    unmeasured,
  };
}

function tupleOf({ descriptorDigest, published, nickname, ipv4, orPort, dirPort }: RelayStatus): string {
  return `${latin1(descriptorDigest)} ${published} ${nickname} ${ipv4} ${orPort} ${dirPort}`;
}

/** Each flag that more than half of those give who know it. */
function countFlags(opinions: readonly Opinion[], votes: readonly Vote[]): string[] {
  const [{ status: first }] = opinions as [Opinion];
  const [{ knownFlags }] = votes as [Vote];
  const unanimous = opinions.length === votes.length && opinions.every(({ status }) => status.flags === first.flags) &&
    votes.every((vote) => vote.knownFlags === knownFlags);
  if (unanimous) return [...first.flags];
  const flags = new Set(opinions.flatMap(({ status }) => status.flags));
  return [...flags].filter((flag) => {
    const knowing = votes.filter((vote) => vote.knownFlags.includes(flag)).length;
    return 2 * opinions.filter(({ status }) => status.flags.includes(flag)).length > knowing;
  });
}

/** What comes most often by its `key`; among equals the one that `order` has first. */
function mostCommon<Value>(
  values: readonly Value[],
  key: (value: Value) => string,
  order: (a: Value, b: Value) => number,
): { value: Value; count: number } {
  const [first] = values as [Value];
  if (values.every((value) => value === first)) return { value: first, count: values.length };
  const counts = new Map<string, { value: Value; count: number }>();
  for (const value of values) {
    const same = counts.get(key(value));
    if (same) same.count++;
    else counts.set(key(value), { value, count: 1 });
  }
  return [...counts.values()].sort((a, b) => b.count - a.count || order(a.value, b.value))[0]!;
}

function lowMedian(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[(values.length - 1) >> 1]!;
}

function weightsOf(relays: readonly ConsensusEntry[], scale: number | undefined): string | undefined {
  const totals = { guard: 0, middle: 0, exit: 0, both: 0 };
  for (const { flags, bandwidth } of relays) {
    const guard = flags.includes("Guard");
    const exit = flags.includes("Exit") && !flags.includes("BadExit");
    totals[guard ? exit ? "both" : "guard" : exit ? "exit" : "middle"] += bandwidth;
  }
  return bandwidthWeights(totals, scale);
}
