import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ErrorKind, isTunicError } from "../../src/base/errors.ts";
import { FixedCircuitWindow, StreamWindow } from "../../src/proto/flow_control.ts";

const refused = (kind: ErrorKind, code: string) => (error: unknown) => isTunicError(error, kind) && error.code === code;
const unexpected = refused("protocol", "sendme-unexpected");
const badDigest = refused("crypto", "bad-sendme-digest");
const digest = (n: number) => new Uint8Array(20).fill(n);

/** Sends `cells` and gives the digests 1, 2, … at the points where one is wanted. */
function send(window: FixedCircuitWindow, cells: number): number {
  let points = 0;
  for (let i = 0; i < cells; i++) if (window.sent()) window.expectDigest(digest(++points));
  return points;
}

describe("a circuit's window for sending", () => {
  test("holds what the consensus says and asks for a digest at every hundredth cell", () => {
    for (const size of [100, 150, 1000]) {
      const window = new FixedCircuitWindow(size);
      assert.equal(window.sendable, size);
      const points: number[] = [];
      for (let i = 1; i <= size; i++) if (window.sent()) points.push(i);
      assert.deepEqual(points, Array.from({ length: Math.floor(size / 100) }, (_, i) => (i + 1) * 100));
      assert.equal(window.sendable, 0);
    }
  });

  test("opens by a hundred for the digests in their order", () => {
    const window = new FixedCircuitWindow(1000);
    assert.equal(send(window, 250), 2);
    window.acknowledged(digest(1));
    assert.equal(window.sendable, 850);
    window.acknowledged(digest(2));
    assert.equal(window.sendable, 950);
    assert.throws(() => window.acknowledged(digest(2)), unexpected);
  });

  test("refuses a SENDME before a hundred cells were sent", () => {
    const window = new FixedCircuitWindow(1000);
    assert.throws(() => window.acknowledged(digest(1)), unexpected);
    send(window, 99);
    assert.throws(() => window.acknowledged(digest(1)), unexpected);
  });

  test("refuses a digest that is wrong, too short, of a later cell, or missing", () => {
    for (const wrong of [digest(9), digest(2), digest(1).subarray(0, 19), new Uint8Array(0), undefined]) {
      const window = new FixedCircuitWindow(1000);
      send(window, 200);
      assert.throws(() => window.acknowledged(wrong), badDigest);
    }
  });
});

test("a circuit's SENDME is due at every hundredth DATA cell received", () => {
  const window = new FixedCircuitWindow(100);
  const due: number[] = [];
  for (let i = 1; i <= 1234; i++) if (window.received()) due.push(i);
  assert.deepEqual(due, Array.from({ length: 12 }, (_, i) => (i + 1) * 100));
});

describe("a stream's window", () => {
  test("refuses a SENDME for cells that were not sent", () => {
    const window = new StreamWindow();
    assert.throws(() => window.acknowledged(), unexpected);
    for (let i = 0; i < 49; i++) window.sent();
    assert.throws(() => window.acknowledged(), unexpected);
    window.sent();
    window.acknowledged();
    assert.equal(window.sendable, 500);
    assert.throws(() => window.acknowledged(), unexpected);
  });

  test("refuses the cell after five hundred that nobody took", () => {
    const window = new StreamWindow();
    for (let i = 0; i < 500; i++) window.received();
    assert.throws(() => window.received(), refused("protocol", "stream-window"));
  });

  test("asks for a SENDME for every fifty cells taken, and opens by them", () => {
    const window = new StreamWindow();
    for (let i = 0; i < 500; i++) window.received();
    assert.equal(window.taken(49), 0);
    assert.equal(window.taken(1), 1);
    assert.equal(window.taken(149), 2);
    assert.equal(window.taken(1), 1);
    for (let i = 0; i < 200; i++) window.received();
    assert.throws(() => window.received(), refused("protocol", "stream-window"));
  });
});
