/** A relay's answer to CREATE_FAST and CREATE2 (tor-spec 5.1). */
import { isTunicError, TunicError } from "../base/errors.ts";
import { logger } from "../base/log.ts";
import { decodeWith, encodeWith } from "../bytes/codec.ts";
import { createFastServer } from "../crypto/create_fast.ts";
import type { ServerHandshake } from "../crypto/handshake.ts";
import { type CircuitKeys, KH_LENGTH, RELAY_KEYS_LENGTH, splitRelayKeys } from "../crypto/kdf.ts";
import { ntorServer } from "../crypto/ntor.ts";
import { wipe } from "../crypto/secrets.ts";
import type { X25519PrivateKey } from "../crypto/x25519.ts";
import { CellCommand } from "../wire/cell.ts";
import {
  CREATE2,
  CREATE_FAST,
  CREATED2,
  CREATED_FAST,
  DESTROY,
  DestroyReason,
  HandshakeType,
} from "../wire/create_cells.ts";
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
    const { reply, keys } = command === CellCommand.CREATE_FAST
      ? answerCreateFast(services, payload)
      : answerCreate2(services, onionKeys(), payload);
    const circuit = new RelayCircuit(services, sink, circId, keys, peerId, circuitWindow);
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

interface Answer {
  readonly reply: Uint8Array;
  readonly keys: CircuitKeys;
}

function answerCreateFast({ runtime }: RelayServices, payload: Uint8Array): Answer {
  const handshake = createFastServer(runtime, decodeWith(CREATE_FAST, payload), RELAY_KEYS_LENGTH);
  return answer(handshake, decodeWith(CREATED_FAST, handshake.reply).derivativeKeyData);
}

function answerCreate2(services: RelayServices, onionKeys: readonly X25519PrivateKey[], payload: Uint8Array): Answer {
  const { handshakeType, handshake } = decodeWith(CREATE2, payload);
  if (handshakeType !== HandshakeType.NTOR) throw unknownHandshake(handshakeType);
  const length = RELAY_KEYS_LENGTH + KH_LENGTH;
  const made = ntorServer(services.runtime, services.rsaId, onionKeys, handshake, length);
  return answer(made, made.keyMaterial.slice(RELAY_KEYS_LENGTH));
}

function answer({ reply, keyMaterial }: ServerHandshake, kh: Uint8Array): Answer {
  const keys = { ...splitRelayKeys(keyMaterial), kh };
  wipe(keyMaterial);
  return { reply, keys };
}

function unknownHandshake(type: number): TunicError {
  return new TunicError(`Cannot make a circuit: found handshake type ${type}, expected ${HandshakeType.NTOR}`, {
    kind: "unsupported",
    code: "handshake-type",
  });
}
