import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { TunicError } from "../../src/base/errors.ts";
import { utf8 } from "../../src/bytes/text.ts";
import { matches, readTorrc, type TorrcFiles } from "../../src/wire/torrc_include.ts";

/** Files by path; directories are the prefixes of their names. */
function filesOf(contents: Readonly<Record<string, string>>): TorrcFiles & { reads: number } {
  const paths = Object.keys(contents);
  return {
    reads: 0,
    read(path) {
      this.reads++;
      return Promise.resolve(Object.hasOwn(contents, path) ? utf8(contents[path]!) : undefined);
    },
    list(directory) {
      const prefix = directory === "." ? "" : directory.endsWith("/") ? directory : `${directory}/`;
      const names = paths.filter((path) => path.startsWith(prefix)).map((path) =>
        path.slice(prefix.length).split("/")[0]!
      );
      return Promise.resolve([...new Set(names)].reverse());
    },
    isDirectory(path) {
      return Promise.resolve(path === "." || path === "/" || paths.some((other) => other.startsWith(`${path}/`)));
    },
  };
}

async function read(contents: Readonly<Record<string, string>>): Promise<string[]> {
  const entries = await readTorrc("/etc/torrc", filesOf(contents));
  return (entries ?? []).map(({ name, value, file, line }) => `${file}:${line} ${name} ${value}`);
}

async function refused(contents: Readonly<Record<string, string>>, code: string, message: RegExp): Promise<void> {
  await assert.rejects(read(contents), (error) => {
    assert.ok(error instanceof TunicError);
    assert.equal(error.kind, "config");
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  });
}

describe("%include", () => {
  test("no file is no error here", async () => {
    assert.equal(await readTorrc("/etc/torrc", filesOf({})), undefined);
  });

  test("a file, in the place of its line, relative to the file that includes", async () => {
    assert.deepEqual(
      await read({
        "/etc/torrc": 'A 1\n%include "more/b.inc"\nC 3',
        "/etc/more/b.inc": "B 2\n%include c.inc",
        "/etc/more/c.inc": "\n\nB 2.5",
      }),
      ["/etc/torrc:1 A 1", "/etc/more/b.inc:1 B 2", "/etc/more/c.inc:3 B 2.5", "/etc/torrc:3 C 3"],
    );
  });

  test("a directory in lexical order, without hidden files and subdirectories", async () => {
    assert.deepEqual(
      await read({
        "/etc/torrc": "%include torrc.d",
        "/etc/torrc.d/02": "# nothing\n",
        "/etc/torrc.d/10": "C c",
        "/etc/torrc.d/01": "A a",
        "/etc/torrc.d/.hidden": "X x",
        "/etc/torrc.d/sub/file": "Y y",
      }),
      ["/etc/torrc.d/01:1 A a", "/etc/torrc.d/10:1 C c"],
    );
  });

  test("patterns", async () => {
    assert.deepEqual(
      await read({
        "/etc/torrc": "%include /etc/*.d/?.conf\n%include /etc/none*",
        "/etc/b.d/2.conf": "B2 x",
        "/etc/b.d/10.conf": "B10 x",
        "/etc/a.d/1.conf": "A1 x",
        "/etc/a.d/.conf": "X x",
        "/etc/.d/1.conf": "X x",
      }),
      ["/etc/a.d/1.conf:1 A1 x", "/etc/b.d/2.conf:1 B2 x"],
    );
  });

  test("a file that is missing", () =>
    refused({ "/etc/torrc": "\n%include none" }, "include-missing", /\/etc\/torrc:2: found no file "\/etc\/none"/));
  test("no path", () => refused({ "/etc/torrc": "%include" }, "bad-include", /expected a path/));
  test("a file that includes itself", () =>
    refused({ "/etc/torrc": "A b\n%include torrc" }, "include-too-deep", /31 deep/));
  test("files without end", () => {
    const line = "%include a\n%include b\n";
    return refused({ "/etc/torrc": line, "/etc/a": line, "/etc/b": "A b" }, "include-too-deep", /31 deep/);
  });
  test("more files than anybody means", () =>
    refused({ "/etc/torrc": "%include a\n".repeat(1001), "/etc/a": "" }, "include-too-many", /1000 files/));
  test("more entries than anybody means", () =>
    refused(
      { "/etc/torrc": "%include a\n".repeat(200), "/etc/a": "A b\n".repeat(100) },
      "torrc-too-long",
      /10000 entries/,
    ));
  test("an error inside names the inner file", () =>
    refused({ "/etc/torrc": "%include a", "/etc/a": '\nB "' }, "torrc-syntax", /\/etc\/a:2/));
});

describe("patterns", () => {
  for (
    const [pattern, name, expected] of [
      ["*", "", true],
      ["*.conf", "a.conf", true],
      ["*.conf", "a.conf~", false],
      ["a*b*c", "aXbYbZc", true],
      ["a*b*c", "aXbYbZ", false],
      ["?", "", false],
      ["?", "ab", false],
      ["\\*", "*", true],
      ["\\*", "a", false],
      ["a\\?b", "a?b", true],
    ] as const
  ) {
    test(`${pattern} and ${JSON.stringify(name)}`, () => assert.equal(matches(pattern, name), expected));
  }

  test("agree with the same regular expression", () => {
    fc.assert(fc.property(
      fc.string({ unit: fc.constantFrom("a", "b", "*", "?"), maxLength: 8 }),
      fc.string({ unit: fc.constantFrom("a", "b"), maxLength: 8 }),
      (pattern, name) => {
        const expression = new RegExp(`^${pattern.replaceAll("*", ".*").replaceAll("?", ".")}$`);
        assert.equal(matches(pattern, name), expression.test(name));
      },
    ));
  });
});
