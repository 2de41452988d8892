/**
 * The microdescriptor consensus: what most authorities say about the network (dir-spec 3.4.1, 3.9.2).
 *
 * One pass over the bytes gives an {@link UnverifiedConsensus}, which keeps digests of what was signed, not the text.
 */
import { sha1, sha256, sha3_256 } from "../../crypto/digest.ts";
import { latin1, utf8 } from "../../bytes/mod.ts";
import { atFooter, RelayReader } from "./consensus_relays.ts";
import { type ConsensusSignature, UnverifiedConsensus } from "./consensus_verify.ts";
import { Protocols } from "./protocols.ts";
import type { RelayTable } from "./relay_table.ts";
import { decodeHex, parseInteger, Scanner } from "./scanner.ts";

const WHAT = "a consensus";
const MAX_SIGNATURES = 64;
const MAX_AUTHORITIES = 64;

/** When a document holds; milliseconds since 1970. */
export interface Lifetime {
  readonly validAfter: number;
  readonly freshUntil: number;
  readonly validUntil: number;
}

/** A value that all relays agreed on and nobody could foresee (srv-spec). */
export interface SharedRandomValue {
  readonly reveals: number;
  /** 32 bytes. */
  readonly value: Uint8Array;
}

/** What a role should or must support. */
export interface ProtocolRequirements {
  readonly recommended: Protocols;
  readonly required: Protocols;
}

export interface Consensus extends Lifetime {
  readonly method: number;
  readonly voteDelayMs: number;
  readonly distributionDelayMs: number;
  readonly params: ReadonlyMap<string, number>;
  readonly bandwidthWeights: ReadonlyMap<string, number>;
  /** Versions of C tor, separated by commas. */
  readonly clientVersions: string;
  readonly clientProtocols: ProtocolRequirements;
  readonly relayProtocols: ProtocolRequirements;
  readonly sharedRandomPrevious: SharedRandomValue | undefined;
  readonly sharedRandomCurrent: SharedRandomValue | undefined;
  readonly relays: RelayTable;
}

type Header = Omit<Consensus, "relays" | "bandwidthWeights">;

/** Reads a whole microdescriptor consensus. Throws `malformed`. */
export function parseConsensus(bytes: Uint8Array): UnverifiedConsensus {
  const scanner = new Scanner(bytes, WHAT);
  const header = parseHeader(scanner);
  const relays = RelayReader.read(scanner);
  const bandwidthWeights = parseFooter(scanner);
  const signedEnd = scanner.keywordEnd + 1;
  const signatures = parseSignatures(scanner);
  const signed = bytes.subarray(0, signedEnd);
  return new UnverifiedConsensus({ ...header, bandwidthWeights, relays }, signatures, {
    sha1: signatures.some((signature) => signature.algorithm === "sha1") ? sha1(signed) : undefined,
    sha256: signatures.some((signature) => signature.algorithm === "sha256") ? sha256(signed) : undefined,
  });
}

/** SHA3-256 of a consensus' signed part, by which diffs name the document they start from (dir-spec 3.4.1 "hash"). */
export function signedPartSha3(bytes: Uint8Array): Uint8Array {
  const scanner = new Scanner(bytes, WHAT);
  while (scanner.next()) {
    if (scanner.is("directory-signature")) return sha3_256(bytes.subarray(0, scanner.keywordEnd + 1));
  }
  return scanner.fail("it is not signed");
}

