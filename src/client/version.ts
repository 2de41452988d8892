/** The version of this program, as `--version` and the guards' records have it. */
export const VERSION = "0.1.0";
