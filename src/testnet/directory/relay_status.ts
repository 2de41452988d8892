/** What a vote or consensus says of one relay: its router status entry (dir-spec 3.4.1, 3.4.2). */
import { toBase64 } from "../../bytes/text.ts";
import { formatTime } from "./document_text.ts";
import { formatIpv6, type ServerDescriptor } from "./server_descriptor.ts";

export interface RelayStatus {
  readonly nickname: string;
  /** 20 bytes. */
  readonly rsaId: Uint8Array;
  /** 32 bytes. */
  readonly ed25519Id: Uint8Array;
  /** SHA-1 of its server descriptor, 20 bytes. */
  readonly descriptorDigest: Uint8Array;
  /** SHA-256 of its microdescriptor, 32 bytes. */
  readonly microdescDigest: Uint8Array;
  /** When the descriptor was made, in milliseconds since 1970. */
  readonly published: number;
  readonly ipv4: string;
  readonly orPort: number;
  readonly dirPort: number;
  /** Address and port, as in an `a` line. */
  readonly ipv6?: string;
  /** In order. */
  readonly flags: readonly string[];
  /** As in a `v` line. */
  readonly version: string;
  readonly protocols: string;
  /** In kilobytes a second: what the authority measured. */
  readonly bandwidth: number;
  /** What it lets out, summed up. */
  readonly policy: string;
}

/** What the consensus says of a relay, besides what its votes did. */
export interface ConsensusEntry {
  readonly status: RelayStatus;
  readonly flags: readonly string[];
  readonly bandwidth: number;
  /** Fewer than three authorities measured it. */
  readonly unmeasured: boolean;
}

export type Flavor = "ns" | "microdesc";

/** In microdescriptor consensuses nobody is told when a relay published: it would only make them larger. */
const NO_TIME = "2038-01-01 00:00:00";

/** A relay's status from its descriptor and what an authority thinks of it. */
export function relayStatus(
  descriptor: ServerDescriptor,
  opinion: { readonly flags: readonly string[]; readonly bandwidth: number },
): RelayStatus {
  const { keys, published, address, dirPort, ipv6, version, protocols, exitPolicy } = descriptor.content;
  return {
    nickname: keys.nickname,
    rsaId: keys.rsaId,
    ed25519Id: keys.ed25519Id,
    descriptorDigest: descriptor.digest,
    microdescDigest: descriptor.microdescDigest,
    published,
    ipv4: address.host,
    orPort: address.port,
    dirPort,
    ipv6: ipv6 && formatIpv6(ipv6),
    flags: [...opinion.flags].sort(),
    version: `Tor ${version}`,
    protocols,
    bandwidth: opinion.bandwidth,
    policy: exitPolicy.summary,
  };
}

/** The entry in a vote that offers the consensus methods `methods`, as in "32,33". */
export function voteEntry(status: RelayStatus, methods: string): string {
  const { rsaId, descriptorDigest, published, bandwidth, flags } = status;
  return `r ${status.nickname} ${toBase64(rsaId)} ${toBase64(descriptorDigest)} ${formatTime(published)} ` +
    `${place(status)}s ${flags.join(" ")}\nv ${status.version}\npr ${status.protocols}\n` +
    `w Bandwidth=${bandwidth} Measured=${bandwidth}\np ${status.policy}\n` +
    `id ed25519 ${toBase64(status.ed25519Id)}\nm ${methods} sha256=${toBase64(status.microdescDigest)}\n`;
}

export function consensusEntry({ status, flags, bandwidth, unmeasured }: ConsensusEntry, flavor: Flavor): string {
  const name = `r ${status.nickname} ${toBase64(status.rsaId)} `;
  const common = `s ${flags.join(" ")}\nv ${status.version}\npr ${status.protocols}\n` +
    `w Bandwidth=${bandwidth}${unmeasured ? " Unmeasured=1" : ""}\n`;
  if (flavor === "microdesc") {
    return `${name}${NO_TIME} ${place(status)}m ${toBase64(status.microdescDigest)}\n${common}`;
  }
  const published = formatTime(status.published);
  return `${name}${toBase64(status.descriptorDigest)} ${published} ${place(status)}${common}p ${status.policy}\n`;
}

function place({ ipv4, orPort, dirPort, ipv6 }: RelayStatus): string {
  return `${ipv4} ${orPort} ${dirPort}\n${ipv6 === undefined ? "" : `a ${ipv6}\n`}`;
}
