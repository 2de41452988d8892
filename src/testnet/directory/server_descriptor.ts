/**
 * Server descriptors: what a relay says of itself, signed by its RSA and its Ed25519 key, and by its onion keys in
 * turn (dir-spec 2.1.1).
 */
import { formatIp, parseIp } from "../../bytes/ip.ts";
import { concat } from "../../bytes/bytes.ts";
import { toBase64, toHexUpper, utf8 } from "../../bytes/text.ts";
import { sha1, sha256 } from "../../crypto/digest.ts";
import { x25519Signer } from "../../crypto/ed25519_convert.ts";
import type { RsaPrivateKey } from "../../crypto/rsa_private.ts";
import type { Address } from "../../runtime/ports.ts";
import { CertifiedKeyType, EdCertType, encodeEdCert } from "../../wire/ed_cert.ts";
import type { RelayIdentity } from "../relay_identity.ts";
import { formatObject, formatTime, spacedFingerprint } from "./document_text.ts";
import type { ExitPolicy } from "./exit_policy.ts";
import { canonicalFamily, microdescText } from "./microdesc_text.ts";

/** The keys of a relay that its descriptor shows or is signed with. */
export type DescriptorKeys = Pick<
  RelayIdentity,
  "nickname" | "rsaKey" | "rsaId" | "ed25519Id" | "signingKey" | "signingCert" | "ntorKey"
>;

export interface ServerDescriptorContent {
  readonly keys: DescriptorKeys;
  /**
   * The TAP key, which nobody uses any more but C tor before 0.4.9 demands to see. It may be the same for all relays.
   */
  readonly tapKey: RsaPrivateKey;
  /** IPv4. */
  readonly address: Address;
  readonly ipv6?: Address;
  /** 0: none. */
  readonly dirPort: number;
  /** Version of tor to be taken for, as in "0.4.9.11". */
  readonly version: string;
  /** Subprotocol versions, in the order of their names. */
  readonly protocols: string;
  /** Milliseconds since 1970. */
  readonly published: number;
  /** Bytes a second. */
  readonly bandwidth: number;
  readonly exitPolicy: ExitPolicy;
  /** Fingerprints, each after a `$`, of relays run by the same people; itself may be among them. */
  readonly family?: readonly string[];
  readonly contact?: string;
}

export interface ServerDescriptor {
  readonly content: ServerDescriptorContent;
  readonly text: Uint8Array;
  /** SHA-1 of the text that the RSA key signed, 20 bytes: the name by which it is asked for. */
  readonly digest: Uint8Array;
  readonly microdesc: Uint8Array;
  /** SHA-256 of the microdescriptor. */
  readonly microdescDigest: Uint8Array;
}

const ED25519_PREFIX = utf8("Tor router descriptor signature v1");
const DAY_MS = 86_400_000;
/** How long onion keys count: 28 days by default (param-spec "onion-key-rotation-days"). */
const ONION_KEY_LIFETIME_MS = 28 * DAY_MS;

export function makeServerDescriptor(content: ServerDescriptorContent): ServerDescriptor {
  const { keys, tapKey } = content;
  const unsigned = `${identityItems(content)}${onionKeyItems(content)}${roleItems(content)}router-sig-ed25519 `;
  const edSignature = keys.signingKey.sign(sha256(ED25519_PREFIX, utf8(unsigned)));
  const signed = `${unsigned}${toBase64(edSignature)}\nrouter-signature\n`;
  const digest = sha1(utf8(signed));
  const text = utf8(signed + formatObject("SIGNATURE", keys.rsaKey.signDigest(digest)));
  const family = content.family?.length
    ? canonicalFamily([...content.family, `$${toHexUpper(keys.rsaId)}`])
    : undefined;
  const microdesc = utf8(microdescText({
    tapKey: tapKey.publicKey.der,
    ntorKey: keys.ntorKey.publicKey,
    ed25519Id: keys.ed25519Id,
    family,
    policy: content.exitPolicy.summary,
    policy6: content.exitPolicy.summary6,
  }));
  return { content, text, digest, microdesc, microdescDigest: sha256(microdesc) };
}

function identityItems(
  { keys, address, ipv6, dirPort, version, protocols, published, bandwidth }: ServerDescriptorContent,
): string {
  return `router ${keys.nickname} ${address.host} ${address.port} 0 ${dirPort}\n` +
    `identity-ed25519\n${formatObject("ED25519 CERT", keys.signingCert)}` +
    `master-key-ed25519 ${toBase64(keys.ed25519Id)}\n` +
    (ipv6 === undefined ? "" : `or-address ${formatIpv6(ipv6)}\n`) +
    `platform Tor ${version} on tunic\n` +
    `proto ${protocols}\n` +
    `published ${formatTime(published)}\n` +
    `fingerprint ${spacedFingerprint(keys.rsaId)}\n` +
    "uptime 0\n" +
    `bandwidth ${bandwidth} ${bandwidth} ${bandwidth}\n`;
}

function onionKeyItems({ keys, tapKey, published }: ServerDescriptorContent): string {
  const ntorSigner = x25519Signer(keys.ntorKey);
  const ntorCert = encodeEdCert({
    type: EdCertType.NTOR_CROSS,
    keyType: CertifiedKeyType.ED25519,
    certifiedKey: keys.ed25519Id,
    expiresMs: published + ONION_KEY_LIFETIME_MS,
    includeSigningKey: false,
  }, ntorSigner);
  return `onion-key\n${formatObject("RSA PUBLIC KEY", tapKey.publicKey.der)}` +
    `signing-key\n${formatObject("RSA PUBLIC KEY", keys.rsaKey.publicKey.der)}` +
    `onion-key-crosscert\n${formatObject("CROSSCERT", tapKey.signDigest(concat(keys.rsaId, keys.ed25519Id)))}` +
    `ntor-onion-key-crosscert ${ntorSigner.signBit}\n${formatObject("ED25519 CERT", ntorCert)}`;
}

function roleItems({ keys, family, contact, exitPolicy }: ServerDescriptorContent): string {
  return (family?.length ? `family ${family.join(" ")}\n` : "") +
    "hidden-service-dir\n" +
    (contact === undefined ? "" : `contact ${contact}\n`) +
    `ntor-onion-key ${toBase64(keys.ntorKey.publicKey)}\n` +
    `${exitPolicy.rules.join("\n")}\n` +
    (exitPolicy.summary6 === undefined ? "" : `ipv6-policy ${exitPolicy.summary6}\n`) +
    "tunnelled-dir-server\n";
}

/** As in `a` and `or-address` lines. */
export function formatIpv6({ host, port }: Address): string {
  const bytes = parseIp(host);
  return `[${bytes ? formatIp(bytes) : host}]:${port}`;
}
