/**
 * The sampled guards on disk (guard-spec, appendix A.5: the format is each implementation's own).
 *
 * JSON with a version, guards in sample order. Fields that this version does not know are kept and written back, as
 * the specification demands. The file is written whole and atomically, so one that does not read is not repaired
 * guard by guard: it is set aside for its owner to look at.
 */
import { fromHex, fromUtf8, toHexUpper, utf8 } from "../bytes/text.ts";
import { malformed } from "../bytes/reader.ts";
import type { FileFormat } from "./state_file.ts";

const VERSION = 1;
const WHAT = "the guard state";
const MAX_GUARDS = 1000;
const MAX_BYTES = 1 << 20;
const NICKNAME = /^[A-Za-z0-9]{1,19}$/;
const DATE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;

/** What is remembered of one sampled guard; dates in milliseconds since 1970, in whole seconds. */
export interface GuardRecord {
  /** RSA identity, 20 bytes. */
  readonly rsaId: Uint8Array;
  readonly nickname: string | undefined;
  /** ADDED_ON_DATE. */
  readonly addedOn: number;
  /** ADDED_BY_VERSION. */
  readonly addedBy: string;
  /** IS_LISTED. */
  readonly isListed: boolean;
  /** FIRST_UNLISTED_AT. */
  readonly firstUnlistedAt: number | undefined;
  /** CONFIRMED_ON_DATE; a guard with one is in CONFIRMED_GUARDS. */
  readonly confirmedOn: number | undefined;
  /** Fields of other versions, as they were found. */
  readonly unknown: Readonly<Record<string, unknown>>;
}

export const guardRecords: FileFormat<readonly GuardRecord[]> = {
  encode(guards) {
    return utf8(`${JSON.stringify({ version: VERSION, guards: guards.map(encodeGuard) }, undefined, 1)}\n`);
  },

  decode(bytes) {
    if (bytes.length > MAX_BYTES) throw malformed(WHAT, `${bytes.length} bytes, expected at most ${MAX_BYTES}`);
    const { version, guards } = asRecord(parseJson(bytes));
    if (version !== VERSION) throw malformed(WHAT, `version ${JSON.stringify(version)}, expected ${VERSION}`);
    if (!Array.isArray(guards)) throw malformed(WHAT, "no list of guards");
    if (guards.length > MAX_GUARDS) throw malformed(WHAT, `${guards.length} guards, expected at most ${MAX_GUARDS}`);
    const records = guards.map(decodeGuard);
    const distinct = new Set(records.map((record) => toHexUpper(record.rsaId)));
    if (distinct.size !== records.length) throw malformed(WHAT, "one guard listed twice");
    return records;
  },
};

function encodeGuard(guard: GuardRecord): Record<string, unknown> {
  return {
    ...guard.unknown,
    rsaId: toHexUpper(guard.rsaId),
    nickname: guard.nickname,
    addedOn: formatDate(guard.addedOn),
    addedBy: guard.addedBy,
    isListed: guard.isListed,
    firstUnlistedAt: formatDate(guard.firstUnlistedAt),
    confirmedOn: formatDate(guard.confirmedOn),
  };
}

function decodeGuard(value: unknown): GuardRecord {
  const { rsaId, nickname, addedOn, addedBy, isListed, firstUnlistedAt, confirmedOn, ...unknown } = asRecord(value);
  if (typeof rsaId !== "string" || rsaId.length !== 40) throw malformed(WHAT, "a guard without an identity");
  if (nickname !== undefined && (typeof nickname !== "string" || !NICKNAME.test(nickname))) {
    throw malformed(WHAT, "a nickname that no relay can have");
  }
  if (typeof addedBy !== "string" || addedBy.length > 100) {
    throw malformed(WHAT, "a guard without the version that added it");
  }
  if (typeof isListed !== "boolean") throw malformed(WHAT, "a guard neither listed nor unlisted");
  const added = parseDate(addedOn);
  if (added === undefined) throw malformed(WHAT, "a guard without the date it was added on");
  return {
    rsaId: fromHex(rsaId, WHAT),
    nickname,
    addedOn: added,
    addedBy,
    isListed,
    firstUnlistedAt: parseDate(firstUnlistedAt),
    confirmedOn: parseDate(confirmedOn),
    unknown,
  };
}

function parseJson(bytes: Uint8Array): unknown {
  const text = fromUtf8(bytes, WHAT);
  try {
    return JSON.parse(text);
  } catch {
    throw malformed(WHAT, "text that is not JSON");
  }
}

function asRecord(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw malformed(WHAT, "something that is not a JSON object where one was expected");
  }
  return value as Record<string, unknown>;
}

function formatDate(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

function parseDate(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  const ms = typeof value === "string" && DATE.test(value) ? Date.parse(value) : NaN;
  if (Number.isNaN(ms)) throw malformed(WHAT, "a date that is not of the form 2016-11-29T19:39:31Z");
  return ms;
}
