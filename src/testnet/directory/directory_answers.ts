/**
 * How a directory answers (dir-spec 4, 4.5.2, 6.1, appendix B): which document a path names, in which form the
 * client can have it, and whether it has the newest already.
 */
import { concat, equal } from "../../bytes/bytes.ts";
import { toHexUpper, utf8 } from "../../bytes/text.ts";
import type { Compression, Encoding } from "../../runtime/ports.ts";
import type { DirectoryAnswer, DirectoryRequest } from "../directory_connection.ts";
import type { SignedConsensus } from "./consensus.ts";
import { consensusDiff } from "./consensus_diff.ts";
import type { DirectoryDocuments } from "./directory_documents.ts";
import { formatHttpTime } from "./document_text.ts";
import type { Flavor } from "./relay_status.ts";
import type { Voter } from "./vote.ts";

export interface DirectoryAnswersOptions {
  readonly compression: Compression;
  readonly documents: DirectoryDocuments;
  readonly voters: readonly Voter[];
}

/** A document, and what may be said of its age. */
interface Found {
  readonly body: Uint8Array;
  /** Milliseconds since 1970. */
  readonly modified?: number;
  readonly expires?: number;
  /** Worth keeping in compressed form: many will ask for it. */
  readonly popular?: boolean;
}

type Outcome = Found | 304 | 400 | 404;

/** What is asked for at once, at most. */
const MAX_NAMES = 1000;
/** Best first. */
const ENCODINGS: readonly Encoding[] = ["x-zstd", "gzip", "deflate", "identity"];

export class DirectoryAnswers {
  readonly #options: DirectoryAnswersOptions;
  readonly #compressed = new WeakMap<Uint8Array, Map<Encoding, Promise<Uint8Array>>>();
  readonly #diffs = new WeakMap<SignedConsensus, WeakMap<SignedConsensus, Uint8Array>>();

  constructor(options: DirectoryAnswersOptions) {
    this.#options = options;
  }

  /** `rsaId`: of the relay that is asked, 20 bytes, which only matters to a few paths. Answers to GET alone. */
  async answer(request: DirectoryRequest, rsaId?: Uint8Array): Promise<DirectoryAnswer> {
    if (request.method !== "GET") return refusal(400);
    const [path] = request.path.split("?", 1) as [string];
    const plain = path.endsWith(".z") ? path.slice(0, -2) : path;
    const outcome = this.#find(plain, request.headers, rsaId);
    if (typeof outcome === "number") return refusal(outcome);
    if (isUnchanged(outcome, request.headers)) return refusal(304);
    const encoding = this.#encodingFor(request.headers.get("accept-encoding"), path !== plain);
    const body = await this.#encode(outcome, encoding);
    return {
      status: 200,
      headers: [
        ["Content-Type", "text/plain"],
        ["Content-Encoding", encoding],
        ...outcome.expires === undefined ? [] : [["Expires", formatHttpTime(outcome.expires)] as const],
        ...outcome.modified === undefined ? [] : [["Last-Modified", formatHttpTime(outcome.modified)] as const],
      ],
      body,
    };
  }

