/**
 * The keys of a directory authority, and its certificate: the identity key vouches for the signing key, which signs
 * votes and consensuses (dir-spec 3.1, 3.4.1 "directory-signature").
 */
import { toHexUpper, utf8 } from "../../bytes/text.ts";
import { sha1 } from "../../crypto/digest.ts";
import { generateRsa, type RsaPrivateKey } from "../../crypto/rsa_private.ts";
import { formatObject, formatTime } from "./document_text.ts";

export type SignatureAlgorithm = "sha1" | "sha256";

export interface CertificateOptions {
  /** Milliseconds since 1970. */
  readonly published: number;
  readonly expires: number;
  /** IPv4 address and port of its directory. */
  readonly dirAddress?: string;
}

/** Short keys: they protect nothing, and long ones take most of a second to make. */
const KEY_BITS = 1024;

export class AuthorityKeys {
  readonly identityKey: RsaPrivateKey;
  readonly signingKey: RsaPrivateKey;
  /** v3 identity: SHA-1 of the identity key, 20 bytes. */
  readonly identity: Uint8Array;
  /** SHA-1 of the signing key, 20 bytes. */
  readonly signingKeyDigest: Uint8Array;

  constructor(identityKey: RsaPrivateKey, signingKey: RsaPrivateKey) {
    this.identityKey = identityKey;
    this.signingKey = signingKey;
    this.identity = identityKey.publicKey.identity();
    this.signingKeyDigest = signingKey.publicKey.identity();
  }

  static async generate(): Promise<AuthorityKeys> {
    const [identityKey, signingKey] = await Promise.all([generateRsa(KEY_BITS), generateRsa(KEY_BITS)]);
    return new AuthorityKeys(identityKey, signingKey);
  }

  /** The certificate's text. */
  certificate(options: CertificateOptions): string {
    const { published, expires, dirAddress } = options;
    const body = "dir-key-certificate-version 3\n" +
      (dirAddress === undefined ? "" : `dir-address ${dirAddress}\n`) +
      `fingerprint ${toHexUpper(this.identity)}\n` +
      `dir-key-published ${formatTime(published)}\n` +
      `dir-key-expires ${formatTime(expires)}\n` +
      `dir-identity-key\n${formatObject("RSA PUBLIC KEY", this.identityKey.publicKey.der)}` +
      `dir-signing-key\n${formatObject("RSA PUBLIC KEY", this.signingKey.publicKey.der)}` +
      `dir-key-crosscert\n${formatObject("ID SIGNATURE", this.signingKey.signDigest(this.identity))}` +
      "dir-key-certification\n";
    return body + formatObject("SIGNATURE", this.identityKey.signDigest(sha1(utf8(body))));
  }

  /**
   * Its signature on a vote or consensus, from after the keyword's space to the end of the object. `digest`: of all
   * up to and including that space of the first signature.
   */
  signature(digest: Uint8Array, algorithm: SignatureAlgorithm): string {
    const name = algorithm === "sha1" ? "" : `${algorithm} `;
    return `${name}${toHexUpper(this.identity)} ${toHexUpper(this.signingKeyDigest)}\n` +
      formatObject("SIGNATURE", this.signingKey.signDigest(digest));
  }
}
