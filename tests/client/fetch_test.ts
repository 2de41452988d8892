import assert from "node:assert/strict";
import http from "node:http";
import https from "node:https";
import net from "node:net";
import { describe, test } from "node:test";
import zlib from "node:zlib";
import type { StreamRequest } from "../../src/client/backend.ts";
import { type FetchContext, type FetchInit, torFetch } from "../../src/client/fetch.ts";
import { nodeHttp } from "../../src/runtime/node_http.ts";
import { nodeRuntime } from "../../src/runtime/node.ts";
import certificates from "../vectors/https_server.json" with { type: "json" };

type Handler = (request: http.IncomingMessage, response: http.ServerResponse) => void;

interface Site {
  readonly requests: StreamRequest[];
  fetch(input: string | URL | Request, init?: FetchInit, context?: Partial<FetchContext>): Promise<Response>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Whatever host a request names, its stream ends at `server`: nothing here could resolve the names used. */
async function site(server: net.Server): Promise<Site> {
  const sockets = new Set<net.Socket>();
  server.on("connection", (socket: net.Socket) => {
    socket.on("error", () => {});
    sockets.add(socket);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as net.AddressInfo;
  const requests: StreamRequest[] = [];
  const unused = () => Promise.reject(new Error("nothing is resolved"));
  const backend = {
    openStream: (request: StreamRequest) => {
      requests.push(request);
      return nodeRuntime.network.connectTcp({ host: "127.0.0.1", port }, { timeoutMs: 5000 });
    },
    resolve: unused,
    resolvePtr: unused,
  };
  return {
    requests,
    fetch: (input, init, context) => torFetch({ backend, http: nodeHttp, isolation: "i", ...context }, input, init),
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

const web = (handler: Handler) => site(http.createServer(handler));

/** Answers with these very bytes, whatever the request, and ends. */
const raw = (answer: string, received: string[] = []) =>
  site(net.createServer((socket) => {
    socket.on("data", (bytes) => {
      received.push(bytes.toString("latin1"));
      if (bytes.includes("\r\n\r\n")) socket.end(Buffer.from(answer, "latin1"));
    });
  }));

async function bodyOf(request: http.IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

describe("fetch over streams", () => {
  test("gets a page", async () => {
    await using server = await web((_, response) => {
      response.setHeader("Set-Cookie", ["a=1", "b=2"]);
      response.writeHead(200, "Fine", { "Content-Type": "text/plain; charset=utf-8", "X-Two": "2" });
      response.end("hällo");
    });
    const response = await server.fetch("http://example.test:8080/a%20b?c#d", { isolation: "mine" });
    assert.deepEqual([response.status, response.statusText, response.ok], [200, "Fine", true]);
    assert.equal(response.headers.get("x-two"), "2");
    assert.deepEqual(response.headers.getSetCookie(), ["a=1", "b=2"]);
    assert.deepEqual([response.url, response.redirected], ["http://example.test:8080/a%20b?c", false]);
    assert.equal(await response.text(), "hällo");
    const { host, port, isolation } = server.requests[0]!;
    assert.deepEqual({ host, port, isolation }, { host: "example.test", port: 8080, isolation: "mine" });
  });

  test("sends the same bytes from every runtime, with nothing about this machine", async () => {
    const received: string[] = [];
    await using server = await raw("HTTP/1.1 204 No Content\r\n\r\n", received);
    await server.fetch("http://example.test/x?y");
    assert.equal(
      received.join(""),
      "GET /x?y HTTP/1.1\r\nhost: example.test\r\naccept: */*\r\naccept-encoding: gzip, deflate, br\r\n" +
        "user-agent: Mozilla/5.0\r\nConnection: close\r\n\r\n",
    );
  });

  test("lets the caller set headers, but not those that frame the message", async () => {
    const received: string[] = [];
    await using server = await raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", received);
    const headers = new Headers([["user-agent", "me"], ["x-a", "1"], ["x-a", "2"]]);
    for (const name of ["Host", "Transfer-Encoding", "Content-Length", "Connection"]) headers.append(name, "7");
    const response = await server.fetch("http://example.test/", { method: "POST", body: "abc", headers });
    assert.equal(await response.text(), "ok");
    const text = received.join("");
    assert.match(text, /\r\nuser-agent: me\r\n/);
    assert.match(text, /\r\nx-a: 1, 2\r\n/);
    assert.match(text, /\r\nhost: example\.test\r\n/);
    assert.match(text, /\r\ncontent-type: text\/plain;charset=UTF-8\r\n/i);
    assert.deepEqual(text.match(/content-length: .*|transfer-encoding: .*/gi), ["Content-Length: 3"]);
    assert.deepEqual(text.match(/^host:|^connection:/gim), ["host:", "Connection:"]);
  });

  test("sends bytes with their length and streams in chunks, whatever the method", async () => {
    await using server = await web(async (request, response) => {
      const { "content-length": length, "transfer-encoding": encoding } = request.headers;
      const body = await bodyOf(request);
      response.end(JSON.stringify({ method: request.method, length, encoding, bytes: body.length, last: body.at(-1) }));
    });
    const bytes = new Uint8Array(3_000_000).fill(1);
    bytes[bytes.length - 1] = 9;
    const stream = () =>
      new ReadableStream<Uint8Array>({
        start(controller) {
          for (let at = 0; at < bytes.length; at += 100_000) controller.enqueue(bytes.slice(at, at + 100_000));
          controller.close();
        },
      });
    for (const method of ["POST", "PUT", "DELETE"]) {
      const whole = await server.fetch("http://example.test/", { method, body: bytes });
      assert.deepEqual(await whole.json(), { method, length: "3000000", bytes: 3_000_000, last: 9 });
      const streamed = await server.fetch("http://example.test/", { method, body: stream() });
      assert.deepEqual(await streamed.json(), { method, encoding: "chunked", bytes: 3_000_000, last: 9 });
    }
    const asRequest = new Request("http://example.test/", { method: "POST", body: "abc" });
    const answer = await (await server.fetch(asRequest)).json();
    assert.deepEqual([answer.bytes, answer.encoding], [3, "chunked"]);
  });

  test("decodes content encodings, and leaves unknown ones alone", async () => {
    const text = "text ".repeat(10_000);
    const encoders: Record<string, (input: Uint8Array) => Uint8Array> = {
      gzip: zlib.gzipSync,
      deflate: zlib.deflateSync,
      br: zlib.brotliCompressSync,
      unknown: (input) => input,
    };
    await using server = await web((request, response) => {
      const names = request.url!.slice(1).split(",");
      let body: Uint8Array = Buffer.from(text);
      for (const name of names) body = encoders[name]!(body);
      response.setHeader("Content-Encoding", names.join(", "));
      response.end(body);
    });
    for (const names of ["gzip", "deflate", "br", "gzip,br", "unknown"]) {
      const response = await server.fetch(`http://example.test/${names}`);
      assert.equal(await response.text(), text, names);
    }
  });

  test("refuses a compressed body that is broken or not whole", async () => {
    const zipped = zlib.gzipSync("text ".repeat(1000));
    const answer = (body: Uint8Array) =>
      `HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: ${body.length}\r\n\r\n` +
      Buffer.from(body).toString("latin1");
    const broken = zipped.slice();
    broken[20]! ^= 0xff;
    for (const body of [broken, zipped.subarray(0, 20)]) {
      await using server = await raw(answer(body));
      const response = await server.fetch("http://example.test/");
      await assert.rejects(response.text(), { name: "TunicError" });
    }
  });

  test("has no body where there can be none", async () => {
    await using server = await web((request, response) => {
      response.writeHead(request.method === "HEAD" ? 200 : 204, { "Content-Length": 5 });
      response.end();
    });
    for (const method of ["HEAD", "GET"]) {
      const response = await server.fetch("http://example.test/", { method });
      assert.equal(response.body, null);
    }
  });

  test("pulls a body no faster than it is read", async () => {
    let sent = 0;
    await using server = await web((_, response) => {
      const piece = Buffer.alloc(65536);
      const fill = (): void => {
        do sent += piece.length; while (response.write(piece));
      };
      response.on("drain", fill);
      response.on("error", () => {});
      fill();
    });
    const response = await server.fetch("http://example.test/");
    const reader = response.body!.getReader();
    await reader.read();
    for (let i = 0; i < 500; i++) await new Promise<void>((resolve) => setImmediate(resolve));
    const before = sent;
    assert.ok(before < 64 * 1024 * 1024, `${before} bytes were taken`);
    for (let got = 0; got < before + 2 ** 20;) got += (await reader.read()).value!.length;
    assert.ok(sent > before);
    await reader.cancel();
  });
});

describe("fetch and malformed answers", () => {
  const cases: Record<string, string> = {
    "a body that is too short": "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    "chunks without their end": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    "a chunk's length that is none": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "a length and chunks":
      "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "two lengths": "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "lines without CR": "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
    "folded headers": "HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 3\r\n\r\nabc",
    "an endless head": `HTTP/1.1 200 OK\r\nX: ${"a".repeat(2 ** 20)}\r\n\r\n`,
    "no HTTP": "SSH-2.0-x\r\n\r\n",
    "nothing": "",
  };
  for (const [name, answer] of Object.entries(cases)) {
    test(name, async () => {
      await using server = await raw(answer);
      const whole = server.fetch("http://example.test/").then((response) => response.text());
      await assert.rejects(whole, (error: { name: string; kind: string }) => {
        assert.equal(error.name, "TunicError");
        assert.ok(["malformed", "connection"].includes(error.kind), error.kind);
        return true;
      });
    });
  }
});

describe("fetch and redirects", () => {
  const redirecting: Handler = async (request, response) => {
    const url = new URL(request.url!, "http://x");
    const status = Number(url.searchParams.get("status"));
    if (status > 0) {
      response.writeHead(status, { Location: url.searchParams.get("to")! });
      return void response.end("moved");
    }
    const { host, authorization, cookie, "content-type": type } = request.headers;
    const body = (await bodyOf(request)).toString();
    response.end(JSON.stringify({ method: request.method, host, authorization, cookie, type, body, url: request.url }));
  };
  const at = (status: number, to: string) => `http://a.test/?status=${status}&to=${encodeURIComponent(to)}`;

  test("go where they point, with the method and body that the standard says", async () => {
    await using server = await web(redirecting);
    const cases: [number, string, string, string][] = [
      [301, "GET", "GET", ""],
      [302, "GET", "GET", ""],
      [301, "POST", "GET", ""],
      [302, "POST", "GET", ""],
      [301, "PUT", "PUT", "body"],
      [303, "POST", "GET", ""],
      [303, "PUT", "GET", ""],
      [307, "POST", "POST", "body"],
      [308, "PUT", "PUT", "body"],
    ];
    for (const [status, method, after, body] of cases) {
      const init = method === "GET" ? {} : { method, body: "body" };
      const response = await server.fetch(at(status, "/there?x#frag"), init);
      assert.deepEqual([response.redirected, response.url], [true, "http://a.test/there?x"]);
      const seen = await response.json();
      assert.deepEqual([seen.method, seen.body, seen.url], [after, body, "/there?x"], `${status} ${method}`);
      if (after === "GET") assert.equal(seen.type, undefined);
    }
  });

  test("lose credentials when they go to another origin only", async () => {
    await using server = await web(redirecting);
    const headers = { authorization: "secret", cookie: "c=1" };
    const same = await (await server.fetch(at(302, "/b"), { headers })).json();
    assert.deepEqual([same.authorization, same.cookie], ["secret", "c=1"]);
    for (const to of ["http://b.test/", "http://a.test:81/"]) {
      const other = await (await server.fetch(at(302, to), { headers })).json();
      assert.deepEqual([other.authorization, other.cookie], [undefined, undefined], to);
    }
    assert.deepEqual(server.requests.map((request) => request.isolation), new Array(6).fill("i"));
  });

  test("end after twenty", async () => {
    let count = 0;
    await using server = await web((_, response) => {
      count++;
      response.writeHead(302, { Location: "/" });
      response.end();
    });
    await assert.rejects(server.fetch("http://a.test/"), { kind: "protocol", code: "redirect-loop" });
    assert.equal(count, 21);
  });

  test("are refused where they cannot be followed", async () => {
    await using server = await web(redirecting);
    for (const to of ["ftp://a.test/", "http://", "file:///etc/passwd", "javascript:alert(1)"]) {
      await assert.rejects(server.fetch(at(302, to)), { kind: "protocol", code: "bad-redirect" }, to);
    }
    const body = new Blob(["x"]).stream();
    await assert.rejects(server.fetch(at(307, "/b"), { method: "POST", body }), { code: "bad-redirect" });
    await assert.rejects(server.fetch(at(302, "/b"), { redirect: "error" }), { code: "redirect-forbidden" });
  });

  test("are shown where the caller wants to see them, or where they lack a target", async () => {
    await using server = await web(redirecting);
    const manual = await server.fetch(at(302, "/b"), { redirect: "manual" });
    assert.deepEqual([manual.status, manual.headers.get("location"), await manual.text()], [302, "/b", "moved"]);
    await using bare = await raw("HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n");
    assert.equal((await bare.fetch("http://a.test/")).status, 302);
  });
});

describe("fetch and failures", () => {
  test("refuses requests that it cannot make", async () => {
    await using server = await raw("");
    for (const url of ["nonsense", "ftp://a.test/", "file:///etc/passwd", "http://me:you@a.test/"]) {
      await assert.rejects(server.fetch(url), { name: "TunicError", kind: "argument" }, url);
    }
    assert.deepEqual(server.requests, []);
  });

  test("stops at an abort: before, while waiting for the head, within the body", async () => {
    await using server = await web((request, response) => {
      if (request.url === "/head") return;
      response.writeHead(200, { "Content-Length": 10 });
      response.write("abc");
    });
    const reason = new Error("enough");
    await assert.rejects(server.fetch("http://a.test/head", { signal: AbortSignal.abort(reason) }), reason);
    assert.deepEqual(server.requests, []);
    const waiting = new AbortController();
    const head = server.fetch("http://a.test/head", { signal: waiting.signal });
    setImmediate(() => waiting.abort(reason));
    await assert.rejects(head, reason);
    const reading = new AbortController();
    const response = await server.fetch("http://a.test/body", { signal: reading.signal });
    const reader = response.body!.getReader();
    await reader.read();
    reading.abort(reason);
    await assert.rejects(reader.read(), reason);
  });

  test("refuses a header that HTTP cannot carry, and closes the stream", async () => {
    await using server = await raw("HTTP/1.1 200 OK\r\n\r\n");
    const headers = { "x-a": "a\x01b" };
    await assert.rejects(server.fetch("http://a.test/", { headers }), { name: "TunicError", kind: "argument" });
  });

  test("passes on why a stream could not be opened", async () => {
    await using server = await raw("");
    const backend = { openStream: () => Promise.reject(new Error("x")), resolve: never, resolvePtr: never };
    await assert.rejects(server.fetch("http://a.test/", {}, { backend }), { kind: "internal", code: "fetch-failed" });
  });

  test("does not wait for ever for a head", async () => {
    await using server = await web(() => {});
    const late = server.fetch("http://a.test/", {}, { headTimeoutMs: 20 });
    await assert.rejects(late, { kind: "timeout", code: "http-timeout" });
  });
});

describe("https", () => {
  const trust = [certificates.certificate, certificates.expired];
  const secure = (cert: string) =>
    site(https.createServer({ key: certificates.key, cert }, async (request, response) => {
      response.end(`${request.headers.host} ${(await bodyOf(request)).length}`);
    }));

  test("speaks with a server that proves its name", async () => {
    await using server = await secure(certificates.certificate);
    const body = new Uint8Array(2_000_000);
    const response = await server.fetch("https://example.test/", { method: "POST", body }, { trust });
    assert.equal(await response.text(), "example.test 2000000");
    assert.equal(server.requests[0]!.port, 443);
    const byAddress = await server.fetch("https://192.0.2.1:444/", {}, { trust });
    assert.equal(await byAddress.text(), "192.0.2.1:444 0");
  });

  test("refuses an unknown authority, another name, and a certificate out of date", async () => {
    await using server = await secure(certificates.certificate);
    await assert.rejects(server.fetch("https://example.test/"), { kind: "identity", code: "bad-certificate" });
    for (const url of ["https://other.test/", "https://192.0.2.2/", "https://sub.example.test/"]) {
      await assert.rejects(server.fetch(url, {}, { trust }), { kind: "identity", code: "bad-certificate" }, url);
    }
    await using old = await secure(certificates.expired);
    await assert.rejects(old.fetch("https://example.test/", {}, { trust }), { kind: "identity" });
  });

  test("refuses a server that speaks no TLS", async () => {
    await using server = await site(net.createServer((socket) => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")));
    const answer = server.fetch("https://example.test/", {}, { trust });
    await assert.rejects(answer, { name: "TunicError" });
  });
});

function never(): Promise<never> {
  return new Promise(() => {});
}
