/**
 * A relay as a directory of onion services (rend-spec-v3 2.2.5, 2.2.6): it keeps what services publish for those who
 * ask by the blinded key.
 */
import { logger } from "../base/log.ts";
import { isTunicError } from "../base/errors.ts";
import { fromBase64, latin1 } from "../bytes/text.ts";
import type { Clock } from "../runtime/ports.ts";
import { UnverifiedHsDescriptor } from "../wire/netdoc/hs_descriptor.ts";
import type { DirectoryAnswer, DirectoryRequest } from "./directory_connection.ts";

const log = logger("testnet");

export interface HsDirectoryOptions {
  readonly clock: Clock;
  /** Descriptors of at most 50 kB each; with one more, the one that was published longest ago goes. Default: 1000. */
  readonly maxDescriptors?: number;
}

interface Stored {
  readonly text: Uint8Array;
  readonly revisionCounter: bigint;
  /** By the monotonic clock. */
  readonly expiresMs: number;
}

const DEFAULT_MAX_DESCRIPTORS = 1000;
const ROOT = "/tor/hs/";
const DESCRIPTORS = "/tor/hs/3/";
const PUBLISH = "/tor/hs/3/publish";
const PLAIN_TEXT = [["Content-Type", "text/plain"]] as const;

export class HsDirectory {
  readonly #clock: Clock;
  readonly #maxDescriptors: number;
  /** By blinded key; those published longest ago first. */
  readonly #descriptors = new Map<string, Stored>();

  constructor({ clock, maxDescriptors = DEFAULT_MAX_DESCRIPTORS }: HsDirectoryOptions) {
    this.#clock = clock;
    this.#maxDescriptors = maxDescriptors;
  }

  /** Descriptors that are kept, expired ones perhaps among them. */
  get size(): number {
    return this.#descriptors.size;
  }

  /** The answer, or `undefined` where the request is not about onion services. */
  answer({ method, path, body }: DirectoryRequest): DirectoryAnswer | undefined {
    if (!path.startsWith(ROOT)) return undefined;
    if (method === "POST") return path === PUBLISH ? this.#publish(body) : reply(404);
    const text = path.startsWith(DESCRIPTORS) ? this.#find(path.slice(DESCRIPTORS.length)) : undefined;
    return text ? reply(200, text) : reply(404);
  }

  #publish(body: Uint8Array): DirectoryAnswer {
    const now = this.#clock.monotonic();
    try {
      const text = body.slice();
      const descriptor = new UnverifiedHsDescriptor(text).verify({ now: this.#clock.now() });
      const key = latin1(descriptor.blindedKey);
      const known = this.#fresh(key, now);
      // Otherwise anyone who has seen an old one could bring it back.
      if (known && known.revisionCounter >= descriptor.revisionCounter) return refusal("there is a newer one");
      this.#descriptors.delete(key);
      if (this.#descriptors.size >= this.#maxDescriptors) this.#makeRoom(now);
      const { revisionCounter, lifetimeMs } = descriptor;
      this.#descriptors.set(key, { text, revisionCounter, expiresMs: now + lifetimeMs });
      return reply(200);
    } catch (error) {
      if (!isTunicError(error)) throw error;
      return refusal(error.message);
    }
  }

  #find(name: string): Uint8Array | undefined {
    let blindedKey: Uint8Array;
    try {
      blindedKey = fromBase64(name);
    } catch {
      return undefined;
    }
    return this.#fresh(latin1(blindedKey), this.#clock.monotonic())?.text;
  }

  /** What is known and has not expired. */
  #fresh(key: string, now: number): Stored | undefined {
    const stored = this.#descriptors.get(key);
    if (!stored || now < stored.expiresMs) return stored;
    this.#descriptors.delete(key);
    return undefined;
  }

  #makeRoom(now: number): void {
    for (const [key, { expiresMs }] of this.#descriptors) if (now >= expiresMs) this.#descriptors.delete(key);
    for (const key of this.#descriptors.keys()) {
      if (this.#descriptors.size < this.#maxDescriptors) return;
      this.#descriptors.delete(key);
    }
  }
}

function refusal(reason: string): DirectoryAnswer {
  log.debug("Refused an onion service descriptor: {reason}", { reason });
  return reply(400);
}

function reply(status: number, body: Uint8Array = new Uint8Array(0)): DirectoryAnswer {
  return { status, headers: PLAIN_TEXT, body };
}
