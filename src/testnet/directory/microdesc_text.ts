/** Microdescriptors as authorities make them of server descriptors, by consensus method 35 (dir-spec 3.3). */
import { toBase64 } from "../../bytes/text.ts";
import { formatObject } from "./document_text.ts";
import { REJECTS_ALL } from "./exit_policy.ts";

export interface MicrodescContent {
  /** The obsolete TAP key, in PKCS #1; relays that have none publish none. */
  readonly tapKey?: Uint8Array;
  /** 32 bytes. */
  readonly ntorKey: Uint8Array;
  readonly ed25519Id?: Uint8Array;
  /** As the arguments of a line. */
  readonly family?: string;
  readonly familyIds?: string;
  /** Summaries; those that reject everything are left out. */
  readonly policy?: string;
  readonly policy6?: string;
}

export function microdescText(content: MicrodescContent): string {
  return microdescStart(content) + microdescEnd(content);
}

/** What comes before the family. */
export function microdescStart({ tapKey, ntorKey }: Pick<MicrodescContent, "tapKey" | "ntorKey">): string {
  const tap = tapKey === undefined ? "" : formatObject("RSA PUBLIC KEY", tapKey);
  return `onion-key\n${tap}ntor-onion-key ${toBase64(ntorKey)}\n`;
}

/** The family and what follows it. */
export function microdescEnd(content: Omit<MicrodescContent, "tapKey" | "ntorKey">): string {
  const { family, familyIds, policy, policy6, ed25519Id } = content;
  return optional("family", family) + optional("family-ids", familyIds) +
    optional("p", policy === REJECTS_ALL ? undefined : policy) +
    optional("p6", policy6 === REJECTS_ALL ? undefined : policy6) +
    optional("id ed25519", ed25519Id && toBase64(ed25519Id));
}

/** A family's members in the one order and form that authorities give them, the relay itself among them. */
export function canonicalFamily(fingerprints: readonly string[]): string {
  return [...new Set(fingerprints)].sort().join(" ");
}

function optional(keyword: string, value: string | undefined): string {
  return value === undefined ? "" : `${keyword} ${value}\n`;
}
