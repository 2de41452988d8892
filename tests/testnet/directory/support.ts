/** A test network's directory in simulated time, with relays whose keys are made once for all tests. */
import assert from "node:assert/strict";
import { generateRsa } from "../../../src/crypto/rsa_private.ts";
import { mockRuntime } from "../../../src/runtime/mock.ts";
import {
  AuthorityKeys,
  EXIT_TO_ALL,
  type ListedRelay,
  makeServerDescriptor,
  NetworkDirectory,
  type NetworkDirectoryOptions,
  NO_EXIT,
  type ServerDescriptorContent,
} from "../../../src/testnet/directory/mod.ts";
import type { DirectoryAnswer } from "../../../src/testnet/directory_connection.ts";
import { generateRelayIdentity } from "../../../src/testnet/relay_identity.ts";
import { parseCertificates } from "../../../src/wire/netdoc/authority_certificate.ts";
import type { ConsensusEvidence } from "../../../src/wire/netdoc/consensus_verify.ts";

/** At the beginning of an interval of any usual length. */
export const START = Date.UTC(2026, 0, 29, 12);
export const INTERVAL_MS = 20_000;
export const PROTOCOLS = "Cons=2 Desc=2 DirCache=2 FlowCtrl=1 HSDir=2 HSIntro=4 HSRend=2 Link=4-5 LinkAuth=3 " +
  "Microdesc=2 Relay=2";
export const FLAGS = ["Fast", "Guard", "HSDir", "Running", "Stable", "V2Dir", "Valid"];

const { random } = mockRuntime(7);
export const TAP_KEY = await generateRsa(1024);
export const AUTHORITY_KEYS = await Promise.all([0, 1, 2].map(() => AuthorityKeys.generate()));
/** Authorities first. */
export const IDENTITIES = await Promise.all(
  Array.from(
    { length: 6 },
    (_, i) => generateRelayIdentity({ nickname: i < 3 ? `auth${i}` : `r${i}`, now: START, random: { random } }),
  ),
);

export function descriptor(i: number, changes: Partial<ServerDescriptorContent> = {}) {
  return makeServerDescriptor({
    keys: IDENTITIES[i]!,
    tapKey: TAP_KEY,
    address: { host: "127.0.0.1", port: 5000 + i },
    dirPort: 0,
    version: "0.4.9.11",
    protocols: PROTOCOLS,
    published: START - 1000,
    bandwidth: 10_000_000,
    exitPolicy: i === 5 ? EXIT_TO_ALL : NO_EXIT,
    ...changes,
  });
}

/** Authorities are relays 0 to 2, and relay 5 is an exit. */
export function listed(i: number, changes: Partial<ListedRelay> = {}): ListedRelay {
  const own = i < 3 ? ["Authority"] : i === 5 ? ["Exit"] : [];
  return { descriptor: descriptor(i), flags: [...own, ...FLAGS], bandwidth: 1000 * (i + 1), ...changes };
}

/** Nothing is published yet. */
export function newDirectory(options: Partial<NetworkDirectoryOptions> = {}) {
  const mock = mockRuntime(1, START);
  const directory = new NetworkDirectory({
    runtime: mock,
    intervalMs: INTERVAL_MS,
    authorities: AUTHORITY_KEYS.map((keys, i) => ({
      nickname: `auth${i}`,
      keys,
      rsaId: IDENTITIES[i]!.rsaId,
      host: "127.0.0.1",
      orPort: 5000 + i,
      dirPort: 7000 + i,
    })),
    ...options,
  });
  for (let i = 0; i < IDENTITIES.length; i++) directory.list(listed(i));
  return { directory, mock };
}

export function ask(
  directory: NetworkDirectory,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  rsaId?: Uint8Array,
): Promise<DirectoryAnswer> {
  const request = { method: "GET", path, headers: new Map(Object.entries(headers)), body: new Uint8Array(0) };
  return directory.answer(request, rsaId);
}

/** What a client judges signatures by, having fetched all certificates. */
export async function evidenceFrom(directory: NetworkDirectory, now: number): Promise<ConsensusEvidence> {
  const authorities = AUTHORITY_KEYS.map(({ identity }) => identity);
  const { body } = await ask(directory, "/tor/keys/all");
  const certificates = parseCertificates(body).map((certificate) => certificate.verify({ authorities, now }));
  return { authorities, certificates, now };
}

/** Applies a diff as dir-spec, appendix E, says a client must: strictly from back to front. */
export function applyDiff(text: string, diff: string): string {
  const lines = text.split("\n").slice(0, -1);
  const [version, hash, ...commands] = diff.split("\n").slice(0, -1);
  assert.equal(version, "network-status-diff-version 1");
  assert.match(hash!, /^hash [0-9A-F]{64} [0-9A-F]{64}$/);
  let limit = Infinity;
  for (let i = 0; i < commands.length;) {
    const match = /^(\d+)(?:,(\d+|\$))?([acd])$/.exec(commands[i++]!);
    assert.ok(match, `a command: ${commands[i - 1]}`);
    const [, first, last, command] = match;
    const start = Number(first);
    const end = last === undefined ? start : last === "$" ? lines.length : Number(last);
    assert.ok(start <= end && end < limit && end <= lines.length, `${match[0]} after line ${limit}`);
    if (last === "$") assert.equal(command, "d");
    const block: string[] = [];
    if (command !== "d") {
      while (commands[i] !== ".") block.push(commands[i++]!);
      i++;
      assert.ok(block.length > 0);
    }
    if (command === "a") lines.splice(start, 0, ...block);
    else lines.splice(start - 1, end - start + 1, ...block);
    limit = command === "a" ? start + 1 : start;
  }
  return `${lines.join("\n")}\n`;
}
