/** What is asked of directories: paths (dir-spec, appendix B), limits, and what their answers mean. */
import { TunicError } from "../../base/errors.ts";
import { toBase64, toHexUpper } from "../../bytes/text.ts";
import type { DirectoryAuthority } from "../../netdir/authorities.ts";
import type { CertificateName } from "../../wire/netdoc/consensus_verify.ts";
import type { DirectoryAnswer, DirectoryRequest } from "./directory_client.ts";

/** The public network's has 3 MB. */
const MAX_CONSENSUS_BYTES = 16 << 20;
const MAX_CERTIFICATES_BYTES = 1 << 20;
const MAX_MICRODESCS_BYTES = 8 << 20;
/** Hexadecimal digits of a fingerprint that suffice to name an authority. */
const SHORT_FINGERPRINT = 6;
const STALL_TIMEOUT_MS = 30_000;

type Document = Pick<DirectoryRequest, "what" | "path" | "maxBytes" | "timeoutMs" | "stallTimeoutMs">;

/** The microdescriptor consensus, from a server that has one signed by more than half of `authorities`. */
export function consensusRequest(authorities: readonly DirectoryAuthority[]): Document {
  const names = authorities.map(({ v3ident }) => toHexUpper(v3ident).slice(0, SHORT_FINGERPRINT)).sort();
  return {
    what: "the consensus",
    path: `/tor/status-vote/current/consensus-microdesc/${names.join("+")}.z`,
    maxBytes: MAX_CONSENSUS_BYTES,
    timeoutMs: 300_000,
    stallTimeoutMs: STALL_TIMEOUT_MS,
  };
}

export function certificatesRequest(names: readonly CertificateName[]): Document {
  const pairs = names.map((name) => `${toHexUpper(name.identity)}-${toHexUpper(name.signingKeyDigest)}`);
  return {
    what: "authority certificates",
    path: `/tor/keys/fp-sk/${pairs.join("+")}.z`,
    maxBytes: MAX_CERTIFICATES_BYTES,
    timeoutMs: 60_000,
    stallTimeoutMs: STALL_TIMEOUT_MS,
  };
}

/** Microdescriptors by their SHA-256 digests. */
export function microdescsRequest(digests: readonly Uint8Array[]): Document {
  const names = digests.map((digest) => toBase64(digest).replace(/=+$/, ""));
  return {
    what: "microdescriptors",
    path: `/tor/micro/d/${names.join("-")}.z`,
    maxBytes: MAX_MICRODESCS_BYTES,
    timeoutMs: 120_000,
    stallTimeoutMs: STALL_TIMEOUT_MS,
  };
}

/** The document in an answer; throws `directory` for every status but 200. */
export function documentOf(answer: DirectoryAnswer, what: string): Uint8Array {
  if (answer.status === 200) return answer.body;
  const isNewest = answer.status === 304;
  const meaning = isNewest ? "the directory has none that is newer" : "the directory does not give it";
  throw new TunicError(`Cannot get ${what}: ${meaning}: found status ${answer.status}, expected 200`, {
    kind: "directory",
    code: isNewest ? "not-modified" : "directory-refused",
    retry: isNewest ? "later" : "elsewhere",
    context: { status: answer.status },
  });
}
