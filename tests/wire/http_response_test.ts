import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { TunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { latin1, utf8 } from "../../src/bytes/text.ts";
import { type HttpMessage, HttpResponseReader } from "../../src/wire/http_response.ts";

const LIMITS = { maxBodyBytes: 1000, maxHeadBytes: 300 };

/** The answer that `pieces` and the stream's end make. */
function read(pieces: Uint8Array[], limits = LIMITS): HttpMessage {
  const reader = new HttpResponseReader(limits);
  for (const piece of pieces) {
    const message = reader.push(piece);
    if (message) return message;
  }
  return reader.end();
}

/** What reading comes to, in a form that can be compared. */
function outcome(pieces: Uint8Array[]): unknown {
  try {
    const { status, reason, headers, body } = read(pieces);
    return { status, reason, headers: [...headers], body: latin1(body) };
  } catch (error) {
    assert.ok(error instanceof TunicError);
    return error.kind;
  }
}

describe("HTTP answers of directory servers", () => {
  const good = "HTTP/1.0 200 OK\r\nDate: Thu, 29 Jan 2026 12:00:00 GMT\r\nContent-Encoding:  deflate \r\n" +
    "X-Your-Address-Is: 1.2.3.4\r\nVary: a\r\nVary: b\r\nContent-Length: 5\r\n\r\nabcde";

  test("are read at every split", () => {
    const bytes = utf8(good);
    for (let at = 0; at <= bytes.length; at++) {
      const message = read([bytes.subarray(0, at), bytes.subarray(at)]);
      assert.deepEqual([message.status, message.reason, latin1(message.body)], [200, "OK", "abcde"]);
      assert.equal(message.headers.get("content-encoding"), "deflate");
      assert.equal(message.headers.get("vary"), "a, b");
    }
  });

  test("go on to the end of the stream where they have no length", () => {
    assert.equal(latin1(read([utf8("HTTP/1.0 200 OK\r\n\r\nab"), utf8("c")]).body), "abc");
    assert.equal(read([utf8("HTTP/1.0 404 Not found\r\n\r\n")]).status, 404);
    assert.equal(read([utf8("HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n")]).reason, "");
  });

  test("ignore what comes after the body", () => {
    assert.equal(latin1(read([utf8(`${good}XYZ`)]).body), "abcde");
  });

  for (
    const [name, text] of Object.entries({
      "nothing": "",
      "half a head": "HTTP/1.0 200 OK\r\nDate: x\r\n",
      "half a body": good.slice(0, -1),
      "another protocol": "SSH-2.0-x\r\n\r\n",
      "another version": "HTTP/2.0 200 OK\r\n\r\n",
      "a status that is none": "HTTP/1.0 0200 OK\r\n\r\n",
      "no status": "HTTP/1.0 OK\r\n\r\n",
      "two lengths": "HTTP/1.0 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
      "a length with a sign": "HTTP/1.0 200 OK\r\nContent-Length: +1\r\n\r\na",
      "a length in hex": "HTTP/1.0 200 OK\r\nContent-Length: 0x1\r\n\r\na",
      "a negative length": "HTTP/1.0 200 OK\r\nContent-Length: -1\r\n\r\na",
      "a list of lengths": "HTTP/1.0 200 OK\r\nContent-Length: 1, 1\r\n\r\na",
      "chunks": "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "a folded line": "HTTP/1.0 200 OK\r\nA: b\r\n c\r\n\r\n",
      "a space before the colon": "HTTP/1.0 200 OK\r\nContent-Length : 1\r\n\r\na",
      "a header without a name": "HTTP/1.0 200 OK\r\n: b\r\n\r\n",
      "lines without CR": "HTTP/1.0 200 OK\nContent-Length: 1\n\na",
      "a NUL in a header": "HTTP/1.0 200 OK\r\nA: \0\r\n\r\n",
      "a bare CR in a header": "HTTP/1.0 200 OK\r\nA: b\rContent-Length: 1\r\n\r\n",
    })
  ) {
    test(`are refused: ${name}`, () => {
      assert.throws(() => read([utf8(text)]), { name: "TunicError", kind: "malformed" });
    });
  }

  test("are refused beyond their limits, as early as that can be known", () => {
    const limit = { kind: "limit", code: "http-too-long" };
    const announced = utf8("HTTP/1.0 200 OK\r\nContent-Length: 1001\r\n\r\n");
    assert.throws(() => new HttpResponseReader(LIMITS).push(announced), limit);
    const unknown = new HttpResponseReader(LIMITS);
    assert.equal(unknown.push(concat(utf8("HTTP/1.0 200 OK\r\n\r\n"), new Uint8Array(1000))), undefined);
    assert.throws(() => unknown.push(new Uint8Array(1)), limit);
    const endless = new HttpResponseReader(LIMITS);
    assert.throws(() => {
      for (let i = 0; i <= 300; i++) assert.equal(endless.push(utf8("a")), undefined);
    }, limit);
    assert.throws(() => new HttpResponseReader(LIMITS).push(utf8(`HTTP/1.0 200 ${"a".repeat(300)}\r\n\r\n`)), limit);
    const largest = concat(utf8("HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\n"), new Uint8Array(1000));
    assert.equal(read([largest]).body.length, 1000);
  });

  test("come to the same on any bytes, however they are cut", () => {
    const lines = fc.constantFrom(
      "HTTP/1.0 200 OK\r\n",
      "Content-Length: 7\r\n",
      "Content-Length: 2000\r\n",
      "A: b\r\n",
      "\r\n",
      "\n",
      "abc",
      "\r",
      "Transfer-Encoding: x\r\n",
    );
    const text = fc.array(lines, { maxLength: 8 }).map((parts) => utf8(parts.join("")));
    const started = text.map((bytes) => concat(utf8("HTTP/1.0 200 OK\r\n"), bytes));
    const inputs = fc.oneof(started, text, fc.uint8Array({ maxLength: 400 }));
    fc.assert(
      fc.property(inputs, fc.array(fc.nat(400), { maxLength: 8 }), (input, cuts) => {
        const at = [0, ...cuts.filter((cut) => cut < input.length).sort((a, b) => a - b), input.length];
        const pieces = at.slice(1).map((end, i) => input.subarray(at[i], end));
        assert.deepEqual(outcome(pieces), outcome([input]));
      }),
      { numRuns: 500 },
    );
  });
});
