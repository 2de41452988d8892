import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, test } from "node:test";
import { isTunicError } from "../../src/base/errors.ts";
import { joinNetwork } from "../../src/testnet/joined_relays.ts";

/** An authority that keeps what is uploaded, and answers with `status`. */
async function startAuthority(status: number) {
  const uploads: { method?: string; url?: string; text: string }[] = [];
  const server = createServer(async (request, response) => {
    let text = "";
    for await (const part of request) text += part;
    uploads.push({ method: request.method, url: request.url, text });
    response.writeHead(status).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    address: { host: "127.0.0.1", port: (server.address() as AddressInfo).port },
    uploads,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => server.close(() => resolve())),
  };
}

describe("relays that join a network", () => {
  test("upload their descriptors to every authority", async () => {
    await using first = await startAuthority(200);
    await using second = await startAuthority(200);
    await using joined = await joinNetwork({ publishTo: [first.address, second.address], relays: 2, exits: 1 });
    assert.equal(joined.fingerprints.length, 2);
    for (const { uploads } of [first, second]) {
      assert.deepEqual(uploads.map(({ method, url }) => `${method} ${url}`), ["POST /tor/", "POST /tor/"]);
      const texts = uploads.map(({ text }) => text);
      for (const [i, fingerprint] of joined.fingerprints.entries()) {
        assert.ok(texts[i]!.startsWith(`router joined${i + 1} 127.0.0.1 `));
        assert.ok(texts[i]!.includes(`fingerprint ${fingerprint.match(/.{4}/g)!.join(" ")}\n`));
      }
      assert.deepEqual(texts.map((text) => /^(accept|reject) .*$/m.exec(text)![0]), ["reject *:*", "accept *:*"]);
    }
  });

  test("do not stay where they are refused", async () => {
    await using authority = await startAuthority(400);
    await assert.rejects(
      joinNetwork({ publishTo: [authority.address] }),
      (error) => isTunicError(error, "directory") && error.code === "descriptor-refused",
    );
    const port = Number(/^router joined1 127\.0\.0\.1 (\d+) /.exec(authority.uploads[0]!.text)![1]);
    await assert.rejects(fetch(`https://127.0.0.1:${port}/`));
  });

  test("join networks of this machine alone", async () => {
    for (
      const publishTo of [[], [{ host: "192.0.2.1", port: 80 }], [{ host: "127.0.0.1", port: 1 }, {
        host: "192.0.2.1",
        port: 80,
      }]]
    ) {
      await assert.rejects(joinNetwork({ publishTo }), (error) => isTunicError(error, "policy"));
    }
  });
});
