/** The documents that the directories of a network serve at one moment, by the names under which they are asked for. */
import { equal } from "../../bytes/bytes.ts";
import { toBase64, toHexUpper } from "../../bytes/text.ts";
import type { PhantomRelay } from "./phantom_relays.ts";
import type { SignedConsensus } from "./consensus.ts";
import type { Flavor } from "./relay_status.ts";
import type { ServerDescriptor } from "./server_descriptor.ts";
import type { Vote } from "./vote.ts";

/** How many consensuses a client may be behind and still get a diff. */
const MAX_PAST = 3;

export class DirectoryDocuments {
  /** Of the last publication, in the order of the authorities. */
  votes: readonly Vote[] = [];
  readonly #consensuses: Readonly<Record<Flavor, SignedConsensus[]>> = { ns: [], microdesc: [] };
  /** By their SHA-256 in base64. */
  readonly #microdescs = new Map<string, () => Uint8Array>();
  readonly #phantomMicrodescs = new Map<string, () => Uint8Array>();
  /** By their digests in hexadecimal, in capitals. */
  readonly #descriptors = new Map<string, ServerDescriptor>();
  /** By their relays' fingerprints; newest first. */
  readonly #byRelay = new Map<string, ServerDescriptor[]>();

  constructor(phantoms: readonly PhantomRelay[]) {
    for (const { status, microdesc } of phantoms) {
      this.#phantomMicrodescs.set(toBase64(status.microdescDigest), microdesc);
    }
  }

  /** Those before it can still be asked for as long as a consensus may name them. */
  addDescriptor(descriptor: ServerDescriptor): void {
    this.#microdescs.set(toBase64(descriptor.microdescDigest), () => descriptor.microdesc);
    this.#descriptors.set(toHexUpper(descriptor.digest), descriptor);
    const fingerprint = toHexUpper(descriptor.content.keys.rsaId);
    const all = [descriptor, ...this.#byRelay.get(fingerprint) ?? []];
    for (const old of all.splice(1 + MAX_PAST)) {
      this.#descriptors.delete(toHexUpper(old.digest));
      const shared = all.some(({ microdescDigest }) => equal(microdescDigest, old.microdescDigest));
      if (!shared) this.#microdescs.delete(toBase64(old.microdescDigest));
    }
    this.#byRelay.set(fingerprint, all);
  }

  /** A consensus that is there already is not taken twice. */
  addConsensus(consensus: SignedConsensus): void {
    const list = this.#consensuses[consensus.flavor];
    if (list[0] && equal(list[0].text, consensus.text)) return;
    list.unshift(consensus);
    list.length = Math.min(list.length, 1 + MAX_PAST);
  }

  /** The newest one, and those before it that are remembered, newest first. */
  consensuses(flavor: Flavor): readonly SignedConsensus[] {
    return this.#consensuses[flavor];
  }

  /** `digest`: base64 without padding. */
  microdesc(digest: string): Uint8Array | undefined {
    return (this.#microdescs.get(digest) ?? this.#phantomMicrodescs.get(digest))?.();
  }

  /** `digest`: hexadecimal, in capitals. */
  descriptor(digest: string): ServerDescriptor | undefined {
    return this.#descriptors.get(digest);
  }

  /** `fingerprint`: hexadecimal, in capitals. */
  newestDescriptor(fingerprint: string): ServerDescriptor | undefined {
    return this.#byRelay.get(fingerprint)?.[0];
  }

  get newestDescriptors(): readonly ServerDescriptor[] {
    return [...this.#byRelay.values()].map(([newest]) => newest!);
  }
}
