/**
 * Makes directory documents for tests: relays, microdescriptors, consensuses, and authorities that really sign them.
 */
import { createHash } from "node:crypto";
import { Buffer } from "node:buffer";
import { AuthorityKeys } from "../../src/testnet/directory/authority_keys.ts";
import { formatObject } from "../../src/testnet/directory/document_text.ts";
import { type MicrodescContent, microdescText } from "../../src/testnet/directory/microdesc_text.ts";

/** One character a byte. */
export function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (c) => c.charCodeAt(0));
}

export function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64").replace(/=+$/, "");
}

export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex").toUpperCase();
}

export function hash(algorithm: string, text: string | Uint8Array): Uint8Array {
  const bytes = typeof text === "string" ? bytesOf(text) : text;
  return new Uint8Array(createHash(algorithm).update(bytes).digest());
}

export interface TestRelay {
  readonly nickname: string;
  /** 20 bytes. */
  readonly rsaId: Uint8Array;
  readonly ipv4: string;
  readonly orPort: number;
  /** Address and port, as in an `a` line. */
  readonly ipv6?: string;
  /** In order. */
  readonly flags: string;
  readonly bandwidth?: number;
  readonly protocols: string;
  readonly microdesc: string;
}

const ALL_PROTOCOLS =
  "Conflux=1 Cons=1-2 Desc=1-4 DirCache=2 FlowCtrl=1-2 HSDir=2 HSIntro=4-5 HSRend=1-2 Link=1-5 Microdesc=1-3 Relay=1-4";

/** A relay whose keys follow from its number: number 7 is "relay7" at 10.7.0.1, alone in its subnet. */
export function testRelay(
  n: number,
  relay: Partial<TestRelay> = {},
  microdesc: Partial<MicrodescContent> = {},
): TestRelay {
  return {
    nickname: `relay${n}`,
    rsaId: hash("sha1", `relay ${n}`),
    ipv4: `10.${n & 255}.${n >> 8}.1`,
    orPort: 9001,
    flags: "Exit Fast Guard HSDir Running Stable V2Dir Valid",
    bandwidth: 1000,
    protocols: ALL_PROTOCOLS,
    microdesc: microdescText({
      ntorKey: hash("sha256", `ntor ${n}`),
      ed25519Id: hash("sha256", `ed25519 ${n}`),
      policy: "accept 80,443",
      ...microdesc,
    }),
    ...relay,
  };
}

export interface TestConsensus {
  readonly relays: readonly TestRelay[];
  readonly authorities: readonly TestAuthority[];
  readonly validAfter?: string;
  readonly freshUntil?: string;
  readonly validUntil?: string;
  readonly params?: string;
  readonly bandwidthWeights?: string;
}

export const TEST_WEIGHTS =
  "Wbd=1237 Wbe=0 Wbg=4117 Wbm=10000 Wdb=10000 Web=10000 Wed=7526 Wee=10000 Weg=7526 Wem=10000 Wgb=10000 Wgd=1237 " +
  "Wgg=5883 Wgm=5883 Wmb=10000 Wmd=1237 Wme=0 Wmg=4117 Wmm=10000";

/** A time within every consensus that is made without times of its own. */
export const TEST_NOW = Date.UTC(2026, 0, 29, 6, 30);

