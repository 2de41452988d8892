/**
 * Structured logging by LogTape: silent in a library until the application configures sinks.
 *
 * Each module takes `logger("topic")`. What must never be logged: destinations, client addresses, keys;
 * wrap them in `sensitive()`. Levels: `debug` for a developer, `info` for what the client decides, `warning`
 * for what an operator should look at (C tor's `notice` is our `info`, its `info` our `debug`), `error` for
 * what stops a function of the client.
 */
import { getLogger, type Logger } from "@logtape/logtape";

export type { Logger };

/** The logger of one topic; topics are the folders' names ("proto", "guards", "directory", "socks"). */
export function logger(topic: string): Logger {
  return getLogger(["tunic", topic]);
}
