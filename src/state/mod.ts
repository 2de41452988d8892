/** What survives a restart. */
export * from "./guard_records.ts";
export * from "./state_file.ts";
export * from "./state_store.ts";
