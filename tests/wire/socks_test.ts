import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { TunicError } from "../../src/base/errors.ts";
import { concat } from "../../src/bytes/bytes.ts";
import { fromHex, latin1, toHex, utf8 } from "../../src/bytes/text.ts";
import { SocksHandshake, type SocksHandshakeOptions, type SocksRequest } from "../../src/wire/socks.ts";
import { encodeSocksReply, SocksReply, socksReplyFor } from "../../src/wire/socks_reply.ts";
import { endReasonName } from "../../src/wire/stream_messages.ts";
import vectors from "../vectors/socks.json" with { type: "json" };

interface Outcome {
  state: "more" | "request" | "refused";
  sent: string;
  request?: SocksRequest;
  rest?: string;
  error?: TunicError;
}

/** Feeds `pieces` until the handshake is over; what is left then belongs to the stream. */
function run(pieces: Uint8Array[], options?: SocksHandshakeOptions): Outcome {
  const handshake = new SocksHandshake(options);
  let sent = "";
  for (const [i, piece] of pieces.entries()) {
    const step = handshake.step(piece);
    sent += toHex(step.send ?? new Uint8Array(0));
    if (step.state === "refused") return { state: "refused", sent, error: step.error };
    if (step.state !== "request") continue;
    return { state: "request", sent, request: step.request, rest: toHex(concat(step.rest, ...pieces.slice(i + 1))) };
  }
  return { state: "more", sent };
}

function withoutAuth(request: SocksRequest | undefined): Record<string, unknown> {
  const { auth: _, addressOnly: __, ...others } = request!;
  return others;
}

function authText(request: SocksRequest): { username: string; password: string } | undefined {
  const auth = request.auth?.reveal();
  return auth && { username: latin1(auth.username), password: latin1(auth.password) };
}

describe("SOCKS vectors", () => {
  for (const vector of vectors.cases) {
    const input = fromHex(vector.input);
    const check = (outcome: Outcome): void => {
      assert.equal(outcome.state, vector.refused ? "refused" : "request");
      assert.equal(outcome.sent, vector.send);
      if (vector.refused) return assert.equal(outcome.error!.kind, "malformed");
      assert.deepEqual(withoutAuth(outcome.request), vector.request);
      const expected = vector.username === undefined
        ? undefined
        : { username: vector.username, password: vector.password };
      assert.deepEqual(authText(outcome.request!), expected);
      assert.equal(outcome.rest, "");
    };
    test(vector.name, () => {
      check(run([input]));
      for (let at = 0; at <= input.length; at++) check(run([input.subarray(0, at), input.subarray(at)]));
      check(run(Array.from(input, (byte) => Uint8Array.of(byte))));
    });
  }
});

