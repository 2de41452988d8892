import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { type Codec, decodeWith, encodeWith } from "../../src/bytes/codec.ts";
import { fromHex, toHex } from "../../src/bytes/text.ts";
import {
  CELL_HEADER_LEN,
  CELL_LEN,
  cellCircId,
  CellCommand,
  cellCommand,
  cellCommandName,
  cellLength,
  CIRCID_LEN,
  EARLY_CIRCID_LEN,
  encodeCell,
  fixedCell,
  isVariableLength,
  MAX_VAR_PAYLOAD_LEN,
  PAYLOAD_LEN,
  variableCell,
} from "../../src/wire/cell.ts";
import { CREATE_FAST, CREATED_FAST, DESTROY } from "../../src/wire/create_cells.ts";
import { AUTH_CHALLENGE, CERTS, NETINFO, VERSIONS } from "../../src/wire/link_cells.ts";
import { relayCommand, relayData, relayStreamId } from "../../src/wire/relay_cell.ts";
import vectors from "../vectors/cell_framing.json" with { type: "json" };
import { bytes, plain, u16, u32, u8 } from "./codec_support.ts";

const codecs = new Map<string, Codec<unknown>>(
  Object.entries({ DESTROY, CREATE_FAST, CREATED_FAST, VERSIONS, NETINFO, CERTS, AUTH_CHALLENGE } as Record<
    string,
    Codec<unknown>
  >),
);

/** A vector's bytes: fixed cells are filled up with zeros. */
function whole(vector: { head: string; circIdLen: number }): Uint8Array {
  const head = fromHex(vector.head);
  if (isVariableLength(head[vector.circIdLen]!)) return head;
  return concat(head, new Uint8Array(vector.circIdLen + 1 + PAYLOAD_LEN - head.length));
}

describe("cell vectors", () => {
  for (const vector of vectors.cells) {
    test(`${vector.name} ${vector.head.slice(0, 24)}`, () => {
      const cell = whole(vector);
      const { circIdLen } = vector;
      assert.equal(cellLength(cell, 0, cell.length, circIdLen), cell.length);
      const command = cell[circIdLen]!;
      assert.equal(cellCommandName(command), vector.name);
      const circId = parseInt(toHex(cell.subarray(0, circIdLen)), 16);
      assert.equal(circId, vector.circId);
      const payload = cell.subarray(circIdLen + (isVariableLength(command) ? 3 : 1));
      if (vector.relay) {
        assert.equal(relayCommand(payload, 0), vector.relay.command);
        assert.equal(relayStreamId(payload, 0), vector.relay.streamId);
        assert.equal(toHex(relayData(payload, 0)), vector.relay.data);
        assert.equal(parseInt(toHex(payload.subarray(5, 9)), 16), vector.relay.digest);
      }
      const codec = codecs.get(vector.name);
      if (!codec) return;
      const value = decodeWith(codec, payload);
      assert.deepEqual(plain(value), vector.value);
      if (vector.noncanonical) return;
      const encoded = encodeWith(codec, value);
      if (isVariableLength(command)) {
        assert.deepEqual(variableCell(circId, command, encoded, circIdLen), cell);
      } else {
        assert.equal(toHex(encoded), toHex(payload.subarray(0, encoded.length)));
        if (circIdLen === CIRCID_LEN) assert.deepEqual(fixedCell(circId, command, encoded), cell);
      }
    });
  }
});

