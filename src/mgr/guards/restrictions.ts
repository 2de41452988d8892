/** What one circuit asks of its guard besides working (guard-spec, section 4.6; path-spec, section 2.2). */
import { equal } from "../../bytes/bytes.ts";
import type { Guard } from "./guard.ts";
import type { GuardDirectory } from "./guard_directory.ts";

export interface GuardRestrictions {
  /**
   * RSA identities of the path's other relays: the guard is none of them, nor of their families, nor, where subnets
   * are kept apart, of their subnets.
   */
  readonly unrelatedTo?: readonly Uint8Array[];
  /** RSA identities of guards that will not do for another reason: a directory that lacks a document, say. */
  readonly exclude?: readonly Uint8Array[];
}

export interface Relations {
  sameFamily(a: number, b: number): boolean;
  sameSubnet(a: number, b: number): boolean;
}

/** Whether two relays may not be in one path (path-spec, section 2.2). */
export function areRelated(relations: Relations, distinctSubnets: boolean, a: number, b: number): boolean {
  return a === b || relations.sameFamily(a, b) || (distinctSubnets && relations.sameSubnet(a, b));
}

export function obeysPath(
  guard: Guard,
  { unrelatedTo = [] }: GuardRestrictions,
  directory: GuardDirectory,
  distinctSubnets: boolean,
): boolean {
  return unrelatedTo.every((rsaId) => {
    if (equal(rsaId, guard.rsaId)) return false;
    const other = directory.indexOfRsaId(rsaId);
    return other < 0 || guard.relay < 0 || !areRelated(directory, distinctSubnets, guard.relay, other);
  });
}

export function isExcluded(guard: Guard, { exclude = [] }: GuardRestrictions): boolean {
  return exclude.some((rsaId) => equal(rsaId, guard.rsaId));
}
