/**
 * Cells on their way out of a channel: a queue for each circuit, emptied in rotation, so that circuits share a slow link
 * fairly and each can be held to a limit of its own, as C tor does by "circ_max_cell_queue_size".
 */
import { CELL_HEADER_LEN, CELL_LEN, PAYLOAD_LEN, writeCellHeader } from "../wire/cell.ts";

/** Payloads of cells with one command, one after the other; those before `at` are gone. */
interface Item {
  readonly command: number;
  readonly payloads: Uint8Array;
  at: number;
}

interface CircuitCells {
  readonly items: Item[];
  cells: number;
}

export class CellQueue {
  readonly #circuits = new Map<number, CircuitCells>();
  #cells = 0;

  /** Cells of all circuits. */
  get cells(): number {
    return this.#cells;
  }

  /** Cells of one circuit. */
  cellsOf(circId: number): number {
    return this.#circuits.get(circId)?.cells ?? 0;
  }

  /** Takes payloads, which must not change afterwards; answers how many cells the circuit now has here. */
  push(circId: number, command: number, payloads: Uint8Array): number {
    const count = payloads.length / PAYLOAD_LEN;
    let circuit = this.#circuits.get(circId);
    if (!circuit) this.#circuits.set(circId, circuit = { items: [], cells: 0 });
    circuit.items.push({ command, payloads, at: 0 });
    circuit.cells += count;
    this.#cells += count;
    return circuit.cells;
  }

  /** At most `limit` cells as they go over the link: from each circuit what it gave at once, then from the next one. */
  take(limit: number): Uint8Array {
    const bytes = new Uint8Array(Math.min(limit, this.#cells) * CELL_LEN);
    let at = 0;
    for (const [circId, circuit] of this.#circuits) {
      if (at === bytes.length) break;
      const before = at;
      at = moveFirst(circId, circuit.items, bytes, at);
      const moved = (at - before) / CELL_LEN;
      circuit.cells -= moved;
      this.#cells -= moved;
      // At the end, behind the others: this loop comes by again.
      this.#circuits.delete(circId);
      if (circuit.cells > 0) this.#circuits.set(circId, circuit);
    }
    return bytes;
  }

  /** Forgets what waits for a circuit. */
  drop(circId: number): void {
    this.#cells -= this.cellsOf(circId);
    this.#circuits.delete(circId);
  }

  clear(): void {
    this.#circuits.clear();
    this.#cells = 0;
  }
}

/** Writes cells of the first item as far as there is room; answers where the next cell goes. */
function moveFirst(circId: number, items: Item[], bytes: Uint8Array, at: number): number {
  const item = items[0]!;
  for (; item.at < item.payloads.length && at < bytes.length; item.at += PAYLOAD_LEN, at += CELL_LEN) {
    writeCellHeader(bytes, at, circId, item.command);
    bytes.set(item.payloads.subarray(item.at, item.at + PAYLOAD_LEN), at + CELL_HEADER_LEN);
  }
  if (item.at === item.payloads.length) items.shift();
  return at;
}
