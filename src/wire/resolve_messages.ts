/** Relay messages of remote name lookup: RESOLVE and RESOLVED (tor-spec 6.4). */
import type { Codec } from "../bytes/codec.ts";
import { formatIp, parseIp } from "../bytes/ip.ts";
import type { Reader } from "../bytes/reader.ts";
import type { Writer } from "../bytes/writer.ts";
import { isHostText, readNulTerminated, readText, unfit, writeText } from "./stream_messages.ts";

/** The name to look up, in lower case; for a reverse lookup one under in-addr.arpa or ip6.arpa. */
export const RESOLVE: Codec<string> = {
  what: "RESOLVE message",
  encode(name: string, writer: Writer): void {
    const lower = name.toLowerCase();
    if (lower === "" || !isHostText(lower)) throw unfit("RESOLVE", "a name that is none");
    writeText(`${lower}\0`, writer);
  },
  decode(reader: Reader): string {
    const name = readNulTerminated(reader);
    if (!isHostText(name) || name === "") reader.fail("a name that is none");
    reader.rest();
    return name.toLowerCase();
  },
};

/** One answer; `ttl` is seconds. */
export type ResolvedAnswer =
  | { readonly kind: "ipv4" | "ipv6"; readonly address: string; readonly ttl: number }
  | { readonly kind: "hostname"; readonly hostname: string; readonly ttl: number }
  /** The relay's explanation is dropped, as the specification wants. */
  | { readonly kind: "error"; readonly transient: boolean; readonly ttl: number }
  | { readonly kind: "unknown"; readonly type: number; readonly value: Uint8Array; readonly ttl: number };

const HOSTNAME = 0x00;
const IPV4 = 0x04;
const IPV6 = 0x06;
const ERROR_TRANSIENT = 0xf0;
const ERROR_NONTRANSIENT = 0xf1;

export const RESOLVED: Codec<readonly ResolvedAnswer[]> = {
  what: "RESOLVED message",
  encode(answers: readonly ResolvedAnswer[], writer: Writer): void {
    for (const answer of answers) {
      encodeValue(answer, writer);
      writer.u32(answer.ttl);
    }
  },
  decode(reader: Reader): readonly ResolvedAnswer[] {
    const answers: ResolvedAnswer[] = [];
    while (reader.remaining > 0) answers.push(decodeAnswer(reader));
    return answers;
  },
};

/** The name under in-addr.arpa or ip6.arpa that a reverse lookup asks for; throws `argument` for no address. */
export function reverseLookupName(address: string): string {
  const bytes = parseIp(address);
  if (!bytes) throw unfit("RESOLVE", "an address that is neither IPv4 nor IPv6");
  if (bytes.length === 4) return `${[...bytes].reverse().join(".")}.in-addr.arpa`;
  const nibbles = [...bytes].flatMap((byte) => [byte >>> 4, byte & 15]).reverse();
  return `${nibbles.map((nibble) => nibble.toString(16)).join(".")}.ip6.arpa`;
}

function encodeValue(answer: ResolvedAnswer, writer: Writer): void {
  switch (answer.kind) {
    case "ipv4":
    case "ipv6": {
      const bytes = parseIp(answer.address);
      if (!bytes) throw unfit("RESOLVED", "an address that is neither IPv4 nor IPv6");
      writer.u8(bytes.length === 4 ? IPV4 : IPV6).u8(bytes.length).bytes(bytes);
      break;
    }
    case "hostname":
      if (!isHostText(answer.hostname)) throw unfit("RESOLVED", "a name that is none");
      writer.u8(HOSTNAME).lengthPrefixed(1, (body) => writeText(answer.hostname, body));
      break;
    case "error":
      writer.u8(answer.transient ? ERROR_TRANSIENT : ERROR_NONTRANSIENT).u8(0);
      break;
    case "unknown":
      writer.u8(answer.type).lengthPrefixed(1, (body) => body.bytes(answer.value));
  }
}

function decodeAnswer(reader: Reader): ResolvedAnswer {
  const type = reader.u8();
  const length = reader.u8();
  switch (type) {
    case IPV4:
    case IPV6: {
      const expected = type === IPV4 ? 4 : 16;
      if (length !== expected) reader.fail(`an address of type ${type} with ${length} bytes, expected ${expected}`);
      const address = formatIp(reader.view(length));
      return { kind: type === IPV4 ? "ipv4" : "ipv6", address, ttl: reader.u32() };
    }
    case HOSTNAME: {
      if (length === 0) reader.fail("an empty name");
      const hostname = readText(reader, length);
      return { kind: "hostname", hostname, ttl: reader.u32() };
    }
    case ERROR_TRANSIENT:
    case ERROR_NONTRANSIENT:
      reader.skip(length);
      return { kind: "error", transient: type === ERROR_TRANSIENT, ttl: reader.u32() };
    default: {
      const value = reader.copy(length);
      return { kind: "unknown", type, value, ttl: reader.u32() };
    }
  }
}
