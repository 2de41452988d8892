/** What the client refuses of C tor's relays although they did what they were asked for. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isTunicError } from "../../mod.ts";
import { sharedCTorNetwork, skipWithoutCTor } from "./ctor_network.ts";
import { launchClient } from "./library_client.ts";
import { startLocalServerProcess } from "../support/local_server.ts";

describe("a client", { skip: skipWithoutCTor() }, () => {
  test("takes no stream that an exit connected to a private network, unless that is allowed", async () => {
    const network = await sharedCTorNetwork();
    await using server = await startLocalServerProcess();
    await using tor = await launchClient(network, { clientDnsRejectInternalAddresses: true });
    await assert.rejects(
      tor.connect("127.0.0.1", server.port),
      (error) => isTunicError(error, "policy") && error.code === "internal-answer",
    );
    assert.equal(tor.snapshot.streams, 0);
  });
});
