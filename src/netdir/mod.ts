/** A verified view of the network, and whom to ask for it. */
export * from "./authorities.ts";
export * from "./microdesc_store.ts";
export * from "./microdesc_snapshot.ts";
export * from "./net_dir.ts";
export * from "./net_params.ts";
export * from "./public_network.ts";
export * from "./usable_paths.ts";
