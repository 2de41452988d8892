/** Guards: the relays this client connects to. */
export * from "./circuit_guard.ts";
export * from "./guard_directory.ts";
export * from "./guard_manager.ts";
export type { GuardParameters } from "./parameters.ts";
export { areRelated, type GuardRestrictions } from "./restrictions.ts";
