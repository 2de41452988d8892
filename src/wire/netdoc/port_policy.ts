/** Exit policy summaries: `accept 80,443` or `reject 1-1024` (dir-spec 3.4.1 "p", 3.8.2). */
import { malformed } from "../../bytes/mod.ts";
import { parseInteger } from "./scanner.ts";

/** As many as the authorities ever write. */
const MAX_RANGES = 1000;

export class PortPolicy {
  static readonly REJECT_ALL = new PortPolicy(false, Uint16Array.of(1, 65535));
  readonly #accepts: boolean;
  /** First and last port of each range, in turn. */
  readonly #ranges: Uint16Array;

  private constructor(accepts: boolean, ranges: Uint16Array) {
    this.#accepts = accepts;
    this.#ranges = ranges;
  }

  /** Reads `accept` or `reject` and a list of ports from `bytes[start, end)`. Throws `malformed`. */
  static parse(bytes: Uint8Array, start = 0, end = bytes.length): PortPolicy {
    const accepts = startsWith(bytes, start, end, "accept ");
    if (!accepts && !startsWith(bytes, start, end, "reject ")) fail("neither accept nor reject");
    const ranges: number[] = [];
    for (let at = start + 7; at < end;) {
      let stop = bytes.indexOf(0x2c, at);
      if (stop < 0 || stop > end) stop = end;
      const dash = bytes.indexOf(0x2d, at);
      const ranged = dash > at && dash < stop;
      const low = parseInteger(bytes, at, ranged ? dash : stop);
      const high = ranged ? parseInteger(bytes, dash + 1, stop) : low;
      if (low === undefined || high === undefined || low < 1 || high < low || high > 65535) {
        fail("ports that are not ranges within 1–65535");
      }
      ranges.push(low, high);
      if (ranges.length > 2 * MAX_RANGES) fail(`more than ${MAX_RANGES} ranges`);
      at = stop + 1;
    }
    if (ranges.length === 0 || bytes[end - 1] === 0x2c) fail("no ports where there should be some");
    return new PortPolicy(accepts, Uint16Array.from(ranges));
  }

  /** Whether the relay says that it lets streams out to `port` of most addresses. */
  allows(port: number): boolean {
    for (let i = 0; i < this.#ranges.length; i += 2) {
      if (port >= this.#ranges[i]! && port <= this.#ranges[i + 1]!) return this.#accepts;
    }
    return !this.#accepts;
  }

  /** Whether it is `reject 1-65535`. */
  get rejectsAll(): boolean {
    return !this.#accepts && this.#ranges.length === 2 && this.#ranges[0] === 1 && this.#ranges[1] === 65535;
  }
}

function startsWith(bytes: Uint8Array, start: number, end: number, text: string): boolean {
  if (end - start < text.length) return false;
  for (let i = 0; i < text.length; i++) if (bytes[start + i] !== text.charCodeAt(i)) return false;
  return true;
}

function fail(found: string): never {
  throw malformed("an exit policy summary", `found ${found}`);
}
