/** Votes: what one authority wants to be in the next consensus (dir-spec 3.4.1). */
import { toHexUpper, utf8 } from "../../bytes/text.ts";
import { sha1 } from "../../crypto/digest.ts";
import type { Lifetime } from "../../wire/netdoc/consensus.ts";
import type { AuthorityKeys } from "./authority_keys.ts";
import { formatTime } from "./document_text.ts";
import { type RelayStatus, voteEntry } from "./relay_status.ts";
import type { SharedRandomRound } from "./shared_random.ts";

/** The one that is offered and used: C tor 0.4.9's newest. */
export const CONSENSUS_METHOD = 35;

/** Who votes. */
export interface Voter {
  readonly nickname: string;
  /** Of its relay, 20 bytes. */
  readonly rsaId: Uint8Array;
  readonly keys: AuthorityKeys;
  /** Its key certificate. */
  readonly certificate: string;
  /** IPv4. */
  readonly host: string;
  readonly orPort: number;
  readonly dirPort: number;
  readonly contact: string;
}

/** Lists as in the lines whose names begin so. */
export interface ProtocolLines {
  readonly recommendedClient: string;
  readonly recommendedRelay: string;
  readonly requiredClient: string;
  readonly requiredRelay: string;
}

/** What C tor 0.4.9's authorities say, and so the public network. */
export const PROTOCOL_LINES: ProtocolLines = {
  recommendedClient: "Cons=2 Desc=2 DirCache=2 FlowCtrl=1-2 HSDir=2 HSIntro=4 HSRend=2 Link=4-5 Microdesc=2 Relay=2-4",
  recommendedRelay: "Cons=2 Desc=2 DirCache=2 FlowCtrl=1-2 HSDir=2 HSIntro=4-5 HSRend=2 Link=4-5 LinkAuth=3 " +
    "Microdesc=2 Relay=2-4",
  requiredClient: "Cons=2 Desc=2 FlowCtrl=1 Link=4 Microdesc=2 Relay=2",
  requiredRelay: "Cons=2 Desc=2 DirCache=2 FlowCtrl=1-2 HSDir=2 HSIntro=4-5 HSRend=2 Link=4-5 LinkAuth=3 " +
    "Microdesc=2 Relay=2-4",
};

/**
 * Every C tor that may come is recommended, so that none warns its user; C tor 0.4.9 ends itself where a consensus says
 * nothing of versions.
 */
const RECOMMENDED_VERSIONS = ["0.4.7", "0.4.8", "0.4.9"].flatMap((series) =>
  Array.from({ length: 30 }, (_, patch) => `${series}.${patch + 1}`)
).join(",");
export const VERSION_LINES = `client-versions ${RECOMMENDED_VERSIONS}\nserver-versions ${RECOMMENDED_VERSIONS}\n`;

export interface VoteContent {
  readonly voter: Voter;
  readonly lifetime: Lifetime;
  readonly voteDelayMs: number;
  readonly distributionDelayMs: number;
  readonly protocols: ProtocolLines;
  /** In order. */
  readonly knownFlags: readonly string[];
  readonly params: ReadonlyMap<string, number>;
  readonly sharedRandom: SharedRandomRound;
  /** Ascending by their RSA identities. */
  readonly relays: readonly RelayStatus[];
}

export interface Vote extends VoteContent {
  readonly text: Uint8Array;
  /** SHA-1 of the signed part, 20 bytes. */
  readonly digest: Uint8Array;
}

/** Entries are the same where authorities agree, and most of a vote's text. */
const entries = new WeakMap<readonly RelayStatus[], string>();

/** The vote, signed. */
export function makeVote(content: VoteContent): Vote {
  const { keys } = content.voter;
  let relays = entries.get(content.relays);
  if (relays === undefined) {
    relays = content.relays.map((status) => voteEntry(status, String(CONSENSUS_METHOD))).join("");
    entries.set(content.relays, relays);
  }
  const signed = utf8(
    `${voteHeader(content)}${content.voter.certificate}${relays}directory-footer\ndirectory-signature `,
  );
  const digest = sha1(signed);
  const signature = utf8(keys.signature(digest, "sha1"));
  const text = new Uint8Array(signed.length + signature.length);
  text.set(signed);
  text.set(signature, signed.length);
  return { ...content, text, digest };
}

function voteHeader(content: VoteContent): string {
  const { voter, lifetime, protocols } = content;
  const published = lifetime.validAfter - content.voteDelayMs - content.distributionDelayMs;
  return "network-status-version 3\nvote-status vote\n" +
    `consensus-methods ${CONSENSUS_METHOD}\n` +
    `published ${formatTime(published)}\n` +
    lifetimeLines(content) +
    VERSION_LINES +
    `recommended-relay-protocols ${protocols.recommendedRelay}\n` +
    `recommended-client-protocols ${protocols.recommendedClient}\n` +
    `required-relay-protocols ${protocols.requiredRelay}\n` +
    `required-client-protocols ${protocols.requiredClient}\n` +
    `known-flags ${content.knownFlags.join(" ")}\n` +
    "flag-thresholds stable-uptime=0 stable-mtbf=0 fast-speed=0 guard-wfu=0.000% guard-tk=0 guard-bw-inc-exits=0 " +
    "guard-bw-exc-exits=0 enough-mtbf=1 ignoring-advertised-bws=1\n" +
    paramsLine(content.params) +
    `dir-source ${voter.nickname} ${toHexUpper(voter.keys.identity)} ${voter.host} ${voter.host} ${voter.dirPort} ` +
    `${voter.orPort}\ncontact ${voter.contact}\n` +
    content.sharedRandom.voteLines;
}

/** When a vote's or consensus' contents hold. */
export function lifetimeLines(
  { lifetime, voteDelayMs, distributionDelayMs }: Pick<VoteContent, "lifetime" | "voteDelayMs" | "distributionDelayMs">,
): string {
  return `valid-after ${formatTime(lifetime.validAfter)}\nfresh-until ${formatTime(lifetime.freshUntil)}\n` +
    `valid-until ${formatTime(lifetime.validUntil)}\n` +
    `voting-delay ${voteDelayMs / 1000} ${distributionDelayMs / 1000}\n`;
}

/** In the order of the whole arguments, as C tor has them; nothing where there are none. */
export function paramsLine(params: ReadonlyMap<string, number>): string {
  if (params.size === 0) return "";
  return `params ${[...params].map(([name, value]) => `${name}=${value}`).sort().join(" ")}\n`;
}
