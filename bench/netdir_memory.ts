/**
 * What a view of the public network keeps in memory; runs under Deno (`--v8-flags=--expose-gc`) and Bun, and prints
 * megabytes. The documents come from a file that an earlier run wrote, so that making them does not count.
 *
 *     netdir_memory.ts make FILE     writes documents to FILE, FILE.certificate and FILE.N
 *     netdir_memory.ts FILE          reads them
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { MicrodescStore } from "../src/netdir/microdesc_store.ts";
import { NetDir } from "../src/netdir/net_dir.ts";
import { decodeStore, encodeStore } from "../src/netdir/microdesc_snapshot.ts";
import { parseCertificates } from "../src/wire/netdoc/authority_certificate.ts";
import { type Consensus, parseConsensus } from "../src/wire/netdoc/consensus.ts";
import { TEST_NOW } from "../tests/support/network_documents.ts";
import { PUBLIC_SIZE, publicSizeNetwork } from "./public_size_network.ts";

const [first, second] = process.argv.slice(2);
if (first === "make") {
  const network = await publicSizeNetwork();
  writeFileSync(second!, network.text);
  writeFileSync(`${second}.certificate`, network.certificate);
  for (const [n, batch] of network.microdescs.entries()) writeFileSync(`${second}.${n}`, batch);
} else {
  measure(first!);
}

function collect(): void {
  const scope = globalThis as { gc?: () => void; Bun?: { gc(force: boolean): void } };
  for (let i = 0; i < 3; i++) scope.gc ? scope.gc() : scope.Bun?.gc(true);
}

function report(what: string, started: number): void {
  const ms = performance.now() - started;
  collect();
  const { rss, heapUsed, external, arrayBuffers } = process.memoryUsage();
  const megabytes = [rss, heapUsed, external, arrayBuffers].map((bytes) => (bytes / 1e6).toFixed(1).padStart(6));
  console.log(
    `${what.padEnd(24)} ${ms.toFixed(0).padStart(5)} ms   rss${megabytes[0]} heap${megabytes[1]} ` +
      `external${megabytes[2]} buffers${megabytes[3]}`,
  );
}

/** Believes whoever signed it. */
function consensusOf(file: string): Consensus {
  const unverified = parseConsensus(new Uint8Array(readFileSync(file)));
  const evidence = { authorities: unverified.signatures.map((signature) => signature.identity), now: TEST_NOW };
  const certificates = parseCertificates(new Uint8Array(readFileSync(`${file}.certificate`)));
  return unverified.verify({ ...evidence, certificates: certificates.map((one) => one.verify(evidence)) });
}

function measure(file: string): void {
  report("start", performance.now());
  let started = performance.now();
  const consensus = consensusOf(file);
  report("consensus", started);
  started = performance.now();
  const netdir = new NetDir(consensus, new MicrodescStore(PUBLIC_SIZE));
  let bytes = 0;
  for (let n = 0; existsSync(`${file}.${n}`); n++) {
    const text = new Uint8Array(readFileSync(`${file}.${n}`));
    bytes += text.length;
    netdir.addMicrodescs(text);
  }
  report(`${(bytes / 1e6).toFixed(1)} MB of microdescs`, started);
  started = performance.now();
  const snapshot = encodeStore(netdir.store);
  report(`snapshot of ${(snapshot.length / 1e6).toFixed(1)} MB`, started);
  started = performance.now();
  const again = new NetDir(consensus, decodeStore(snapshot));
  report("second store", started);
  if (netdir.missingCount + again.missingCount > 0) throw new Error("microdescriptors are missing");
}
