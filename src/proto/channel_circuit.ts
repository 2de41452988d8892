/** What a channel and the circuits on it, a client's or a relay's, need of each other. */
import type { TunicError } from "../base/errors.ts";

/** A circuit as a channel sees it. None of these calls may throw. */
export interface ChannelCircuit {
  readonly circId: number;
  /** Payloads of RELAY cells, one after the other; they must not be kept. */
  onRelayPayloads(payloads: Uint8Array): void;
  /** Any other cell for this circuit. */
  onCell(command: number, payload: Uint8Array): void;
  /** May send DATA; `scratch` holds as much as one turn can. True if there is more to send. */
  takeTurn(scratch: Uint8Array): boolean;
  /** More waits to go out for this circuit than may; it was dropped, and the circuit must close. */
  onOverfull(error: TunicError): void;
  /** The channel is gone. */
  onClosed(error: TunicError): void;
}

/** A channel as a circuit sees it. */
export interface CellSink {
  sendCell(circId: number, command: number, payload: Uint8Array): void;
  /** Payloads that lie one after the other, each to go out as a cell. */
  sendPayloads(circId: number, command: number, payloads: Uint8Array): void;
  /** Asks for turns: {@link ChannelCircuit.takeTurn} is called until it answers false. */
  wantTurn(circuit: ChannelCircuit): void;
  /** The circuit is over; its number may be used again. */
  release(circuit: ChannelCircuit): void;
}
