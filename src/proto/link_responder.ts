/**
 * The link handshake as its responder, a relay (tor-spec 4).
 *
 * The initiator's VERSIONS are answered with all that a responder says: VERSIONS, CERTS, AUTH_CHALLENGE and NETINFO.
 * A client then sends its NETINFO; a relay sends CERTS and AUTHENTICATE before it, and is believed to be who it says
 * only once its signature over this very link is found good.
 */
import { TunicError } from "../base/errors.ts";
import { concat } from "../bytes/bytes.ts";
import { decodeWith, encodeWith } from "../bytes/codec.ts";
import { RunningDigest, sha256 } from "../crypto/digest.ts";
import type { Address, KeyingMaterialExporter } from "../runtime/ports.ts";
import { CellCommand, fixedCell, variableCell } from "../wire/cell.ts";
import { type ClaimedIdentities, type ProvenIdentities, verifyInitiatorCerts } from "../wire/cert_chain.ts";
import { TLS_SECRETS_LABEL, TLS_SECRETS_LENGTH, verifyLinkSignature } from "../wire/link_authentication.ts";
import { AUTH_CHALLENGE, AUTHENTICATE, AuthType, CERTS, NETINFO } from "../wire/link_cells.ts";
import type { LinkIdentity } from "./link_identity.ts";
import { LinkParty, type OpenLink, versionsCell } from "./link_party.ts";
import type { LinkCell, LinkStates } from "./link_sequence.ts";

export interface LinkResponderOptions {
  readonly identity: LinkIdentity;
  /** Milliseconds since 1970. */
  now(): number;
  random(count: number): Uint8Array;
  /** Where the initiator's connection comes from; it is told so. */
  readonly peerAddress: Address | undefined;
  readonly ownAddresses: readonly string[];
  /** Of the link's TLS session; where the runtime gives none, no initiator can authenticate. */
  readonly exportKeyingMaterial?: KeyingMaterialExporter | undefined;
}

/** What a responder has found out. */
export interface InboundLink extends OpenLink {
  /** The relay that proved to be the initiator; `undefined` for a client, or a relay that did not authenticate. */
  readonly peer: ProvenIdentities | undefined;
}

type State =
  | "waiting for VERSIONS"
  | "waiting for CERTS or NETINFO"
  | "waiting for AUTHENTICATE or NETINFO"
  | "waiting for NETINFO";

/**
 * What an initiator may send. AUTHORIZE, which nobody sends yet, is to be ignored (4). C tor's relays send CERTS before
 * they have seen how they may authenticate, and go on to NETINFO where they cannot: such a claim counts for nothing.
 */
const INITIATOR_SENDS: LinkStates<State> = {
  "waiting for VERSIONS": new Map([
    [CellCommand.VERSIONS, "waiting for CERTS or NETINFO"],
    [CellCommand.VPADDING, "waiting for VERSIONS"],
    [CellCommand.AUTHORIZE, "waiting for VERSIONS"],
  ]),
  "waiting for CERTS or NETINFO": new Map([
    [CellCommand.CERTS, "waiting for AUTHENTICATE or NETINFO"],
    [CellCommand.NETINFO, "open"],
    [CellCommand.VPADDING, "waiting for CERTS or NETINFO"],
    [CellCommand.AUTHORIZE, "waiting for CERTS or NETINFO"],
    [CellCommand.VERSIONS, "waiting for CERTS or NETINFO"],
  ]),
  "waiting for AUTHENTICATE or NETINFO": new Map([
    [CellCommand.AUTHENTICATE, "waiting for NETINFO"],
    [CellCommand.NETINFO, "open"],
    [CellCommand.VPADDING, "waiting for AUTHENTICATE or NETINFO"],
    [CellCommand.AUTHORIZE, "waiting for AUTHENTICATE or NETINFO"],
    [CellCommand.VERSIONS, "waiting for AUTHENTICATE or NETINFO"],
  ]),
  "waiting for NETINFO": new Map([
    [CellCommand.NETINFO, "open"],
    [CellCommand.VPADDING, "waiting for NETINFO"],
    [CellCommand.AUTHORIZE, "waiting for NETINFO"],
    [CellCommand.VERSIONS, "waiting for NETINFO"],
  ]),
};

const CHALLENGE_LENGTH = 32;

export class LinkResponder extends LinkParty<State, InboundLink> {
  readonly #options: LinkResponderOptions;
  readonly #initiatorLog: RunningDigest;
  #responderLog: Uint8Array | undefined;
  #claimed: ClaimedIdentities | undefined;
  #proven: ProvenIdentities | undefined;

  constructor(options: LinkResponderOptions) {
    const log = new RunningDigest("sha256");
    super(() => options.now(), INITIATOR_SENDS, "waiting for VERSIONS", log);
    this.#options = options;
    this.#initiatorLog = log;
  }

  protected override take(cell: LinkCell): Uint8Array | undefined {
    switch (cell.command) {
      case CellCommand.VERSIONS:
        return this.#answer();
      case CellCommand.CERTS:
        this.#claimed = verifyInitiatorCerts(decodeWith(CERTS, cell.payload), this.#options.now());
        return undefined;
      default:
        this.#proven = this.#verifyAuthenticate(cell.payload);
        return undefined;
    }
  }

  protected override opened(link: OpenLink): InboundLink {
    return { ...link, peer: this.#proven };
  }

  #answer(): Uint8Array {
    const { identity, exportKeyingMaterial, peerAddress, ownAddresses } = this.#options;
    const challenge = {
      challenge: this.#options.random(CHALLENGE_LENGTH),
      methods: exportKeyingMaterial ? [AuthType.ED25519_SHA256_RFC5705] : [],
    };
    const logged = concat(
      versionsCell(),
      variableCell(0, CellCommand.CERTS, encodeWith(CERTS, identity.responderCerts)),
      variableCell(0, CellCommand.AUTH_CHALLENGE, encodeWith(AUTH_CHALLENGE, challenge)),
    );
    this.#responderLog = sha256(logged);
    const timestamp = Math.floor(this.#options.now() / 1000);
    const netinfo = { timestamp, otherAddress: peerAddress?.host, myAddresses: ownAddresses };
    return concat(logged, fixedCell(0, CellCommand.NETINFO, encodeWith(NETINFO, netinfo)));
  }

  #verifyAuthenticate(payload: Uint8Array): ProvenIdentities {
    const { type, authentication } = decodeWith(AUTHENTICATE, payload);
    const { identity, exportKeyingMaterial } = this.#options;
    if (!exportKeyingMaterial || type !== AuthType.ED25519_SHA256_RFC5705) {
      throw new TunicError(`Cannot set up the link: authentication of type ${type}, which was not offered`, {
        kind: "protocol",
        code: "authentication-not-offered",
        retry: "elsewhere",
      });
    }
    // The table lets AUTHENTICATE come only after VERSIONS and CERTS.
    const claimed = this.#claimed!;
    const facts = {
      initiatorRsaKey: claimed.rsaKeySha256,
      responderRsaKey: identity.rsaKeySha256,
      initiatorEd25519Id: claimed.ed25519Id,
      responderEd25519Id: identity.ed25519Id,
      responderLog: this.#responderLog!,
      initiatorLog: this.#initiatorLog.peek(),
      tlsCertificate: sha256(identity.tlsCertificate),
      tlsSecrets: exportKeyingMaterial(TLS_SECRETS_LENGTH, TLS_SECRETS_LABEL, claimed.rsaKeySha256),
    };
    verifyLinkSignature(authentication, facts, claimed.authKey);
    return { rsaId: claimed.rsaId, ed25519Id: claimed.ed25519Id };
  }
}
