/**
 * Makes directory documents for tests: relays, microdescriptors, consensuses, and authorities that really sign them.
 */
import { createHash, generateKeyPairSync } from "node:crypto";
import { Buffer } from "node:buffer";

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

export interface TestMicrodesc {
  readonly ntorKey: Uint8Array;
  readonly ed25519Id?: Uint8Array;
  readonly family?: string;
  readonly familyIds?: string;
  readonly policy?: string;
  readonly policy6?: string;
}

export function microdescText(microdesc: TestMicrodesc): string {
  const optional = (keyword: string, value: string | undefined) => value === undefined ? "" : `${keyword} ${value}\n`;
  return `onion-key\nntor-onion-key ${base64(microdesc.ntorKey)}\n` +
    optional("family", microdesc.family) + optional("family-ids", microdesc.familyIds) +
    optional("p", microdesc.policy) + optional("p6", microdesc.policy6) +
    optional("id ed25519", microdesc.ed25519Id && base64(microdesc.ed25519Id));
}

const ALL_PROTOCOLS =
  "Conflux=1 Cons=1-2 Desc=1-4 DirCache=2 FlowCtrl=1-2 HSDir=2 HSIntro=4-5 HSRend=1-2 Link=1-5 Microdesc=1-3 Relay=1-4";

/** A relay whose keys follow from its number: number 7 is "relay7" at 10.7.0.1, alone in its subnet. */
export function testRelay(
  n: number,
  relay: Partial<TestRelay> = {},
  microdesc: Partial<TestMicrodesc> = {},
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
  readonly #identityKey = new RsaKey();
  readonly #signingKey = new RsaKey();
  /** v3 identity, 20 bytes. */
  readonly identity = hash("sha1", this.#identityKey.der);
  readonly signingKeyDigest = hash("sha1", this.#signingKey.der);

  certificate(options: TestCertificateOptions = {}): string {
    const body = [
      "dir-key-certificate-version 3",
      `fingerprint ${options.fingerprint ?? hex(this.identity)}`,
      `dir-key-published ${options.published ?? "2026-01-01 00:00:00"}`,
      `dir-key-expires ${options.expires ?? "2027-01-01 00:00:00"}`,
      "dir-identity-key",
      pem("RSA PUBLIC KEY", this.#identityKey.der),
      "dir-signing-key",
      pem("RSA PUBLIC KEY", this.#signingKey.der),
      "dir-key-crosscert",
      pem("ID SIGNATURE", (options.crossCertifier ?? this).#signingKey.sign(this.identity)),
      "dir-key-certification\n",
    ].join("\n");
    const signature = (options.certifier ?? this).#identityKey.sign(hash("sha1", body));
    return `${body}${pem("SIGNATURE", signature)}\n`;
  }

  /** Its signature on a consensus, from after the keyword's space to the end of the object. */
  signature(body: string, algorithm: "sha1" | "sha256" = "sha256"): string {
    const name = algorithm === "sha1" ? "" : `${algorithm} `;
    return `${name}${hex(this.identity)} ${hex(this.signingKeyDigest)}\n` +
      `${pem("SIGNATURE", this.#signingKey.sign(hash(algorithm, body)))}\n`;
  }
}

/** RSA of 1024 bits, signing as Tor does: PKCS #1 padding around the bare digest. */
class RsaKey {
  readonly der: Uint8Array;
  readonly #modulus: bigint;
  readonly #exponent: bigint;

  constructor() {
    const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 1024 });
    this.der = new Uint8Array(publicKey.export({ type: "pkcs1", format: "der" }) as Uint8Array);
    const { n, d } = privateKey.export({ format: "jwk" }) as { n: string; d: string };
    this.#modulus = BigInt("0x" + Buffer.from(n, "base64url").toString("hex"));
    this.#exponent = BigInt("0x" + Buffer.from(d, "base64url").toString("hex"));
  }

  sign(digest: Uint8Array): Uint8Array {
    const padded = "0001" + "ff".repeat(128 - 3 - digest.length) + "00" + hex(digest);
    let base = BigInt("0x" + padded);
    let result = 1n;
    for (let exponent = this.#exponent; exponent > 0n; exponent >>= 1n) {
      if (exponent & 1n) result = (result * base) % this.#modulus;
      base = (base * base) % this.#modulus;
    }
    return new Uint8Array(Buffer.from(result.toString(16).padStart(256, "0"), "hex"));
  }
}

function pem(label: string, body: Uint8Array): string {
  const lines = Buffer.from(body).toString("base64").match(/.{1,64}/g)!;
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----`;
}
