/** Subprotocol versions, as in `pr Link=4-5 Relay=2-4` (dir-spec 2.1.1 "proto", tor-spec 9). */
import { latin1, malformed } from "../../bytes/mod.ts";
import { parseInteger } from "./scanner.ts";

const MAX_VERSION = 63;
const MAX_PROTOCOLS = 100;

/** Versions 0–31 and 32–63 as bit sets. */
type Versions = readonly [low: number, high: number];

export class Protocols {
  static readonly NONE = new Protocols(new Map());
  readonly #versions: ReadonlyMap<string, Versions>;

  private constructor(versions: ReadonlyMap<string, Versions>) {
    this.#versions = versions;
  }

  /** Reads `bytes[start, end)`: entries separated by single spaces. Throws `malformed`. */
  static parse(bytes: Uint8Array, start = 0, end = bytes.length): Protocols {
    const versions = new Map<string, Versions>();
    while (end > start && bytes[end - 1] === 0x20) end--;
    for (let at = start; at < end;) {
      while (bytes[at] === 0x20) at++;
      let stop = bytes.indexOf(0x20, at);
      if (stop < 0 || stop > end) stop = end;
      const equals = bytes.indexOf(0x3d, at);
      if (equals <= at || equals >= stop) fail("an entry without name or versions");
      if (equals - at > 100) fail("a name longer than 100 bytes");
      const name = latin1(bytes, at, equals);
      if (versions.has(name)) fail("a protocol twice");
      if (versions.size >= MAX_PROTOCOLS) fail(`more than ${MAX_PROTOCOLS} protocols`);
      versions.set(name, parseVersions(bytes, equals + 1, stop));
      at = stop + 1;
    }
    return new Protocols(versions);
  }

  supports(name: string, version: number): boolean {
    const versions = this.#versions.get(name);
    if (versions === undefined || version < 0 || version > MAX_VERSION) return false;
    return (versions[version >>> 5]! & (1 << (version & 31))) !== 0;
  }

  /** What is here and not in `other`, as "Name=version": empty where `other` supports everything here. */
  missingFrom(other: Protocols): string[] {
    const missing: string[] = [];
    for (const name of this.#versions.keys()) {
      for (let version = 0; version <= MAX_VERSION; version++) {
        if (this.supports(name, version) && !other.supports(name, version)) missing.push(`${name}=${version}`);
      }
    }
    return missing;
  }
}

/** `1`, `1-3`, `1,3-5`, or nothing. */
function parseVersions(bytes: Uint8Array, start: number, end: number): Versions {
  const versions: [number, number] = [0, 0];
  for (let at = start; at < end;) {
    let stop = bytes.indexOf(0x2c, at);
    if (stop < 0 || stop > end) stop = end;
    const dash = bytes.indexOf(0x2d, at);
    const ranged = dash > at && dash < stop;
    const low = parseInteger(bytes, at, ranged ? dash : stop);
    const high = ranged ? parseInteger(bytes, dash + 1, stop) : low;
    if (low === undefined || high === undefined || low < 0 || high < low || high > MAX_VERSION) {
      fail(`versions that are not ranges within 0–${MAX_VERSION}`);
    }
    for (let version = low; version <= high; version++) versions[version >>> 5]! |= 1 << (version & 31);
    at = stop + 1;
  }
  return versions;
}

function fail(found: string): never {
  throw malformed("a list of subprotocol versions", `found ${found}`);
}
