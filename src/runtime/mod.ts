/** The machine, as tunic sees it. */
export * from "./ports.ts";
export * from "./random.ts";
