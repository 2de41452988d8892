/**
 * What may be asked of an exit at all, checked before anything leaves this machine.
 *
 * Names under `.onion` must never reach an exit or a resolver (RFC 7686), `.exit` is not a name of the network any
 * more, and addresses of private networks mean something else at the exit than here (C tor's
 * ClientRejectInternalAddresses).
 */
import { type ErrorKind, TunicError } from "../base/errors.ts";
import { equal } from "../bytes/bytes.ts";
import { isInternalAddress } from "../bytes/ip.ts";
import { fromBase32, utf8 } from "../bytes/text.ts";
import { sha3_256 } from "../crypto/digest.ts";

export interface DestinationRules {
  /** Refuse addresses and names of private networks; off in testing networks only. */
  readonly rejectInternalAddresses: boolean;
}

/**
 * Throws for a host that must not be asked for: `argument` "bad-host", "onion-bad-address"; `unsupported`
 * "onion-unsupported"; `policy` "exit-suffix", "internal-address". The messages do not contain the host.
 */
export function checkDestination(host: string, rules: DestinationRules): void {
  const name = host.toLowerCase().replace(/\.$/, "");
  if (name === "" || name.length > 255) refuse("argument", "bad-host", "found no name of 1 to 255 characters");
  if (/(^|\.)onion$/.test(name)) {
    if (!isOnionAddress(name)) refuse("argument", "onion-bad-address", "found an ill-formed onion address");
    refuse("unsupported", "onion-unsupported", "onion services are not supported yet");
  }
  if (/(^|\.)exit$/.test(name)) refuse("policy", "exit-suffix", "names under .exit are not supported");
  if (rules.rejectInternalAddresses && isInternal(name)) {
    refuse("policy", "internal-address", "found an address of a private network, expected a public one");
  }
}

/**
 * Throws `policy` "internal-answer" where an exit says that it connected to an address of no public network: it lies, or
 * it was made to reach into a network of its own.
 */
export function checkConnected(address: string | undefined): void {
  if (address === undefined || !isInternalAddress(address)) return;
  throw new TunicError("Cannot open a stream: the exit says that it connected to an address of a private network", {
    kind: "policy",
    code: "internal-answer",
  });
}

function refuse(kind: ErrorKind, code: string, detail: string): never {
  throw new TunicError(`Cannot connect: ${detail}`, { kind, code });
}

/** Whether the label before `.onion` is an address of version 3 (rend-spec-v3 6), whatever stands before it. */
function isOnionAddress(name: string): boolean {
  const label = name.split(".").at(-2) ?? "";
  if (!/^[a-z2-7]{56}$/.test(label)) return false;
  const bytes = fromBase32(label);
  const checksum = sha3_256(utf8(".onion checksum"), bytes.subarray(0, 32), bytes.subarray(34));
  return bytes[34] === 3 && equal(checksum.subarray(0, 2), bytes.subarray(32, 34));
}

/** Names that C tor calls local, and addresses that belong to no public network. */
function isInternal(name: string): boolean {
  if (/(^|\.)local$|(^|\.)localhost$/.test(name)) return true;
  return isInternalAddress(name);
}
