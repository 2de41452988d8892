/** Binary reading and writing. */
export * from "./bytes.ts";
export * from "./codec.ts";
export * from "./ip.ts";
export * from "./interner.ts";
export * from "./reader.ts";
export * from "./text.ts";
export * from "./writer.ts";
