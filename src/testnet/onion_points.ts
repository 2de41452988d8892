/**
 * A relay as the introduction point and the rendezvous point of onion services (rend-spec-v3 3 and 4).
 *
 * A circuit serves one purpose: that of the first of these messages that comes on it, and it must end here. What breaks
 * the rules costs the circuit, as thrown errors do; an introduction that cannot be made is answered.
 */
import { isTunicError, TunicError } from "../base/errors.ts";
import { decodeWith, encodeWith } from "../bytes/codec.ts";
import { latin1 } from "../bytes/text.ts";
import type { RelayCircuit, RelayServices } from "../proto/relay_circuit.ts";
import type { Clock } from "../runtime/ports.ts";
import { DestroyReason } from "../wire/create_cells.ts";
import {
  ESTABLISH_RENDEZVOUS,
  EstablishIntroExtension,
  type HsExtension,
  INTRO_DOS_PARAMETERS,
  INTRO_ESTABLISHED,
  type IntroDosParameters,
  INTRODUCE1,
  INTRODUCE_ACK,
  IntroduceStatus,
  openEstablishIntro,
  RENDEZVOUS1,
} from "../wire/hs_messages.ts";
import { RelayCommand, relayCommandName } from "../wire/relay_cell.ts";

export interface OnionPointsOptions {
  readonly clock: Clock;
  /** Introduction circuits at a time. Default: 1000. */
  readonly maxIntroductionPoints?: number;
  /** Rendezvous circuits of clients at a time, joined or not. Default: 1000. */
  readonly maxRendezvousPoints?: number;
}

const DEFAULT_MAX_POINTS = 1000;
const NOTHING = new Uint8Array(0);

export class OnionPoints {
  readonly #clock: Clock;
  readonly #maxIntroductionPoints: number;
  readonly #maxRendezvousPoints: number;
  /** By authentication key. */
  readonly #introductionPoints = new Map<string, IntroductionPoint>();
  /** Clients' circuits by cookie, for as long as they live: a cookie is good for one meeting. */
  readonly #rendezvousPoints = new Map<string, RelayCircuit>();
  readonly #taken = new WeakSet<RelayCircuit>();

  constructor(options: OnionPointsOptions) {
    this.#clock = options.clock;
    this.#maxIntroductionPoints = options.maxIntroductionPoints ?? DEFAULT_MAX_POINTS;
    this.#maxRendezvousPoints = options.maxRendezvousPoints ?? DEFAULT_MAX_POINTS;
  }

