/** Cryptography: the only folder that may touch the runtime's native primitives, or noble. */
export * from "./aes_ctr.ts";
export * from "./create_fast.ts";
export * from "./digest.ts";
export * from "./ed25519.ts";
export * from "./ed25519_convert.ts";
export * from "./handshake.ts";
export * from "./kdf.ts";
export * from "./ntor.ts";
export * from "./rsa.ts";
export * from "./rsa_private.ts";
export * from "./secrets.ts";
export * from "./x25519.ts";
export * from "./x509.ts";
export * from "./x509_make.ts";
