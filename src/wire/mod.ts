/** Binary formats of cells, relay messages and certificates. */
export * from "./cell.ts";
export * from "./cert_chain.ts";
export * from "./circuit_messages.ts";
export * from "./create_cells.ts";
export * from "./cross_cert.ts";
export * from "./ed_cert.ts";
export * from "./hs_messages.ts";
export * from "./link_authentication.ts";
export * from "./link_cells.ts";
export * from "./link_specifier.ts";
export * from "./relay_cell.ts";
export * from "./resolve_messages.ts";
export * from "./stream_messages.ts";
