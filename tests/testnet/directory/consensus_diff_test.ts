import { describe, test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { latin1, toBase64, toHexUpper, utf8 } from "../../../src/bytes/text.ts";
import { sha3_256 } from "../../../src/crypto/digest.ts";
import type { SignedConsensus } from "../../../src/testnet/directory/consensus.ts";
import { consensusDiff } from "../../../src/testnet/directory/consensus_diff.ts";
import { signedPartSha3 } from "../../../src/wire/netdoc/consensus.ts";
import { applyDiff, descriptor, INTERVAL_MS, listed, newDirectory } from "./support.ts";

interface Entry {
  readonly id: number;
  readonly flags: string;
  readonly weight: number;
}

function document(header: readonly string[], entries: readonly Entry[], footer: readonly string[], signatures: number) {
  const id = (n: number) => toBase64(Uint8Array.of(n, ...new Uint8Array(19)));
  const signed = [
    "network-status-version 3 microdesc",
    ...header,
    ...entries.flatMap(({ id: n, flags, weight }) => [`r relay${n} ${id(n)} x`, `s ${flags}`, `w Bandwidth=${weight}`]),
    "directory-footer",
    ...footer,
    "directory-signature ",
  ].join("\n");
  const signature = (n: number) => `sha256 ${n}\n-----BEGIN SIGNATURE-----\n${n}${n}==\n-----END SIGNATURE-----\n`;
  const all = Array.from({ length: signatures }, (_, n) => signature(n)).join("directory-signature ");
  return { text: utf8(signed + all), signedSha3: sha3_256(utf8(signed)) } as SignedConsensus;
}

describe("consensus diffs", () => {
  test("are as short as they can be", () => {
    const from = document(["a", "b"], [1, 2, 3].map((id) => ({ id, flags: "Fast", weight: 1 })), ["w"], 1);
    const to = document(["a", "c"], [1, 3, 4].map((id) => ({ id, flags: "Fast", weight: id === 3 ? 2 : 1 })), ["w"], 1);
    const lines = latin1(consensusDiff(from, to)).split("\n");
    assert.equal(lines[1], `hash ${toHexUpper(from.signedSha3)} ${toHexUpper(sha3_256(to.text))}`);
    assert.deepEqual(lines.slice(2), [
      "15,$d",
      "14a",
      ...latin1(to.text).split("\n").slice(-5, -1),
      ".",
      "12c",
      "w Bandwidth=2",
      `r relay4 ${toBase64(Uint8Array.of(4, ...new Uint8Array(19)))} x`,
      "s Fast",
      "w Bandwidth=1",
      ".",
      "7,9d",
      "3c",
      "c",
      ".",
      "",
    ]);
  });

  test("lead from any document to any other", () => {
    const words = fc.array(fc.constantFrom("a", "b", "c", "d"), { maxLength: 6 });
    const entries = fc.uniqueArray(
      fc.record({
        id: fc.integer({ min: 0, max: 30 }),
        flags: fc.constantFrom("Fast", "Fast Guard", "Running"),
        weight: fc.integer({ min: 0, max: 2 }),
      }),
      { selector: ({ id }) => id, maxLength: 20 },
    ).map((list) => list.sort((a, b) => a.id - b.id));
    const any = fc.record({ header: words, entries, footer: words, signatures: fc.integer({ min: 1, max: 4 }) })
      .map((parts) => document(parts.header, parts.entries, parts.footer, parts.signatures));
    fc.assert(fc.property(any, any, (from, to) => {
      assert.equal(applyDiff(latin1(from.text), latin1(consensusDiff(from, to))), latin1(to.text));
    }));
  });

  test("lead from one consensus to the next, and name both by their digests", async () => {
    const { directory, mock } = newDirectory({ phantomRelays: 300 });
    directory.publish();
    await mock.time.advance(INTERVAL_MS);
    directory.list(listed(4, { descriptor: descriptor(4, { published: mock.time.now() }), bandwidth: 77 }));
    directory.publish();
    for (const flavor of ["ns", "microdesc"] as const) {
      const [to, from] = directory.documents.consensuses(flavor) as [SignedConsensus, SignedConsensus];
      assert.deepEqual(from.signedSha3, signedPartSha3(from.text));
      const diff = latin1(consensusDiff(from, to));
      assert.equal(applyDiff(latin1(from.text), diff), latin1(to.text));
      assert.ok(diff.length < from.text.length / 10, `${diff.length} bytes`);
    }
  });
});
