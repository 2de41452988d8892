/** `tunic testnet`: a whole Tor network on this machine, until a signal stops it. */
import { throwIfAborted } from "../../base/errors.ts";
import { utf8 } from "../../bytes/text.ts";
import { startTestnet, type Testnet } from "../../testnet/testnet.ts";
import { type AppContext, surroundingsOf } from "../context.ts";
import { expandPath } from "../places.ts";
import { untilStopped } from "../until_stopped.ts";

export interface TestnetFlags {
  readonly relays?: number;
  readonly exits?: number;
  readonly authorities?: number;
  readonly phantomRelays?: number;
  /** Seconds between consensuses. */
  readonly interval?: number;
  /** The file to write the torrc lines to. */
  readonly torrc?: string;
  readonly json?: boolean;
}

const EXAMPLE_TORRC = "testnet.torrc";

/** Answers the exit code; throws nothing. */
export function testnet(flags: TestnetFlags, context: AppContext): Promise<number> {
  return untilStopped(context, flags.json ?? false, async ({ runtime, reporter, stop }) => {
    const { relays, exits, authorities, phantomRelays, interval, torrc } = flags;
    const started = runtime.clock.monotonic();
    await using net = await startTestnet({
      runtime,
      relays,
      exits,
      authorities,
      phantomRelays,
      consensusIntervalMs: interval === undefined ? undefined : interval * 1000,
    });
    const ms = Math.round(runtime.clock.monotonic() - started);
    const torrcFile = torrc === undefined ? undefined : expandPath(torrc, surroundingsOf(context.process));
    if (torrcFile !== undefined) await runtime.files.writeAtomic(torrcFile, utf8(torrcText(net)));
    throwIfAborted(stop.signal, "go on");
    reporter.say(
      {
        event: "ready",
        ms,
        torrc: net.torrc,
        torrcFile,
        relays: net.relays.map(({ nickname, role, orPort }) => ({ nickname, role, address: `127.0.0.1:${orPort}` })),
      },
      readyText(net, ms, torrcFile),
    );
    await stop.made;
  });
}

function torrcText(net: Testnet): string {
  return `# A test network of tunic, as long as it runs.\n${net.torrc.join("\n")}\n`;
}

/** Comments and the lines themselves: a torrc, whoever copies the whole. */
function readyText(net: Testnet, ms: number, torrcFile: string | undefined): string {
  const count = (wanted: string): number => net.relays.filter(({ role }) => role === wanted).length;
  const file = quoted(torrcFile ?? EXAMPLE_TORRC);
  const client = `-f ${file} --DataDirectory "$(mktemp -d)" --SocksPort 9150`;
  return [
    `# A Tor network on 127.0.0.1: authorities ${count("authority")}, relays ${count("relay")}, exits ${
      count("exit")
    }.`,
    `# Up in ${ms} ms. What a client needs to know:`,
    ...net.torrc,
    "#",
    torrcFile === undefined
      ? `# To try it, put these lines into a file, as --torrc ${EXAMPLE_TORRC} does, and start one of`
      : `# To try it, start one of`,
    `#   tor ${client}`,
    `#   tunic run ${client}`,
    "# and ask it for something on this machine, the only place that its exits connect to:",
    "#   curl --socks5-hostname 127.0.0.1:9150 http://localhost:8000/",
    "# Ctrl-C ends the network.",
  ].join("\n");
}

/** For a shell. */
function quoted(path: string): string {
  return /^[\w./~+-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`;
}
