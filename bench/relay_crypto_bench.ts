/**
 * What relay crypto costs on a circuit of three hops: sealing and opening DATA of the last hop, in batches as a busy
 * circuit has them. `deno bench` times each batch; run by itself (with any runtime), it prints µs per cell.
 */
import { concat } from "../src/bytes/bytes.ts";
import { RELAY_KEYS_LENGTH, splitRelayKeys } from "../src/crypto/kdf.ts";
import { ClientRelayCrypto, type OpenedCells } from "../src/proto/relay_crypto.ts";
import { PAYLOAD_LEN } from "../src/wire/cell.ts";
import { RELAY_DATA_LEN, RelayCommand, writeRelayPayload } from "../src/wire/relay_cell.ts";
import { RelayHop } from "../tests/support/relay_hop.ts";
import { SeededRandom } from "../tests/support/seeded_random.ts";

const BATCHES = [1, 8, 32];

/** Both ends of a circuit's crypto. */
export class RelayCryptoBench {
  readonly #client = new ClientRelayCrypto();
  readonly #hops: RelayHop[] = [];
  readonly #data: Uint8Array;
  readonly #plain: Uint8Array;
  readonly #batch: number;
  #delivered = 0;
  #received = 0;
  readonly #to: OpenedCells = {
    isDigestPoint: () => ++this.#received % 100 === 0,
    digest: () => {},
    deliver: (_hop, _payloads, count) => void (this.#delivered += count),
  };

  constructor(batch: number) {
    const random = new SeededRandom(1);
    for (let hop = 0; hop < 3; hop++) {
      const material = random.random(RELAY_KEYS_LENGTH);
      this.#client.addHop(splitRelayKeys(material));
      this.#hops.push(new RelayHop(splitRelayKeys(material)));
    }
    this.#batch = batch;
    this.#data = random.random(RELAY_DATA_LEN);
    this.#plain = new Uint8Array(batch * PAYLOAD_LEN);
  }

  /** Writes a batch to be sealed. */
  fill(): void {
    for (let i = 0; i < this.#batch; i++) {
      writeRelayPayload(this.#plain, i * PAYLOAD_LEN, RelayCommand.DATA, 1, this.#data);
    }
  }

  seal(): Uint8Array {
    return this.#client.seal(2, this.#plain);
  }

  /** A batch from the last hop, to be opened in the order they were made. */
  receive(): Uint8Array {
    const payloads: Uint8Array[] = [];
    for (let i = 0; i < this.#batch; i++) {
      let { payload } = this.#hops[2]!.say(RelayCommand.DATA, 1, this.#data);
      for (const hop of [1, 0]) payload = this.#hops[hop]!.pass(payload);
      payloads.push(payload);
    }
    return concat(...payloads);
  }

  open(payloads: Uint8Array): number {
    this.#client.open(payloads, this.#to);
    return this.#delivered;
  }
}

/** Microseconds per cell, over about `cells` cells. */
export function relayCryptoCost(batch: number, cells: number): { sealUs: number; openUs: number } {
  const bench = new RelayCryptoBench(batch);
  const rounds = Math.ceil(cells / batch);
  let sealMs = 0;
  let openMs = 0;
  for (let i = -rounds >> 3; i < rounds; i++) {
    bench.fill();
    const received = bench.receive();
    const start = performance.now();
    bench.seal();
    const sealed = performance.now();
    bench.open(received);
    const opened = performance.now();
    // The rounds before 0 warm up.
    if (i < 0) continue;
    sealMs += sealed - start;
    openMs += opened - sealed;
  }
  const perCell = 1000 / (rounds * batch);
  return { sealUs: sealMs * perCell, openUs: openMs * perCell };
}

if (import.meta.main) {
  for (const batch of BATCHES) {
    const { sealUs, openUs } = relayCryptoCost(batch, 20_000);
    console.log(`batch of ${batch}: seal ${sealUs.toFixed(2)} µs per cell, open ${openUs.toFixed(2)} µs per cell`);
  }
} else if ("Deno" in globalThis) {
  for (const batch of BATCHES) {
    const bench = new RelayCryptoBench(batch);
    Deno.bench(`seal, ${batch} × 509 B`, { group: "seal" }, (b) => {
      bench.fill();
      b.start();
      bench.seal();
      b.end();
    });
    Deno.bench(`open, ${batch} × 509 B`, { group: "open" }, (b) => {
      const payloads = bench.receive();
      b.start();
      bench.open(payloads);
      b.end();
    });
  }
}
