/** What an operator can do about a file that cannot be read or written, added to the error that says so. */
import { isTunicError, TunicError } from "../base/errors.ts";

const ADVICE: Readonly<Record<string, string>> = {
  enospc: "free some space there",
  edquot: "free some space, or raise the quota",
  eacces: "give this user the right to it, or choose another DataDirectory",
  eperm: "give this user the right to it, or choose another DataDirectory",
  "wrong-owner": "run as the user it belongs to, or choose another DataDirectory",
  erofs: "choose a DataDirectory on a file system that can be written",
  enotdir: "choose a DataDirectory that is a directory",
  eexist: "choose a DataDirectory that is a directory",
};

/** A `storage` error with advice after its message; any other error as it is. */
export function withAdvice(error: unknown): unknown {
  if (!isTunicError(error, "storage")) return error;
  const advice = ADVICE[error.code];
  if (advice === undefined || error.message.endsWith(advice)) return error;
  return new TunicError(`${error.message}; ${advice}`, {
    kind: error.kind,
    code: error.code,
    retry: error.retry,
    context: error.context,
    cause: error,
  });
}
