/** A relay's answer to CREATE_FAST and CREATE2 (tor-spec 5.1). */
import { isTunicError, TunicError } from "../base/errors.ts";
import { logger } from "../base/log.ts";
import { decodeWith, encodeWith } from "../bytes/codec.ts";
import { createFastServer } from "../crypto/create_fast.ts";
import { RELAY_KEYS_LENGTH, splitRelayKeys } from "../crypto/kdf.ts";
import { ntorServer } from "../crypto/ntor.ts";
import { wipe } from "../crypto/secrets.ts";
import type { X25519PrivateKey } from "../crypto/x25519.ts";
import { CellCommand } from "../wire/cell.ts";
import { CREATE2, CREATE_FAST, CREATED2, DESTROY, DestroyReason, HandshakeType } from "../wire/create_cells.ts";
import type { CellSink } from "./channel_circuit.ts";
import { RelayCircuit, type RelayServices } from "./relay_circuit.ts";

const log = logger("relay");

export interface AcceptOptions {
  readonly services: RelayServices;
  /** The onion keys that clients may use: the newest, and those before it that are still good. */
  readonly onionKeys: () => readonly X25519PrivateKey[];
  /** Identity of the relay that asks; `undefined` for a client. */
  readonly peerId: Uint8Array | undefined;
  readonly circuitWindow: number;
}

/** Answers the cell, and gives the circuit it made; on failure sends DESTROY and gives `undefined`. */
export function acceptCircuit(
  { services, onionKeys, peerId, circuitWindow }: AcceptOptions,
  sink: CellSink,
  circId: number,
  command: number,
  payload: Uint8Array,
): RelayCircuit | undefined {
  try {
    const { reply, keyMaterial } = command === CellCommand.CREATE_FAST
      ? createFastServer(services.runtime, decodeWith(CREATE_FAST, payload), RELAY_KEYS_LENGTH)
      : answerCreate2(services, onionKeys(), payload);
    const circuit = new RelayCircuit(services, sink, circId, splitRelayKeys(keyMaterial), peerId, circuitWindow);
    wipe(keyMaterial);
    if (command === CellCommand.CREATE_FAST) sink.sendCell(circId, CellCommand.CREATED_FAST, reply);
    else sink.sendCell(circId, CellCommand.CREATED2, encodeWith(CREATED2, reply));
    return circuit;
  } catch (error) {
    if (!isTunicError(error)) throw error;
    log.debug("Refused a circuit: {reason}", { reason: error.message });
    sink.sendCell(circId, CellCommand.DESTROY, encodeWith(DESTROY, DestroyReason.PROTOCOL));
    return undefined;
  }
}

function answerCreate2(services: RelayServices, onionKeys: readonly X25519PrivateKey[], payload: Uint8Array) {
  const { handshakeType, handshake } = decodeWith(CREATE2, payload);
  if (handshakeType !== HandshakeType.NTOR) throw unknownHandshake(handshakeType);
  return ntorServer(services.runtime, services.rsaId, onionKeys, handshake, RELAY_KEYS_LENGTH);
}

function unknownHandshake(type: number): TunicError {
  return new TunicError(`Cannot make a circuit: found handshake type ${type}, expected ${HandshakeType.NTOR}`, {
    kind: "unsupported",
    code: "handshake-type",
  });
}
