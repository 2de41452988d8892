/** The guard algorithm's parameters (guard-spec, appendix A.1), from the consensus (param-spec, section 11). */

/** What the consensus says of one name: its value within `min` … `max`, else `default`. */
export interface ConsensusParameters {
  get(name: string, limits: { readonly default: number; readonly min: number; readonly max: number }): number;
}

/** Named as in guard-spec. */
export interface GuardParameters {
  /** MAX_SAMPLE_THRESHOLD, in percent of the guards in the consensus. */
  readonly maxSampleThresholdPercent: number;
  readonly maxSampleSize: number;
  readonly minFilteredSample: number;
  readonly guardLifetimeMs: number;
  readonly guardConfirmedMinLifetimeMs: number;
  readonly removeUnlistedGuardsAfterMs: number;
  readonly nPrimaryGuards: number;
  readonly numUsablePrimaryGuards: number;
  readonly numUsablePrimaryDirectoryGuards: number;
  readonly internetLikelyDownIntervalMs: number;
  readonly nonprimaryGuardConnectTimeoutMs: number;
  readonly nonprimaryGuardIdleTimeoutMs: number;
}

const INT32_MAX = 2 ** 31 - 1;
const SECOND_MS = 1_000;
const DAY_MS = 86_400 * SECOND_MS;

/** The parameters in force; those in `overrides` (torrc's, such as NumEntryGuards) come before the consensus. */
export function guardParameters(
  consensus: ConsensusParameters,
  overrides: Partial<GuardParameters> = {},
): GuardParameters {
  const get = (name: string, otherwise: number, max: number) =>
    consensus.get(`guard-${name}`, { default: otherwise, min: 1, max });
  return {
    maxSampleThresholdPercent: get("max-sample-threshold-percent", 20, 100),
    maxSampleSize: get("max-sample-size", 60, INT32_MAX),
    minFilteredSample: get("min-filtered-sample-size", 20, INT32_MAX),
    guardLifetimeMs: get("lifetime-days", 120, 3650) * DAY_MS,
    guardConfirmedMinLifetimeMs: get("confirmed-min-lifetime-days", 60, 3650) * DAY_MS,
    removeUnlistedGuardsAfterMs: get("remove-unlisted-guards-after-days", 20, 3650) * DAY_MS,
    nPrimaryGuards: get("n-primary-guards", 3, INT32_MAX),
    numUsablePrimaryGuards: get("n-primary-guards-to-use", 1, INT32_MAX),
    numUsablePrimaryDirectoryGuards: get("n-primary-dir-guards-to-use", 3, INT32_MAX),
    internetLikelyDownIntervalMs: get("internet-likely-down-interval", 600, INT32_MAX) * SECOND_MS,
    nonprimaryGuardConnectTimeoutMs: get("nonprimary-guard-connect-timeout", 15, INT32_MAX) * SECOND_MS,
    nonprimaryGuardIdleTimeoutMs: get("nonprimary-guard-idle-timeout", 600, INT32_MAX) * SECOND_MS,
    ...overrides,
  };
}

/** The most SAMPLED_GUARDS may have, with `guards` in the consensus (guard-spec, section 4.1). */
export function maxSample(parameters: GuardParameters, guards: number): number {
  const threshold = Math.floor((guards * parameters.maxSampleThresholdPercent) / 100);
  return Math.max(Math.min(threshold, parameters.maxSampleSize), parameters.minFilteredSample);
}
