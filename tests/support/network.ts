/** Networks made up for tests: a real NetDir over generated router status entries and microdescriptors. */
import { sha256 as digest } from "../../src/crypto/digest.ts";
import { toBase64, toHexUpper, utf8 } from "../../src/bytes/text.ts";
import { MicrodescStore } from "../../src/netdir/microdesc_store.ts";
import { NetDir } from "../../src/netdir/net_dir.ts";
import type { Consensus } from "../../src/wire/netdoc/consensus.ts";
import { RelayReader } from "../../src/wire/netdoc/consensus_relays.ts";
import { Protocols } from "../../src/wire/netdoc/protocols.ts";
import { Scanner } from "../../src/wire/netdoc/scanner.ts";

export interface TestRelay {
  /** Which relay it is: the same number is the same relay in another consensus, and orders it there. */
  readonly number: number;
  readonly nickname?: string;
  /** 10.N.0.1 by default, so that no two share a subnet. */
  readonly ipv4?: string;
  readonly ipv6?: string;
  readonly flags?: readonly string[];
  readonly bandwidth?: number;
  /** "accept 80,443", say; none by default. */
  readonly policy?: string;
  readonly policy6?: string;
  /** Numbers of those it says to be run together with. */
  readonly family?: readonly number[];
  readonly protocols?: string;
  /** Whether its microdescriptor is there; true by default. */
  readonly described?: boolean;
}

export interface NetworkOptions {
  readonly validAfter?: number;
  readonly params?: Readonly<Record<string, number>>;
  readonly bandwidthWeights?: Readonly<Record<string, number>>;
}

export const GUARD_FLAGS = ["Fast", "Guard", "Running", "Stable", "V2Dir", "Valid"];
export const MIDDLE_FLAGS = ["Fast", "Running", "Stable", "V2Dir", "Valid"];
export const EXIT_FLAGS = ["Exit", "Fast", "Running", "Stable", "V2Dir", "Valid"];

const HOUR_MS = 3_600_000;
const START = Date.parse("2026-01-29T12:00:00Z");

/** The RSA identity of relay `number`. */
export function rsaIdOf(number: number): Uint8Array {
  const rsaId = new Uint8Array(20).fill(0x5a);
  new DataView(rsaId.buffer).setUint32(0, number);
  return rsaId;
}

/** The number of the relay with this identity. */
export function numberOf(rsaId: Uint8Array): number {
  return new DataView(rsaId.buffer, rsaId.byteOffset).getUint32(0);
}

/** Relays are at the indexes that their numbers' order gives. */
export function makeNetwork(relays: readonly TestRelay[], options: NetworkOptions = {}): NetDir {
  const ordered = [...relays].sort((a, b) => a.number - b.number);
  const texts = ordered.map(microdescriptor);
  const entries = ordered.map((relay, i) => entry(relay, texts[i]!)).join("");
  const scanner = new Scanner(utf8(`known-flags\n${entries}directory-footer\n`), "a test network");
  // The reader begins at the first entry, which is never the first line.
  scanner.next();
  scanner.next();
  const none = { recommended: Protocols.NONE, required: Protocols.NONE };
  const validAfter = options.validAfter ?? START;
  const consensus: Consensus = {
    method: 33,
    validAfter,
    freshUntil: validAfter + HOUR_MS,
    validUntil: validAfter + 3 * HOUR_MS,
    voteDelayMs: 300_000,
    distributionDelayMs: 300_000,
    params: new Map(Object.entries(options.params ?? {})),
    bandwidthWeights: new Map(Object.entries(options.bandwidthWeights ?? {})),
    clientVersions: "",
    clientProtocols: none,
    relayProtocols: none,
    sharedRandomPrevious: undefined,
    sharedRandomCurrent: undefined,
    relays: RelayReader.read(scanner),
  };
  const netdir = new NetDir(consensus, new MicrodescStore(relays.length));
  const described = texts.filter((_, i) => ordered[i]!.described !== false);
  if (described.length > 0) netdir.addMicrodescs(utf8(described.join("")));
  return netdir;
}

/** `count` relays from number `first` on, all with the same properties. */
export function relays(first: number, count: number, properties: Omit<TestRelay, "number"> = {}): TestRelay[] {
  return Array.from({ length: count }, (_, i) => ({ ...properties, number: first + i }));
}

function entry(relay: TestRelay, text: string): string {
  const { number } = relay;
  const nickname = relay.nickname ?? `relay${number}`;
  const ipv4 = relay.ipv4 ?? `${10 + (number >> 8)}.${number & 255}.0.1`;
  const flags = [...relay.flags ?? MIDDLE_FLAGS].sort().join(" ");
  return [
    `r ${nickname} ${toBase64(rsaIdOf(number))} 2026-01-29 10:00:00 ${ipv4} 9001 0`,
    ...relay.ipv6 === undefined ? [] : [`a [${relay.ipv6}]:9001`],
    `m ${toBase64(sha256(text))}`,
    `s ${flags}`,
    `v Tor 0.4.9.11`,
    `pr ${relay.protocols ?? "Cons=1-2 Desc=1-2 FlowCtrl=1-2 Link=1-5 Microdesc=1-2 Relay=1-4"}`,
    `w Bandwidth=${relay.bandwidth ?? 1000}`,
    "",
  ].join("\n");
}

function microdescriptor(relay: TestRelay): string {
  const key = (kind: string) => toBase64(sha256(`${kind} ${relay.number}`));
  const family = relay.family?.map((number) => `$${toHexUpper(rsaIdOf(number))}`).join(" ");
  return [
    "onion-key",
    `ntor-onion-key ${key("ntor")}`,
    ...family === undefined ? [] : [`family ${family}`],
    ...relay.policy === undefined ? [] : [`p ${relay.policy}`],
    ...relay.policy6 === undefined ? [] : [`p6 ${relay.policy6}`],
    `id ed25519 ${key("ed25519")}`,
    "",
  ].join("\n");
}

function sha256(text: string): Uint8Array {
  return digest(utf8(text));
}