  /** What there is now, for tests and displays. */
  get counts(): { introductionPoints: number; rendezvousPoints: number } {
    return { introductionPoints: this.#introductionPoints.size, rendezvousPoints: this.#rendezvousPoints.size };
  }

  /** The relay's `onOtherMessage`. Throws what the circuit is to be closed for. */
  readonly onMessage: NonNullable<RelayServices["onOtherMessage"]> = (circuit, command, data) => {
    switch (command) {
      case RelayCommand.ESTABLISH_INTRO:
        this.#take(circuit, command);
        this.#establishIntro(circuit, data);
        return true;
      case RelayCommand.INTRODUCE1:
        this.#take(circuit, command);
        circuit.send(
          RelayCommand.INTRODUCE_ACK,
          0,
          encodeWith(INTRODUCE_ACK, { status: this.#introduce(data), extensions: [] }),
        );
        return true;
      case RelayCommand.ESTABLISH_RENDEZVOUS:
        this.#take(circuit, command);
        this.#establishRendezvous(circuit, data);
        return true;
      case RelayCommand.RENDEZVOUS1:
        this.#take(circuit, command);
        this.#meet(circuit, data);
        return true;
      default:
        return false;
    }
  };

  #take(circuit: RelayCircuit, command: number): void {
    const name = relayCommandName(command);
    if (circuit.goesOn) throw violation("not-the-end", `${name} on a circuit that goes on`);
    if (this.#taken.has(circuit)) throw violation("circuit-taken", `${name} on a circuit of another purpose`);
    this.#taken.add(circuit);
  }

  #establishIntro(circuit: RelayCircuit, data: Uint8Array): void {
    const { authKey, extensions } = openEstablishIntro(data, circuit.kh);
    const key = latin1(authKey);
    const older = this.#introductionPoints.get(key);
    if (!older && this.#introductionPoints.size >= this.#maxIntroductionPoints) {
      return circuit.destroy(full("introduction"), DestroyReason.RESOURCELIMIT);
    }
    const point = new IntroductionPoint(circuit, this.#clock, extensions);
    this.#introductionPoints.set(key, point);
    circuit.onEnd = () => {
      if (this.#introductionPoints.get(key) === point) this.#introductionPoints.delete(key);
    };
    // The service came back on a new circuit, perhaps before its old one was known to be dead.
    older?.circuit.destroy(ended("a newer circuit took its place"), DestroyReason.FINISHED);
    circuit.send(RelayCommand.INTRO_ESTABLISHED, 0, encodeWith(INTRO_ESTABLISHED, { extensions: [] }));
  }

  /** Gives the status for the client. */
  #introduce(data: Uint8Array): number {
    let authKey: Uint8Array;
    try {
      ({ authKey } = decodeWith(INTRODUCE1, data));
    } catch (error) {
      if (!isTunicError(error, "malformed")) throw error;
      return IntroduceStatus.BAD_FORMAT;
    }
    const point = this.#introductionPoints.get(latin1(authKey));
    // A service that has enough of introductions is not told apart from one that is not here.
    if (!point || !point.allows()) return IntroduceStatus.UNKNOWN_ID;
    point.circuit.send(RelayCommand.INTRODUCE2, 0, data);
    return point.circuit.closed ? IntroduceStatus.CANNOT_RELAY : IntroduceStatus.SUCCESS;
  }

  #establishRendezvous(circuit: RelayCircuit, data: Uint8Array): void {
    const cookie = latin1(decodeWith(ESTABLISH_RENDEZVOUS, data));
    if (this.#rendezvousPoints.has(cookie)) throw violation("cookie-taken", "a cookie that is in use");
    if (this.#rendezvousPoints.size >= this.#maxRendezvousPoints) {
      return circuit.destroy(full("rendezvous"), DestroyReason.RESOURCELIMIT);
    }
    this.#rendezvousPoints.set(cookie, circuit);
    circuit.onEnd = () => this.#rendezvousPoints.delete(cookie);
    circuit.send(RelayCommand.RENDEZVOUS_ESTABLISHED, 0, NOTHING);
  }

  /** `circuit`: the service's. */
  #meet(circuit: RelayCircuit, data: Uint8Array): void {
    const { cookie, handshakeInfo } = decodeWith(RENDEZVOUS1, data);
    const key = latin1(cookie);
    const client = this.#rendezvousPoints.get(key);
    if (!client || client.goesOn) throw violation("unknown-cookie", "a cookie that nobody waits with");
    circuit.joined = client;
    client.joined = circuit;
    const over = ended("the circuit joined to it ended");
    circuit.onEnd = () => client.destroy(over, DestroyReason.DESTROYED);
    client.onEnd = () => {
      this.#rendezvousPoints.delete(key);
      circuit.destroy(over, DestroyReason.DESTROYED);
    };
    client.send(RelayCommand.RENDEZVOUS2, 0, handshakeInfo);
  }
}

/** A service's circuit, and how many introductions it may be given (rend-spec-v3 3.1.1.1). */
class IntroductionPoint {
  readonly circuit: RelayCircuit;
  readonly #clock: Clock;
  readonly #dos: IntroDosParameters;
  /** Introductions that may be passed on at once. */
  #tokens: number;
  #filledMs: number;

  constructor(circuit: RelayCircuit, clock: Clock, extensions: readonly HsExtension[]) {
    this.circuit = circuit;
    this.#clock = clock;
    this.#dos = dosParameters(extensions);
    this.#tokens = this.#dos.burst;
    this.#filledMs = clock.monotonic();
  }

  /** Whether one more may go to the service; counts it. */
  allows(): boolean {
    const { ratePerSecond, burst } = this.#dos;
    if (ratePerSecond === 0 || burst === 0) return true;
    const now = this.#clock.monotonic();
    this.#tokens = Math.min(burst, this.#tokens + (now - this.#filledMs) * ratePerSecond / 1000);
    this.#filledMs = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}

/** Without the extension, or with one that makes no sense, there is no limit. */
function dosParameters(extensions: readonly HsExtension[]): IntroDosParameters {
  const extension = extensions.find(({ type }) => type === EstablishIntroExtension.DOS_PARAMETERS);
  try {
    if (extension) return decodeWith(INTRO_DOS_PARAMETERS, extension.field);
  } catch (error) {
    if (!isTunicError(error, "malformed")) throw error;
  }
  return { ratePerSecond: 0, burst: 0 };
}

function violation(code: string, found: string): TunicError {
  return new TunicError(`Cannot go on with a circuit: found ${found}`, { kind: "protocol", code });
}

function ended(detail: string): TunicError {
  return new TunicError(`Cannot go on with a circuit: ${detail}`, { kind: "circuit", code: "destroyed" });
}

function full(purpose: string): TunicError {
  return new TunicError(`Cannot take a circuit for ${purpose}: there are as many as the relay takes`, {
    kind: "limit",
    code: "too-many-points",
  });
}
