/**
 * The faults of one relay, or of the links between two, as a test sets them; they can be changed while connections
 * live, and the connections they concern are told.
 */
import { TunicError } from "../../base/errors.ts";
import type { Clock } from "../../runtime/ports.ts";
import { RateLimit } from "./rate_limit.ts";

/** Told when a fault is switched. */
export interface FaultListener {
  faultsChanged(): void;
}

interface Values {
  latencyMs: number;
  bytesPerSecond: number | undefined;
  refuse: boolean;
  silent: boolean;
  resetAfterBytes: number | undefined;
  corruptCells: number;
  corruptTls: number;
}

const NONE: Readonly<Values> = {
  latencyMs: 0,
  bytesPerSecond: undefined,
  refuse: false,
  silent: false,
  resetAfterBytes: undefined,
  corruptCells: 0,
  corruptTls: 0,
};

const MAX_LATENCY_MS = 60_000;
/** Below this a single cell takes seconds. */
const MIN_BYTES_PER_SECOND = 100;
const MAX_BYTES = 2 ** 40;

/** Faults of connections. Every setter throws `argument` for a value that makes no sense. */
export class LinkFaults {
  readonly #clock: Clock;
  readonly #listeners = new Set<FaultListener>();
  readonly #values: Values = { ...NONE };
  #limits: { readonly in: RateLimit; readonly out: RateLimit } | undefined;
  #hits = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How much later bytes arrive, in either direction; their order is kept. Up to a minute; 0: no fault. */
  get latencyMs(): number {
    return this.#values.latencyMs;
  }

  set latencyMs(value: number) {
    checkNumber("latencyMs", value, 0, MAX_LATENCY_MS);
    this.#values.latencyMs = value;
    this.changed();
  }

  /** What all connections together let through in each direction. `undefined`: no fault. */
  get bytesPerSecond(): number | undefined {
    return this.#values.bytesPerSecond;
  }

  set bytesPerSecond(value: number | undefined) {
    if (value !== undefined) checkNumber("bytesPerSecond", value, MIN_BYTES_PER_SECOND, MAX_BYTES);
    this.#values.bytesPerSecond = value;
    this.#limits = value === undefined ? undefined : { in: new RateLimit(value), out: new RateLimit(value) };
    this.changed();
  }

  /** Whether those who connect are hung up on before they get a byte; connections that exist live on. */
  get refuse(): boolean {
    return this.#values.refuse;
  }

  set refuse(value: boolean) {
    this.#values.refuse = value;
  }

  /** Whether connections are accepted and then carry nothing; what was held back goes on once this is unset. */
  get silent(): boolean {
    return this.#values.silent;
  }

  set silent(value: boolean) {
    this.#values.silent = value;
    this.changed();
  }

  /** Breaks each connection once it has carried this many bytes, both directions counted, from now on. */
  get resetAfterBytes(): number | undefined {
    return this.#values.resetAfterBytes;
  }

  set resetAfterBytes(value: number | undefined) {
    if (value !== undefined) checkNumber("resetAfterBytes", value, 0, MAX_BYTES);
    this.#values.resetAfterBytes = value;
    this.changed();
  }

  /**
   * How probably a cell that is sent (of a circuit, handshakes included) has a wrong byte in its payload, 0 to 1. It is
   * above TLS: the link does not notice, the circuit does.
   */
  get corruptCells(): number {
    return this.#values.corruptCells;
  }

  set corruptCells(value: number) {
    checkNumber("corruptCells", value, 0, 1);
    this.#values.corruptCells = value;
    this.changed();
  }

  /**
   * How probably a piece of a TCP connection, at most 64 KiB, has a wrong byte, 0 to 1: TLS notices and breaks the
   * link. Concerns links that relays or `Faults.clientRuntime` open while it is set, and goes on to be obeyed by these.
   */
  get corruptTls(): number {
    return this.#values.corruptTls;
  }

  set corruptTls(value: number) {
    checkNumber("corruptTls", value, 0, 1);
    this.#values.corruptTls = value;
  }

  /** How many connections there are that these faults concern. */
  get connections(): number {
    return this.#listeners.size;
  }

  /** How often a fault has struck: connections refused or broken, cells and pieces corrupted. */
  get hits(): number {
    return this.#hits;
  }

  /** Heals everything; counts stay. */
  clear(): void {
    Object.assign(this.#values, NONE);
    this.#limits = undefined;
    this.changed();
  }

  /** Whether connections that exist have to be looked at byte by byte. */
  get isActive(): boolean {
    const { latencyMs, bytesPerSecond, silent, resetAfterBytes, corruptCells } = this.#values;
    return latencyMs > 0 || bytesPerSecond !== undefined || silent || resetAfterBytes !== undefined || corruptCells > 0;
  }

  /** For connections. */
  addListener(listener: FaultListener): void {
    this.#listeners.add(listener);
  }

  removeListener(listener: FaultListener): void {
    this.#listeners.delete(listener);
  }

  countHit(): void {
    this.#hits++;
  }

  /** Takes room for `bytes`; answers when they have passed, in the clock's `monotonic` milliseconds. */
  reserve(direction: "in" | "out", bytes: number): number {
    const now = this.#clock.monotonic();
    return this.#limits?.[direction].reserve(now, bytes) ?? now;
  }

  protected changed(): void {
    for (const listener of [...this.#listeners]) listener.faultsChanged();
  }
}

/** Faults of one relay: of all its connections, and of itself. */
export class RelayFaults extends LinkFaults {
  readonly #checkName: (nickname: string) => void;
  #refuseToConnect = false;
  #clockSkewMs = 0;
  #answersAs: string | undefined;

  /** `checkName` throws for what is no relay. */
  constructor(clock: Clock, checkName: (nickname: string) => void) {
    super(clock);
    this.#checkName = checkName;
  }

  /** Whether connections it wants to open, to relays and to where its streams go, are refused. */
  get refuseToConnect(): boolean {
    return this.#refuseToConnect;
  }

  set refuseToConnect(value: boolean) {
    this.#refuseToConnect = value;
  }

  /** By how much its clock is ahead; negative: behind. */
  get clockSkewMs(): number {
    return this.#clockSkewMs;
  }

  set clockSkewMs(value: number) {
    checkNumber("clockSkewMs", value, -MAX_BYTES, MAX_BYTES);
    this.#clockSkewMs = value;
  }

  /** The relay as which it answers those who connect from now on, with that relay's keys. `undefined`: itself. */
  get answersAs(): string | undefined {
    return this.#answersAs;
  }

  set answersAs(nickname: string | undefined) {
    if (nickname !== undefined) this.#checkName(nickname);
    this.#answersAs = nickname;
  }

  override clear(): void {
    this.#refuseToConnect = false;
    this.#clockSkewMs = 0;
    this.#answersAs = undefined;
    super.clear();
  }
}

function checkNumber(name: string, value: number, min: number, max: number): void {
  if (value >= min && value <= max) return;
  throw new TunicError(`Cannot set fault ${name}: found ${value}, expected ${min} to ${max}`, {
    kind: "argument",
    code: "bad-fault",
  });
}
