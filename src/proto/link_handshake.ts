/**
 * The link handshake as its initiator (tor-spec 4): a client, which does not say who it is, or a relay, which
 * authenticates.
 *
 * VERSIONS go both ways, then the responder sends CERTS, AUTH_CHALLENGE and NETINFO. As soon as its certificates
 * are found good it gets a client's NETINFO, as from C tor; a relay waits for the challenge and answers it.
 */
import { concat } from "../bytes/bytes.ts";
import { decodeWith, encodeWith } from "../bytes/codec.ts";
import { RunningDigest, sha256 } from "../crypto/digest.ts";
import type { Address } from "../runtime/ports.ts";
import { CellCommand, fixedCell, variableCell } from "../wire/cell.ts";
import {
  type ExpectedIdentities,
  type ProvenIdentities,
  type ProvenKeys,
  verifyResponderCerts,
} from "../wire/cert_chain.ts";
import { AUTH_NONCE_LENGTH, signLink, TLS_SECRETS_LABEL, TLS_SECRETS_LENGTH } from "../wire/link_authentication.ts";
import { AUTH_CHALLENGE, AUTHENTICATE, AuthType, CERTS, NETINFO } from "../wire/link_cells.ts";
import type { LinkAuthentication } from "./link_identity.ts";
import { LinkParty, type OpenLink, versionsCell } from "./link_party.ts";
import type { LinkCell, LinkStates } from "./link_sequence.ts";

export interface LinkHandshakeOptions {
  /** The certificate that the relay showed in TLS, in DER. */
  readonly peerCertificate: Uint8Array;
  /** Who the relay must prove to be. */
  readonly expected: ExpectedIdentities;
  /** Milliseconds since 1970. */
  now(): number;
  /** Where the relay was reached; it is told so. */
  readonly peerAddress: Address;
  /** What a relay authenticates with, if the responder lets it; clients have none. */
  readonly authentication?: LinkAuthentication | undefined;
}

/** What an initiator has found out. */
export interface LinkInfo extends OpenLink, ProvenIdentities {
  /** Whether the responder was told who we are. */
  readonly authenticated: boolean;
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

export class LinkHandshake extends LinkParty<State, LinkInfo> {
  readonly #options: LinkHandshakeOptions;
  /** What the responder sent; only who authenticates must know it. */
  readonly #responderLog: RunningDigest | undefined;
  #peer: ProvenKeys | undefined;
  #authenticated = false;

  constructor(options: LinkHandshakeOptions) {
    const log = options.authentication && new RunningDigest("sha256");
    super(() => options.now(), RESPONDER_SENDS, "waiting for VERSIONS", log);
    this.#options = options;
    this.#responderLog = log;
  }

  /** What to send first. */
  start(): Uint8Array {
    return versionsCell();
  }

  protected override take(cell: LinkCell): Uint8Array | undefined {
    switch (cell.command) {
      case CellCommand.CERTS: {
        const { peerCertificate, expected, authentication } = this.#options;
        const evidence = { tlsCertificate: peerCertificate, expected, now: this.#options.now() };
        this.#peer = verifyResponderCerts(decodeWith(CERTS, cell.payload), evidence);
        return authentication ? undefined : this.#netinfo(0, []);
      }
      case CellCommand.AUTH_CHALLENGE: {
        // A challenge that is never answered must still be one.
        const { methods } = decodeWith(AUTH_CHALLENGE, cell.payload);
        const { authentication } = this.#options;
        if (!authentication) return undefined;
        const netinfo = this.#netinfo(Math.floor(this.#options.now() / 1000), authentication.ownAddresses);
        if (!methods.includes(AuthType.ED25519_SHA256_RFC5705)) return netinfo;
        this.#authenticated = true;
        return concat(...this.#authenticate(authentication), netinfo);
      }
      default:
        return undefined;
    }
  }

  protected override opened(link: OpenLink): LinkInfo {
    // The table lets NETINFO come only after CERTS.
    const { rsaId, ed25519Id } = this.#peer!;
    return { ...link, rsaId, ed25519Id, authenticated: this.#authenticated };
  }

  /** CERTS and AUTHENTICATE. */
  #authenticate({ identity, exportKeyingMaterial, random }: LinkAuthentication): Uint8Array[] {
    const peer = this.#peer!;
    const certs = variableCell(0, CellCommand.CERTS, encodeWith(CERTS, identity.initiatorCerts));
    const facts = {
      initiatorRsaKey: identity.rsaKeySha256,
      responderRsaKey: peer.rsaKeySha256,
      initiatorEd25519Id: identity.ed25519Id,
      responderEd25519Id: peer.ed25519Id,
      responderLog: this.#responderLog!.peek(),
      initiatorLog: sha256(versionsCell(), certs),
      tlsCertificate: sha256(this.#options.peerCertificate),
      tlsSecrets: exportKeyingMaterial(TLS_SECRETS_LENGTH, TLS_SECRETS_LABEL, identity.rsaKeySha256),
    };
    const authentication = signLink(facts, random(AUTH_NONCE_LENGTH), identity.authKey);
    const value = { type: AuthType.ED25519_SHA256_RFC5705, authentication };
    return [certs, variableCell(0, CellCommand.AUTHENTICATE, encodeWith(AUTHENTICATE, value))];
  }

  /** Clients tell neither their time nor their addresses. */
  #netinfo(timestamp: number, myAddresses: readonly string[]): Uint8Array {
    const netinfo = { timestamp, otherAddress: this.#options.peerAddress.host, myAddresses };
    return fixedCell(0, CellCommand.NETINFO, encodeWith(NETINFO, netinfo));
  }
}
