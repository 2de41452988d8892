/** The other end of a link handshake, with keys of its own: what a relay sends, whole or spoilt. */
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { encodeWith } from "../../src/bytes/codec.ts";
import { sha256 } from "../../src/crypto/digest.ts";
import { type Ed25519PrivateKey, generateEd25519 } from "../../src/crypto/ed25519.ts";
import { parseRsaPrivateKeyPem, type RsaPrivateKey } from "../../src/crypto/rsa_private.ts";
import { makeCertificate } from "../../src/crypto/x509_make.ts";
import { CellCommand, fixedCell, variableCell } from "../../src/wire/cell.ts";
import { encodeCrossCert } from "../../src/wire/cross_cert.ts";
import { CertifiedKeyType, EdCertType, encodeEdCert } from "../../src/wire/ed_cert.ts";
import { AUTH_CHALLENGE, CERTS, CertType, NETINFO, VERSIONS } from "../../src/wire/link_cells.ts";

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
/** When the handshakes of the tests take place: a full hour. */
export const NOW = Date.UTC(2026, 5, 15, 12);

const random = { random: (count: number) => new Uint8Array(randomBytes(count)) };

/** An RSA identity key with certificates of any validity and issuer. */
export class RsaIdentity {
  readonly key: RsaPrivateKey;
  /** SHA-1 of the key in PKCS #1. */
  readonly id: Uint8Array;

  /** Of any size, which relays' keys are not. */
  constructor(bits = 1024) {
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: bits });
    this.key = parseRsaPrivateKeyPem(String(privateKey.export({ type: "pkcs1", format: "pem" })));
    this.id = this.key.publicKey.identity();
  }

  /** An X.509 certificate of this key, signed by `issuer`. */
  certificate(notBefore: number, notAfter: number, issuer: RsaIdentity = this): Uint8Array {
    const name = "www.example.net";
    const content = { subject: name, issuer: name, notBefore, notAfter, serial: Uint8Array.of(7) };
    return makeCertificate(content, this.key.spki, issuer.key);
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
    return encodeCrossCert({ ed25519Id, expiresMs }, (digest) => rsa.key.signDigest(digest));
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
