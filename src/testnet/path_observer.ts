/**
 * What no Tor network may know, and a test network can: by which relays a stream went, and how many cells each of
 * them carried. All relays are in one process and tell; nothing is asked of the client.
 *
 * One relay's circuit and the next one's are known to be the same by the handshake in CREATE2, which goes from one to
 * the other and is never used again.
 */
import { isTunicError } from "../base/errors.ts";
import { decodeWith } from "../bytes/codec.ts";
import { toHex } from "../bytes/text.ts";
import { acceptCircuit, type AcceptOptions } from "../proto/accept_circuit.ts";
import type { CellSink, ChannelCircuit } from "../proto/channel_circuit.ts";
import type { RelayServices } from "../proto/relay_circuit.ts";
import { CellCommand, PAYLOAD_LEN } from "../wire/cell.ts";
import { CREATE2 } from "../wire/create_cells.ts";

/** A relay of a path; the counts go on while the circuit lives, and are the whole circuit's. */
export interface ObservedHop {
  readonly nickname: string;
  /** Cells of relay messages that came from the client's side. */
  readonly cellsFromClient: number;
  /** Cells of relay messages that went to the client's side. */
  readonly cellsToClient: number;
}

/** A stream that an exit has connected. */
export interface ObservedStream {
  /** As the client asked for it. */
  readonly host: string;
  readonly port: number;
  /** Guard first, exit last. */
  readonly path: readonly ObservedHop[];
}

type NextChannel = Awaited<ReturnType<RelayServices["connect"]>>;

class Hop implements ObservedHop {
  readonly nickname: string;
  cellsFromClient = 0;
  cellsToClient = 0;

  constructor(nickname: string) {
    this.nickname = nickname;
  }
}

export class PathObserver {
  readonly #onStream: (stream: ObservedStream) => void;
  /** Paths up to the relay that sent a CREATE2 which nobody got yet, by its handshake. */
  readonly #asked = new Map<string, readonly Hop[]>();

  constructor(onStream: (stream: ObservedStream) => void) {
    this.#onStream = onStream;
  }

  /** {@link acceptCircuit} as the relay `nickname` does it, under observation. */
  accept(
    nickname: string,
    options: AcceptOptions,
    sink: CellSink,
    circId: number,
    command: number,
    payload: Uint8Array,
  ): ChannelCircuit | undefined {
    const hop = new Hop(nickname);
    const path = [...this.#before(command, payload), hop];
    const { services } = options;
    const observed: RelayServices = {
      ...services,
      connect: async (target) => this.#outbound(await services.connect(target), path),
      exit: {
        openDirectory: () => services.exit.openDirectory(),
        resolve: (name) => services.exit.resolve(name),
        connect: async (begin, signal) => {
          const answer = await services.exit.connect(begin, signal);
          this.#onStream({ host: begin.host, port: begin.port, path });
          return answer;
        },
      },
    };
    const circuit = acceptCircuit({ ...options, services: observed }, inbound(sink, hop), circId, command, payload);
    return circuit && counted(circuit, hop);
  }

  #before(command: number, payload: Uint8Array): readonly Hop[] {
    const key = command === CellCommand.CREATE2 ? keyOf(payload) : undefined;
    const path = key === undefined ? undefined : this.#asked.get(key);
    if (key !== undefined) this.#asked.delete(key);
    return path ?? [];
  }

  #outbound(channel: NextChannel, path: readonly Hop[]): NextChannel {
    let key: string | undefined;
    return {
      register: (make) => channel.register(make),
      sendCell: (circId, command, payload) => {
        if (command === CellCommand.CREATE2) {
          key = keyOf(payload);
          if (key !== undefined) this.#asked.set(key, path);
        }
        channel.sendCell(circId, command, payload);
      },
      sendPayloads: (circId, command, payloads) => channel.sendPayloads(circId, command, payloads),
      wantTurn: (circuit) => channel.wantTurn(circuit),
      release: (circuit) => {
        // The next relay may never have got it.
        if (key !== undefined) this.#asked.delete(key);
        channel.release(circuit);
      },
    };
  }
}

/** The client's side of a circuit, counting what goes there. */
function inbound(sink: CellSink, hop: Hop): CellSink {
  return {
    sendCell: (circId, command, payload) => sink.sendCell(circId, command, payload),
    sendPayloads: (circId, command, payloads) => {
      hop.cellsToClient += payloads.length / PAYLOAD_LEN;
      sink.sendPayloads(circId, command, payloads);
    },
    wantTurn: (circuit) => sink.wantTurn(circuit),
    release: (circuit) => sink.release(circuit),
  };
}

/** A circuit as its channel sees it, counting what comes from there. */
function counted(circuit: ChannelCircuit, hop: Hop): ChannelCircuit {
  return {
    circId: circuit.circId,
    onRelayPayloads: (payloads) => {
      hop.cellsFromClient += payloads.length / PAYLOAD_LEN;
      circuit.onRelayPayloads(payloads);
    },
    onCell: (command, payload) => {
      if (command === CellCommand.RELAY_EARLY) hop.cellsFromClient++;
      circuit.onCell(command, payload);
    },
    takeTurn: (scratch) => circuit.takeTurn(scratch),
    onOverfull: (error) => circuit.onOverfull(error),
    onClosed: (error) => circuit.onClosed(error),
  };
}

/** `undefined` where it is no CREATE2: whoever gets it will say so. */
function keyOf(payload: Uint8Array): string | undefined {
  try {
    return toHex(decodeWith(CREATE2, payload).handshake);
  } catch (error) {
    if (isTunicError(error, "malformed")) return undefined;
    throw error;
  }
}
