/**
 * The directory of a test network: authorities that vote on its relays, the consensus that follows, its renewal on an
 * interval, and the answers of everybody who serves it (dir-spec 1.4, 3.8).
 *
 * All authorities see the same relays and have counted their votes the moment an interval begins.
 */
import { logger } from "../../base/log.ts";
import { compare } from "../../bytes/bytes.ts";
import { toHex } from "../../bytes/text.ts";
import type { Runtime, Timer } from "../../runtime/ports.ts";
import type { Lifetime } from "../../wire/netdoc/consensus.ts";
import type { DirectoryAnswer, DirectoryRequest } from "../directory_connection.ts";
import type { AuthorityKeys } from "./authority_keys.ts";
import { makeConsensus } from "./consensus.ts";
import { countVotes } from "./consensus_count.ts";
import { DirectoryAnswers } from "./directory_answers.ts";
import { DirectoryDocuments } from "./directory_documents.ts";
import { makePhantomRelays, type PhantomRelay } from "./phantom_relays.ts";
import { type RelayStatus, relayStatus } from "./relay_status.ts";
import type { ServerDescriptor } from "./server_descriptor.ts";
import { SharedRandom } from "./shared_random.ts";
import { makeVote, PROTOCOL_LINES, type Voter } from "./vote.ts";

const log = logger("testnet");

/** An authority, and where its relay is. */
export interface AuthorityOptions {
  readonly nickname: string;
  readonly keys: AuthorityKeys;
  /** Of its relay, 20 bytes. */
  readonly rsaId: Uint8Array;
  /** IPv4. */
  readonly host: string;
  readonly orPort: number;
  readonly dirPort: number;
}

/** A relay, and what all authorities think of it. */
export interface ListedRelay {
  readonly descriptor: ServerDescriptor;
  readonly flags: readonly string[];
  /** In kilobytes a second. */
  readonly bandwidth: number;
}

export interface NetworkDirectoryOptions {
  readonly runtime: Pick<Runtime, "clock" | "timers" | "compression" | "random">;
  readonly authorities: readonly AuthorityOptions[];
  /**
   * Between consensuses, in whole seconds; default five minutes. C tor takes no less than ten seconds, and less than
   * five minutes only where `TestingTorNetwork` is set.
   */
  readonly intervalMs?: number;
  /** How many intervals a consensus is valid for; default 3. */
  readonly intervalsValid?: number;
  /** Network parameters (param-spec). */
  readonly params?: Readonly<Record<string, number>>;
  /** Relays that nobody runs and no path takes; default none. */
  readonly phantomRelays?: number;
}

/** In order. */
const KNOWN_FLAGS = ["Authority", "BadExit", "Exit", "Fast", "Guard", "HSDir", "Running", "Stable", "V2Dir", "Valid"];
const DEFAULT_INTERVAL_MS = 300_000;
const DEFAULT_INTERVALS_VALID = 3;
/** The least that C tor takes. */
const DELAY_MS = 2000;
const SEED_BYTES = 32;
const HOUR_MS = 3_600_000;
const YEAR_MS = 365 * 24 * HOUR_MS;

export class NetworkDirectory {
  readonly documents: DirectoryDocuments;
  readonly voters: readonly Voter[];
  readonly #options: NetworkDirectoryOptions;
  readonly #params: ReadonlyMap<string, number>;
  readonly #intervalMs: number;
  readonly #phantoms: readonly PhantomRelay[];
  readonly #sharedRandom: SharedRandom;
  readonly #answers: DirectoryAnswers;
  readonly #relays = new Map<string, ListedRelay>();
  #signers: ReadonlySet<AuthorityKeys>;
  #timer: Timer | undefined;

