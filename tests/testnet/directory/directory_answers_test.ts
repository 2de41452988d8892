import { describe, test } from "node:test";
import assert from "node:assert/strict";
import { latin1, toBase64, toHex, toHexUpper, utf8 } from "../../../src/bytes/text.ts";
import { sha1 } from "../../../src/crypto/digest.ts";
import { parseRsaPublicKey, verifyRsaDigest } from "../../../src/crypto/rsa.ts";
import { nodeCompression } from "../../../src/runtime/node_compression.ts";
import type { Encoding } from "../../../src/runtime/ports.ts";
import { fromBase64 } from "../../../src/bytes/text.ts";
import { ask, AUTHORITY_KEYS, descriptor, IDENTITIES, INTERVAL_MS, listed, newDirectory, START } from "./support.ts";

const { directory } = newDirectory();
directory.publish();
const CONSENSUS = "/tor/status-vote/current/consensus";
const [ns] = directory.documents.consensuses("ns");
const [microdesc] = directory.documents.consensuses("microdesc");
const prefixes = AUTHORITY_KEYS.map(({ identity }) => toHexUpper(identity).slice(0, 6));

async function textOf(path: string, rsaId?: Uint8Array): Promise<string> {
  const answer = await ask(directory, path, {}, rsaId);
  assert.equal(answer.status, 200, path);
  return latin1(answer.body);
}

async function statusOf(path: string, headers: Record<string, string> = {}): Promise<number> {
  const { status, body } = await ask(directory, path, headers);
  assert.equal(status === 200, body.length > 0);
  return status;
}

