/** What the test network's authorities sign, before the judges that everybody else uses: C tor's client, and stem. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, describe, test } from "node:test";
import assert from "node:assert/strict";
import { concat } from "../../src/bytes/bytes.ts";
import { toHexUpper, utf8 } from "../../src/bytes/text.ts";
import { generateRsa } from "../../src/crypto/rsa_private.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import {
  AuthorityKeys,
  EXIT_TO_ALL,
  makeServerDescriptor,
  NetworkDirectory,
  NO_EXIT,
} from "../../src/testnet/directory/mod.ts";
import { generateRelayIdentity } from "../../src/testnet/relay_identity.ts";
import { poll } from "../support/poll.ts";
import { endProcesses, freePorts, logTail, startTor } from "./ctor_process.ts";
import { skipWithoutCTor } from "./ctor_network.ts";

const AUTHORITIES = 3;
const RELAYS = 7;
const PHANTOMS = 500;
const FLAGS = ["Fast", "Guard", "HSDir", "Running", "Stable", "V2Dir", "Valid"];
const ENOUGH = "We now have enough directory information to build circuits";

const directory = mkdtempSync(join(tmpdir(), "tunic-documents-"));
after(() => rmSync(directory, { recursive: true, force: true }));

/** Authorities first, exits last; nobody listens on any of their ports. */
async function publish() {
  const ports = await freePorts(RELAYS);
  const now = nodeRuntime.clock.now();
  const tapKey = await generateRsa(1024);
  const identities = await Promise.all(
    ports.map((_, i) => generateRelayIdentity({ nickname: `relay${i}`, now, random: nodeRuntime })),
  );
  const keys = await Promise.all(Array.from({ length: AUTHORITIES }, () => AuthorityKeys.generate()));
  const authorities = keys.map((each, i) => ({
    nickname: `relay${i}`,
    keys: each,
    rsaId: identities[i]!.rsaId,
    host: "127.0.0.1",
    orPort: ports[i]!,
    dirPort: 0,
  }));
  const network = new NetworkDirectory({
    runtime: nodeRuntime,
    authorities,
    phantomRelays: PHANTOMS,
    params: { cc_alg: 2, circwindow: 1000 },
  });
  const family = identities.slice(3, 5).map(({ rsaId }) => `$${toHexUpper(rsaId)}`);
  for (const [i, identity] of identities.entries()) {
    const exit = i >= RELAYS - 2;
    network.list({
      bandwidth: 10_000,
      flags: [...(i < AUTHORITIES ? ["Authority"] : []), ...(exit ? ["Exit"] : []), ...FLAGS],
      descriptor: makeServerDescriptor({
        keys: identity,
        tapKey,
        address: { host: "127.0.0.1", port: ports[i]! },
        ipv6: i === 4 ? { host: "::1", port: ports[i]! } : undefined,
        dirPort: 0,
        version: "0.4.9.11",
        protocols:
          "Cons=2 Desc=2 DirCache=2 FlowCtrl=1 HSDir=2 HSIntro=4 HSRend=2 Link=4-5 LinkAuth=3 Microdesc=2 Relay=2",
        published: now - 60_000,
        bandwidth: 10_000_000,
        exitPolicy: exit ? EXIT_TO_ALL : NO_EXIT,
        family: i === 3 || i === 4 ? family : undefined,
        contact: "nobody",
      }),
    });
  }
  network.publish();
  const get = async (path: string) => {
    const request = { method: "GET", path, headers: new Map<string, string>(), body: new Uint8Array(0) };
    const { status, body } = await network.answer(request, identities[0]!.rsaId);
    assert.equal(status, 200, path);
    return body;
  };
  const microdescConsensus = await get("/tor/status-vote/current/consensus-microdesc");
  return {
    certificates: await get("/tor/keys/all"),
    consensus: await get("/tor/status-vote/current/consensus"),
    microdescConsensus,
    vote: await get("/tor/status-vote/current/authority"),
    descriptors: await get("/tor/server/all"),
    microdescs: [...new TextDecoder().decode(microdescConsensus).matchAll(/^m (\S+)$/gm)].map(([, digest]) =>
      network.documents.microdesc(digest!)!
    ),
    torrc: authorities.map(({ nickname, orPort, rsaId, keys }) =>
      `DirAuthority ${nickname} orport=${orPort} no-v2 v3ident=${toHexUpper(keys.identity)} 127.0.0.1:1 ` +
      toHexUpper(rsaId)
    ),
  };
}