  constructor(options: NetworkDirectoryOptions) {
    const { runtime, authorities, phantomRelays = 0, params = {} } = options;
    this.#options = options;
    this.#intervalMs = options.intervalMs ?? DEFAULT_INTERVAL_MS;
    if (!(this.#intervalMs >= 1000 && this.#intervalMs % 1000 === 0)) {
      throw new RangeError(`an interval of ${this.#intervalMs} ms, expected whole seconds`);
    }
    this.#params = new Map(Object.entries(params));
    const now = runtime.clock.now();
    this.voters = authorities.map((authority) => ({
      ...authority,
      contact: "nobody",
      certificate: authority.keys.certificate({
        published: now - HOUR_MS,
        expires: now + YEAR_MS,
        dirAddress: authority.dirPort === 0 ? undefined : `${authority.host}:${authority.dirPort}`,
      }),
    }));
    this.#signers = new Set(authorities.map(({ keys }) => keys));
    this.#phantoms = makePhantomRelays(phantomRelays, now, runtime);
    this.#sharedRandom = new SharedRandom(
      authorities.map(({ keys }) => ({ identity: keys.identity, seed: runtime.random(SEED_BYTES) })),
    );
    this.documents = new DirectoryDocuments(this.#phantoms);
    this.#answers = new DirectoryAnswers({
      compression: runtime.compression,
      documents: this.documents,
      voters: this.voters,
    });
  }

  /** Lists a relay, instead of what was listed of it before, from the next consensus on; its descriptor at once. */
  list(relay: ListedRelay): void {
    this.#relays.set(toHex(relay.descriptor.content.keys.rsaId), relay);
    this.documents.addDescriptor(relay.descriptor);
  }

  /** Leaves a relay out from the next consensus on. `rsaId`: 20 bytes. */
  unlist(rsaId: Uint8Array): void {
    this.#relays.delete(toHex(rsaId));
  }

  /** Who signs from the next consensus on; at first all authorities. */
  signBy(keys: readonly AuthorityKeys[]): void {
    this.#signers = new Set(keys);
  }

  /** Makes the consensus of the interval that is now, and from then on one at the beginning of each. */
  start(): void {
    this.publish();
    this.#plan();
  }

  /** Makes no more consensuses; those there are can still be asked for. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** Votes, counts and signs the consensus of the interval that is now. */
  publish(): void {
    const validAfter = Math.floor(this.#options.runtime.clock.now() / this.#intervalMs) * this.#intervalMs;
    const lifetime: Lifetime = {
      validAfter,
      freshUntil: validAfter + this.#intervalMs,
      validUntil: validAfter + this.#intervalMs * (this.#options.intervalsValid ?? DEFAULT_INTERVALS_VALID),
    };
    const relays = this.#statuses();
    const sharedRandom = this.#sharedRandom.round(lifetime);
    const votes = this.voters.map((voter) =>
      makeVote({
        voter,
        lifetime,
        voteDelayMs: DELAY_MS,
        distributionDelayMs: DELAY_MS,
        protocols: PROTOCOL_LINES,
        knownFlags: KNOWN_FLAGS,
        params: this.#params,
        sharedRandom,
        relays,
      })
    );
    const content = countVotes(votes, this.voters.length);
    const signers = content.votes.map(({ voter }) => voter.keys).filter((keys) => this.#signers.has(keys));
    this.documents.votes = votes;
    this.documents.addConsensus(makeConsensus(content, "ns", signers));
    this.documents.addConsensus(makeConsensus(content, "microdesc", signers));
    log.debug("Published a consensus on {count} relays", { count: content.relays.length });
  }

  /** `rsaId`: of the relay that is asked, 20 bytes; only a few paths mean the relay itself. */
  answer(request: DirectoryRequest, rsaId?: Uint8Array): Promise<DirectoryAnswer> {
    return this.#answers.answer(request, rsaId);
  }

  #statuses(): RelayStatus[] {
    const real = [...this.#relays.values()].map((relay) => relayStatus(relay.descriptor, relay));
    return [...real, ...this.#phantoms.map(({ status }) => status)].sort((a, b) => compare(a.rsaId, b.rsaId));
  }

  #plan(): void {
    const { clock, timers } = this.#options.runtime;
    const delayMs = this.#intervalMs - (clock.now() % this.#intervalMs);
    this.#timer = timers.after(delayMs, () => {
      this.publish();
      this.#plan();
    });
  }
}
