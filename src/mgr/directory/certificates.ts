/** The authorities' key certificates that are known (dir-spec 3.1, 5.1). */
import { isTunicError } from "../../base/errors.ts";
import { logger } from "../../base/log.ts";
import { concat, equal } from "../../bytes/bytes.ts";
import { toHexUpper } from "../../bytes/text.ts";
import { type AuthorityCertificate, parseCertificates } from "../../wire/netdoc/authority_certificate.ts";
import type { CertificateName } from "../../wire/netdoc/consensus_verify.ts";

const log = logger("directory");

export class AuthorityCertificates {
  /** v3 identities, 20 bytes each. */
  readonly #authorities: readonly Uint8Array[];
  /** By identity and signing key. */
  readonly #known = new Map<string, AuthorityCertificate>();

  constructor(authorities: readonly Uint8Array[]) {
    this.#authorities = authorities;
  }

  get all(): readonly AuthorityCertificate[] {
    return [...this.#known.values()];
  }

  /**
   * Takes in the certificates in `text` that were asked for (all of them without `wanted`), whose signatures are right
   * and that were in force at `now`; answers how many. Throws `malformed`.
   */
  add(text: Uint8Array, now: number, wanted?: readonly CertificateName[]): number {
    let added = 0;
    for (const unverified of parseCertificates(text)) {
      let certificate: AuthorityCertificate;
      try {
        certificate = unverified.verify({ authorities: this.#authorities, now });
      } catch (error) {
        if (!isTunicError(error)) throw error;
        log.info("{error}", { error: error.message });
        continue;
      }
      if (wanted && !wanted.some((name) => isNamed(certificate, name))) continue;
      this.#known.set(toHexUpper(certificate.identity) + toHexUpper(certificate.signingKeyDigest), certificate);
      added++;
    }
    return added;
  }

  /** Those still in force, as one text for the cache. */
  encode(now: number): Uint8Array {
    return concat(...this.all.filter(({ expires }) => expires > now).map(({ text }) => text));
  }
}

function isNamed(certificate: AuthorityCertificate, { identity, signingKeyDigest }: CertificateName): boolean {
  return equal(certificate.identity, identity) && equal(certificate.signingKeyDigest, signingKeyDigest);
}
