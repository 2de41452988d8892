/** C tor as the judge of our own network: its client and its onion service live on relays and authorities of ours. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { curl } from "../support/curl.ts";
import { content, contentSha256, HELLO, type LocalServer, startLocalServerProcess } from "../support/local_server.ts";
import { poll } from "../support/poll.ts";
import { download, RESOLVE, RESOLVE_PTR, socksRequest } from "../support/socks_client.ts";
import { nicknames, type ObservedNetwork, startObservedNetwork } from "../support/test_network.ts";
import { type CTorClient, startCTorClient } from "./ctor_client.ts";
import { skipWithoutCTor } from "./ctor_process.ts";

const MIB = 1 << 20;
/** The least that C tor takes. */
const CONSENSUS_INTERVAL_MS = 10_000;
/** C tor warns of applications that name addresses. */
const WEB = "web.tunic.test";
const HOSTS = { [WEB]: "127.0.0.1" };
/** Has C tor warn of whatever breaks the protocol, and tell what it does with directories. */
const JUDGE = ["ProtocolWarnings 1", "Log [dir]info file %D/dir.log"];

describe("C tor on the test network", { skip: skipWithoutCTor() }, () => {
  let network: ObservedNetwork;
  let server: LocalServer;
  /** The server by its name. */
  let web: string;
  let client: CTorClient;
  let service: CTorClient;

  before(async () => {
    [network, server] = await Promise.all([
      startObservedNetwork({ hosts: HOSTS, consensusIntervalMs: CONSENSUS_INTERVAL_MS }),
      startLocalServerProcess(),
    ]);
    web = `http://${WEB}:${server.port}`;
    const { torrc } = network.net;
    [client, service] = await Promise.all([
      startCTorClient({ torrc }, JUDGE),
      startCTorClient({ torrc }, [
        ...JUDGE,
        "HiddenServiceDir %D/service",
        `HiddenServicePort 80 127.0.0.1:${server.port}`,
      ]),
    ]);
  });
  after(async () => {
    await Promise.all([client.stop(), service.stop(), server.stop()]);
    await network.net.close();
  });

  test("carries 100 MiB down and 20 MiB up, byte for byte, and 100 streams at once, over three relays", async () => {
    await client.bootstrapped();
    const { socksPort } = client;
    assert.equal((await curl(`${web}/hello`, { socksPort })).text, HELLO);

    const down = await curl(`${web}/bytes/${100 * MIB}`, { socksPort, digestOnly: true });
    assert.deepEqual([down.message, down.bytes, down.sha256], ["", 100 * MIB, contentSha256(100 * MIB)]);

    const up = await curl(`${web}/sink`, { socksPort, upload: content(20 * MIB) });
    assert.deepEqual(JSON.parse(up.text || up.message), { bytes: 20 * MIB, sha256: contentSha256(20 * MIB) });

    const target = { socksPort, host: WEB, port: server.port };
    const all = await Promise.all(Array.from({ length: 100 }, () => download(target, `/bytes/${MIB / 4}`)));
    const expected = contentSha256(MIB / 4);
    assert.equal(all.filter(({ sha256 }) => sha256 === expected).length, 100);

    assert.equal(network.streams.length, 103);
    for (const { path } of network.streams) assert.equal(new Set(nicknames(path)).size, 3, `${nicknames(path)}`);
  });

  test("looks names and addresses up at the exit", async () => {
    await client.bootstrapped();
    const lookUp = async (host: string, command: number) => {
      const { code, address, socket } = await socksRequest({ socksPort: client.socksPort, host, port: 0 }, command);
      socket.destroy();
      return [code, address];
    };
    assert.deepEqual(await lookUp(WEB, RESOLVE), [0, "127.0.0.1"]);
    assert.deepEqual(await lookUp("127.0.0.1", RESOLVE_PTR), [0, "localhost"]);
    assert.equal((await lookUp("nowhere.tunic.test", RESOLVE))[0], 4);
  });

  test("meets an onion service of C tor", async () => {
    await Promise.all([client.bootstrapped(), service.bootstrapped()]);
    const { socksPort } = client;
    const exited = network.streams.length;
    const onion = await poll(
      "the onion service's name",
      20_000,
      () => service.read("service/hostname").trim() || undefined,
    );
    const page = await poll("a page of the onion service", 30_000, async () => {
      const { text } = await curl(`http://${onion}/hello`, { socksPort });
      return text || undefined;
    });
    assert.equal(page, HELLO);
    const down = await curl(`http://${onion}/bytes/${5 * MIB}`, { socksPort });
    assert.deepEqual([down.message, down.bytes, down.sha256], ["", 5 * MIB, contentSha256(5 * MIB)]);
    const up = await curl(`http://${onion}/sink`, { socksPort, upload: content(MIB) });
    assert.deepEqual(JSON.parse(up.text || up.message), { bytes: MIB, sha256: contentSha256(MIB) });
    assert.equal(network.streams.length, exited, "nothing left at an exit");
  });

  test("stays through renewals of the consensus, by differences, and finds nothing to warn of", async () => {
    await client.bootstrapped();
    const renewals = () => client.read("dir.log").match(/Applied consensus diff/g)?.length ?? 0;
    await poll("two renewals", 5 * CONSENSUS_INTERVAL_MS, () => renewals() >= 2 || undefined);
    assert.equal(client.progress, 100);
    // A user name of its own makes a circuit of its own.
    const target = { socksPort: client.socksPort, host: WEB, port: server.port, user: "renewed" };
    assert.equal((await download(target, "/hello")).bytes, HELLO.length);
    assert.deepEqual([...client.warnings, ...service.warnings], []);
  });
});
