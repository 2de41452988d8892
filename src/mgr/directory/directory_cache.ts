/** The directory documents on disk: loaded at the start, checked as if they had just come, saved when they change. */
import { isTunicError, type TunicError } from "../../base/errors.ts";
import { logger } from "../../base/log.ts";
import { decodeStore, encodeStore } from "../../netdir/microdesc_snapshot.ts";
import { MicrodescStore } from "../../netdir/microdesc_store.ts";
import type { Clock } from "../../runtime/ports.ts";
import type { StateFile } from "../../state/state_file.ts";
import { parseConsensus } from "../../wire/netdoc/consensus.ts";
import type { AuthorityCertificates } from "./certificates.ts";
import type { AcceptedConsensus, ConsensusChecker } from "./consensus_check.ts";

const log = logger("directory");

/** The files of the data directory that the directory manager uses. */
export interface DirectoryFiles {
  readonly consensus: StateFile<Uint8Array>;
  readonly certificates: StateFile<Uint8Array>;
  readonly microdescriptors: StateFile<Uint8Array>;
}

export class DirectoryCache {
  readonly #clock: Clock;
  readonly #files: DirectoryFiles;
  readonly #certificates: AuthorityCertificates;
  readonly #checker: ConsensusChecker;

  constructor(clock: Clock, files: DirectoryFiles, certificates: AuthorityCertificates, checker: ConsensusChecker) {
    this.#clock = clock;
    this.#files = files;
    this.#certificates = certificates;
    this.#checker = checker;
  }

  /**
   * The consensus of an earlier run, if it is still timely; the certificates are taken in as well. What is damaged is
   * set aside. `onClockBehind` is called where the consensus is from the future. Throws `storage`.
   */
  async loadConsensus(onClockBehind: (error: TunicError) => void): Promise<AcceptedConsensus | undefined> {
    const { consensus: file } = this.#files;
    const text = await file.load();
    try {
      await this.#loadCertificates(text && parseConsensus(text).lifetime.validAfter);
      if (!text) return undefined;
      return await this.#checker.check(text, () => this.#clock.now(), undefined, () => Promise.resolve());
    } catch (error) {
      if (isTunicError(error, "malformed")) await file.setAside(error.message);
      else if (!isTunicError(error, "clock", "crypto")) throw error;
      else log.info("The cached consensus is not used: {error}", { error: error.message });
      // One from the past is what any machine finds that was off for some days.
      if (isTunicError(error, "clock") && error.code === "clock-behind") onClockBehind(error);
      return undefined;
    }
  }

  /** Throws `storage`. */
  async loadStore(): Promise<MicrodescStore> {
    const { microdescriptors: file } = this.#files;
    const bytes = await file.load();
    if (bytes) {
      try {
        return decodeStore(bytes);
      } catch (error) {
        if (!isTunicError(error, "malformed")) throw error;
        await file.setAside(error.message);
      }
    }
    return new MicrodescStore();
  }

  /** Everything that came with a new consensus. */
  saveConsensus({ text }: AcceptedConsensus): void {
    this.#files.consensus.save(() => text);
    this.#files.certificates.save(() => this.#certificates.encode(this.#clock.now()));
  }

  /** `store` is asked for when it is written. */
  saveStore(store: () => MicrodescStore): void {
    this.#files.microdescriptors.save(() => encodeStore(store()));
  }

  /** Certificates are judged by the consensus' time, where there is one: our clock may be wrong. */
  async #loadCertificates(validAfter = this.#clock.now()): Promise<void> {
    const { certificates: file } = this.#files;
    const text = await file.load();
    if (!text) return;
    try {
      this.#certificates.add(text, validAfter);
    } catch (error) {
      if (!isTunicError(error, "malformed")) throw error;
      await file.setAside(error.message);
    }
  }
}
