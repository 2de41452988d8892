/** Binary reading and writing. */
export * from "./bytes.ts";
export * from "./codec.ts";
export * from "./reader.ts";
export * from "./text.ts";
export * from "./writer.ts";