/** What the signatures sign: everything up to the space after the first signature's keyword. */
export function consensusBody(consensus: TestConsensus): string {
  const relays = [...consensus.relays].sort((a, b) => Buffer.compare(a.rsaId, b.rsaId));
  return [
    "network-status-version 3 microdesc",
    "vote-status consensus",
    "consensus-method 33",
    `valid-after ${consensus.validAfter ?? "2026-01-29 06:00:00"}`,
    `fresh-until ${consensus.freshUntil ?? "2026-01-29 07:00:00"}`,
    `valid-until ${consensus.validUntil ?? "2026-01-29 09:00:00"}`,
    "voting-delay 300 300",
    "client-versions 0.4.8.21,0.4.8.22",
    "server-versions 0.4.8.21",
    "known-flags Authority BadExit Exit Fast Guard HSDir Running Stable V2Dir Valid",
    "recommended-client-protocols Link=4-5 Relay=2-4",
    "required-client-protocols Link=4 Relay=2",
    `params ${consensus.params ?? "ExtendByEd25519ID=1 cbttestfreq=1"}`,
    ...consensus.authorities.flatMap((authority, i) => [
      `dir-source authority${i} ${hex(authority.identity)} 127.0.0.1 127.0.0.1 7000 5000`,
      "contact nobody",
      `vote-digest ${"0".repeat(40)}`,
    ]),
    ...relays.flatMap((relay) => [
      `r ${relay.nickname} ${base64(relay.rsaId)} 2038-01-01 00:00:00 ${relay.ipv4} ${relay.orPort} 0`,
      ...(relay.ipv6 === undefined ? [] : [`a ${relay.ipv6}`]),
      `m ${base64(hash("sha256", relay.microdesc))}`,
      `s ${relay.flags}`,
      "v Tor 0.4.8.21",
      `pr ${relay.protocols}`,
      ...(relay.bandwidth === undefined ? [] : [`w Bandwidth=${relay.bandwidth}`]),
    ]),
    "directory-footer",
    `bandwidth-weights ${consensus.bandwidthWeights ?? TEST_WEIGHTS}`,
    "directory-signature ",
  ].join("\n");
}

/** The consensus, signed by all its authorities. */
export function consensusText(consensus: TestConsensus): string {
  const body = consensusBody(consensus);
  return attach(body, consensus.authorities.map((authority) => authority.signature(body)));
}

/** `body` with signatures as {@link TestAuthority.signature} makes them. */
export function attach(body: string, signatures: readonly string[]): string {
  return body + signatures.join("directory-signature ");
}

export interface TestCertificateOptions {
  readonly published?: string;
  readonly expires?: string;
  /** Instead of the right ones. */
  readonly fingerprint?: string;
  readonly crossCertifier?: TestAuthority;
  readonly certifier?: TestAuthority;
}

/** An authority with keys of its own; making one takes a moment. */
export class TestAuthority {
  readonly #keys: AuthorityKeys;

  private constructor(keys: AuthorityKeys) {
    this.#keys = keys;
  }

  static async create(): Promise<TestAuthority> {
    return new TestAuthority(await AuthorityKeys.generate());
  }

  /** v3 identity, 20 bytes. */
  get identity(): Uint8Array {
    return this.#keys.identity;
  }

  get signingKeyDigest(): Uint8Array {
    return this.#keys.signingKeyDigest;
  }

  certificate(options: TestCertificateOptions = {}): string {
    const { crossCertifier, certifier, fingerprint } = options;
    const text = this.#keys.certificate({
      published: Date.parse(`${options.published ?? "2026-01-01 00:00:00"}Z`),
      expires: Date.parse(`${options.expires ?? "2027-01-01 00:00:00"}Z`),
    });
    if (!crossCertifier && !certifier && !fingerprint) return text;
    let body = text.slice(0, text.indexOf("dir-key-certification\n") + "dir-key-certification\n".length);
    if (fingerprint !== undefined) body = body.replace(/^fingerprint .*$/m, `fingerprint ${fingerprint}`);
    if (crossCertifier) {
      const signature = formatObject("ID SIGNATURE", crossCertifier.#keys.signingKey.signDigest(this.identity));
      body = body.replace(/-----BEGIN ID SIGNATURE-----[^]*-----END ID SIGNATURE-----\n/, signature);
    }
    const { identityKey } = (certifier ?? this).#keys;
    return body + formatObject("SIGNATURE", identityKey.signDigest(hash("sha1", body)));
  }

  /** Its signature on a consensus, from after the keyword's space to the end of the object. */
  signature(body: string, algorithm: "sha1" | "sha256" = "sha256"): string {
    return this.#keys.signature(hash(algorithm, body), algorithm);
  }
}