describe("cells", () => {
  test("sizes are those of link versions 4 and 5", () => {
    assert.deepEqual([CELL_LEN, PAYLOAD_LEN, CELL_HEADER_LEN, CIRCID_LEN, EARLY_CIRCID_LEN], [514, 509, 5, 4, 2]);
  });

  test("VERSIONS and commands from 128 carry a length, no others", () => {
    for (let command = 0; command < 256; command++) {
      assert.equal(isVariableLength(command), command === 7 || command >= 128, String(command));
    }
  });

  test("unknown commands have a name for messages", () => {
    assert.equal(cellCommandName(77), "command 77");
    assert.equal(cellCommandName(CellCommand.RELAY_EARLY), "RELAY_EARLY");
  });

  test("the length is known as soon as the header is, and not before", () => {
    const cells = [
      { cell: fixedCell(7, CellCommand.DESTROY, new Uint8Array([1])), known: 5 },
      { cell: variableCell(0, CellCommand.CERTS, new Uint8Array(700)), known: 7 },
      { cell: variableCell(0, CellCommand.VERSIONS, new Uint8Array(4), 2), known: 5, circIdLen: 2 },
      { cell: variableCell(0, CellCommand.VPADDING, new Uint8Array(0)), known: 7 },
    ];
    for (const { cell, known, circIdLen } of cells) {
      const buffer = concat(new Uint8Array(3), cell, new Uint8Array(600));
      for (let end = 3; end <= buffer.length; end++) {
        assert.equal(cellLength(buffer, 3, end, circIdLen), end - 3 < known ? 0 : cell.length);
      }
    }
  });

  test("bytes left over from an earlier cell do not show through", () => {
    const out = new Uint8Array(2 * CELL_LEN).fill(0xaa);
    assert.equal(encodeCell(out, 100, 0x80000001, CellCommand.CREATE2, new Uint8Array([1, 2])), 100 + CELL_LEN);
    assert.equal(toHex(out.subarray(98, 109)), "aaaa800000010a01020000");
    assert.ok(out.subarray(107, 100 + CELL_LEN).every((byte) => byte === 0));
    assert.ok(out.subarray(100 + CELL_LEN).every((byte) => byte === 0xaa));
  });

  test("a payload that does not fit is refused", () => {
    const tooLong = (error: unknown) => isTunicError(error, "argument");
    assert.throws(() => fixedCell(1, CellCommand.RELAY, new Uint8Array(PAYLOAD_LEN + 1)), tooLong);
    assert.throws(() => variableCell(0, CellCommand.CERTS, new Uint8Array(MAX_VAR_PAYLOAD_LEN + 1)), tooLong);
    const short = new Uint8Array(CELL_LEN);
    assert.throws(() => encodeCell(short, 1, 1, CellCommand.RELAY, new Uint8Array(1)), RangeError);
    assert.ok(short.every((byte) => byte === 0));
  });

  test("fixed cells are read back as they were written", () => {
    fc.assert(
      fc.property(u32, u8, fc.nat(40), fc.uint8Array({ maxLength: PAYLOAD_LEN }), (id, command, at, payload) => {
        const out = new Uint8Array(at + CELL_LEN);
        encodeCell(out, at, id, command, payload);
        assert.equal(cellCircId(out, at), id);
        assert.equal(cellCommand(out, at), command);
        assert.deepEqual(out.slice(at + CELL_HEADER_LEN, at + CELL_HEADER_LEN + payload.length), payload);
      }),
    );
  });

  test("a row of cells is cut up again at every split", () => {
    const one = fc.oneof(
      fc.record({ command: fc.constantFrom(3, 4, 10), payload: bytes(20), id: u32 }),
      fc.record({ command: fc.constantFrom(128, 129, 255), payload: fc.uint8Array({ maxLength: 60 }), id: u16 }),
    );
    fc.assert(fc.property(fc.array(one, { maxLength: 5 }), (cells) => {
      const encoded = cells.map(({ id, command, payload }) =>
        isVariableLength(command) ? variableCell(id, command, payload) : fixedCell(id, command, payload)
      );
      const stream = concat(...encoded);
      let found = 0;
      let at = 0;
      for (let end = 0; end <= stream.length; end++) {
        const length = cellLength(stream, at, end);
        if (length === 0 || length > end - at) continue;
        assert.deepEqual(stream.slice(at, at + length), encoded[found++]);
        at += length;
      }
      assert.equal(found, cells.length);
    }));
  });
});