/** Reads the items before the first relay, which is the current line afterwards. */
function parseHeader(scanner: Scanner): Header {
  if (!scanner.next() || !scanner.is("network-status-version")) {
    scanner.fail('it does not begin with "network-status-version"');
  }
  if (scanner.needInteger("version", 0, 1000) !== 3) scanner.fail("it is of another version, expected 3");
  if (scanner.needText("flavor") !== "microdesc") scanner.fail('it is of another flavor, expected "microdesc"');
  const items = new Set<string>();
  let voters = 0;
  let method = 1;
  let validAfter = 0;
  let freshUntil = 0;
  let validUntil = 0;
  let voteDelayMs = 0;
  let distributionDelayMs = 0;
  let params: ReadonlyMap<string, number> = new Map();
  let clientVersions = "";
  let sharedRandomPrevious: SharedRandomValue | undefined;
  let sharedRandomCurrent: SharedRandomValue | undefined;
  const protocols = new Map<string, Protocols>();
  while (needLine(scanner)) {
    if (scanner.is("r") || atFooter(scanner)) break;
    const keyword = scanner.keyword();
    if (keyword === "dir-source") {
      scanner.needArgument("nickname");
      scanner.needHex("identity", 20);
      if (++voters > MAX_AUTHORITIES) scanner.fail(`more than ${MAX_AUTHORITIES} authorities`);
      continue;
    }
    if (!HEADER_ITEMS.has(keyword)) continue;
    if (items.has(keyword)) scanner.fail(`it has two "${keyword}" items`);
    items.add(keyword);
    switch (keyword) {
      case "vote-status":
        if (scanner.needText("status") !== "consensus") scanner.fail("it is not a consensus but a vote");
        break;
      case "consensus-method":
        method = scanner.needInteger("consensus method", 1, 0x7fff_ffff);
        break;
      case "valid-after":
        validAfter = scanner.needTime("valid-after");
        break;
      case "fresh-until":
        freshUntil = scanner.needTime("fresh-until");
        break;
      case "valid-until":
        validUntil = scanner.needTime("valid-until");
        break;
      case "voting-delay":
        voteDelayMs = 1000 * scanner.needInteger("voting delay", 0, 0x7fff_ffff);
        distributionDelayMs = 1000 * scanner.needInteger("distribution delay", 0, 0x7fff_ffff);
        break;
      case "client-versions":
        clientVersions = scanner.nextArgument() ? scanner.argument() : "";
        break;
      case "known-flags":
        checkSorted(scanner);
        break;
      case "params":
        params = parseNumbers(scanner, true);
        break;
      case "shared-rand-previous-value":
        sharedRandomPrevious = parseSharedRandom(scanner);
        break;
      case "shared-rand-current-value":
        sharedRandomCurrent = parseSharedRandom(scanner);
        break;
      default:
        protocols.set(keyword, Protocols.parse(scanner.bytes, argumentsStart(scanner), scanner.lineEnd));
    }
  }
  for (const needed of NEEDED_ITEMS) if (!items.has(needed)) scanner.fail(`it has no "${needed}" item`);
  if (voters === 0) scanner.fail('it has no "dir-source" item');
  if (validAfter >= freshUntil || freshUntil >= validUntil) {
    scanner.fail("its times are out of order, expected valid-after, fresh-until, valid-until");
  }
  const requirements = (role: string): ProtocolRequirements => ({
    recommended: protocols.get(`recommended-${role}-protocols`) ?? Protocols.NONE,
    required: protocols.get(`required-${role}-protocols`) ?? Protocols.NONE,
  });
  return {
    method,
    validAfter,
    freshUntil,
    validUntil,
    voteDelayMs,
    distributionDelayMs,
    params,
    clientVersions,
    clientProtocols: requirements("client"),
    relayProtocols: requirements("relay"),
    sharedRandomPrevious,
    sharedRandomCurrent,
  };
}

const NEEDED_ITEMS = ["vote-status", "valid-after", "fresh-until", "valid-until", "voting-delay", "known-flags"];
const HEADER_ITEMS: ReadonlySet<string> = new Set([
  ...NEEDED_ITEMS,
  "consensus-method",
  "client-versions",
  "params",
  "shared-rand-previous-value",
  "shared-rand-current-value",
  "recommended-client-protocols",
  "recommended-relay-protocols",
  "required-client-protocols",
  "required-relay-protocols",
]);

/** Goes on to the next line, which must be there: a consensus never ends before its signatures. */
function needLine(scanner: Scanner): true {
  if (!scanner.next()) scanner.fail("the document ends too early");
  return true;
}