describe("answers of a directory", () => {
  test("both flavours of the consensus", async () => {
    assert.equal(await textOf(CONSENSUS), latin1(ns!.text));
    assert.equal(await textOf(`${CONSENSUS}-ns`), latin1(ns!.text));
    assert.equal(await textOf(`${CONSENSUS}-microdesc`), latin1(microdesc!.text));
    assert.equal(await statusOf(`${CONSENSUS}-other`), 404);
  });

  test("the ns flavour is signed by every authority with SHA-1", () => {
    const text = latin1(ns!.text);
    const signed = utf8(text.slice(0, text.indexOf("directory-signature ") + "directory-signature ".length));
    const signatures = [...text.matchAll(
      /^directory-signature ([0-9A-F]{40}) ([0-9A-F]{40})\n-----BEGIN SIGNATURE-----\n([^-]*)-----END SIGNATURE-----$/gm,
    )];
    assert.equal(signatures.length, 3);
    for (const [, identity, signingKeyDigest, object] of signatures) {
      const keys = AUTHORITY_KEYS.find((each) => toHexUpper(each.identity) === identity)!;
      assert.equal(signingKeyDigest, toHexUpper(keys.signingKeyDigest));
      const key = parseRsaPublicKey(keys.signingKey.publicKey.der);
      assert.ok(verifyRsaDigest(key, fromBase64(object!.replaceAll("\n", "")), sha1(signed)));
    }
  });

  test("a consensus only for those who trust enough of its authorities", async () => {
    assert.equal(await statusOf(`${CONSENSUS}-microdesc/${prefixes.join("+")}.z`), 200);
    assert.equal(await statusOf(`${CONSENSUS}-microdesc/${prefixes[0]!.toLowerCase()}`), 200);
    assert.equal(await statusOf(`${CONSENSUS}-microdesc/${prefixes[0]}+${prefixes[1]}+000000`), 200);
    assert.equal(await statusOf(`${CONSENSUS}-microdesc/${prefixes[0]}+000000`), 404);
    assert.equal(await statusOf(`${CONSENSUS}-microdesc/000000`), 404);
  });

  test("nothing new for those who have the newest", async () => {
    const hash = toHexUpper(microdesc!.signedSha3);
    const path = `${CONSENSUS}-microdesc`;
    assert.equal(await statusOf(path, { "x-or-diff-from-consensus": `${"0".repeat(64)}, ${hash}` }), 304);
    assert.equal(await statusOf(path, { "if-modified-since": new Date(START).toUTCString() }), 304);
    assert.equal(await statusOf(path, { "if-modified-since": new Date(START - 1000).toUTCString() }), 200);
    assert.equal(await statusOf(path, { "if-modified-since": "yesterday" }), 200);
    const { headers } = await ask(directory, path);
    assert.equal(new Map(headers).get("Expires"), new Date(START + INTERVAL_MS).toUTCString());
  });

  test("a diff for those who have one of the three before", async () => {
    const { directory, mock } = newDirectory();
    const hashes: string[] = [];
    for (let i = 0; i < 5; i++) {
      directory.publish();
      hashes.unshift(toHexUpper(directory.documents.consensuses("microdesc")[0]!.signedSha3));
      await mock.time.advance(INTERVAL_MS);
    }
    const path = `${CONSENSUS}-microdesc`;
    const start = async (asked: string, headers: Record<string, string> = {}) => {
      const { status, body } = await ask(directory, asked, headers);
      return status === 200 ? latin1(body).split("\n", 1)[0] : status;
    };
    const whole = "network-status-version 3 microdesc";
    for (const hash of hashes.slice(1, 4)) {
      const lower = hash.toLowerCase();
      assert.equal(await start(path, { "x-or-diff-from-consensus": lower }), "network-status-diff-version 1");
      assert.equal(
        await start(`${path}/diff/${hash}/${prefixes.join("+")}.z`, { "accept-encoding": "identity" }),
        "network-status-diff-version 1",
      );
    }
    assert.equal(await start(path, { "x-or-diff-from-consensus": hashes[4]! }), whole);
    assert.equal(await start(`${path}/diff/${hashes[4]}`), 404);
    assert.equal(await start(`${path}/diff/${hashes[1]}/000000`), 404);
    assert.equal(
      await start(CONSENSUS, { "x-or-diff-from-consensus": hashes[1]! }),
      "network-status-version 3",
      "of the other flavour",
    );
  });

  test("certificates by every name", async () => {
    const all = await textOf("/tor/keys/all.z".slice(0, -2));
    assert.equal(all.match(/^dir-key-certificate-version 3$/gm)!.length, 3);
    const [a, b] = AUTHORITY_KEYS.map((keys) =>
      [toHexUpper(keys.identity), toHexUpper(keys.signingKeyDigest)] as const
    ) as [readonly [string, string], readonly [string, string]];
    const identities = async (path: string) =>
      [...(await textOf(path)).matchAll(/^fingerprint (.*)$/gm)].map(([, identity]) => identity);
    assert.deepEqual(await identities(`/tor/keys/fp/${b[0].toLowerCase()}`), [b[0]]);
    assert.deepEqual(await identities(`/tor/keys/sk/${a[1]}+${b[1]}`), [a[0], b[0]]);
    assert.deepEqual(await identities(`/tor/keys/fp-sk/${a[0]}-${a[1]}+${b[0]}-${a[1]}`), [a[0]]);
    assert.equal(await textOf("/tor/keys/authority", IDENTITIES[1]!.rsaId), directory.voters[1]!.certificate);
    assert.equal(await statusOf("/tor/keys/authority"), 404);
    assert.equal(await statusOf(`/tor/keys/fp/${"0".repeat(40)}`), 404);
    assert.equal(await statusOf(`/tor/keys/other/${a[0]}`), 400);
  });

  test("microdescriptors by their digests, of which some have slashes", async () => {
    const descriptors = IDENTITIES.map((_, i) =>
      directory.documents.newestDescriptor(toHexUpper(IDENTITIES[i]!.rsaId))!
    );
    const names = descriptors.map(({ microdescDigest }) => toBase64(microdescDigest));
    for (const [i, name] of names.entries()) {
      assert.equal(await textOf(`/tor/micro/d/${name}`), latin1(descriptors[i]!.microdesc));
    }
    const both = await textOf(`/tor/micro/d/${names[0]}-${"A".repeat(43)}-${names[1]}-${names[0]}`);
    assert.equal(both, latin1(descriptors[0]!.microdesc) + latin1(descriptors[1]!.microdesc));
    assert.equal(await statusOf(`/tor/micro/d/${"A".repeat(43)}`), 404);
    const { directory: many } = newDirectory({ phantomRelays: 300 });
    many.publish();
    const text = latin1(many.documents.consensuses("microdesc")[0]!.text);
    const slashed = [...text.matchAll(/^m (\S*\/\S*)$/gm)].map(([, name]) => name!);
    assert.ok(slashed.length > 0);
    const { body } = await ask(many, `/tor/micro/d/${slashed.join("-")}`);
    assert.equal(latin1(body).match(/^onion-key$/gm)!.length, slashed.length);
  });

  test("server descriptors by digest, by relay, all, and one's own", async () => {
    const made = directory.documents.newestDescriptors[3]!;
    const rsaId = made.content.keys.rsaId;
    for (const path of [`d/${toHex(made.digest)}`, `fp/${toHex(rsaId)}`, "authority"]) {
      assert.equal(await textOf(`/tor/server/${path}`, rsaId), latin1(made.text), path);
    }
    assert.equal((await textOf("/tor/server/all")).match(/^router /gm)!.length, 6);
    assert.equal(await statusOf(`/tor/server/d/${"0".repeat(40)}`), 404);
    assert.equal(await statusOf("/tor/server/authority"), 404);
  });

  test("descriptors of before, as long as a consensus may name them", async () => {
    const { directory } = newDirectory();
    const versions = [1, 2, 3, 4, 5].map((n) => descriptor(3, { published: START + n * 1000, bandwidth: n }));
    for (const version of versions) directory.list(listed(3, { descriptor: version }));
    const status = async (n: number) => (await ask(directory, `/tor/server/d/${toHex(versions[n]!.digest)}`)).status;
    assert.deepEqual(await Promise.all([0, 1, 2, 3, 4].map(status)), [404, 200, 200, 200, 200]);
    const shared = toBase64(versions[0]!.microdescDigest);
    assert.equal((await ask(directory, `/tor/micro/d/${shared}`)).status, 200, "the same for all of them");
  });

  test("votes", async () => {
    for (const [i, keys] of AUTHORITY_KEYS.entries()) {
      const vote = await textOf("/tor/status-vote/current/authority", IDENTITIES[i]!.rsaId);
      assert.equal(vote, latin1(directory.documents.votes[i]!.text));
      assert.equal(await textOf(`/tor/status-vote/current/${toHexUpper(keys.identity)}`), vote);
      assert.equal(await textOf(`/tor/status-vote/current/d/${toHex(directory.documents.votes[i]!.digest)}`), vote);
      assert.ok(latin1(ns!.text).includes(`\nvote-digest ${toHexUpper(directory.documents.votes[i]!.digest)}\n`));
    }
    assert.equal(await statusOf("/tor/status-vote/current/authority"), 404);
    assert.equal(await statusOf("/tor/status-vote/next/consensus"), 404);
  });

  test("compressed as the client likes, or as the path's end says", async () => {
    const path = `${CONSENSUS}-microdesc`;
    const encodingOf = async (asked: string, accepted?: string): Promise<string> => {
      const headers: Record<string, string> = accepted === undefined ? {} : { "accept-encoding": accepted };
      const answer = await ask(directory, asked, headers);
      const encoding = new Map(answer.headers).get("Content-Encoding") as Encoding;
      const plain = await nodeCompression.decompress(encoding, answer.body, 1 << 20);
      assert.equal(latin1(plain), latin1(microdesc!.text));
      return encoding;
    };
    const best = nodeCompression.encodings.includes("x-zstd") ? "x-zstd" : "gzip";
    assert.equal(await encodingOf(path), "identity");
    assert.equal(await encodingOf(`${path}.z`), "deflate");
    assert.equal(await encodingOf(`${path}.z`, "deflate, gzip, x-tor-lzma, x-zstd, identity"), best);
    assert.equal(await encodingOf(path, "gzip"), "gzip");
    assert.equal(await encodingOf(`${path}.z`, "identity"), "identity");
    assert.equal(await encodingOf(`${path}.z`, "br"), "identity");
  });

  test("nothing for anything else", async () => {
    for (
      const path of [
        "/",
        "/tor",
        "/tor/",
        "/tor/other",
        "/other/keys/all",
        "/tor/keys",
        "/tor/micro/x/y",
        "/tor/server",
      ]
    ) {
      assert.equal(await statusOf(path), 404, path);
    }
    const post = { method: "POST", path: "/tor/", headers: new Map(), body: new Uint8Array(1) };
    assert.equal((await directory.answer(post)).status, 400);
    const { directory: empty } = newDirectory();
    assert.equal((await ask(empty, CONSENSUS)).status, 404, "nothing is published yet");
  });
});
