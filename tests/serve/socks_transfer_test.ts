/** Whole transfers through the SOCKS port by curl, with the backend's streams ending at a local web server. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { describe, test } from "node:test";
import { listen, ScriptedBackend, toPort } from "./socks_support.ts";
import { SeededRandom } from "../support/seeded_random.ts";

const SIZE = 20 * 1024 * 1024;

const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** What curl writes, having got `input` on its standard input. */
function curl(args: string[], input?: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const options = { encoding: "buffer", maxBuffer: 2 * SIZE } as const;
    const child = execFile("curl", ["-sS", "--fail", ...args], options, (error, output) => {
      if (error) reject(error);
      else resolve(output);
    });
    child.stdin!.end(input);
  });
}

describe("transfers by curl", () => {
  const content = new SeededRandom(1).random(SIZE);

  async function setUp() {
    const server = http.createServer((request, response) => {
      if (request.method === "GET") return void response.end(content);
      const hash = createHash("sha256");
      request.on("data", (bytes: Uint8Array) => hash.update(bytes));
      request.on("end", () => response.end(hash.digest("hex")));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const backend = new ScriptedBackend(toPort((server.address() as AddressInfo).port));
    const listener = await listen(backend);
    return {
      backend,
      proxy: `127.0.0.1:${listener.address.port}`,
      async [Symbol.asyncDispose]() {
        await listener.close();
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      },
    };
  }

  test("are the same to the byte, over each protocol", async () => {
    await using set = await setUp();
    for (const way of ["--socks5-hostname", "--socks4a"]) {
      const got = await curl([way, set.proxy, "http://example.test/"]);
      assert.equal(sha256(got), sha256(content), way);
      const answer = await curl([way, set.proxy, "--data-binary", "@-", "http://example.test/"], content);
      assert.equal(new TextDecoder().decode(answer), sha256(content), way);
    }
    for (const { host, port } of set.backend.requests) assert.deepEqual([host, port], ["example.test", 80]);
  });

  test("carry an address as an address, and isolate by user name and password", async () => {
    await using set = await setUp();
    const one = ["--range", "0-0", "-o", "/dev/null"];
    await curl([...one, "--socks5", set.proxy, "http://192.0.2.1:81/"]);
    assert.deepEqual([set.backend.requests[0]!.host, set.backend.requests[0]!.port], ["192.0.2.1", 81]);
    for (const user of ["a:b", "a:c", "a:b"]) {
      await curl([...one, "--proxy-user", user, "--socks5-hostname", set.proxy, "http://example.test/"]);
    }
    const [none, first, other, again] = set.backend.requests.map((request) => request.isolation);
    assert.equal(new Set([none, first, other]).size, 3);
    assert.equal(again, first);
  });

  test("go on side by side", async () => {
    await using set = await setUp();
    const all = Array.from({ length: 4 }, () => curl(["--socks5-hostname", set.proxy, "http://example.test/"]));
    for (const got of await Promise.all(all)) assert.equal(sha256(got), sha256(content));
  });

  test("fail with what the port says", async () => {
    await using set = await setUp();
    await assert.rejects(curl(["--socks5-hostname", set.proxy, "http://x.onion/"]), { code: 97 });
    await assert.rejects(curl(["--proxy", `http://${set.proxy}`, "http://example.test/"]), /501/);
  });
});
