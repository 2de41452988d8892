/**
 * Microdescriptors: what a client needs of a relay beyond the consensus (dir-spec 3.3).
 *
 * They come concatenated, each from its `onion-key` line to the next one's, and are known by the SHA-256 of exactly
 * that text; whoever reads them compares it with the consensus. The old TAP key in them is not read.
 */
import { isTunicError } from "../../base/errors.ts";
import { PortPolicy } from "./port_policy.ts";
import { Scanner } from "./scanner.ts";

const WHAT = "a microdescriptor";

/** Views into the text, valid for as long as it is. */
export interface Microdesc {
  /** Curve25519 onion key, 32 bytes. */
  readonly ntorKey: Uint8Array;
  /** Ed25519 identity, 32 bytes. */
  readonly ed25519Id: Uint8Array | undefined;
  /** The arguments of `family`: names and `$` with hex identities, separated by spaces. */
  readonly family: Uint8Array | undefined;
  /** The arguments of `family-ids` (proposal 321). */
  readonly familyIds: Uint8Array | undefined;
  /** The arguments of `p` and `p6`, which {@link PortPolicy.parse} reads without error. */
  readonly policy: Uint8Array | undefined;
  readonly policy6: Uint8Array | undefined;
}

/** One microdescriptor's text, and what it says, unless that is malformed. */
export interface MicrodescText {
  readonly text: Uint8Array;
  readonly microdesc: Microdesc | undefined;
}

/**
 * Takes concatenated microdescriptors apart. One that is malformed comes without its contents and does not stop the
 * others. Throws `malformed` where the text does not begin with a microdescriptor.
 */
export function* parseMicrodescs(bytes: Uint8Array): Generator<MicrodescText> {
  for (let start = 0; start < bytes.length;) {
    const end = nextStart(bytes, start);
    const text = bytes.subarray(start, end);
    if (!startsHere(bytes, start)) new Scanner(bytes, WHAT, start).fail('it does not begin with "onion-key"');
    let microdesc: Microdesc | undefined;
    try {
      microdesc = parseMicrodesc(text);
    } catch (error) {
      if (!isTunicError(error, "malformed")) throw error;
    }
    yield { text, microdesc };
    start = end;
  }
}

/** Reads the text of one microdescriptor. Throws `malformed`. */
export function parseMicrodesc(text: Uint8Array): Microdesc {
  const scanner = new Scanner(text, WHAT);
  if (!scanner.next() || !scanner.is("onion-key")) scanner.fail('it does not begin with "onion-key"');
  scanner.noMoreArguments();
  let ntorKey: Uint8Array | undefined;
  let ed25519Id: Uint8Array | undefined;
  let family: Uint8Array | undefined;
  let familyIds: Uint8Array | undefined;
  let policy: Uint8Array | undefined;
  let policy6: Uint8Array | undefined;
  const once = (value: unknown): void => {
    if (value !== undefined) scanner.fail(`it has two "${scanner.keyword()}" items`);
  };
  while (scanner.next()) {
    switch (scanner.keyword()) {
      case "onion-key":
        scanner.fail('it has two "onion-key" items');
        break;
      case "ntor-onion-key":
        once(ntorKey);
        ntorKey = new Uint8Array(32);
        scanner.needBase64("ntor-onion-key", ntorKey, 0, 32);
        break;
      case "id":
        if (scanner.needText("kind of identity") !== "ed25519") break;
        once(ed25519Id);
        ed25519Id = new Uint8Array(32);
        scanner.needBase64("ed25519 identity", ed25519Id, 0, 32);
        break;
      case "family":
        once(family);
        family = argumentsOf(scanner);
        break;
      case "family-ids":
        once(familyIds);
        familyIds = argumentsOf(scanner);
        break;
      case "p":
        once(policy);
        policy = policyOf(scanner);
        break;
      case "p6":
        once(policy6);
        policy6 = policyOf(scanner);
        break;
    }
  }
  if (ntorKey === undefined) return scanner.fail("it has no ntor-onion-key");
  return { ntorKey, ed25519Id, family, familyIds, policy, policy6 };
}

function argumentsOf(scanner: Scanner): Uint8Array {
  return scanner.bytes.subarray(Math.min(scanner.keywordEnd + 1, scanner.lineEnd), scanner.lineEnd);
}

function policyOf(scanner: Scanner): Uint8Array {
  const text = argumentsOf(scanner);
  PortPolicy.parse(text);
  return text;
}

const FIRST_LINE = [..."onion-key"].map((c) => c.charCodeAt(0));

function startsHere(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < FIRST_LINE.length; i++) if (bytes[at + i] !== FIRST_LINE[i]) return false;
  const after = bytes[at + FIRST_LINE.length];
  return after === 0x0a || after === 0x20;
}

/** Where the microdescriptor after the one at `start` begins, or the end of the text. */
function nextStart(bytes: Uint8Array, start: number): number {
  for (let at = start;;) {
    const newline = bytes.indexOf(0x0a, at);
    if (newline < 0 || newline + 1 >= bytes.length) return bytes.length;
    at = newline + 1;
    if (startsHere(bytes, at)) return at;
  }
}
