/**
 * Relays that nobody runs: they make consensus and microdescriptors as large as the public network's, for measuring.
 *
 * No path takes them: they weigh nothing, let nothing out, and have none of the flags by which guards, exits, onion
 * directories and directory caches are chosen. Their addresses belong to nobody (RFC 1112's class E, RFC 3849's
 * documentation prefix). What they are made of follows the public network in January 2026: microdescriptors of 621
 * bytes at the median and 4,192 in the mean, nine tenths of which are a few families' long lists.
 */
import { compare, concat } from "../../bytes/bytes.ts";
import { formatIp } from "../../bytes/ip.ts";
import { toHexUpper, utf8 } from "../../bytes/text.ts";
import { sha256 } from "../../crypto/digest.ts";
import type { RandomSource } from "../../runtime/random.ts";
import { NO_EXIT } from "./exit_policy.ts";
import { canonicalFamily, microdescEnd, microdescStart } from "./microdesc_text.ts";
import type { RelayStatus } from "./relay_status.ts";

export interface PhantomRelay {
  readonly status: RelayStatus;
  /** Its microdescriptor, put together when asked for: kept as text, the families would take tens of megabytes. */
  microdesc(): Uint8Array;
}

const FLAGS = ["Running", "Valid"];
const VERSION = "Tor 0.4.8.21";
const PROTOCOLS = "Conflux=1 Cons=1-2 Desc=1-2 DirCache=2 FlowCtrl=1-2 HSDir=2 HSIntro=4-5 HSRend=1-2 Link=1-5 " +
  "LinkAuth=1,3 Microdesc=1-2 Padding=2 Relay=1-4";
const DAY_MS = 86_400_000;
/** Of a thousand relays, over and over: how many families there are of which size. */
const FAMILIES = [[360, 1], [32, 5], [2, 20], [1, 40], [1, 150], [1, 250]] as const;
const NICKNAME_DIGITS = 36;

/** Bytes of randomness that a relay is made of. */
const RSA_ID = 0;
const ED25519_ID = 20;
const NTOR_KEY = 52;
const DESCRIPTOR_DIGEST = 84;
const TAP_MODULUS = 104;
const SIZE = 232;
/** PKCS #1 around a modulus of 1024 bits, whose first bit is set, with the exponent 65537. */
const TAP_HEAD = Uint8Array.of(0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00);
const TAP_TAIL = Uint8Array.of(0x02, 0x03, 0x01, 0x00, 0x01);

/** `count` relays, ascending by identity; published within the day before `now` (ms since 1970). */
export function makePhantomRelays(count: number, now: number, source: RandomSource): PhantomRelay[] {
  const random = source.random(count * SIZE);
  const relays: PhantomRelay[] = [];
  const sizes = FAMILIES.flatMap(([families, size]) => new Array<number>(families).fill(size));
  for (let family = 0; relays.length < count; family++) {
    const members = Math.min(sizes[family % sizes.length]!, count - relays.length);
    const seeds = Array.from({ length: members }, (_, i) => {
      const at = (relays.length + i) * SIZE;
      return random.subarray(at, at + SIZE);
    });
    const line = members === 1 ? undefined : familyLine(seeds);
    for (const seed of seeds) relays.push(makeRelay(relays.length, seed, line, now));
  }
  return relays.sort((a, b) => compare(a.status.rsaId, b.status.rsaId));
}

function familyLine(seeds: readonly Uint8Array[]): Uint8Array {
  const fingerprints = seeds.map((seed) => `$${toHexUpper(seed.subarray(RSA_ID, RSA_ID + 20))}`);
  return utf8(microdescEnd({ family: canonicalFamily(fingerprints) }));
}

function makeRelay(number: number, seed: Uint8Array, family: Uint8Array | undefined, now: number): PhantomRelay {
  const part = (at: number, length: number) => seed.subarray(at, at + length);
  const modulus = part(TAP_MODULUS, SIZE - TAP_MODULUS);
  modulus[0]! |= 0x80;
  modulus[modulus.length - 1]! |= 1;
  const ed25519Id = part(ED25519_ID, 32);
  const start = utf8(microdescStart({ tapKey: concat(TAP_HEAD, modulus, TAP_TAIL), ntorKey: part(NTOR_KEY, 32) }));
  const end = utf8(microdescEnd({ policy: NO_EXIT.summary, ed25519Id }));
  const parts = family === undefined ? [start, end] : [start, family, end];
  const [a, b, c] = seed as unknown as [number, number, number];
  return {
    status: {
      nickname: `phantom${number.toString(NICKNAME_DIGITS)}`,
      rsaId: part(RSA_ID, 20),
      ed25519Id,
      descriptorDigest: part(DESCRIPTOR_DIGEST, 20),
      microdescDigest: sha256(...parts),
      published: now - Math.floor((DAY_MS * (256 * a + b)) / 65_536),
      ipv4: `${240 + (a & 15)}.${b}.${c}.${number & 255}`,
      orPort: 9001,
      dirPort: 0,
      ipv6: number % 2 === 0
        ? `[${formatIp(Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, ...part(RSA_ID, 12)))}]:9001`
        : undefined,
      flags: FLAGS,
      version: VERSION,
      protocols: PROTOCOLS,
      bandwidth: 0,
      policy: NO_EXIT.summary,
    },
    microdesc: () => concat(...parts),
  };
}
