/**
 * The shared random values: what the authorities, each with a secret of its own, draw together once in 24 rounds of
 * voting, 12 of commitments and 12 of revelations (srv-spec 2, 3.3.1, 4.1).
 *
 * An authority's secret for a run follows from one seed and the run's number, so that nothing has to be kept.
 */
import { compare, concat } from "../../bytes/bytes.ts";
import { toHexUpper, utf8 } from "../../bytes/text.ts";
import { Writer } from "../../bytes/writer.ts";
import { sha3_256 } from "../../crypto/digest.ts";
import type { Lifetime, SharedRandomValue } from "../../wire/netdoc/consensus.ts";
import { paddedBase64 } from "./document_text.ts";

/** Rounds of voting in a run. */
export const ROUNDS = 24;
const COMMIT_ROUNDS = 12;
const VERSION = 1;
const ALGORITHM = "sha3-256";

export interface Participant {
  /** v3 identity, 20 bytes. */
  readonly identity: Uint8Array;
  /** 32 bytes. */
  readonly seed: Uint8Array;
}

/** One authority's part in a run. */
export interface Commitment {
  readonly identity: Uint8Array;
  /** What it reveals in the end, in base64. */
  readonly reveal: string;
  /** What it commits to at first, in base64. */
  readonly commit: string;
  readonly hashedReveal: Uint8Array;
}

export interface SharedRandomRound {
  readonly previous: SharedRandomValue;
  readonly current: SharedRandomValue;
  /** The lines of a vote in this round, each with its end. */
  readonly voteLines: string;
}

/** The random values as they are in each round of voting. */
export class SharedRandom {
  readonly #participants: readonly Participant[];
  /** By the number of the run in which they count. */
  readonly #values = new Map<string, SharedRandomValue>();

  constructor(participants: readonly Participant[]) {
    this.#participants = participants;
  }

  /** What is said in the round whose consensus has this lifetime. */
  round(lifetime: Pick<Lifetime, "validAfter" | "freshUntil">): SharedRandomRound {
    const intervalMs = lifetime.freshUntil - lifetime.validAfter;
    const slot = Math.floor(lifetime.validAfter / intervalMs);
    const run = Math.floor(slot / ROUNDS);
    const previous = this.#value(run - 1, intervalMs);
    const current = this.#value(run, intervalMs);
    const revealing = slot - run * ROUNDS >= COMMIT_ROUNDS;
    const commits = this.#commitments(run, intervalMs).map(({ identity, commit, reveal }) =>
      `shared-rand-commit ${VERSION} ${ALGORITHM} ${toHexUpper(identity)} ${commit}${revealing ? ` ${reveal}` : ""}\n`
    );
    return {
      previous,
      current,
      voteLines: `shared-rand-participate\n${commits.sort().join("")}${sharedRandomLines(previous, current)}`,
    };
  }

  /** The value that counts during `run`, drawn in the run before; those before the first one asked for have no past. */
  #value(run: number, intervalMs: number): SharedRandomValue {
    const key = `${intervalMs} ${run}`;
    let value = this.#values.get(key);
    if (value === undefined) {
      const before = this.#values.get(`${intervalMs} ${run - 1}`)?.value;
      value = sharedRandomValue(this.#commitments(run - 1, intervalMs), before);
      this.#values.set(key, value);
      for (const old of this.#values.keys()) {
        if (this.#values.size <= MAX_KEPT) break;
        this.#values.delete(old);
      }
    }
    return value;
  }

  #commitments(run: number, intervalMs: number): Commitment[] {
    const timestamp = (run * ROUNDS * intervalMs) / 1000;
    return this.#participants.map(({ identity, seed }) => makeCommitment(identity, seed, timestamp));
  }
}

/** Values of two runs, and some more for clocks that are set back. */
const MAX_KEPT = 8;

/** `timestamp`: when the run begins, in seconds since 1970. */
function makeCommitment(identity: Uint8Array, seed: Uint8Array, timestamp: number): Commitment {
  const time = new Writer(8).u64(BigInt(Math.floor(timestamp))).finish();
  const reveal = paddedBase64(concat(time, sha3_256(sha3_256(seed, time))));
  const hashedReveal = sha3_256(utf8(reveal));
  return { identity, reveal, commit: paddedBase64(concat(time, hashedReveal)), hashedReveal };
}

/** The value that follows from all that was revealed (srv-spec 3.3.1), and from the `previous` one, if there is one. */
export function sharedRandomValue(
  commitments: readonly Pick<Commitment, "identity" | "reveal" | "hashedReveal">[],
  previous: Uint8Array | undefined,
): SharedRandomValue {
  const ordered = [...commitments].sort((a, b) => compare(a.hashedReveal, b.hashedReveal));
  const reveals = sha3_256(utf8(ordered.map(({ identity, reveal }) => toHexUpper(identity) + reveal).join("")));
  const message = new Writer(128).bytes(utf8("shared-random")).u64(BigInt(ordered.length)).u32(VERSION)
    .bytes(reveals).bytes(previous ?? new Uint8Array(32));
  return { reveals: ordered.length, value: sha3_256(message.finish()) };
}

/** The lines of votes and consensuses. */
export function sharedRandomLines(previous: SharedRandomValue, current: SharedRandomValue): string {
  return `shared-rand-previous-value ${previous.reveals} ${paddedBase64(previous.value)}\n` +
    `shared-rand-current-value ${current.reveals} ${paddedBase64(current.value)}\n`;
}
