/**
 * What the link handshake needs of X.509 (RFC 5280): a relay's RSA identity certificate (tor-spec section 4.2,
 * types 1 to 3), its RSA key, its validity and whether it is signed.
 *
 * A small strict reader rather than a runtime's own: three runtimes have three opinions on certificates from
 * enemies, and names and extensions, which mean nothing in Tor, need not be looked at.
 */
import { concat, equal } from "../bytes/bytes.ts";
import { malformed } from "../bytes/reader.ts";
import { fromHex, latin1 } from "../bytes/text.ts";
import { DerReader, GENERALIZED_TIME, INTEGER, NULL, OBJECT_IDENTIFIER, SEQUENCE, UTC_TIME } from "./der.ts";
import { sha256 } from "./digest.ts";
import { parseRsaPublicKey, type RsaPublicKey } from "./rsa.ts";

const WHAT = "an X.509 certificate";
/** TBSCertificate's version is an element of its own in context-specific tag 0. */
const VERSION = 0xa0;
/** 1.2.840.113549.1.1.1 */
const RSA_ENCRYPTION = fromHex("2a864886f70d010101");
/** 1.2.840.113549.1.1.11 */
const SHA256_WITH_RSA_ENCRYPTION = fromHex("2a864886f70d01010b");
/** DigestInfo up to the digest: SHA-256, no parameters. */
const SHA256_DIGEST_INFO = fromHex("3031300d060960864801650304020105000420");

export class RsaCertificate {
  readonly publicKey: RsaPublicKey;
  /** First and last moment of validity, in milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly #signed: Uint8Array;
  readonly #signature: Uint8Array;
  readonly #algorithm: Uint8Array;

  /**
   * Reads a certificate in DER. Throws `malformed`, also for a key that is not RSA with the exponent 65537.
   * Nothing is believed yet: see {@link RsaCertificate.isSignedBy}.
   */
  constructor(der: Uint8Array) {
    const outside = new DerReader(new Uint8Array(der), WHAT);
    const certificate = outside.inside(SEQUENCE);
    outside.end();
    this.#signed = certificate.whole(SEQUENCE);
    const outerAlgorithm = certificate.whole(SEQUENCE);
    this.#signature = certificate.bitStringBytes();
    certificate.end();

    const toBeSigned = new DerReader(this.#signed, WHAT).inside(SEQUENCE);
    toBeSigned.contents(VERSION);
    toBeSigned.contents(INTEGER); // serial number
    const algorithm = toBeSigned.whole(SEQUENCE);
    if (!equal(algorithm, outerAlgorithm)) throw malformed(WHAT, "two different signature algorithms");
    this.#algorithm = algorithmIdentifier(new DerReader(algorithm, WHAT));
    toBeSigned.contents(SEQUENCE); // issuer
    const validity = toBeSigned.inside(SEQUENCE);
    this.notBefore = time(validity);
    this.notAfter = time(validity);
    validity.end();
    toBeSigned.contents(SEQUENCE); // subject
    const keyInfo = toBeSigned.inside(SEQUENCE);
    const keyAlgorithm = algorithmIdentifier(keyInfo);
    if (!equal(keyAlgorithm, RSA_ENCRYPTION)) throw malformed(WHAT, "a key that is not RSA");
    this.publicKey = parseRsaPublicKey(keyInfo.bitStringBytes());
    keyInfo.end();
  }

  /** Whether the holder of `issuer` signed this certificate, with SHA-256, as C tor does. */
  isSignedBy(issuer: RsaPublicKey): boolean {
    return equal(this.#algorithm, SHA256_WITH_RSA_ENCRYPTION) &&
      issuer.verify(this.#signature, concat(SHA256_DIGEST_INFO, sha256(this.#signed)));
  }

  isSelfSigned(): boolean {
    return this.isSignedBy(this.publicKey);
  }
}

/** The object identifier of an AlgorithmIdentifier whose parameters are NULL, as RSA's are. */
function algorithmIdentifier(reader: DerReader): Uint8Array {
  const inside = reader.inside(SEQUENCE);
  const identifier = inside.contents(OBJECT_IDENTIFIER);
  if (inside.contents(NULL).length !== 0) inside.fail("a NULL that is not empty");
  inside.end();
  return identifier;
}

/** A UTCTime or GeneralizedTime in the form that RFC 5280 section 4.1.2.5 allows, in milliseconds since 1970. */
function time(reader: DerReader): number {
  const { tag, contents } = reader.any();
  if (tag !== UTC_TIME && tag !== GENERALIZED_TIME) reader.fail(`a time with tag ${tag}`);
  const yearDigits = tag === UTC_TIME ? 2 : 4;
  const text = latin1(contents);
  if (text.length !== yearDigits + 11 || !/^[0-9]+Z$/.test(text)) {
    reader.fail("a time that is not in UTC to the second");
  }
  let year = Number(text.slice(0, yearDigits));
  if (tag === UTC_TIME) year += year < 50 ? 2000 : 1900;
  const [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map((at) =>
    Number(text.slice(yearDigits + at, yearDigits + at + 2))
  ) as [number, number, number, number, number];
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day || hour > 23 || minute > 59 || second > 59) {
    reader.fail("a time that does not exist");
  }
  return date.getTime();
}
