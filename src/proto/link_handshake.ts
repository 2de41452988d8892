/**
 * The link handshake as its initiator, a client that does not authenticate (tor-spec 4).
 *
 * VERSIONS go both ways, then the responder sends CERTS, AUTH_CHALLENGE and NETINFO. As soon as its certificates
 * are found good it gets our NETINFO, as from C tor. A stepper: bytes in, bytes to send out, no sockets.
 */
import { TunicError } from "../base/errors.ts";
import { decodeWith, encodeWith } from "../bytes/codec.ts";
import type { Address } from "../runtime/ports.ts";
import { CellCommand, EARLY_CIRCID_LEN, fixedCell, variableCell } from "../wire/cell.ts";
import { type ExpectedIdentities, type ProvenIdentities, verifyResponderCerts } from "../wire/cert_chain.ts";
import { AUTH_CHALLENGE, CERTS, NETINFO, VERSIONS } from "../wire/link_cells.ts";
import { type LinkCell, LinkSequence, type LinkStates } from "./link_sequence.ts";

export type LinkVersion = 4 | 5;

/** The link versions spoken here. */
export const LINK_VERSIONS: readonly LinkVersion[] = [4, 5];

export interface LinkHandshakeOptions {
  /** The certificate that the relay showed in TLS, in DER. */
  readonly peerCertificate: Uint8Array;
  /** Who the relay must prove to be. */
  readonly expected: ExpectedIdentities;
  /** Milliseconds since 1970. */
  now(): number;
  /** Where the relay was reached; it is told so. */
  readonly peerAddress: Address;
}

/** What a finished handshake has found out. */
export interface LinkInfo extends ProvenIdentities {
  readonly linkVersion: LinkVersion;
  /**
   * The local clock minus the relay's: positive where the local one is ahead. `undefined` where the relay did not
   * tell its time, or the handshake took so long that it says little.
   */
  readonly clockSkewMs: number | undefined;
  /** Our address as the relay sees it, which may be a lie; wrap it before it is logged. */
  readonly ownAddress: string | undefined;
  /** Bytes that came after the handshake: the first cells of the open link. */
  readonly rest: Uint8Array;
}

export interface LinkProgress {
  /** Bytes to send now. */
  readonly send?: Uint8Array;
  /** Set once, when the link is open; what is in `send` goes out all the same. */
  readonly done?: LinkInfo;
}

type State = "waiting for VERSIONS" | "waiting for CERTS" | "waiting for AUTH_CHALLENGE" | "waiting for NETINFO";

/**
 * What a responder may send. VPADDING may come at any time, and VERSIONS again, which is then to be ignored (4.1).
 * PADDING may not, and AUTHORIZE only goes the other way.
 */
const RESPONDER_SENDS: LinkStates<State> = {
  "waiting for VERSIONS": new Map([
    [CellCommand.VERSIONS, "waiting for CERTS"],
    [CellCommand.VPADDING, "waiting for VERSIONS"],
  ]),
  "waiting for CERTS": new Map([
    [CellCommand.CERTS, "waiting for AUTH_CHALLENGE"],
    [CellCommand.VPADDING, "waiting for CERTS"],
    [CellCommand.VERSIONS, "waiting for CERTS"],
  ]),
  "waiting for AUTH_CHALLENGE": new Map([
    [CellCommand.AUTH_CHALLENGE, "waiting for NETINFO"],
    [CellCommand.VPADDING, "waiting for AUTH_CHALLENGE"],
    [CellCommand.VERSIONS, "waiting for AUTH_CHALLENGE"],
  ]),
  "waiting for NETINFO": new Map([
    [CellCommand.NETINFO, "open"],
    [CellCommand.VPADDING, "waiting for NETINFO"],
    [CellCommand.VERSIONS, "waiting for NETINFO"],
  ]),
};

/** A handshake that took longer says nothing about the relay's clock (as in C tor). */
const SKEW_LIMIT_MS = 180_000;

