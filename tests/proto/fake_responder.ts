/** The other end of a link handshake, with keys of its own: what a relay sends, whole or spoilt. */
import { createHash, createSign, generateKeyPairSync, type KeyObject, privateEncrypt, randomBytes } from "node:crypto";
import { concat } from "../../src/bytes/bytes.ts";
import { encodeWith } from "../../src/bytes/codec.ts";
import { utf8 } from "../../src/bytes/text.ts";
import { sha256 } from "../../src/crypto/digest.ts";
import { type Ed25519PrivateKey, generateEd25519 } from "../../src/crypto/ed25519.ts";
import { CellCommand, fixedCell, variableCell } from "../../src/wire/cell.ts";
import { encodeCrossCert } from "../../src/wire/cross_cert.ts";
import { CertifiedKeyType, EdCertType, encodeEdCert } from "../../src/wire/ed_cert.ts";
import { AUTH_CHALLENGE, CERTS, CertType, NETINFO, VERSIONS } from "../../src/wire/link_cells.ts";

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
/** When the handshakes of the tests take place: a full hour. */
export const NOW = Date.UTC(2026, 5, 15, 12);

const random = { random: (count: number) => new Uint8Array(randomBytes(count)) };

/** An RSA identity key with the signatures that Tor makes with it. */
export class RsaIdentity {
  readonly #privateKey: KeyObject;
  readonly #spki: Uint8Array;
  /** SHA-1 of the key in PKCS #1. */
  readonly id: Uint8Array;

  constructor(bits = 1024) {
    const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: bits });
    this.#privateKey = privateKey;
    this.#spki = new Uint8Array(publicKey.export({ type: "spki", format: "der" }));
    const pkcs1 = publicKey.export({ type: "pkcs1", format: "der" });
    this.id = new Uint8Array(createHash("sha1").update(pkcs1).digest());
  }

  /** PKCS #1 v1.5 over the bare digest. */
  signDigest(digest: Uint8Array): Uint8Array {
    return new Uint8Array(privateEncrypt(this.#privateKey, digest));
  }

  /** An X.509 certificate of this key, signed by `issuer`. */
  certificate(notBefore: number, notAfter: number, issuer: RsaIdentity = this): Uint8Array {
    // Algorithm 1.2.840.113549.1.1.11 (SHA-256 with RSA); a name that is one common name (2.5.4.3).
    const algorithm = der(0x30, der(0x06, bytes(0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11)), der(0x05));
    const commonName = der(0x30, der(0x06, bytes(0x55, 4, 3)), der(0x0c, utf8("www.example.net")));
    const name = der(0x30, der(0x31, commonName));
    const version = der(0xa0, der(0x02, bytes(2)));
    const validity = der(0x30, utcTime(notBefore), utcTime(notAfter));
    const signed = der(0x30, version, der(0x02, bytes(7)), algorithm, name, validity, name, this.#spki);
    const signature = new Uint8Array(createSign("sha256").update(signed).sign(issuer.#privateKey));
    return der(0x30, signed, algorithm, der(0x03, bytes(0), signature));
  }
}

/** RSA keys take a while to make, so the tests share one. */
const sharedRsa = new RsaIdentity();

export interface EdCertOptions {
  readonly type?: number;
  readonly keyType?: number;
  readonly certifiedKey?: Uint8Array;
  readonly expiresMs?: number;
  readonly includeSigningKey?: boolean;
  readonly signer?: Ed25519PrivateKey;
}

export class FakeResponder {
  readonly rsa: RsaIdentity;
  readonly identityKey = generateEd25519(random);
  readonly signingKey = generateEd25519(random);
  readonly tlsCertificate = random.random(600);

  constructor(rsa = sharedRsa) {
    this.rsa = rsa;
  }

  get expected(): { rsaId: Uint8Array; ed25519Id: Uint8Array } {
    return { rsaId: this.rsa.id, ed25519Id: this.identityKey.publicKey };
  }

  signingCert(options: EdCertOptions = {}): Uint8Array {
    const content = {
      type: EdCertType.SIGNING,
      keyType: CertifiedKeyType.ED25519,
      certifiedKey: this.signingKey.publicKey,
      expiresMs: NOW + 30 * DAY_MS,
      includeSigningKey: true,
    };
    return encodeEdCert({ ...content, ...options }, options.signer ?? this.identityKey);
  }

  linkCert(options: EdCertOptions = {}): Uint8Array {
    const content = {
      type: EdCertType.TLS_LINK,
      keyType: CertifiedKeyType.SHA256_OF_X509,
      certifiedKey: sha256(this.tlsCertificate),
      expiresMs: NOW + 2 * DAY_MS,
      includeSigningKey: false,
    };
    return encodeEdCert({ ...content, ...options }, options.signer ?? this.signingKey);
  }

  crossCert(options: { ed25519Id?: Uint8Array; expiresMs?: number; rsa?: RsaIdentity } = {}): Uint8Array {
    const { ed25519Id = this.identityKey.publicKey, expiresMs = NOW + 180 * DAY_MS, rsa = this.rsa } = options;
    return encodeCrossCert({ ed25519Id, expiresMs }, (digest) => rsa.signDigest(digest));
  }

  /** The four certificates that count, some of them replaced, or left out where `undefined` is given. */
  certs(replaced: Readonly<Record<number, Uint8Array | undefined>> = {}): Map<number, Uint8Array> {
    const all: Record<number, Uint8Array | undefined> = {
      [CertType.RSA_ID]: this.rsa.certificate(NOW - 100 * DAY_MS, NOW + 265 * DAY_MS),
      [CertType.ED25519_SIGNING]: this.signingCert(),
      [CertType.ED25519_LINK]: this.linkCert(),
      [CertType.RSA_ED25519_CROSS]: this.crossCert(),
      ...replaced,
    };
    return new Map(Object.entries(all).flatMap(([type, body]) => body ? [[Number(type), body] as const] : []));
  }

  /** The cells of a good answer. */
  cells(certs = this.certs()): Uint8Array[] {
    return [versionsCell(3, 4, 5), certsCell(certs), authChallengeCell(), netinfoCell()];
  }
}

export function versionsCell(...versions: number[]): Uint8Array {
  return variableCell(0, CellCommand.VERSIONS, encodeWith(VERSIONS, versions), 2);
}

export function certsCell(certs: ReadonlyMap<number, Uint8Array>): Uint8Array {
  return variableCell(0, CellCommand.CERTS, encodeWith(CERTS, certs));
}

export function authChallengeCell(): Uint8Array {
  const challenge = { challenge: new Uint8Array(32).fill(9), methods: [1, 3] };
  return variableCell(0, CellCommand.AUTH_CHALLENGE, encodeWith(AUTH_CHALLENGE, challenge));
}

export function netinfoCell(timestamp = NOW / 1000, otherAddress = "198.51.100.7"): Uint8Array {
  const netinfo = { timestamp, otherAddress, myAddresses: ["192.0.2.1"] };
  return fixedCell(0, CellCommand.NETINFO, encodeWith(NETINFO, netinfo));
}

function bytes(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}

function der(tag: number, ...contents: Uint8Array[]): Uint8Array {
  const body = concat(...contents);
  const { length } = body;
  const header = length < 0x80
    ? bytes(tag, length)
    : length < 0x100
    ? bytes(tag, 0x81, length)
    : bytes(tag, 0x82, length >>> 8, length);
  return concat(header, body);
}

function utcTime(ms: number): Uint8Array {
  return der(0x17, utf8(`${new Date(ms).toISOString().replace(/\.\d+Z$/, "Z").replace(/[-:T]/g, "").slice(2)}`));
}
