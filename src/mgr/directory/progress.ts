/** How far the start has come, in C tor's phases (control-spec 5.5): those before circuits are built. */
const PHASES = {
  starting: [0, "Starting"],
  conn: [5, "Connecting to a relay"],
  conn_done: [10, "Connected to a relay"],
  handshake: [14, "Handshaking with a relay"],
  handshake_done: [15, "Handshake with a relay done"],
  onehop_create: [20, "Establishing an encrypted directory connection"],
  requesting_status: [25, "Asking for networkstatus consensus"],
  loading_status: [30, "Loading networkstatus consensus"],
  loading_keys: [40, "Loading authority key certs"],
  requesting_descriptors: [45, "Asking for relay descriptors"],
  loading_descriptors: [50, "Loading relay descriptors"],
  enough_dirinfo: [75, "Loaded enough directory info to build circuits"],
} as const;

export type BootstrapPhase = keyof typeof PHASES;

export interface DirectoryProgress {
  /** C tor's tag for it. */
  readonly phase: BootstrapPhase;
  readonly summary: string;
  /** Of the whole start, circuits included: 0 to 1. */
  readonly fraction: number;
}

/** Goes forward only, as C tor's does: attempts run side by side, and some begin again. */
export class ProgressMeter {
  readonly #onProgress: (progress: DirectoryProgress) => void;
  #current: DirectoryProgress = describe("starting", 0);

  constructor(onProgress: (progress: DirectoryProgress) => void) {
    this.#onProgress = onProgress;
  }

  get current(): DirectoryProgress {
    return this.#current;
  }

  /** `part`: how much of this phase is done, 0 to 1; counts where it takes long. */
  reach(phase: BootstrapPhase, part = 0): void {
    const progress = describe(phase, part);
    if (progress.fraction <= this.#current.fraction) return;
    this.#current = progress;
    this.#onProgress(progress);
  }
}

function describe(phase: BootstrapPhase, part: number): DirectoryProgress {
  const [percent, summary] = PHASES[phase];
  const next = phase === "loading_descriptors" ? PHASES.enough_dirinfo[0] - 1 : percent;
  return { phase, summary, fraction: Math.floor(percent + part * (next - percent)) / 100 };
}
