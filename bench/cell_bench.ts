/**
 * What cells, relay messages and the link handshake cost: `deno bench -A bench/cell_bench.ts`.
 */
import { decodeWith, encodeWith } from "../src/bytes/codec.ts";
import { fromHex } from "../src/bytes/text.ts";
import { LinkHandshake } from "../src/proto/link_handshake.ts";
import {
  CELL_HEADER_LEN,
  CELL_LEN,
  cellCircId,
  CellCommand,
  cellCommand,
  cellLength,
  encodeCell,
} from "../src/wire/cell.ts";
import { EXTEND2 } from "../src/wire/circuit_messages.ts";
import { RelayCommand, relayData, relayRecognized, relayStreamId, writeRelayPayload } from "../src/wire/relay_cell.ts";
import { BEGIN, CONNECTED } from "../src/wire/stream_messages.ts";
import capture from "../tests/vectors/cell_link_capture.json" with { type: "json" };
import relay from "../tests/vectors/cell_relay.json" with { type: "json" };

const random = (count: number) => crypto.getRandomValues(new Uint8Array(count));

/** What a TLS record of 16 KiB holds of cells. */
const CELLS = 31;
const record = new Uint8Array(CELLS * CELL_LEN);
const payload = random(509);
const fullData = random(498);
const shortData = random(40);

Deno.bench("encodeCell, 31 cells", { group: "cells", baseline: true }, () => {
  for (let at = 0; at < record.length;) at = encodeCell(record, at, 0x80000001, CellCommand.RELAY, payload);
});
Deno.bench("cellLength, CircID and command, 31 cells", { group: "cells" }, () => {
  let sum = 0;
  for (let at = 0; at < record.length; at += cellLength(record, at, record.length)) {
    sum += cellCircId(record, at) + cellCommand(record, at);
  }
  if (sum === 0) throw new Error("the cells were not read");
});

const cell = new Uint8Array(CELL_LEN);
Deno.bench("writeRelayPayload, 498 B of data", { group: "relay payload", baseline: true }, () => {
  writeRelayPayload(cell, CELL_HEADER_LEN, RelayCommand.DATA, 1, fullData, random);
});
Deno.bench("writeRelayPayload, 40 B and random padding", { group: "relay payload" }, () => {
  writeRelayPayload(cell, CELL_HEADER_LEN, RelayCommand.DATA, 1, shortData, random);
});
Deno.bench("recognized, StreamID and data", { group: "relay payload" }, () => {
  if (relayRecognized(cell, CELL_HEADER_LEN) === 0 && relayStreamId(cell, CELL_HEADER_LEN) === 1) {
    relayData(cell, CELL_HEADER_LEN);
  }
});

const body = (codec: string) => fromHex(relay.messages.find((message) => message.codec === codec)!.body);
const extend2 = body("EXTEND2");
const extend2Value = decodeWith(EXTEND2, extend2);
const connected = fromHex("7f00000100000e10");
Deno.bench("BEGIN, encode", { group: "messages", baseline: true }, () => {
  encodeWith(BEGIN, { host: "www.example.com", port: 443, flags: 1 });
});
Deno.bench("CONNECTED, decode", { group: "messages" }, () => void decodeWith(CONNECTED, connected));
Deno.bench("EXTEND2, encode", { group: "messages" }, () => void encodeWith(EXTEND2, extend2Value));
Deno.bench("EXTEND2, decode", { group: "messages" }, () => void decodeWith(EXTEND2, extend2));

const flight = fromHex(capture.flight);
const options = {
  peerCertificate: fromHex(capture.tlsCertificate),
  expected: { rsaId: fromHex(capture.rsaId), ed25519Id: fromHex(capture.ed25519Id) },
  now: () => Date.parse(capture.now),
  peerAddress: capture.peerAddress,
};
Deno.bench("link handshake with a C tor relay's answer", { group: "handshake" }, () => {
  const handshake = new LinkHandshake(options);
  handshake.start();
  if (!handshake.step(flight).done) throw new Error("the handshake did not finish");
});
