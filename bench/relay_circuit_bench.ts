/**
 * What a relay's circuit costs for cells that it passes on towards the exit and back, in batches as a busy circuit has
 * them: crypto and bookkeeping without sockets. `deno bench` times each batch; run by itself (with any runtime), it
 * prints cells per second.
 */
import { encodeWith } from "../src/bytes/codec.ts";
import { RELAY_KEYS_LENGTH, splitRelayKeys } from "../src/crypto/kdf.ts";
import type { CellSink, ChannelCircuit } from "../src/proto/channel_circuit.ts";
import { RelayCircuit } from "../src/proto/relay_circuit.ts";
import { RelayLayer } from "../src/proto/relay_layer.ts";
import { mockRuntime } from "../src/runtime/mock.ts";
import { CellCommand, PAYLOAD_LEN } from "../src/wire/cell.ts";
import { EXTEND2 } from "../src/wire/circuit_messages.ts";
import { CREATED2 } from "../src/wire/create_cells.ts";
import { linkSpecifiersOf } from "../src/wire/link_specifier.ts";
import { RelayCommand, writeRelayPayload } from "../src/wire/relay_cell.ts";
import { ScriptedExit } from "../tests/support/relay_chain.ts";
import { testRelay } from "../tests/support/scripted_relay.ts";

const BATCHES = [1, 8, 31];

/** A sink that counts cells and forgets them. */
class CountingSink implements CellSink {
  cells = 0;
  next: ChannelCircuit | undefined;

  register<C extends ChannelCircuit>(make: (circId: number) => C): C {
    const circuit = make(1);
    this.next = circuit;
    return circuit;
  }

  sendCell(): void {
    this.cells++;
  }

  sendPayloads(_circId: number, _command: number, payloads: Uint8Array): void {
    this.cells += payloads.length / PAYLOAD_LEN;
  }

  wantTurn(): void {}
  release(): void {}
}

/** A circuit that goes on to a next relay. */
export class RelayCircuitBench {
  readonly onwards = new CountingSink();
  readonly back = new CountingSink();
  readonly #circuit: RelayCircuit;
  readonly #batch: Uint8Array;

  private constructor(circuit: RelayCircuit, batch: Uint8Array, onwards: CountingSink, back: CountingSink) {
    this.#circuit = circuit;
    this.#batch = batch;
    this.onwards = onwards;
    this.back = back;
  }

  static async open(cellsPerBatch: number): Promise<RelayCircuitBench> {
    const runtime = mockRuntime(1);
    const [onwards, back] = [new CountingSink(), new CountingSink()];
    const material = runtime.random(RELAY_KEYS_LENGTH);
    const services = {
      runtime,
      rsaId: testRelay(1).target.rsaId,
      exit: new ScriptedExit(),
      connect: () => Promise.resolve(onwards),
    };
    const circuit = new RelayCircuit(
      services,
      back,
      1,
      { ...splitRelayKeys(material), kh: new Uint8Array(20) },
      undefined,
      1000,
    );
    const layer = new RelayLayer(splitRelayKeys(material), "client");
    const payload = new Uint8Array(PAYLOAD_LEN);
    const linkSpecifiers = linkSpecifiersOf(testRelay(2).target);
    const extend = encodeWith(EXTEND2, { linkSpecifiers, handshakeType: 2, handshake: new Uint8Array(84) });
    writeRelayPayload(payload, 0, RelayCommand.EXTEND2, 0, extend);
    layer.sign(payload);
    circuit.onCell(CellCommand.RELAY_EARLY, layer.encrypt(payload));
    await runtime.time.settle();
    onwards.next!.onCell(CellCommand.CREATED2, encodeWith(CREATED2, new Uint8Array(64)));
    return new RelayCircuitBench(circuit, runtime.random(cellsPerBatch * PAYLOAD_LEN), onwards, back);
  }

  forward(): void {
    this.#circuit.onRelayPayloads(this.#batch);
  }

  backward(): void {
    this.onwards.next!.onRelayPayloads(this.#batch);
  }
}

/** Cells per second in both directions, on one core. */
export async function relayCircuitRate(
  batch: number,
  cells: number,
): Promise<{ forward: number; backward: number }> {
  const bench = await RelayCircuitBench.open(batch);
  const time = (step: () => void, sink: CountingSink): number => {
    for (let i = 0; i < cells / batch / 8; i++) step();
    const before = sink.cells;
    const start = performance.now();
    for (let i = 0; i < cells / batch; i++) step();
    return (sink.cells - before) / ((performance.now() - start) / 1000);
  };
  return {
    forward: time(() => bench.forward(), bench.onwards),
    backward: time(() => bench.backward(), bench.back),
  };
}

if (import.meta.main) {
  for (const batch of BATCHES) {
    const { forward, backward } = await relayCircuitRate(batch, 300_000);
    console.log(`batch of ${batch}: forward ${Math.round(forward)} cells/s, backward ${Math.round(backward)} cells/s`);
  }
} else if ("Deno" in globalThis) {
  for (const batch of BATCHES) {
    const bench = await RelayCircuitBench.open(batch);
    Deno.bench(`forward, ${batch} × 509 B`, { group: "forward" }, () => bench.forward());
    Deno.bench(`backward, ${batch} × 509 B`, { group: "backward" }, () => bench.backward());
  }
}
