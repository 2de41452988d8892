/** Expiry of Tor's certificates, given in hours since 1970 (cert-spec 2.1, 2.3). */
import { TunicError } from "../base/errors.ts";

export const HOUR_MS = 3_600_000;

/**
 * Throws `clock` if `now` is later than `expiresMs`, both in milliseconds since 1970. The kind is not "crypto",
 * since a local clock that runs fast looks the same.
 */
export function checkNotExpired(what: string, expiresMs: number, now: number): void {
  if (now <= expiresMs) return;
  const times = `it expired at ${isoTime(expiresMs)}, and the local clock says ${isoTime(now)}`;
  throw new TunicError(`Cannot accept ${what}: ${times}`, {
    kind: "clock",
    code: "certificate-expired",
    retry: "elsewhere",
    context: { expiresMs, now },
  });
}

/** A time for messages; dates that a four-byte number of hours can name and JavaScript cannot are "the far future". */
export function isoTime(ms: number): string {
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : "the far future";
}
