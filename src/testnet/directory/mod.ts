/** The directory of a test network: everything that its authorities sign, and how it is served. */
export * from "./authority_keys.ts";
export * from "./exit_policy.ts";
export * from "./network_directory.ts";
export * from "./server_descriptor.ts";