describe("SOCKS handshake", () => {
  const request5 = fromHex("050100" + "05010003" + "09" + toHex(utf8("localhost")) + "0050");

  test("keeps what comes after the request, at every split", () => {
    const input = concat(request5, utf8("GET / HTTP/1.0\r\n\r\n"));
    for (let at = 0; at <= input.length; at++) {
      const outcome = run([input.subarray(0, at), input.subarray(at)]);
      assert.equal(outcome.rest, toHex(utf8("GET / HTTP/1.0\r\n\r\n")));
      assert.equal(outcome.request!.host, "localhost");
    }
  });

  test("asks for more, and never decides, on any beginning of a good request", () => {
    for (let at = 0; at < request5.length; at++) assert.equal(run([request5.subarray(0, at)]).state, "more");
  });

  test("says whether the client sent an address instead of a name", () => {
    assert.equal(run([request5]).request!.addressOnly, false);
    assert.equal(run([fromHex("05010005010001020202021111")]).request!.addressOnly, true);
    assert.equal(run([fromHex("040111120202020300")]).request!.addressOnly, true);
    assert.equal(run([fromHex("04010050000000010061" + "00")]).request!.addressOnly, false);
  });

  test("prefers user name and password, unless told otherwise", () => {
    assert.equal(run([fromHex("05020002")]).sent, "0502");
    assert.equal(run([fromHex("05020002")], { preferNoAuth: true }).sent, "0500");
    assert.equal(run([fromHex("050102")], { preferNoAuth: true }).sent, "0502");
  });

  test("takes one authentication only", () => {
    const outcome = run([fromHex("050102" + "01016101" + "62" + "01016101" + "62" + "0501")]);
    assert.equal(outcome.state, "refused");
    assert.equal(outcome.sent, "05020100" + toHex(encodeSocksReply(5, SocksReply.GENERAL_FAILURE)));
  });

  test("wants the authentication that it asked for", () => {
    const outcome = run([fromHex("050102" + "05010001020202021111")]);
    assert.deepEqual([outcome.state, outcome.sent], ["refused", "05020101"]);
  });

  test("answers HTTP with a page", () => {
    for (const method of ["GET / ", "HEAD /", "POST /", "PUT / ", "CONNECT a:1", "DELETE /", "OPTIONS *", "TRACE /"]) {
      const outcome = run([utf8(method)]);
      assert.equal(outcome.state, "refused");
      assert.equal(outcome.error!.code, "http-on-socks");
      const page = latin1(fromHex(outcome.sent));
      assert.match(page, /^HTTP\/1\.0 501 This is a SOCKS proxy, not an HTTP proxy\r\n/);
      assert.match(page, /\r\nConnection: close\r\n\r\nThis is a SOCKS proxy/);
    }
  });

  test("refuses other protocols without a word", () => {
    for (const first of ["\x16\x03\x01", "SSH-2.0", "\x03\x01", "\x06"]) {
      const outcome = run([utf8(first)]);
      assert.deepEqual([outcome.state, outcome.sent], ["refused", ""]);
    }
  });

  test("refuses a version, reserved byte and address type that are none", () => {
    const reply = (code: number) => "0500" + toHex(encodeSocksReply(5, code));
    assert.equal(run([fromHex("050100" + "04010001020202021111")]).sent, reply(1));
    assert.equal(run([fromHex("050100" + "05010101020202021111")]).sent, reply(1));
    assert.equal(run([fromHex("050100" + "05010002020202021111")]).sent, reply(8));
    assert.equal(run([fromHex("050100" + "05010001020202020000")]).sent, reply(1));
    assert.equal(run([fromHex("050100" + "05010003000050")]).sent, reply(1));
    assert.equal(run([fromHex("0500")]).sent, "05ff");
  });

  test("checks host names as C tor does", () => {
    const ask = (host: string) =>
      run([concat(fromHex("05010005010003"), Uint8Array.of(host.length), utf8(host), utf8("\0P"))]);
    for (
      const good of [
        "a",
        "example.com",
        "example.com.",
        "_no.example".slice(1),
        "a_b-c.example",
        "xn--9ca.example",
        "1.2.3",
      ]
    ) {
      assert.equal(ask(good).request?.host, good);
    }
    assert.equal(ask("EXAMPLE.Com").request?.host, "example.com");
    assert.equal(ask("[::1]").request?.host, "::1");
    for (
      const bad of [" ", ".", "a..b", "-a.example", "_a.example", "a b", "a\0b", "a/b", "a:80", "[a]", "[1.2.3.4", "é"]
    ) {
      assert.equal(ask(bad).state, "refused", bad);
    }
    assert.equal(ask(`${"a".repeat(63)}.${"b".repeat(191)}`).state, "request");
  });

  test("does not print what identifies a client", () => {
    const { request } = run([
      fromHex("050102" + "0102" + toHex(utf8("me")) + "03" + toHex(utf8("you")) + "05010001020202021111"),
    ]);
    assert.doesNotMatch(JSON.stringify(request), /"(username|password)"/);
  });

  test("is over when it is over", () => {
    const handshake = new SocksHandshake();
    handshake.step(request5);
    assert.throws(() => handshake.step(new Uint8Array(1)), RangeError);
  });

  test("decides the same on random bytes however they are cut, and bounds what it keeps", () => {
    const beginnings = fc.constantFrom("", "05", "04", "050100", "050102", "05010005010003", "040100500000000161").map(
      fromHex,
    );
    fc.assert(fc.property(
      beginnings,
      fc.uint8Array({ maxLength: 900 }),
      fc.array(fc.nat(900), { maxLength: 6 }),
      (beginning, bytes, cuts) => {
        const input = concat(beginning, bytes);
        const whole = run([input]);
        const at = [0, ...cuts.filter((cut) => cut < input.length).sort((a, b) => a - b), input.length];
        const pieces = at.slice(1).map((end, i) => input.subarray(at[i], end));
        const cut = run(pieces);
        assert.equal(cut.state, whole.state);
        assert.equal(cut.sent, whole.sent);
        assert.equal(cut.rest, whole.rest);
        assert.deepEqual(cut.request && withoutAuth(cut.request), whole.request && withoutAuth(whole.request));
        // No message is longer than 8 + 512 + 1 + 255 + 1 bytes.
        if (whole.state === "more") assert.ok(input.length < 3 * 777);
      },
    ));
  });
});

describe("SOCKS replies", () => {
  test("carry addresses and names", () => {
    assert.equal(toHex(encodeSocksReply(4, 0)), "005a000000000000");
    assert.equal(toHex(encodeSocksReply(4, 0, "1.2.3.4")), "005a000001020304");
    assert.equal(toHex(encodeSocksReply(4, 5)), "005b000000000000");
    assert.equal(toHex(encodeSocksReply(5, 0)), "05000001000000000000");
    assert.equal(toHex(encodeSocksReply(5, 0, "::1")), `05000004${"00".repeat(15)}010000`);
    assert.equal(toHex(encodeSocksReply(5, 0, "ab")), "0500000302" + "6162" + "0000");
    assert.throws(() => encodeSocksReply(4, 0, "::1"), RangeError);
    assert.throws(() => encodeSocksReply(5, 0, "a".repeat(256)), RangeError);
  });

  test("follow from END reasons as in C tor", () => {
    const expected = [1, 1, 4, 5, 2, 1, 5, 6, 4, 1, 1, 1, 5, 1, 1];
    for (const [code, reply] of expected.entries()) {
      const reason = endReasonName(code);
      const error = new TunicError("x", { kind: "stream", code: "end", context: { reason } });
      assert.equal(socksReplyFor(error, false), reply, reason);
    }
    assert.equal(socksReplyFor(new TunicError("x", { kind: "stream", code: "end" }), true), 1);
  });

  test("follow from kinds of errors", () => {
    const of = (kind: TunicError["kind"], code = "x") => socksReplyFor(new TunicError("x", { kind, code }), false);
    assert.equal(of("resolve"), 4);
    assert.equal(of("timeout"), 6);
    assert.equal(of("directory"), 3);
    assert.equal(of("no-path"), 1);
    assert.equal(of("policy", "internal-address"), 1);
    assert.equal(socksReplyFor(new Error("x"), true), 1);
  });

  test("are extended only where that was asked for", () => {
    const of = (code: string, extended: boolean) =>
      socksReplyFor(new TunicError("x", { kind: "unsupported", code }), extended);
    assert.equal(of("onion-unsupported", true), 0xf0);
    assert.equal(of("onion-bad-address", true), 0xf6);
    assert.equal(of("onion-unsupported", false), 1);
    assert.equal(of("onion-bad-address", false), 1);
  });
});
