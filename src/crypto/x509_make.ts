/**
 * Making X.509 certificates (RFC 5280) as Tor's: version 3, one common name each for issuer and subject, no
 * extensions, for nobody in Tor looks at any of these.
 */
import { concat } from "../bytes/bytes.ts";
import { fromHex, utf8 } from "../bytes/text.ts";
import { SEQUENCE } from "./der.ts";
import { derBitString, derElement, derInteger, derTime } from "./der_writer.ts";

const SET = 0x31;
const UTF8_STRING = 0x0c;
/** TBSCertificate's version, in context-specific tag 0: 2, which is X.509 version 3. */
const VERSION_3 = fromHex("a003020102");
/** 2.5.4.3 */
const COMMON_NAME = fromHex("0603550403");

/** AlgorithmIdentifier 1.2.840.113549.1.1.11 with its NULL. */
export const SHA256_WITH_RSA = fromHex("300d06092a864886f70d01010b0500");

/** A private key that a certificate can be about, and that can sign one. */
export interface CertificateKey {
  /** The public key as SubjectPublicKeyInfo in DER. */
  readonly spki: Uint8Array;
  /** Its AlgorithmIdentifier in DER. */
  readonly signatureAlgorithm: Uint8Array;
  signSha256(message: Uint8Array): Uint8Array;
}

export interface CertificateContent {
  /** Common names. */
  readonly subject: string;
  readonly issuer: string;
  /** First and last moment of validity, in milliseconds since 1970, cut to seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** Up to 20 bytes, most significant first. */
  readonly serial: Uint8Array;
}

/** A certificate in DER of the public key `spki`, signed by `issuer`. */
export function makeCertificate(content: CertificateContent, spki: Uint8Array, issuer: CertificateKey): Uint8Array {
  const validity = derElement(SEQUENCE, derTime(content.notBefore), derTime(content.notAfter));
  const signed = derElement(
    SEQUENCE,
    VERSION_3,
    derInteger(content.serial),
    issuer.signatureAlgorithm,
    name(content.issuer),
    validity,
    name(content.subject),
    spki,
  );
  return derElement(SEQUENCE, signed, issuer.signatureAlgorithm, derBitString(issuer.signSha256(signed)));
}

function name(commonName: string): Uint8Array {
  const attribute = derElement(SEQUENCE, concat(COMMON_NAME, derElement(UTF8_STRING, utf8(commonName))));
  return derElement(SEQUENCE, derElement(SET, attribute));
}
