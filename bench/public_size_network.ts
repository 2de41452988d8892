/**
 * A made-up network of the public one's size and habits: 9,745 relays, a few dozen protocol lists, a few hundred exit
 * policies, families of up to 400 that fill nine tenths of the microdescriptors' bytes.
 */
import { Buffer } from "node:buffer";
import { SeededRandom } from "../tests/support/seeded_random.ts";
import {
  bytesOf,
  consensusText,
  hex,
  TEST_NOW,
  TestAuthority,
  type TestRelay,
  testRelay,
} from "../tests/support/network_documents.ts";
import { microdescText } from "../src/testnet/directory/microdesc_text.ts";
import { type Consensus, parseConsensus } from "../src/wire/netdoc/consensus.ts";
import { parseCertificates } from "../src/wire/netdoc/authority_certificate.ts";

export const PUBLIC_SIZE = 9745;
/** As many microdescriptors as a client asks for at once. */
const BATCH = 92;

const FLAGS = [
  "Fast Guard HSDir Running Stable V2Dir Valid",
  "Exit Fast Guard HSDir Running Stable V2Dir Valid",
  "Exit Fast Running Valid",
  "Fast HSDir Running Stable V2Dir Valid",
  "Running Valid",
];

export interface PublicSizeNetwork {
  /** The consensus' text. */
  readonly text: Uint8Array;
  /** Its only authority's. */
  readonly certificate: Uint8Array;
  /** The microdescriptors' texts, in batches as they are fetched. */
  readonly microdescs: readonly Uint8Array[];
  readonly consensus: () => Consensus;
}

export async function publicSizeNetwork(size = PUBLIC_SIZE): Promise<PublicSizeNetwork> {
  const random = new SeededRandom(1);
  const identities = Array.from({ length: size }, () => random.random(20));
  const policies = Array.from({ length: 300 }, () => `accept ${20 + random.below(60)},${80 + random.below(900)}-1200`);
  const relays: TestRelay[] = [];
  for (let start = 0; start < size;) {
    // Half of the relays have no family; families are small, but the few large ones weigh.
    const members = random.below(2) === 0 ? 1 : random.below(12) === 0 ? 100 + random.below(300) : 2 + random.below(30);
    const end = Math.min(size, start + members);
    const family = identities.slice(start, end).map((identity) => "$" + hex(identity)).sort().join(" ");
    for (let n = start; n < end; n++) {
      relays.push(testRelay(n, {
        rsaId: identities[n],
        ipv4: [...random.random(4)].join("."),
        ipv6: n % 2 === 0 ? `[2a0a:${random.below(9000) + 1}::${random.below(9000) + 1}]:443` : undefined,
        flags: FLAGS[random.below(FLAGS.length)],
        bandwidth: random.below(90_000),
        microdesc: microdescText({
          ntorKey: random.random(32),
          ed25519Id: random.random(32),
          family: members > 1 ? family : undefined,
          policy: random.below(3) === 0 ? policies[random.below(policies.length)] : undefined,
        }),
      }));
    }
    start = end;
  }
  const authority = await TestAuthority.create();
  const text = bytesOf(consensusText({ relays, authorities: [authority] }));
  const microdescs: Uint8Array[] = [];
  for (let i = 0; i < size; i += BATCH) {
    const batch = relays.slice(i, i + BATCH).map((relay) => relay.microdesc).join("");
    microdescs.push(new Uint8Array(Buffer.from(batch, "latin1")));
  }
  const evidence = { authorities: [authority.identity], now: TEST_NOW };
  const certificate = bytesOf(authority.certificate());
  const certificates = parseCertificates(certificate).map((one) => one.verify(evidence));
  return { text, certificate, microdescs, consensus: () => parseConsensus(text).verify({ ...evidence, certificates }) };
}
