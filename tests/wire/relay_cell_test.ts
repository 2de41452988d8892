import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import { toHex } from "../../src/bytes/text.ts";
import { PAYLOAD_LEN } from "../../src/wire/cell.ts";
import {
  RELAY_DATA_AT,
  RELAY_DATA_LEN,
  RELAY_HEADER_LEN,
  RELAY_LENGTH_AT,
  RelayCommand,
  relayCommand,
  relayCommandName,
  relayData,
  relayLength,
  relayRecognized,
  relayStreamId,
  writeRelayHeader,
  writeRelayPayload,
} from "../../src/wire/relay_cell.ts";
import { assertMalformed, u16, u8 } from "./codec_support.ts";

const ones = (count: number) => new Uint8Array(count).fill(0x11);

describe("relay cells", () => {
  test("sizes", () => assert.deepEqual([RELAY_HEADER_LEN, RELAY_DATA_LEN, RELAY_DATA_AT], [11, 498, 11]));

  test("a message is read back as it was written, wherever it lies", () => {
    const data = fc.uint8Array({ maxLength: RELAY_DATA_LEN, size: "max" });
    fc.assert(fc.property(fc.nat(30), u8, u16, data, (at, command, streamId, data) => {
      const out = new Uint8Array(at + PAYLOAD_LEN + 3).fill(0xee);
      writeRelayPayload(out, at, command, streamId, data, ones);
      assert.equal(relayCommand(out, at), command);
      assert.equal(relayRecognized(out, at), 0);
      assert.equal(relayStreamId(out, at), streamId);
      assert.equal(relayLength(out, at), data.length);
      assert.equal(toHex(out.subarray(at + 5, at + 9)), "00000000");
      assert.deepEqual(relayData(out, at).slice(), data);
      // Nothing outside the payload is touched.
      assert.ok(out.subarray(0, at).every((byte) => byte === 0xee));
      assert.equal(toHex(out.subarray(at + PAYLOAD_LEN)), "eeeeee");
    }));
  });

  test("padding is four zero bytes and then random ones, as many as fit", () => {
    for (const length of [0, 1, 100, 493, 494, 495, 496, 497, 498]) {
      const out = new Uint8Array(PAYLOAD_LEN).fill(0xee);
      let asked = 0;
      writeRelayPayload(out, 0, RelayCommand.DATA, 1, new Uint8Array(length), (count) => {
        asked += count;
        return ones(count);
      });
      const free = RELAY_DATA_LEN - length;
      const gap = Math.min(4, free);
      const expected = "00".repeat(gap) + "11".repeat(free - gap);
      assert.equal(toHex(out.subarray(RELAY_DATA_AT + length)), expected);
      assert.equal(asked, free - gap);
    }
  });

  test("without randomness padding is zero", () => {
    const out = new Uint8Array(PAYLOAD_LEN).fill(0xee);
    writeRelayPayload(out, 0, RelayCommand.DROP, 0, new Uint8Array(0));
    assert.ok(out.subarray(RELAY_DATA_AT).every((byte) => byte === 0));
  });

  test("more data than fits is refused before anything is written", () => {
    const out = new Uint8Array(PAYLOAD_LEN + 10);
    assert.throws(
      () => writeRelayPayload(out, 0, RelayCommand.DATA, 1, new Uint8Array(RELAY_DATA_LEN + 1)),
      (error) => isTunicError(error, "argument"),
    );
    assert.ok(out.every((byte) => byte === 0));
  });

  test("a length that goes past the cell is malformed", () => {
    const out = new Uint8Array(PAYLOAD_LEN);
    writeRelayHeader(out, 0, RelayCommand.DATA, 1, RELAY_DATA_LEN);
    assert.equal(relayData(out, 0).length, RELAY_DATA_LEN);
    for (const length of [RELAY_DATA_LEN + 1, 509, 0xffff]) {
      writeRelayHeader(out, 0, RelayCommand.DATA, 1, length);
      assert.equal(relayLength(out, 0), length);
      assertMalformed(() => relayData(out, 0));
    }
    assert.equal(RELAY_LENGTH_AT, 9);
  });

  test("commands have names, those of onion services and flow control too", () => {
    assert.equal(relayCommandName(2), "DATA");
    assert.equal(relayCommandName(40), "INTRODUCE_ACK");
    assert.equal(relayCommandName(43), "XOFF");
    assert.equal(relayCommandName(44), "XON");
    assert.equal(relayCommandName(200), "relay command 200");
  });
});
