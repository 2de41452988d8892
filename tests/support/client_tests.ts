/** What tests of the library's client need on any private network, C tor's or tunic's own. */
import { spawn } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { TorClient, type TorClientOptions, type TorConnection } from "../../mod.ts";
import { fromHex, toHex } from "../../src/bytes/text.ts";
import type { DirectoryAuthority } from "../../src/netdir/authorities.ts";
import { tunicCommand } from "./tunic_process.ts";

/** A client of the network that these authorities, on loopback, sign for. */
export async function launchTestClient(
  authorities: readonly DirectoryAuthority[],
  options: TorClientOptions = {},
): Promise<TorClient> {
  return await TorClient.launch({
    directoryAuthorities: authorities,
    testingTorNetwork: true,
    pathsNeededToBuildCircuits: 0.67,
    ...options,
  });
}

/** Reads to the end; answers how many bytes came and what broke the stream, if anything did. */
export async function drain(connection: TorConnection): Promise<{ bytes: number; error: unknown }> {
  let bytes = 0;
  try {
    for await (const part of connection.readable) bytes += part.length;
    return { bytes, error: undefined };
  } catch (error) {
    return { bytes, error };
  }
}

/** Sockets that this process has open. */
export function openSockets(): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:");
    } catch {
      return false;
    }
  }).length;
}

/** Runs `short_program.ts`; answers its exit code. */
export async function runShortProgram(authorities: readonly DirectoryAuthority[]): Promise<number> {
  const program = fileURLToPath(new URL("./short_program.ts", import.meta.url));
  const [command, ...first] = tunicCommand("source", program);
  const child = spawn(command!, [...first, authoritiesToText(authorities)], {
    stdio: ["ignore", "inherit", "inherit"],
  });
  return await new Promise((resolve) => child.once("close", (code) => resolve(code ?? -1)));
}

export function authoritiesToText(authorities: readonly DirectoryAuthority[]): string {
  return JSON.stringify(authorities, (_, value) => value instanceof Uint8Array ? toHex(value) : value);
}

export function authoritiesFromText(text: string): DirectoryAuthority[] {
  return JSON.parse(text, (name, value) => name === "rsaId" || name === "v3ident" ? fromHex(value) : value);
}