let published: ReturnType<typeof publish> | undefined;
const documents = () => published ??= publish();

/** Starts tor on a data directory with these files; answers its log once `sign` is in it. */
async function torWith(
  files: Readonly<Record<string, Uint8Array>>,
  torrc: readonly string[],
  sign: string,
): Promise<string> {
  const data = mkdtempSync(join(directory, "tor-"));
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(data, name), bytes);
  const [socksPort] = await freePorts(1);
  const path = join(data, "info.log");
  const log = () => existsSync(path) ? readFileSync(path, "utf8") : "";
  const pid = startTor(data, [
    ...torrc,
    "TestingTorNetwork 1",
    "ClientOnly 1",
    `SocksPort 127.0.0.1:${socksPort}`,
    `Log info file ${path}`,
  ]);
  try {
    return await poll(`"${sign}" in tor's log`, 20_000, () => log().includes(sign) ? log() : undefined);
  } catch (error) {
    throw new Error(`${logTail(data)}\n${log().split("\n").slice(-20).join("\n")}`, { cause: error });
  } finally {
    await endProcesses([pid], "SIGKILL");
  }
}

describe("documents of the test network, read by C tor's client", { skip: skipWithoutCTor() }, () => {
  test("the microdescriptor consensus with its microdescriptors", async () => {
    const { certificates, microdescConsensus, microdescs, torrc } = await documents();
    const now = new Date(nodeRuntime.clock.now()).toISOString().slice(0, 19).replace("T", " ");
    const log = await torWith(
      {
        "cached-certs": certificates,
        "cached-microdesc-consensus": microdescConsensus,
        "cached-microdescs.new": concat(...microdescs.flatMap((text) => [utf8(`@last-listed ${now}\n`), text])),
      },
      torrc,
      ENOUGH,
    );
    assert.match(log, /This microdesc one has 3 \(/);
    assert.ok(log.includes(`Found ${RELAYS + PHANTOMS} descriptors`));
    assert.doesNotMatch(log, /\[(warn|err)\] .*([Cc]onsensus|[Dd]escriptor|[Cc]ert|protocol|parse)/);
  });

  test("the ns consensus with server descriptors, whose signatures C tor checks", async () => {
    const { certificates, consensus, descriptors, torrc } = await documents();
    const files = { "cached-certs": certificates, "cached-consensus": consensus };
    const usesDescriptors = [...torrc, "UseMicrodescriptors 0"];
    const log = await torWith({ ...files, "cached-descriptors.new": descriptors }, usesDescriptors, ENOUGH);
    assert.match(log, /This ns one has 3 \(/);
    assert.doesNotMatch(log, /\[(warn|err)\] .*([Cc]onsensus|[Dd]escriptor|[Cc]ert|protocol|parse)/);
  });

  test("a descriptor that says another onion key than was signed is not taken", async () => {
    const { certificates, consensus, descriptors, torrc } = await documents();
    const bent = descriptors.slice();
    const at = new TextDecoder().decode(bent).indexOf("\nntor-onion-key ") + 20;
    bent[at] = bent[at] === 0x41 ? 0x42 : 0x41;
    const files = { "cached-certs": certificates, "cached-consensus": consensus, "cached-descriptors.new": bent };
    await torWith(files, [...torrc, "UseMicrodescriptors 0"], "Incorrect ed25519 signature(s)");
  });

  test("a consensus of other authorities is not taken", async () => {
    const { certificates, microdescConsensus, torrc } = await documents();
    const strangers = torrc.map((line) =>
      line.replace(/v3ident=[0-9A-F]{40}/, `v3ident=${toHexUpper(nodeRuntime.random(20))}`)
    );
    const files = { "cached-certs": certificates, "cached-microdesc-consensus": microdescConsensus };
    const log = await torWith(files, strangers, "signatures from authorities we don't recognize");
    assert.ok(!log.includes(ENOUGH));
  });
});

/** Reads everything strictly, and checks what refers to what; ends with an error for anything that is not right. */
const STEM_JUDGE = `
import sys
from stem.descriptor import DocumentHandler, parse_file
directory = sys.argv[1]
def documents(name, kind, **options):
    with open(directory + "/" + name, "rb") as file:
        return list(parse_file(file, kind, validate=True, **options))
certificates = documents("certificates", "dir-key-certificate-3 1.0")
whole = {"document_handler": DocumentHandler.DOCUMENT}
consensus, = documents("consensus", "network-status-consensus-3 1.0", **whole)
consensus.validate_signatures(certificates)
microdesc_consensus, = documents("microdesc-consensus", "network-status-microdesc-consensus-3 1.0", **whole)
vote, = documents("vote", "network-status-vote-3 1.0", **whole)
descriptors = documents("descriptors", "server-descriptor 1.0")
microdescs = documents("microdescs", "microdescriptor 1.0")
digests = {status.microdescriptor_digest for status in microdesc_consensus.routers.values()}
assert digests == {each.digest().rstrip("=") for each in microdescs}, "microdescriptors are not those of the consensus"
assert {status.digest for status in consensus.routers.values()} >= {each.digest() for each in descriptors}
print(len(certificates), len(consensus.routers), len(vote.routers), len(descriptors), len(microdescs))
`;

/** Debian's own, which its python3-stem is for: another one may come first on the PATH. */
const PYTHON = existsSync("/usr/bin/python3") ? "/usr/bin/python3" : "python3";

function skipWithoutStem(): false | string {
  if (spawnSync(PYTHON, ["-c", "import stem, cryptography"]).status === 0) return false;
  if (process.env.CI) {
    throw new Error("Cannot run the interop tests: Python's stem is absent, and in CI it must be there");
  }
  return "there is no Python with stem on this machine";
}

describe("documents of the test network, read by stem", { skip: skipWithoutStem() }, () => {
  const judge = async (changes: Readonly<Record<string, Uint8Array>> = {}) => {
    const { certificates, consensus, microdescConsensus, vote, descriptors, microdescs } = await documents();
    const data = mkdtempSync(join(directory, "stem-"));
    const files = {
      certificates,
      consensus,
      "microdesc-consensus": microdescConsensus,
      vote,
      descriptors,
      microdescs: concat(...microdescs),
      ...changes,
    };
    for (const [name, bytes] of Object.entries(files)) writeFileSync(join(data, name), bytes);
    return spawnSync(PYTHON, ["-c", STEM_JUDGE, data], { encoding: "utf8" });
  };

  test("all of them are valid, and name each other rightly", async () => {
    const { stdout, stderr } = await judge();
    const all = RELAYS + PHANTOMS;
    assert.equal(stdout, `${AUTHORITIES} ${all} ${all} ${RELAYS} ${all}\n`, stderr);
  });

  test("and it would say so if they were not", async () => {
    const { consensus, descriptors } = await documents();
    const bend = (bytes: Uint8Array, from: string, to: string) =>
      utf8(new TextDecoder().decode(bytes).replace(from, to));
    const bent: Record<string, Uint8Array>[] = [
      { consensus: bend(consensus, "Bandwidth=10000", "Bandwidth=10001") },
      { descriptors: bend(descriptors, "contact nobody", "contact somebody") },
    ];
    for (const changes of bent) assert.notEqual((await judge(changes)).status, 0);
  });
});
