import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { TunicError } from "../../src/base/errors.ts";
import { latin1, utf8 } from "../../src/bytes/text.ts";
import { httpGet, type HttpGetOptions, httpPost } from "../../src/proto/http_get.ts";
import { FakeDuplex } from "../support/fake_duplex.ts";
import { SimulatedTime } from "../support/simulated_time.ts";

function start(options: Partial<HttpGetOptions> = {}) {
  const time = new SimulatedTime();
  const duplex = new FakeDuplex();
  const { timers } = time;
  const answer = httpGet(duplex, { timers, path: "/tor/x", maxBytes: 100, timeoutMs: 1000, ...options });
  answer.catch(() => {});
  return { time, duplex, answer };
}

describe("a GET over a stream", () => {
  test("asks, answers, closes, and leaves no timer", async () => {
    const { time, duplex, answer } = start({ host: "1.2.3.4", headers: [["Accept-Encoding", "deflate"]] });
    assert.equal(latin1(duplex.written), "GET /tor/x HTTP/1.0\r\nHost: 1.2.3.4\r\nAccept-Encoding: deflate\r\n\r\n");
    duplex.handlers.data(utf8("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n"));
    assert.ok(!duplex.closed);
    duplex.handlers.data(utf8("hi"));
    const { status, body } = await answer;
    assert.deepEqual([status, latin1(body)], [200, "hi"]);
    assert.ok(duplex.closed);
    assert.equal(time.waiting, 0);
  });

  test("may be a POST, with a body", async () => {
    const { timers } = new SimulatedTime();
    const duplex = new FakeDuplex();
    const answer = httpPost(duplex, { timers, path: "/tor/", maxBytes: 100, timeoutMs: 1000 }, utf8("two\nlines"));
    assert.equal(latin1(duplex.written), "POST /tor/ HTTP/1.0\r\nContent-Length: 9\r\n\r\ntwo\nlines");
    duplex.handlers.data(utf8("HTTP/1.0 400 No\r\nContent-Length: 0\r\n\r\n"));
    assert.deepEqual([(await answer).status, duplex.closed], [400, true]);
  });

  test("takes the end of the stream for the end of a body without length", async () => {
    const { duplex, answer } = start();
    duplex.handlers.data(utf8("HTTP/1.0 200 OK\r\n\r\nhi"));
    duplex.handlers.end();
    assert.equal(latin1((await answer).body), "hi");
  });

  test("fails with what broke the stream, or with an answer that is not whole", async () => {
    const broken = start();
    broken.duplex.handlers.data(utf8("HTTP/1.0 200 OK\r\n\r\nhi"));
    broken.duplex.destroy(new TunicError("x", { kind: "circuit", code: "destroyed" }));
    await assert.rejects(broken.answer, { kind: "circuit", code: "destroyed" });
    const short = start();
    short.duplex.handlers.data(utf8("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nhi"));
    short.duplex.destroy();
    await assert.rejects(short.answer, { kind: "malformed" });
    assert.equal(short.time.waiting, 0);
  });

  test("closes the stream on an answer that is malformed or too long", async () => {
    for (const [text, kind] of [["x\r\n\r\n", "malformed"], [`HTTP/1.0 200 OK\r\n\r\n${"a".repeat(101)}`, "limit"]]) {
      const { duplex, answer } = start();
      duplex.handlers.data(utf8(text!));
      await assert.rejects(answer, { kind });
      assert.ok(duplex.closed);
    }
  });

  test("gives up on a stream that stalls, and on one that trickles", async () => {
    const stalled = start({ stallTimeoutMs: 100 });
    await stalled.time.advance(100);
    await assert.rejects(stalled.answer, { kind: "timeout", message: /nothing came for 100 ms/ });
    const trickling = start({ stallTimeoutMs: 100 });
    trickling.duplex.handlers.data(utf8("HTTP/1.0 200 OK\r\n\r\n"));
    for (let i = 0; i < 19; i++) {
      await trickling.time.advance(50);
      trickling.duplex.handlers.data(utf8("a"));
    }
    assert.ok(!trickling.duplex.closed);
    await trickling.time.advance(50);
    await assert.rejects(trickling.answer, { kind: "timeout", message: /not whole after 1000 ms/ });
    assert.equal(trickling.time.waiting, 0);
  });

  test("stops at an abort", async () => {
    const controller = new AbortController();
    const { duplex, answer } = start({ signal: controller.signal });
    controller.abort();
    await assert.rejects(answer, { kind: "aborted" });
    assert.ok(duplex.closed);
    const late = start({ signal: controller.signal });
    await assert.rejects(late.answer, { kind: "aborted" });
    assert.equal(late.duplex.written.length, 0);
  });

  test("refuses to send what would be another request", async () => {
    for (const options of [{ path: "/a b" }, { path: "/a\r\nX: y" }, { path: "x" }, { path: "/", host: "a\r\nb" }]) {
      const { duplex, answer } = start(options);
      await assert.rejects(answer, { kind: "argument" });
      assert.equal(duplex.written.length, 0);
    }
  });
});
