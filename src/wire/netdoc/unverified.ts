/** Signed documents before their signatures were checked. */

/**
 * A parsed document that nothing can be read from until its signatures have been checked against `Evidence`
 * (keys, identities, the time).
 */
export interface Unverified<T, Evidence> {
  /** The document itself, if the evidence carries it; otherwise throws a TunicError saying what is wrong. */
  verify(evidence: Evidence): T;
}
