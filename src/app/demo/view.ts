/** What `tunic demo` shows: each step with its time, the path with its cells, what to try next. */
import type { ObservedHop, ObservedStream } from "../../testnet/path_observer.ts";
import type { Address } from "../../runtime/ports.ts";
import { printable } from "../logging.ts";
import { addressText, type Reporter } from "../reporter.ts";

export interface FetchedPage {
  readonly url: string;
  readonly status: number;
  readonly bytes: number;
  readonly firstByteMs: number;
  readonly stream: ObservedStream;
  /** From the start of the program's work to the page's first byte. */
  readonly startToFirstByteMs: number;
}

const GREEN = "32";
const BOLD = "1";
const FAINT = "2";
const STEP_WIDTH = 10;

export class DemoView {
  readonly #reporter: Reporter;

  constructor(reporter: Reporter) {
    this.#reporter = reporter;
  }

  /** The step is under way. */
  begin(step: string, detail = ""): void {
    this.#reporter.pending(`  … ${step.padEnd(STEP_WIDTH)} ${printable(detail)}`);
  }

  done(step: string, ms: number, detail: string): void {
    const { paint } = this.#painter;
    const time = `${Math.round(ms)} ms`.padStart(8);
    this.#reporter.say(
      { event: "step", step, ms: Math.round(ms), detail },
      `  ${paint(GREEN, "✓")} ${paint(BOLD, step.padEnd(STEP_WIDTH))} ${time}  ${paint(FAINT, detail)}`,
    );
  }

  page(page: FetchedPage): void {
    const { paint } = this.#painter;
    const { stream: { path, host, port } } = page;
    const widths = path.map((hop) => Math.max(hop.nickname.length, 6));
    const row = (label: string, value: (hop: ObservedHop) => string, between: string): string =>
      (label + path.map((hop, i) => value(hop).padEnd(widths[i]!)).join(between)).trimEnd();
    this.#reporter.say(
      {
        event: "page",
        url: page.url,
        status: page.status,
        bytes: page.bytes,
        firstByteMs: Math.round(page.firstByteMs),
        startToFirstByteMs: Math.round(page.startToFirstByteMs),
        path,
      },
      [
        "",
        `${row("  client   →   ", (hop) => hop.nickname, " → ")} → ${printable(host)}:${port}`,
        row("  cells there  ", (hop) => String(hop.cellsFromClient), "   "),
        row("  and back     ", (hop) => String(hop.cellsToClient), "   "),
        "",
        `  ${Math.round(page.startToFirstByteMs)} ms from nothing to the first byte ` +
        paint(FAINT, "(cells of 514 bytes, those that built the circuit included)"),
      ].join("\n"),
    );
  }

  ready(socks: Address, url: string): void {
    const { paint } = this.#painter;
    const curl = `curl --socks5-hostname ${addressText(socks)} ${url}`;
    this.#reporter.say(
      { event: "ready", socks: addressText(socks), url, curl },
      [
        "",
        "Try it:",
        `  ${paint(BOLD, curl)}`,
        `  ${paint(BOLD, `${curl}bytes/100000000 -o /dev/null`)}`,
        paint(FAINT, "Each stream is shown here with its path. Ctrl-C ends the demo."),
        "",
      ].join("\n"),
    );
  }

  stream({ path, host, port }: ObservedStream): void {
    const names = path.map(({ nickname }) => nickname);
    this.#reporter.say(
      { event: "stream", host, port, path: names },
      `  client → ${names.join(" → ")} → ${printable(host)}:${port}`,
    );
  }

  get #painter(): { paint: (colour: string, text: string) => string } {
    return { paint: (colour, text) => this.#reporter.paint(colour, text) };
  }
}
