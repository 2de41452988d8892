/**
 * How far the client is on its way to its first circuit, in C tor's phases (control-spec 5.5 and 5.6), so that
 * whoever knows them from there knows them here. Never goes back.
 */

export interface BootstrapStatus {
  /** 0 to 100. */
  readonly percent: number;
  /** C tor's name of the phase. */
  readonly tag: string;
  readonly summary: string;
}

/** Phases in their order: per cent reached when the phase begins. */
const PHASES = {
  starting: [0, "Starting"],
  conn: [5, "Connecting to a relay"],
  conn_done: [10, "Connected to a relay"],
  handshake_done: [15, "Handshake with a relay done"],
  onehop_create: [20, "Establishing an encrypted directory connection"],
  requesting_status: [25, "Asking for networkstatus consensus"],
  loading_status: [30, "Loading networkstatus consensus"],
  loading_keys: [40, "Loading authority key certs"],
  requesting_descriptors: [45, "Asking for relay descriptors"],
  loading_descriptors: [50, "Loading relay descriptors"],
  enough_dirinfo: [75, "Loaded enough directory info to build circuits"],
  ap_conn: [80, "Connecting to a relay to build circuits"],
  ap_conn_done: [85, "Connected to a relay to build circuits"],
  ap_handshake_done: [90, "Handshake finished with a relay to build circuits"],
  circuit_create: [95, "Establishing a Tor circuit"],
  done: [100, "Done"],
} as const satisfies Record<string, readonly [percent: number, summary: string]>;

export type BootstrapPhase = keyof typeof PHASES;

export class Bootstrap {
  #status: BootstrapStatus = { percent: 0, tag: "starting", summary: PHASES.starting[1] };
  readonly #changed: (status: BootstrapStatus) => void;

  constructor(changed: (status: BootstrapStatus) => void) {
    this.#changed = changed;
  }

  get status(): BootstrapStatus {
    return this.#status;
  }

  /**
   * The phase has begun. `fraction`, 0 to 1, is how much of it is done, where that is known: it counts towards the
   * next phase. What is behind already is ignored.
   */
  reached(phase: BootstrapPhase, fraction = 0): void {
    const [start, summary] = PHASES[phase];
    const next = Math.min(
      ...Object.values(PHASES).map(([percent]) => percent).filter((percent) => percent > start),
      100,
    );
    const percent = Math.floor(start + fraction * (next - start));
    if (percent <= this.#status.percent) return;
    this.#status = { percent, tag: phase, summary };
    this.#changed(this.#status);
  }
}
