/** One request to one directory, with what its outcome says of the directory. */
import { isTunicError } from "../../base/errors.ts";
import type { DirectoryRequest, DirectoryTransport } from "./directory_client.ts";
import { documentOf } from "./documents.ts";
import type { DirectorySource } from "./sources.ts";

/**
 * The document asked for. Throws `directory` where the directory does not give it, and what the transport throws; the
 * source is done with in every case.
 */
export async function fetchDocument(
  transport: DirectoryTransport,
  source: DirectorySource,
  request: DirectoryRequest,
): Promise<Uint8Array> {
  let reached = false;
  try {
    const answer = await transport.get(source.server, {
      ...request,
      onStep: (step) => {
        reached = true;
        request.onStep?.(step);
      },
    });
    reached = true;
    return documentOf(answer, request.what);
  } catch (error) {
    // Our own wrong clock, and our own change of mind, say nothing of the relay.
    const isOurs = request.signal?.aborted || isTunicError(error, "clock", "closed", "aborted", "internal");
    if (!reached && !isOurs) source.done("unreachable");
    throw error;
  } finally {
    source.done(reached ? "reached" : "unknown");
  }
}
