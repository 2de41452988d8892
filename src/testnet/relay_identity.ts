/**
 * The keys and certificates of one relay (tor-spec 1.1, 2, 4.2; cert-spec): RSA and Ed25519 identities, the signing
 * key that acts for them, the TLS certificate, the link authentication key, the onion key.
 *
 * Nothing of it is renewed: certificates are good for a year, which no test network lives.
 */
import { type Ed25519PrivateKey, generateEd25519 } from "../crypto/ed25519.ts";
import { sha256 } from "../crypto/digest.ts";
import { generateRsa, type RsaPrivateKey } from "../crypto/rsa_private.ts";
import { generateX25519, type X25519PrivateKey } from "../crypto/x25519.ts";
import { makeCertificate } from "../crypto/x509_make.ts";
import type { LinkIdentity } from "../proto/link_identity.ts";
import type { TlsServerIdentity } from "../runtime/ports.ts";
import { randomLabel, type RandomSource } from "../runtime/random.ts";
import { encodeCrossCert } from "../wire/cross_cert.ts";
import { CertifiedKeyType, EdCertType, encodeEdCert } from "../wire/ed_cert.ts";
import { CertType } from "../wire/link_cells.ts";

export interface RelayIdentity {
  readonly nickname: string;
  readonly rsaKey: RsaPrivateKey;
  /** SHA-1 of the RSA key: the fingerprint, 20 bytes. */
  readonly rsaId: Uint8Array;
  /** The master identity key. */
  readonly ed25519Key: Ed25519PrivateKey;
  readonly ed25519Id: Uint8Array;
  /** Signs descriptors and link certificates. */
  readonly signingKey: Ed25519PrivateKey;
  /** The master key's certificate of the signing key, type 4, which names the master key. */
  readonly signingCert: Uint8Array;
  /** The RSA key's certificate of the master key, type 7. */
  readonly crossCert: Uint8Array;
  readonly ntorKey: X25519PrivateKey;
  /** For `listenTls`. */
  readonly tls: TlsServerIdentity;
  /** For the link handshake, on either side. */
  readonly link: LinkIdentity;
}

export interface RelayIdentityOptions {
  readonly nickname: string;
  /** When the certificates are made, in milliseconds since 1970. */
  readonly now: number;
  readonly random: RandomSource;
  /**
   * For TLS, of at least 2048 bits; relays may share one, since they are told apart by the other keys. Default: one of
   * its own, which takes a while to make. C tor logs a warning of its library for keys other than RSA.
   */
  readonly tlsKey?: RsaPrivateKey;
}

const DAY_MS = 86_400_000;
/** For clients whose clock is behind. */
const BACKDATE_MS = 30 * DAY_MS;
const LIFETIME_MS = 365 * DAY_MS;
const SERIAL_LENGTH = 8;
/** The least that TLS libraries take. */
export const TLS_KEY_BITS = 2048;

/** A new relay. The RSA and the TLS key are the runtime's and differ even where `random` is seeded. */
export async function generateRelayIdentity(options: RelayIdentityOptions): Promise<RelayIdentity> {
  const { nickname, now, random } = options;
  const [rsaKey, tlsKey] = await Promise.all([generateRsa(1024), options.tlsKey ?? generateRsa(TLS_KEY_BITS)]);
  const ed25519Key = generateEd25519(random);
  const signingKey = generateEd25519(random);
  const authKey = generateEd25519(random);
  const expiresMs = now + LIFETIME_MS;

  // Names as C tor invents them; nobody looks at them.
  const issuer = `www.${randomLabel(random)}.com`;
  const validity = { notBefore: now - BACKDATE_MS, notAfter: expiresMs, issuer };
  const certificate = (subject: string, spki: Uint8Array): Uint8Array =>
    makeCertificate({ ...validity, subject, serial: random.random(SERIAL_LENGTH) }, spki, rsaKey);
  const rsaCertificate = certificate(issuer, rsaKey.spki);
  const tlsCertificate = certificate(`www.${randomLabel(random)}.net`, tlsKey.spki);

  const certify = (type: number, keyType: number, certifiedKey: Uint8Array, signer: Ed25519PrivateKey): Uint8Array =>
    encodeEdCert({ type, keyType, certifiedKey, expiresMs, includeSigningKey: type === EdCertType.SIGNING }, signer);
  const { ED25519, SHA256_OF_X509 } = CertifiedKeyType;
  const signingCert = certify(EdCertType.SIGNING, ED25519, signingKey.publicKey, ed25519Key);
  const linkCert = certify(EdCertType.TLS_LINK, SHA256_OF_X509, sha256(tlsCertificate), signingKey);
  const authCert = certify(EdCertType.LINK_AUTH, ED25519, authKey.publicKey, signingKey);
  const ed25519Id = ed25519Key.publicKey;
  const crossCert = encodeCrossCert({ ed25519Id, expiresMs }, (digest) => rsaKey.signDigest(digest));

  const identityCerts: [number, Uint8Array][] = [
    [CertType.RSA_ID, rsaCertificate],
    [CertType.ED25519_SIGNING, signingCert],
    [CertType.RSA_ED25519_CROSS, crossCert],
  ];
  return {
    nickname,
    rsaKey,
    rsaId: rsaKey.publicKey.identity(),
    ed25519Key,
    ed25519Id,
    signingKey,
    signingCert,
    crossCert,
    ntorKey: generateX25519(random),
    tls: { keyPem: tlsKey.toPem(), certificate: tlsCertificate },
    link: {
      rsaKeySha256: sha256(rsaKey.publicKey.der),
      ed25519Id,
      tlsCertificate,
      responderCerts: new Map([...identityCerts, [CertType.ED25519_LINK, linkCert]]),
      initiatorCerts: new Map([...identityCerts, [CertType.ED25519_AUTH, authCert]]),
      authKey,
    },
  };
}
