/** Outer wrappers of onion service descriptors, right ones and wrong ones. */
import { concat } from "../../src/bytes/bytes.ts";
import { toBase64, utf8 } from "../../src/bytes/text.ts";
import { type Ed25519PrivateKey, generateEd25519 } from "../../src/crypto/ed25519.ts";
import { CertifiedKeyType, EdCertType, encodeEdCert } from "../../src/wire/ed_cert.ts";
import { formatObject } from "../../src/testnet/directory/document_text.ts";
import { SeededRandom } from "./seeded_random.ts";

const source = new SeededRandom(31);
/** In place of a blinded key, which signs no differently. */
export const blindedKey = generateEd25519(source);
export const signingKey = generateEd25519(source);
export const strangerKey = generateEd25519(source);
export const NOW = Date.UTC(2026, 0, 1);
const DAY_MS = 86_400_000;

export interface HsDescriptorParts {
  blindedKey: Ed25519PrivateKey;
  /** Makes the certificate in place of the blinded key, which it goes on to name. */
  certifier: { sign(message: Uint8Array): Uint8Array };
  certificateType: number;
  expiresMs: number;
  includeSigningKey: boolean;
  /** Makes the signature in place of the signing key. */
  signer: { sign(message: Uint8Array): Uint8Array };
  signaturePrefix: string;
  revisionCounter: number | bigint | string;
  superencrypted: Uint8Array;
  /** Changes the text before it is signed, from its first line to the one before the signature. */
  edit(text: string): string;
}

export function makeHsDescriptor(parts: Partial<HsDescriptorParts> = {}): Uint8Array {
  const blinded = parts.blindedKey ?? blindedKey;
  const certifier = parts.certifier ?? blinded;
  const certificate = encodeEdCert({
    type: parts.certificateType ?? EdCertType.HS_DESCRIPTOR_SIGNING,
    keyType: CertifiedKeyType.ED25519,
    certifiedKey: signingKey.publicKey,
    expiresMs: parts.expiresMs ?? NOW + DAY_MS,
    includeSigningKey: parts.includeSigningKey ?? true,
  }, { publicKey: blinded.publicKey, sign: (message) => certifier.sign(message) });
  const text = [
    "hs-descriptor 3\n",
    "descriptor-lifetime 180\n",
    `descriptor-signing-key-cert\n${formatObject("ED25519 CERT", certificate)}`,
    `revision-counter ${parts.revisionCounter ?? 42}\n`,
    `superencrypted\n${formatObject("MESSAGE", parts.superencrypted ?? new Uint8Array(10_000).fill(7))}`,
  ].join("");
  const signed = utf8(parts.edit?.(text) ?? text);
  const prefix = utf8(parts.signaturePrefix ?? "Tor onion service descriptor sig v3");
  const signature = (parts.signer ?? signingKey).sign(concat(prefix, signed));
  return concat(signed, utf8(`signature ${toBase64(signature)}\n`));
}
