/** What a relay shows and signs in link handshakes (tor-spec 4.2, 4.4). */
import type { KeyingMaterialExporter } from "../runtime/ports.ts";
import type { EdSigner } from "../wire/ed_cert.ts";
import type { Certs } from "../wire/link_cells.ts";

export interface LinkIdentity {
  /** SHA-256 of the RSA identity key. */
  readonly rsaKeySha256: Uint8Array;
  readonly ed25519Id: Uint8Array;
  /** The certificate shown in TLS, in DER. */
  readonly tlsCertificate: Uint8Array;
  /** Certificates of types 2, 4, 5 and 7, which say that the TLS certificate is this relay's. */
  readonly responderCerts: Certs;
  /** Certificates of types 2, 4, 6 and 7, which say that `authKey` is this relay's. */
  readonly initiatorCerts: Certs;
  readonly authKey: EdSigner;
}

/** What an initiator needs to prove who it is. */
export interface LinkAuthentication {
  readonly identity: LinkIdentity;
  /** Of the link's TLS session. */
  readonly exportKeyingMaterial: KeyingMaterialExporter;
  random(count: number): Uint8Array;
  /** Told to the responder, as the time is. */
  readonly ownAddresses: readonly string[];
}
