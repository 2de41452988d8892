/** The documents in which directory authorities describe the network (dir-spec). */
export * from "./authority_certificate.ts";
export * from "./consensus.ts";
export * from "./consensus_verify.ts";
export * from "./hs_descriptor.ts";
export * from "./microdesc.ts";
export * from "./port_policy.ts";
export * from "./protocols.ts";
export * from "./relay_table.ts";
export * from "./unverified.ts";
