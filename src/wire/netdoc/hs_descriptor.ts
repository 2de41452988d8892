/**
 * The outer wrapper of onion service descriptors (rend-spec-v3 2.4): all that a directory of them can read.
 *
 * It names the service by its blinded key of the day alone; what is inside is for those who know the onion address.
 */
import { TunicError } from "../../base/errors.ts";
import { concat } from "../../bytes/bytes.ts";
import { utf8 } from "../../bytes/text.ts";
import { ED25519_SIGNATURE_LENGTH, verifyEd25519 } from "../../crypto/ed25519.ts";
import { EdCertType, UnverifiedEdCert } from "../ed_cert.ts";
import { Scanner } from "./scanner.ts";
import type { Unverified } from "./unverified.ts";

const WHAT = "an onion service descriptor";
const VERSION = 3;
const SIGNATURE_PREFIX = utf8("Tor onion service descriptor sig v3");
const MINUTE_MS = 60_000;
const MIN_LIFETIME_MINUTES = 30;
const MAX_LIFETIME_MINUTES = 720;
const MAX_REVISION_COUNTER = 0xffff_ffff_ffff_ffffn;

/** Longer ones are none, even by their beginning. */
export const MAX_HS_DESCRIPTOR_BYTES = 50_000;

export interface HsDescriptor {
  /** KP_hs_blind_id: who it is of, 32 bytes. */
  readonly blindedKey: Uint8Array;
  /** KP_hs_desc_sign, which the blinded key certified: 32 bytes. */
  readonly signingKey: Uint8Array;
  /** How long a directory is to keep it. */
  readonly lifetimeMs: number;
  /** The higher, the newer; of 64 bits. */
  readonly revisionCounter: bigint;
  /** SALT, ciphertext and MAC. */
  readonly superencrypted: Uint8Array;
  /** The document itself. */
  readonly text: Uint8Array;
}

export interface HsDescriptorEvidence {
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** A descriptor that was parsed; of its content nothing can be read before {@link UnverifiedHsDescriptor.verify}. */
export class UnverifiedHsDescriptor implements Unverified<HsDescriptor, HsDescriptorEvidence> {
  readonly #content: Omit<HsDescriptor, "blindedKey" | "signingKey">;
  readonly #certificate: UnverifiedEdCert;
  readonly #signed: Uint8Array;
  readonly #signature: Uint8Array;

  /** Reads the whole of `text` as a descriptor. Throws `malformed`. */
  constructor(text: Uint8Array) {
    const scanner: Scanner = new Scanner(text, WHAT, 0, text.length, MAX_HS_DESCRIPTOR_BYTES);
    if (text.length >= MAX_HS_DESCRIPTOR_BYTES) scanner.fail(`it has ${text.length} bytes`);
    if (!scanner.next() || !scanner.is("hs-descriptor")) scanner.fail('it does not begin with "hs-descriptor"');
    scanner.needInteger("version", VERSION, VERSION);
    let lifetimeMs: number | undefined;
    let certificate: UnverifiedEdCert | undefined;
    let revisionCounter: bigint | undefined;
    let superencrypted: Uint8Array | undefined;
    const once = (value: unknown): void => {
      if (value !== undefined) scanner.fail(`the item "${scanner.keyword()}" comes twice`);
    };
    let signature: Uint8Array | undefined;
    let signedEnd = 0;
    while (scanner.next()) {
      if (scanner.is("descriptor-lifetime")) {
        once(lifetimeMs);
        lifetimeMs = scanner.needInteger("lifetime", MIN_LIFETIME_MINUTES, MAX_LIFETIME_MINUTES) * MINUTE_MS;
      } else if (scanner.is("descriptor-signing-key-cert")) {
        once(certificate);
        certificate = new UnverifiedEdCert(scanner.needObject("ED25519 CERT"));
      } else if (scanner.is("revision-counter")) {
        once(revisionCounter);
        revisionCounter = readCounter(scanner);
      } else if (scanner.is("superencrypted")) {
        once(superencrypted);
        superencrypted = scanner.needObject("MESSAGE");
      } else if (scanner.is("signature")) {
        signedEnd = scanner.lineStart;
        signature = new Uint8Array(ED25519_SIGNATURE_LENGTH);
        scanner.needBase64("signature", signature, 0, ED25519_SIGNATURE_LENGTH);
        if (scanner.position !== text.length) scanner.fail("it goes on after its signature");
      } else if (scanner.is("hs-descriptor")) {
        once(VERSION);
      }
    }
    if (
      lifetimeMs === undefined || !certificate || revisionCounter === undefined || !superencrypted || !signature
    ) scanner.fail("an item is missing");
    this.#content = { lifetimeMs, revisionCounter, superencrypted, text };
    this.#certificate = certificate;
    this.#signed = text.subarray(0, signedEnd);
    this.#signature = signature;
  }

  /**
   * Throws `protocol` where the certificate is of another kind, `crypto` where a signature is wrong, `clock` where the
   * certificate has expired. Whether the blinded key is the expected one is for the caller to see.
   */
  verify({ now }: HsDescriptorEvidence): HsDescriptor {
    const evidence = { type: EdCertType.HS_DESCRIPTOR_SIGNING, signedBy: "included", now } as const;
    const { signingKey: blindedKey, certifiedKey: signingKey } = this.#certificate.verify(evidence);
    if (!verifyEd25519(this.#signature, concat(SIGNATURE_PREFIX, this.#signed), signingKey)) {
      throw new TunicError(`Cannot accept ${WHAT}: its signature does not verify`, {
        kind: "crypto",
        code: "bad-hs-descriptor-signature",
        retry: "elsewhere",
      });
    }
    return { ...this.#content, blindedKey, signingKey };
  }
}

function readCounter(scanner: Scanner): bigint {
  const text = scanner.needText("revision counter");
  const value = /^[0-9]{1,20}$/.test(text) ? BigInt(text) : MAX_REVISION_COUNTER + 1n;
  if (value > MAX_REVISION_COUNTER) scanner.fail("the revision counter is not an integer of 64 bits");
  return value;
}