export class LinkHandshake {
  readonly #options: LinkHandshakeOptions;
  readonly #sequence = new LinkSequence<State>(RESPONDER_SENDS, "waiting for VERSIONS");
  #startedAt = 0;
  #over = false;
  #linkVersion: LinkVersion | undefined;
  #identities: ProvenIdentities | undefined;

  constructor(options: LinkHandshakeOptions) {
    this.#options = options;
  }

  /** What to send first. */
  start(): Uint8Array {
    this.#startedAt = this.#options.now();
    return variableCell(0, CellCommand.VERSIONS, encodeWith(VERSIONS, LINK_VERSIONS), EARLY_CIRCID_LEN);
  }

  /**
   * Takes what the relay sent, cut up however. Throws `protocol` or `malformed` for a cell that is out of place or
   * ill-formed, and whatever `verifyResponderCerts` throws; the link is then to be closed and the handshake is over.
   */
  step(bytes: Uint8Array): LinkProgress {
    if (this.#over) {
      throw new TunicError("Cannot step the link handshake: it is over", { kind: "internal", code: "handshake-over" });
    }
    // Taken back where nothing was thrown and the link is not open yet.
    this.#over = true;
    this.#sequence.push(bytes);
    const progress: { send?: Uint8Array; done?: LinkInfo } = {};
    for (let cell = this.#sequence.next(); cell; cell = this.#sequence.next()) {
      if (cell.command === CellCommand.NETINFO) progress.done = this.#finish(cell);
      else progress.send = this.#take(cell) ?? progress.send;
    }
    this.#over = progress.done !== undefined;
    return progress;
  }

  /** Takes a cell other than the last; the answer is what to send. */
  #take(cell: LinkCell): Uint8Array | undefined {
    switch (cell.command) {
      case CellCommand.VERSIONS:
        this.#linkVersion = chooseVersion(decodeWith(VERSIONS, cell.payload));
        return undefined;
      case CellCommand.CERTS: {
        const { peerCertificate, expected, peerAddress } = this.#options;
        const evidence = { tlsCertificate: peerCertificate, expected, now: this.#options.now() };
        this.#identities = verifyResponderCerts(decodeWith(CERTS, cell.payload), evidence);
        // A client tells neither its time nor its addresses.
        const netinfo = { timestamp: 0, otherAddress: peerAddress.host, myAddresses: [] };
        return fixedCell(0, CellCommand.NETINFO, encodeWith(NETINFO, netinfo));
      }
      default:
        // A challenge that a client never answers must still be one.
        decodeWith(AUTH_CHALLENGE, cell.payload);
        return undefined;
    }
  }

  #finish(cell: LinkCell): LinkInfo {
    const { timestamp, otherAddress } = decodeWith(NETINFO, cell.payload);
    const now = this.#options.now();
    const tells = timestamp !== 0 && Math.abs(now - this.#startedAt) < SKEW_LIMIT_MS;
    // The table lets NETINFO come only after VERSIONS and CERTS.
    return {
      ...this.#identities!,
      linkVersion: this.#linkVersion!,
      clockSkewMs: tells ? now - timestamp * 1000 : undefined,
      ownAddress: otherAddress,
      rest: this.#sequence.rest(),
    };
  }
}

/** The highest version that both sides speak (tor-spec 4.1). */
function chooseVersion(theirs: readonly number[]): LinkVersion {
  const shared = LINK_VERSIONS.filter((version) => theirs.includes(version));
  const highest = shared.at(-1);
  if (highest !== undefined) return highest;
  const found = `the relay speaks ${theirs.join(", ") || "none"}, expected ${LINK_VERSIONS.join(" or ")}`;
  throw new TunicError(`Cannot set up the link: no link version in common: ${found}`, {
    kind: "protocol",
    code: "no-common-link-version",
    retry: "elsewhere",
  });
}
