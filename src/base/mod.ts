/** What every other folder may use; no input or output. */
export * from "./abort.ts";
export * from "./deferred.ts";
export * from "./duplex.ts";
export * from "./errors.ts";
export * from "./events.ts";
export * from "./log.ts";
export * from "./sensitive.ts";
