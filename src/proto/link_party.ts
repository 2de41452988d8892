/**
 * What both ends of a link handshake do alike (tor-spec 4): take cells in the order of a table, agree on a version by
 * VERSIONS, end with the peer's NETINFO. A stepper: bytes in, bytes to send out, no sockets.
 */
import { TunicError } from "../base/errors.ts";
import { decodeWith, encodeWith } from "../bytes/codec.ts";
import type { RunningDigest } from "../crypto/digest.ts";
import { CellCommand, EARLY_CIRCID_LEN, variableCell } from "../wire/cell.ts";
import { NETINFO, VERSIONS } from "../wire/link_cells.ts";
import { type LinkCell, LinkSequence, type LinkStates } from "./link_sequence.ts";

export type LinkVersion = 4 | 5;

/** The link versions spoken here. */
export const LINK_VERSIONS: readonly LinkVersion[] = [4, 5];

/** What a finished handshake has found out, on either side. */
export interface OpenLink {
  readonly linkVersion: LinkVersion;
  /**
   * The local clock minus the peer's: positive where the local one is ahead. `undefined` where the peer did not
   * tell its time, or the handshake took so long that it says little.
   */
  readonly clockSkewMs: number | undefined;
  /** Our address as the peer sees it, which may be a lie; wrap it before it is logged. */
  readonly ownAddress: string | undefined;
  /** Bytes that came after the handshake: the first cells of the open link. */
  readonly rest: Uint8Array;
}

export interface LinkProgress<L extends OpenLink> {
  /** Bytes to send now. */
  readonly send?: Uint8Array;
  /** Set once, when the link is open; what is in `send` goes out all the same. */
  readonly done?: L;
}

/** A handshake that took longer says nothing about the peer's clock (as in C tor). */
const SKEW_LIMIT_MS = 180_000;

export abstract class LinkParty<S extends string, L extends OpenLink> {
  readonly #now: () => number;
  readonly #startedAt: number;
  readonly #sequence: LinkSequence<S>;
  #over = false;
  #linkVersion: LinkVersion | undefined;

  /** `now` gives milliseconds since 1970; `log` takes what the peer sends. */
  constructor(now: () => number, states: LinkStates<S>, start: S, log?: RunningDigest) {
    this.#now = now;
    this.#startedAt = now();
    this.#sequence = new LinkSequence(states, start, log);
  }

  /**
   * Takes what the peer sent, cut up however. Throws `protocol` or `malformed` for a cell that is out of place or
   * ill-formed, and whatever the check of certificates throws; the link is then to be closed and the handshake is over.
   */
  step(bytes: Uint8Array): LinkProgress<L> {
    if (this.#over) {
      throw new TunicError("Cannot step the link handshake: it is over", { kind: "internal", code: "handshake-over" });
    }
    // Taken back where nothing was thrown and the link is not open yet.
    this.#over = true;
    this.#sequence.push(bytes);
    const progress: { send?: Uint8Array; done?: L } = {};
    for (let cell = this.#sequence.next(); cell; cell = this.#sequence.next()) {
      if (cell.command === CellCommand.NETINFO) {
        progress.done = this.opened(this.#finish(cell));
        continue;
      }
      if (cell.command === CellCommand.VERSIONS) this.#linkVersion = chooseVersion(decodeWith(VERSIONS, cell.payload));
      progress.send = this.take(cell) ?? progress.send;
    }
    this.#over = progress.done !== undefined;
    return progress;
  }

  /** Takes a cell other than the last; the answer is what to send. No two cells of one side have an answer. */
  protected abstract take(cell: LinkCell): Uint8Array | undefined;

  /** Adds what this side knows of its peer. */
  protected abstract opened(link: OpenLink): L;

  #finish(cell: LinkCell): OpenLink {
    const { timestamp, otherAddress } = decodeWith(NETINFO, cell.payload);
    const now = this.#now();
    const tells = timestamp !== 0 && Math.abs(now - this.#startedAt) < SKEW_LIMIT_MS;
    return {
      // The tables let NETINFO come only after VERSIONS.
      linkVersion: this.#linkVersion!,
      clockSkewMs: tells ? now - timestamp * 1000 : undefined,
      ownAddress: otherAddress,
      rest: this.#sequence.rest(),
    };
  }
}

/** The VERSIONS cell that each side begins with. */
export function versionsCell(): Uint8Array {
  return variableCell(0, CellCommand.VERSIONS, encodeWith(VERSIONS, LINK_VERSIONS), EARLY_CIRCID_LEN);
}

/** The highest version that both sides speak (tor-spec 4.1). */
function chooseVersion(theirs: readonly number[]): LinkVersion {
  const shared = LINK_VERSIONS.filter((version) => theirs.includes(version));
  const highest = shared.at(-1);
  if (highest !== undefined) return highest;
  const found = `the peer speaks ${theirs.join(", ") || "none"}, expected ${LINK_VERSIONS.join(" or ")}`;
  throw new TunicError(`Cannot set up the link: no link version in common: ${found}`, {
    kind: "protocol",
    code: "no-common-link-version",
    retry: "elsewhere",
  });
}
