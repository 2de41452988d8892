import { describe, test } from "node:test";
import assert from "node:assert/strict";
import fc from "fast-check";
import { isTunicError } from "../../src/base/errors.ts";
import { fromUtf8, utf8 } from "../../src/bytes/text.ts";
import { type GuardRecord, guardRecords } from "../../src/state/guard_records.ts";

const ID = "AB".repeat(20);
const GOOD = {
  rsaId: ID,
  nickname: "moria1",
  addedOn: "2026-01-02T03:04:05Z",
  addedBy: "tunic 0.1.0",
  isListed: true,
};

function decode(guards: unknown, version: unknown = 1): readonly GuardRecord[] {
  return guardRecords.decode(utf8(JSON.stringify({ version, guards })));
}

function refused(action: () => unknown, expected: RegExp): void {
  assert.throws(action, (error) => isTunicError(error, "malformed") && expected.test(error.message));
}

describe("guard records", () => {
  test("come back as they were written", () => {
    const date = fc.integer({ min: 0, max: 4_000_000_000 }).map((seconds) => seconds * 1000);
    const record = fc.record({
      rsaId: fc.uint8Array({ minLength: 20, maxLength: 20 }),
      nickname: fc.option(fc.stringMatching(/^[A-Za-z0-9]{1,19}$/), { nil: undefined }),
      addedOn: date,
      addedBy: fc.string({ maxLength: 100 }),
      isListed: fc.boolean(),
      firstUnlistedAt: fc.option(date, { nil: undefined }),
      confirmedOn: fc.option(date, { nil: undefined }),
      unknown: fc.constantFrom<Record<string, unknown>>({}, { later: "x" }, {
        pb_timeouts: 3,
        nested: { a: [1, null] },
      }),
    }, { noNullPrototype: true });
    fc.assert(
      fc.property(fc.uniqueArray(record, { maxLength: 5, selector: (one) => one.rsaId.join() }), (records) => {
        assert.deepEqual(guardRecords.decode(guardRecords.encode(records)), records);
      }),
      { numRuns: 200 },
    );
  });

  test("keep fields of other versions", () => {
    const [record] = decode([{ ...GOOD, pathBias: [1, 2] }]);
    assert.deepEqual(record!.unknown, { pathBias: [1, 2] });
    assert.match(fromUtf8(guardRecords.encode([record!])), /"pathBias"/);
  });

  test("are refused where they make no sense", () => {
    refused(() => guardRecords.decode(utf8("{")), /not JSON/);
    refused(() => guardRecords.decode(new Uint8Array([0xff, 0xfe])), /not UTF-8/);
    refused(() => guardRecords.decode(utf8("[]")), /not a JSON object/);
    refused(() => guardRecords.decode(utf8("null")), /not a JSON object/);
    refused(() => guardRecords.decode(new Uint8Array((1 << 20) + 1)), /bytes, expected at most/);
    refused(() => decode([], 2), /version 2, expected 1/);
    refused(() => decode({}), /no list/);
    refused(() => decode([7]), /not a JSON object/);
    refused(() => decode([GOOD, GOOD]), /twice/);
    refused(() => decode([GOOD, { ...GOOD, rsaId: ID.toLowerCase() }]), /twice/);
    refused(() => decode([{ ...GOOD, rsaId: "AB" }]), /identity/);
    refused(() => decode([{ ...GOOD, rsaId: "XY".repeat(20) }]), /unexpected character/);
    refused(() => decode([{ ...GOOD, nickname: "a b" }]), /nickname/);
    refused(() => decode([{ ...GOOD, addedOn: undefined }]), /date it was added/);
    refused(() => decode([{ ...GOOD, addedOn: "2026-01-02" }]), /date/);
    refused(() => decode([{ ...GOOD, confirmedOn: "2026-13-02T03:04:05Z" }]), /date/);
    refused(() => decode([{ ...GOOD, firstUnlistedAt: 7 }]), /date/);
    refused(() => decode([{ ...GOOD, addedBy: 1 }]), /version that added/);
    refused(() => decode([{ ...GOOD, isListed: "yes" }]), /listed/);
    refused(
      () => decode(Array.from({ length: 1001 }, (_, i) => ({ ...GOOD, rsaId: i.toString(16).padStart(40, "0") }))),
      /1001 guards/,
    );
  });

  test("any bytes either decode or are malformed", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array(),
          fc.json().map(utf8),
          fc.json().map((json) => utf8(`{"version":1,"guards":[${json}]}`)),
        ),
        (bytes) => {
          try {
            guardRecords.decode(bytes);
          } catch (error) {
            assert.ok(isTunicError(error, "malformed"), String(error));
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
