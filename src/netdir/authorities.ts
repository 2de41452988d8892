/** Whom a client trusts for the consensus, and whom it may ask for a copy of it (dir-spec 1, dir-list-spec). */
import type { Address } from "../runtime/ports.ts";

/** A directory authority. */
export interface DirectoryAuthority {
  readonly nickname: string;
  /** Where its OR port listens; port 0 if it has none: its signature counts, but nothing is asked of it. */
  readonly address: Address;
  readonly ipv6?: Address;
  readonly dirPort: number;
  /** SHA-1 of its relay's RSA identity key, 20 bytes. */
  readonly rsaId: Uint8Array;
  /** SHA-1 of its long-term authority identity key, 20 bytes: what consensus signatures name. */
  readonly v3ident: Uint8Array;
}

/** A relay that has agreed to serve directory documents to clients that know nothing yet. */
export interface FallbackDirectory {
  /** Where its OR port listens. */
  readonly address: Address;
  readonly ipv6?: Address;
  /** SHA-1 of its RSA identity key, 20 bytes. */
  readonly rsaId: Uint8Array;
  /** 32 bytes, where known. */
  readonly ed25519Id?: Uint8Array;
  /** Relative chance of being chosen; 1 where not given. */
  readonly weight?: number;
}
