/** Views of made-up networks, that came about as real ones do: from a consensus that an authority signed. */
import { MicrodescStore } from "../../src/netdir/microdesc_store.ts";
import { NetDir } from "../../src/netdir/net_dir.ts";
import { parseCertificates } from "../../src/wire/netdoc/authority_certificate.ts";
import { type Consensus, parseConsensus } from "../../src/wire/netdoc/consensus.ts";
import {
  bytesOf,
  consensusText,
  TEST_NOW,
  TestAuthority,
  type TestConsensus,
  type TestRelay,
} from "./network_documents.ts";

const authority = await TestAuthority.create();

export function testConsensus(relays: readonly TestRelay[], options: Partial<TestConsensus> = {}): Consensus {
  const authorities = [authority.identity];
  const certificates = parseCertificates(bytesOf(authority.certificate()))
    .map((certificate) => certificate.verify({ authorities, now: TEST_NOW }));
  const text = consensusText({ relays, authorities: [authority], ...options });
  return parseConsensus(bytesOf(text)).verify({ authorities, certificates, now: TEST_NOW });
}

/** A view of `relays` with all their microdescriptors. Rows are in the order of identities: use {@link rowOf}. */
export function testNetDir(relays: readonly TestRelay[], options: Partial<TestConsensus> = {}): NetDir {
  const netdir = new NetDir(testConsensus(relays, options), new MicrodescStore());
  netdir.addMicrodescs(bytesOf(relays.map((relay) => relay.microdesc).join("")));
  return netdir;
}

/** The row of a relay, by nickname. */
export function rowOf(netdir: NetDir, nickname: string): number {
  for (let i = 0; i < netdir.size; i++) if (netdir.nickname(i) === nickname) return i;
  throw new Error(`there is no ${nickname}`);
}
