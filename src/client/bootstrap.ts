/**
 * How far the client is on its way to its first circuit, in C tor's phases (control-spec 5.5 and 5.6), so that
 * whoever knows them from there knows them here. Never goes back.
 */
import type { DirectoryProgress } from "../mgr/directory/mod.ts";

export interface BootstrapStatus {
  /** 0 to 100. */
  readonly percent: number;
  /** C tor's name of the phase. */
  readonly tag: string;
  readonly summary: string;
}

/** Where the directory manager's phases end: circuits can be built from here on. */
export const ENOUGH_DIRINFO_PERCENT = 75;

/** The phases after those of the directory manager. */
const CIRCUIT_PHASES = {
  ap_conn: [80, "Connecting to a relay to build circuits"],
  ap_conn_done: [85, "Connected to a relay to build circuits"],
  ap_handshake_done: [90, "Handshake finished with a relay to build circuits"],
  circuit_create: [95, "Establishing a Tor circuit"],
  done: [100, "Done"],
} as const satisfies Record<string, readonly [percent: number, summary: string]>;

export type CircuitPhase = keyof typeof CIRCUIT_PHASES;

export class Bootstrap {
  #status: BootstrapStatus = { percent: 0, tag: "starting", summary: "Starting" };
  readonly #changed: (status: BootstrapStatus) => void;

  constructor(changed: (status: BootstrapStatus) => void) {
    this.#changed = changed;
  }

  get status(): BootstrapStatus {
    return this.#status;
  }

  directory({ phase, summary, fraction }: DirectoryProgress): void {
    this.#reach({ percent: Math.round(fraction * 100), tag: phase, summary });
  }

  /** Does nothing before there is directory information: connections are made to get it, then. */
  circuits(phase: CircuitPhase): void {
    if (this.#status.percent < ENOUGH_DIRINFO_PERCENT) return;
    const [percent, summary] = CIRCUIT_PHASES[phase];
    this.#reach({ percent, tag: phase, summary });
  }

  #reach(status: BootstrapStatus): void {
    if (status.percent <= this.#status.percent) return;
    this.#status = status;
    this.#changed(status);
  }
}
