/** Relays of ours in a network of C tor's authorities and relays: each takes circuits from the other, and passes them on. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type JoinedRelays, joinNetwork } from "../../src/testnet/joined_relays.ts";
import type { ObservedStream } from "../../src/testnet/path_observer.ts";
import { curl } from "../support/curl.ts";
import { contentSha256, startLocalServerProcess } from "../support/local_server.ts";
import { poll } from "../support/poll.ts";
import { startCTorClient } from "./ctor_client.ts";
import { type CTorNode, skipWithoutCTor, startCTorNetwork } from "./ctor_network.ts";
import { accepts } from "./ctor_process.ts";

const BYTES = 10 << 20;
/** A relay that cannot authenticate its links is a client to C tor's exits, which let no stream out for those. */
const authenticates = !("Deno" in globalThis);

test("relays of ours and of C tor carry each other's circuits", { skip: skipWithoutCTor() }, async () => {
  let joined: JoinedRelays | undefined;
  const streams: ObservedStream[] = [];
  const onStarted = async (nodes: readonly CTorNode[]): Promise<void> => {
    const ports = nodes.filter(({ role }) => role === "authority").map(({ dirPort }) => dirPort);
    for (const port of ports) await poll("a directory port", 10_000, async () => await accepts(port) || undefined, 20);
    joined = await joinNetwork({
      publishTo: ports.map((port) => ({ host: "127.0.0.1", port })),
      onExitStream: (stream) => streams.push(stream),
    });
  };
  await using network = await startCTorNetwork({ authorities: 1, exits: 2, onStarted });
  await using relays = joined!;
  await using server = await startLocalServerProcess();
  const [ours1, ours2, ourExit] = relays.fingerprints as [string, string, string];
  const [theirs, theirExit] = [network.node("exit0").fingerprint, network.node("exit1").fingerprint];

  const fetchOver = async (guard: string, middle: string, exit: string): Promise<void> => {
    const path = [`EntryNodes ${guard}`, `MiddleNodes ${middle}`, `ExitNodes ${exit}`, "StrictNodes 1"];
    await using client = await startCTorClient(network, path);
    await client.bootstrapped();
    const { socksPort } = client;
    const page = await curl(`http://127.0.0.1:${server.port}/bytes/${BYTES}`, { socksPort, digestOnly: true });
    assert.deepEqual([page.message, page.bytes, page.sha256], ["", BYTES, contentSha256(BYTES)]);
  };
  await Promise.all([
    fetchOver(ours1, theirs, ourExit),
    fetchOver(theirs, ours2, authenticates ? theirExit : ourExit),
    fetchOver(ours1, ours2, ourExit),
  ]);
  const exits = streams.map(({ path }) => path.at(-1)!.nickname);
  assert.deepEqual(exits, new Array(authenticates ? 2 : 3).fill("joined3"));
});