  #find(path: string, headers: ReadonlyMap<string, string>, rsaId: Uint8Array | undefined): Outcome {
    const parts = path.split("/").slice(1);
    if (parts.shift() !== "tor") return 404;
    const [area, kind, ...rest] = parts;
    switch (area) {
      case "status-vote":
        return kind === "current" ? this.#statusVote(rest, headers, rsaId) : 404;
      case "keys":
        return this.#keys(kind, rest, rsaId);
      case "micro":
        // Base64 has slashes of its own.
        return kind === "d" ? this.#microdescs(rest.join("/")) : 404;
      case "server":
        return this.#descriptors(kind, rest, rsaId);
      default:
        return 404;
    }
  }

  #statusVote([name, ...rest]: string[], headers: ReadonlyMap<string, string>, rsaId: Uint8Array | undefined): Outcome {
    const { documents, voters } = this.#options;
    switch (name) {
      case "consensus":
      case "consensus-ns":
        return this.#consensus("ns", rest, headers);
      case "consensus-microdesc":
        return this.#consensus("microdesc", rest, headers);
      case "authority": {
        const voter = this.#voterOf(rsaId);
        const vote = documents.votes.find((each) => each.voter === voter);
        return vote ? { body: vote.text } : 404;
      }
      case "d": {
        const digests = rest[0]?.toUpperCase().split("+") ?? [];
        return together(
          documents.votes.filter(({ digest }) => digests.includes(toHexUpper(digest))).map((v) => v.text),
        );
      }
      default: {
        const voter = voters.find(({ keys }) => toHexUpper(keys.identity) === name?.toUpperCase());
        const vote = documents.votes.find((each) => each.voter === voter);
        return vote ? { body: vote.text } : 404;
      }
    }
  }

  /** `rest`: nothing, authorities that should have signed, or first of all `diff` and what to start from. */
  #consensus(flavor: Flavor, rest: readonly string[], headers: ReadonlyMap<string, string>): Outcome {
    const [newest, ...past] = this.#options.documents.consensuses(flavor);
    if (newest === undefined) return 404;
    const onlyDiff = rest[0] === "diff";
    const known = (onlyDiff ? rest[1] : headers.get("x-or-diff-from-consensus")) ?? "";
    const wanted = onlyDiff ? rest[2] : rest[0];
    if (wanted !== undefined && !isSignedBy(newest, wanted.split("+"))) return 404;
    const hashes = known.toUpperCase().split(/[\s,]+/);
    if (hashes.includes(toHexUpper(newest.signedSha3))) return 304;
    const from = past.find(({ signedSha3 }) => hashes.includes(toHexUpper(signedSha3)));
    if (onlyDiff && from === undefined) return 404;
    return {
      body: from === undefined ? newest.text : this.#diff(from, newest),
      modified: newest.lifetime.validAfter,
      expires: newest.lifetime.freshUntil,
      popular: true,
    };
  }

  #diff(from: SignedConsensus, to: SignedConsensus): Uint8Array {
    let diffs = this.#diffs.get(to);
    if (diffs === undefined) this.#diffs.set(to, diffs = new WeakMap());
    let diff = diffs.get(from);
    if (diff === undefined) diffs.set(from, diff = consensusDiff(from, to));
    return diff;
  }

  #keys(kind: string | undefined, rest: readonly string[], rsaId: Uint8Array | undefined): Outcome {
    const { voters } = this.#options;
    const certificates = (chosen: readonly Voter[]) => together(chosen.map(({ certificate }) => utf8(certificate)));
    if (rest.length === 0) {
      if (kind === "all") return certificates(voters);
      const own = this.#voterOf(rsaId);
      return kind === "authority" && own ? certificates([own]) : 404;
    }
    const names = new Set(rest[0]!.toUpperCase().split("+").slice(0, MAX_NAMES));
    const nameOf = NAMES_OF_KEYS[kind ?? ""];
    return nameOf === undefined ? 400 : certificates(voters.filter((voter) => names.has(nameOf(voter))));
  }

  #microdescs(names: string): Outcome {
    const digests = new Set(names.split("-").slice(0, MAX_NAMES));
    return together([...digests].map((digest) => this.#options.documents.microdesc(digest)));
  }

  #descriptors(kind: string | undefined, rest: readonly string[], rsaId: Uint8Array | undefined): Outcome {
    const { documents } = this.#options;
    const names = [...new Set(rest[0]?.toUpperCase().split("+").slice(0, MAX_NAMES) ?? [])];
    switch (kind) {
      case "all":
        return together(documents.newestDescriptors.map(({ text }) => text));
      case "authority":
        return together([rsaId && documents.newestDescriptor(toHexUpper(rsaId))?.text]);
      case "d":
        return together(names.map((digest) => documents.descriptor(digest)?.text));
      case "fp":
        return together(names.map((fingerprint) => documents.newestDescriptor(fingerprint)?.text));
      default:
        return 404;
    }
  }

  #voterOf(rsaId: Uint8Array | undefined): Voter | undefined {
    return rsaId && this.#options.voters.find((voter) => equal(voter.rsaId, rsaId));
  }

  /** What the client takes, best first; without a word of it, a path's `.z` asks for "deflate". */
  #encodingFor(accepted: string | undefined, deflated: boolean): Encoding {
    if (accepted === undefined) return deflated ? "deflate" : "identity";
    const names = accepted.toLowerCase().split(",").map((name) => name.trim());
    const { encodings } = this.#options.compression;
    return ENCODINGS.find((encoding) => names.includes(encoding) && encodings.includes(encoding)) ?? "identity";
  }

  #encode({ body, popular }: Found, encoding: Encoding): Promise<Uint8Array> {
    const { compression } = this.#options;
    if (popular !== true) return compression.compress(encoding, body);
    let forms = this.#compressed.get(body);
    if (forms === undefined) this.#compressed.set(body, forms = new Map());
    let form = forms.get(encoding);
    if (form === undefined) forms.set(encoding, form = compression.compress(encoding, body));
    return form;
  }
}

/** By what certificates are asked for, under each of the paths that name them. */
const NAMES_OF_KEYS: Readonly<Record<string, (voter: Voter) => string>> = {
  "fp": ({ keys }) => toHexUpper(keys.identity),
  "sk": ({ keys }) => toHexUpper(keys.signingKeyDigest),
  "fp-sk": ({ keys }) => `${toHexUpper(keys.identity)}-${toHexUpper(keys.signingKeyDigest)}`,
};

function refusal(status: 304 | 400 | 404): DirectoryAnswer {
  return { status, headers: [], body: new Uint8Array(0) };
}

function together(documents: readonly (Uint8Array | undefined)[]): Outcome {
  const found = documents.filter((document) => document !== undefined);
  return found.length === 0 ? 404 : { body: concat(...found) };
}

/** Whether more than half of those whose fingerprints begin like this have signed. */
function isSignedBy({ signers }: SignedConsensus, fingerprints: readonly string[]): boolean {
  const names = signers.map(toHexUpper);
  const found = fingerprints.filter((prefix) => names.some((name) => name.startsWith(prefix.toUpperCase())));
  return 2 * found.length > fingerprints.length;
}

function isUnchanged({ modified }: Found, headers: ReadonlyMap<string, string>): boolean {
  const since = Date.parse(headers.get("if-modified-since") ?? "");
  return modified !== undefined && modified <= since;
}