function argumentsStart(scanner: Scanner): number {
  return Math.min(scanner.keywordEnd + 1, scanner.lineEnd);
}

function checkSorted(scanner: Scanner): void {
  let previous = "";
  while (scanner.nextArgument()) {
    const flag = scanner.argument();
    if (flag <= previous) scanner.fail(`the arguments of "${scanner.keyword()}" are not in order`);
    previous = flag;
  }
}

/** `name=integer` …, in order of their names where `sorted`. */
function parseNumbers(scanner: Scanner, sorted: boolean): Map<string, number> {
  const numbers = new Map<string, number>();
  let previous = "";
  while (scanner.nextArgument()) {
    const equals = scanner.bytes.indexOf(0x3d, scanner.argumentStart);
    const end = scanner.argumentEnd;
    const value = equals > scanner.argumentStart && equals < end
      ? parseInteger(scanner.bytes, equals + 1, end)
      : undefined;
    if (value === undefined || value < -0x8000_0000 || value > 0x7fff_ffff) {
      scanner.fail(`"${scanner.keyword()}" has an argument that is not name=integer`);
    }
    const name = latin1(scanner.bytes, scanner.argumentStart, equals);
    if (numbers.has(name)) scanner.fail(`"${scanner.keyword()}" names something twice`);
    // C tor orders the whole argument, so that "a=1" comes before "a-b=1".
    const argument = scanner.argument();
    if (sorted && argument <= previous) scanner.fail(`the arguments of "${scanner.keyword()}" are not in order`);
    previous = argument;
    numbers.set(name, value);
  }
  return numbers;
}

function parseSharedRandom(scanner: Scanner): SharedRandomValue {
  const reveals = scanner.needInteger("number of reveals", 0, 0x7fff_ffff);
  const value = new Uint8Array(32);
  scanner.needBase64("shared random value", value, 0, 32);
  return { reveals, value };
}

/** Reads from the footer's first line to the first signature, which is the current line afterwards. */
function parseFooter(scanner: Scanner): ReadonlyMap<string, number> {
  let weights: ReadonlyMap<string, number> | undefined;
  if (scanner.is("directory-footer")) needLine(scanner);
  while (!scanner.is("directory-signature")) {
    if (scanner.is("directory-footer") || scanner.is("r")) scanner.fail("items in unexpected places");
    if (scanner.is("bandwidth-weights")) {
      if (weights !== undefined) scanner.fail('it has two "bandwidth-weights" items');
      weights = parseNumbers(scanner, false);
    }
    needLine(scanner);
  }
  // What is signed ends with this very space.
  if (scanner.bytes[scanner.keywordEnd] !== 0x20) scanner.fail("a signature without arguments");
  return weights ?? new Map();
}

/** Reads the signatures, from the first to the document's end; those with unknown algorithms are left out. */
function parseSignatures(scanner: Scanner): ConsensusSignature[] {
  const signatures: ConsensusSignature[] = [];
  let count = 0;
  do {
    if (!scanner.is("directory-signature")) scanner.fail("something follows the signatures");
    if (++count > MAX_SIGNATURES) scanner.fail(`more than ${MAX_SIGNATURES} signatures`);
    const first = scanner.needText("algorithm");
    // Without an algorithm the line begins with an identity in hex; no algorithm's name is that long.
    const named = first.length !== 40;
    if (named && first !== "sha1" && first !== "sha256") continue;
    const identity = named ? scanner.needHex("identity", 20) : fromHexArgument(scanner, first);
    const signingKeyDigest = scanner.needHex("signing key digest", 20);
    const signature = scanner.needObject("SIGNATURE");
    signatures.push({ algorithm: first === "sha256" ? "sha256" : "sha1", identity, signingKeyDigest, signature });
  } while (scanner.next());
  return signatures;
}

function fromHexArgument(scanner: Scanner, text: string): Uint8Array {
  const bytes = new Uint8Array(20);
  if (!decodeHex(utf8(text), 0, bytes, 0, 20)) scanner.fail("identity is not 20 bytes in hex");
  return bytes;
}
