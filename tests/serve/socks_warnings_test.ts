import assert from "node:assert/strict";
import { test } from "node:test";
import { configure, type LogRecord, reset } from "@logtape/logtape";
import { SimulatedTime } from "../support/simulated_time.ts";
import { failing, listen, ScriptedBackend, SocksClient } from "./socks_support.ts";

test("a SOCKS port warns of addresses now and then, and logs neither destinations nor passwords", async () => {
  const records: LogRecord[] = [];
  await configure({
    reset: true,
    sinks: { records: (record) => void records.push(record) },
    loggers: [
      { category: ["tunic"], sinks: ["records"], lowestLevel: "trace" },
      { category: ["logtape", "meta"], sinks: [], lowestLevel: "error" },
    ],
  });
  const time = new SimulatedTime();
  const listener = await listen(new ScriptedBackend(failing({ context: { reason: 3 } })), { ...time });
  const ask = async (hex: string): Promise<void> => {
    const client = new SocksClient(listener.address.port);
    client.send(hex);
    await client.rest();
  };
  const warnings = () => records.filter((record) => record.level === "warning").length;
  // User name "secretuser", password "secretpass".
  const auth = "0501020" + "10a" + "73656372657475736572" + "0a" + "73656372657470617373";
  try {
    await ask(`${auth}0501000308` + "73656372" + "2e636f6d" + "0050");
    assert.equal(warnings(), 0);
    for (let i = 0; i < 3; i++) await ask(`${auth}05010001cb0071070050`);
    assert.equal(warnings(), 1);
    await time.advance(60_000);
    await ask("040100508efa0001" + "73656372657475736572" + "00");
    assert.equal(warnings(), 2);
    await ask("050100" + "05f10001cb0071070000");
    assert.equal(warnings(), 2);
    await ask("474554202f");
    assert.equal(warnings(), 3);
  } finally {
    await listener.close();
    await reset();
  }
  assert.ok(records.length > 3);
  const text = records.map((record) => JSON.stringify([record.message, record.properties])).join("\n");
  assert.doesNotMatch(text, /secr|203\.0\.113\.7|142\.250|127\.0\.0\.1/);
});
