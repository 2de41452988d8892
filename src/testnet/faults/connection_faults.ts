/** The faults that one connection suffers: those of the relay it belongs to and those of the link, together. */
import { randomBelow, randomFraction, type RandomSource } from "../../runtime/random.ts";
import { CELL_HEADER_LEN, CELL_LEN, CellCommand, cellCommand, cellLength, PAYLOAD_LEN } from "../../wire/cell.ts";
import type { FaultListener, LinkFaults } from "./fault_settings.ts";

const CORRUPTIBLE: ReadonlySet<number> = new Set([
  CellCommand.RELAY,
  CellCommand.RELAY_EARLY,
  CellCommand.CREATE_FAST,
  CellCommand.CREATED_FAST,
  CellCommand.CREATE2,
  CellCommand.CREATED2,
]);

export class ConnectionFaults {
  readonly #sources: readonly LinkFaults[];
  readonly #random: RandomSource;

  constructor(sources: readonly LinkFaults[], random: RandomSource) {
    this.#sources = sources;
    this.#random = random;
  }

  get isActive(): boolean {
    return this.#sources.some(({ isActive }) => isActive);
  }

  get latencyMs(): number {
    return this.#sources.reduce((sum, { latencyMs }) => sum + latencyMs, 0);
  }

  get isSilent(): boolean {
    return this.#sources.some(({ silent }) => silent);
  }

  get isLimited(): boolean {
    return this.#sources.some(({ bytesPerSecond }) => bytesPerSecond !== undefined);
  }

  get resetAfterBytes(): number {
    return Math.min(...this.#sources.map(({ resetAfterBytes = Infinity }) => resetAfterBytes));
  }

  /** Takes room for `bytes` wherever there is a limit; answers when they have passed. */
  reserve(direction: "in" | "out", bytes: number): number {
    return Math.max(...this.#sources.map((faults) => faults.reserve(direction, bytes)));
  }

  countReset(): void {
    for (const faults of this.#sources) if (faults.resetAfterBytes !== undefined) faults.countHit();
  }

  addListener(listener: FaultListener): void {
    for (const faults of this.#sources) faults.addListener(listener);
  }

  removeListener(listener: FaultListener): void {
    for (const faults of this.#sources) faults.removeListener(listener);
  }

  /** `bytes` are whole cells. The array itself where all are spared. */
  corruptCells(bytes: Uint8Array): Uint8Array {
    const sources = this.#sources.filter(({ corruptCells }) => corruptCells > 0);
    if (sources.length === 0) return bytes;
    let result = bytes;
    for (let at = 0, length = 0; at < bytes.length; at += length) {
      length = cellLength(bytes, at, bytes.length);
      if (length === 0) break;
      if (length !== CELL_LEN || !CORRUPTIBLE.has(cellCommand(bytes, at))) continue;
      for (const faults of sources) {
        if (randomFraction(this.#random) >= faults.corruptCells) continue;
        if (result === bytes) result = bytes.slice();
        this.#spoil(result, at + CELL_HEADER_LEN, PAYLOAD_LEN);
        faults.countHit();
      }
    }
    return result;
  }

  /** A piece as TCP carries it. The array itself where it is spared. */
  corruptPiece(bytes: Uint8Array): Uint8Array {
    let result = bytes;
    for (const faults of this.#sources) {
      if (faults.corruptTls === 0 || randomFraction(this.#random) >= faults.corruptTls) continue;
      if (result === bytes) result = bytes.slice();
      this.#spoil(result, 0, result.length);
      faults.countHit();
    }
    return result;
  }

  /** Changes one byte of the `length` bytes from `at` on. */
  #spoil(bytes: Uint8Array, at: number, length: number): void {
    bytes[at + randomBelow(this.#random, length)]! ^= 1 + randomBelow(this.#random, 255);
  }
}
