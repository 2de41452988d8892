/**
 * Reading the network's documents at the public network's size. With TUNIC_CONSENSUS=FILE a real consensus is parsed
 * as well.
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { decodeStore, encodeStore } from "../src/netdir/microdesc_snapshot.ts";
import { MicrodescStore } from "../src/netdir/microdesc_store.ts";
import { NetDir } from "../src/netdir/net_dir.ts";
import { parseConsensus } from "../src/wire/netdoc/consensus.ts";
import { PUBLIC_SIZE, publicSizeNetwork } from "./public_size_network.ts";

const network = await publicSizeNetwork();
const consensus = network.consensus();
const netdir = filled();
const snapshot = encodeStore(netdir.store);

function filled(): NetDir {
  const netdir = new NetDir(consensus, new MicrodescStore(PUBLIC_SIZE));
  for (const batch of network.microdescs) netdir.addMicrodescs(batch);
  return netdir;
}

Deno.bench(`parse a consensus of ${PUBLIC_SIZE} relays`, () => void parseConsensus(network.text));

const file = process.env["TUNIC_CONSENSUS"];
if (file !== undefined) {
  const text = new Uint8Array(readFileSync(file));
  Deno.bench("parse the consensus of TUNIC_CONSENSUS", () => void parseConsensus(text));
}

Deno.bench("parse and verify it", () => void network.consensus());
Deno.bench("take in all microdescriptors", { n: 5, warmup: 1 }, () => void filled());
Deno.bench("encode the snapshot", () => void encodeStore(netdir.store));
Deno.bench("decode the snapshot and look it up", () => void new NetDir(consensus, decodeStore(snapshot)));
Deno.bench("share of usable paths", () => void netdir.fractionUsable());
Deno.bench("prune the store", () => void netdir.store.pruned(0));

Deno.bench("compare one relay with all others for family and subnet", () => {
  let together = 0;
  for (let i = 1; i < netdir.size; i++) if (netdir.sameFamily(0, i) || netdir.sameSubnet(0, i)) together++;
  if (together < 0) throw new Error("cannot be");
});
