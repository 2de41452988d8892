/** A circuit as its manager sees it: where it leads, who may use it, how long it has lived. */
import { Deferred } from "../../base/deferred.ts";
import type { TunicError } from "../../base/errors.ts";
import type { Circuit } from "../../proto/circuit.ts";
import type { Destination, Path } from "../paths.ts";

/** What a stream asks of a circuit. */
export interface CircuitRequest {
  /** Where the exit must be willing to connect; `undefined` for lookups, which any exit does. */
  readonly destination: Destination | undefined;
  /** Streams with different keys never share a circuit. */
  readonly isolation: string;
}

/** What has failed a request already. */
export interface Avoided {
  readonly circuits: ReadonlySet<ManagedCircuit>;
  /** RSA identities of exits; they are asked again only where there are no others. */
  readonly exits: readonly Uint8Array[];
}

export type CircuitState = "building" | "open" | "closed";

export class ManagedCircuit {
  /** Counts up from 1: circuits as people see them. */
  readonly id: number;
  readonly path: Path;
  readonly createdAtMs: number;
  readonly #ready = new Deferred<Circuit>();
  #circuit: Circuit | undefined;
  #state: CircuitState = "building";
  #isolation: string | undefined;
  #dirtySinceMs: number | undefined;
  /** Requests that wait for it. */
  #reservations = 0;
  /** No new streams, for reasons learnt in use. */
  retired = false;
  /** Ports that the exit refused although its policy seemed to allow them. */
  readonly refusedPorts = new Set<number>();

  /** `createdAtMs`: in monotonic milliseconds, as all times here. */
  constructor(id: number, path: Path, createdAtMs: number) {
    this.id = id;
    this.path = path;
    this.createdAtMs = createdAtMs;
  }

  get state(): CircuitState {
    return this.#state;
  }

  /** The circuit once it is built; throws why it could not be. */
  get ready(): Promise<Circuit> {
    return this.#ready.promise;
  }

  /** The circuit, if it is open. */
  get circuit(): Circuit | undefined {
    return this.#state === "open" ? this.#circuit : undefined;
  }

  /** Whom it belongs to; `undefined` while nobody uses it or waits for it. */
  get isolation(): string | undefined {
    return this.#isolation;
  }

  /** When it got its first stream. */
  get dirtySinceMs(): number | undefined {
    return this.#dirtySinceMs;
  }

  /** RSA identity of the last hop. */
  get exit(): Uint8Array {
    return this.path.hops.at(-1)!.rsaId;
  }

  get streams(): number {
    return this.#circuit?.streamCount ?? 0;
  }

  /** Keeps the circuit for streams with this key until `claim` or `release`; it must not have another one. */
  reserve(isolation: string): void {
    if (this.#isolation !== undefined && this.#isolation !== isolation) {
      throw new RangeError("a circuit cannot have two isolation keys");
    }
    this.#isolation = isolation;
    this.#reservations++;
  }

  /** Whoever reserved it has given up: unless somebody else has not, it is as good as new. */
  release(): void {
    this.#reservations--;
    if (this.#reservations === 0 && this.#dirtySinceMs === undefined) this.#isolation = undefined;
  }

  /** Whoever reserved it uses it; the key is its own from now on. */
  claim(nowMs: number): void {
    this.#reservations--;
    this.#dirtySinceMs ??= nowMs;
  }

  opened(circuit: Circuit): void {
    this.#circuit = circuit;
    this.#state = "open";
    this.#ready.resolve(circuit);
  }

  /** The circuit is gone, or could not be built. */
  closed(error: TunicError): void {
    this.#state = "closed";
    this.#ready.reject(error);
  }
}
