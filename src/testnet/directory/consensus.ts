/** The consensus in both its flavours, with the signatures of authorities (dir-spec 3.4.1, 3.9). */
import { concat } from "../../bytes/bytes.ts";
import { toHexUpper, utf8 } from "../../bytes/text.ts";
import { sha1, sha256, sha3_256 } from "../../crypto/digest.ts";
import type { Lifetime } from "../../wire/netdoc/consensus.ts";
import type { AuthorityKeys } from "./authority_keys.ts";
import type { ConsensusContent } from "./consensus_count.ts";
import { consensusEntry, type Flavor } from "./relay_status.ts";
import { sharedRandomLines } from "./shared_random.ts";
import { CONSENSUS_METHOD, lifetimeLines, paramsLine, VERSION_LINES } from "./vote.ts";

/** A consensus as it is served. */
export interface SignedConsensus {
  readonly flavor: Flavor;
  readonly lifetime: Lifetime;
  readonly text: Uint8Array;
  /** v3 identities of those who signed, 20 bytes each. */
  readonly signers: readonly Uint8Array[];
  /** SHA3-256 of the signed part, by which diffs name what they start from. */
  readonly signedSha3: Uint8Array;
}

/** Signs with SHA-1 in the ns flavour, as it always was, and with SHA-256 in the other. */
export function makeConsensus(
  content: ConsensusContent,
  flavor: Flavor,
  signers: readonly AuthorityKeys[],
): SignedConsensus {
  const entries = content.relays.map((entry) => consensusEntry(entry, flavor)).join("");
  const weights = content.bandwidthWeights === undefined ? "" : `bandwidth-weights ${content.bandwidthWeights}\n`;
  const signed = utf8(`${header(content, flavor)}${entries}directory-footer\n${weights}directory-signature `);
  const [digest, algorithm] = flavor === "ns" ? [sha1(signed), "sha1"] as const : [sha256(signed), "sha256"] as const;
  const signatures = signers.map((keys) => keys.signature(digest, algorithm)).join("directory-signature ");
  return {
    flavor,
    lifetime: content.lifetime,
    text: concat(signed, utf8(signatures)),
    signers: signers.map(({ identity }) => identity),
    signedSha3: sha3_256(signed),
  };
}

function header(content: ConsensusContent, flavor: Flavor): string {
  const { protocols, sharedRandom, votes } = content;
  const sources = votes.map(({ voter, digest }) =>
    `dir-source ${voter.nickname} ${toHexUpper(voter.keys.identity)} ${voter.host} ${voter.host} ${voter.dirPort} ` +
    `${voter.orPort}\ncontact ${voter.contact}\nvote-digest ${toHexUpper(digest)}\n`
  );
  return `network-status-version 3${flavor === "ns" ? "" : ` ${flavor}`}\nvote-status consensus\n` +
    `consensus-method ${CONSENSUS_METHOD}\n` +
    lifetimeLines(content) +
    VERSION_LINES +
    `known-flags ${content.knownFlags.join(" ")}\n` +
    `recommended-client-protocols ${protocols.recommendedClient}\n` +
    `recommended-relay-protocols ${protocols.recommendedRelay}\n` +
    `required-client-protocols ${protocols.requiredClient}\n` +
    `required-relay-protocols ${protocols.requiredRelay}\n` +
    paramsLine(content.params) +
    sharedRandomLines(sharedRandom.previous, sharedRandom.current) +
    sources.join("");
}
