import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { TunicError } from "../../src/base/errors.ts";
import { utf8 } from "../../src/bytes/text.ts";
import { MAX_TORRC_BYTES, parseTorrc, quoteValue, type TorrcEntry } from "../../src/wire/torrc.ts";

function parse(text: string | Uint8Array): TorrcEntry[] {
  return parseTorrc(typeof text === "string" ? utf8(text) : text, "torrc");
}

function pairs(text: string): string[][] {
  return parse(text).map(({ name, value }) => [name, value]);
}

function refused(text: string | Uint8Array, code: string, line: number, message?: RegExp): void {
  assert.throws(() => parse(text), (error) => {
    assert.ok(error instanceof TunicError);
    assert.equal(error.kind, "config");
    assert.equal(error.code, code);
    assert.equal(error.context["line"], line);
    if (message) assert.match(error.message, message);
    return true;
  });
}

describe("torrc grammar", () => {
  // Texts after section 4.1 of C tor's doc/torrc_format.txt.
  const cases: readonly (readonly [string, string, string[][]])[] = [
    ["nothing", "", []],
    ["only comments and blank lines", "\n  # a\n#b\n\t\n", []],
    ["a name and a value", "Foo Bar\n", [["Foo", "Bar"]]],
    ["the last line without its end", "Foo Bar", [["Foo", "Bar"]]],
    ["spaces inside a value", "Foo    Bar    Baz\n", [["Foo", "Bar    Baz"]]],
    ["spaces at a line's end", "Foo Bar    Baz   \t \n", [["Foo", "Bar    Baz"]]],
    ["spaces before a name", "  \tFoo Bar\n", [["Foo", "Bar"]]],
    ["a name alone", "Foo\nBar\n", [["Foo", ""], ["Bar", ""]]],
    ["a comment after a value", "Hello World   #today\n", [["Hello", "World"]]],
    ["a comment with no space before it", "Hello World#tomorrow\n", [["Hello", "World"]]],
    ["a comment after a name", "Hello#World\nA b", [["Hello", ""], ["A", "b"]]],
    ["lines ended by CR LF", "Foo Bar\r\nBaz \\\r\nqux\r\n", [["Foo", "Bar"], ["Baz", "qux"]]],
    ["a quoted value", 'Hello "World!"\n', [["Hello", "World!"]]],
    ["a quoted value with a #", 'Hello "a # b" # c\n', [["Hello", "a # b"]]],
    ["an empty quoted value", 'Hello ""\n', [["Hello", ""]]],
    ["escapes", String.raw`Hello "\"World\"\nand\tu\r\'\\"`, [["Hello", '"World"\nand\tu\r\'\\']]],
    ["hex and octal escapes", String.raw`Hello "\x41\X42\103\0611\7"`, [["Hello", "ABC11\u0007"]]],
    ["UTF-8 by escapes", 'Hello "\\xc3\\xa9\\303\\251é"', [["Hello", "ééé"]]],
    ["a quote inside a plain value", 'Hello say "x"\n', [["Hello", 'say "x"']]],
    ["continued between name and value", "Hello\\\nWorld\n", [["Hello", "World"]]],
    ["continued", "Hello\\\nWorld\\\nand\\\nfriends\n", [["Hello", "Worldandfriends"]]],
    ["backslashes inside", "Too \\\nMany\\\\\\\nBacksl\\ashes \\\\\nhere\n", [
      ["Too", "Many\\\\Backsl\\ashes \\here"],
    ]],
    [
      "comments among continued lines",
      "This entry      \\\n # has comments \\\n and some       \\\n are # generally \\\n silly\nA b\n",
      [["This", "entry        and some        are  silly"], ["A", "b"]],
    ],
    [
      "comments among continued lines, without backslashes",
      "This entry      \\\n # has comments\n and some       \\\n are # generally\n silly\nA b\n",
      [["This", "entry        and some        are  silly"], ["A", "b"]],
    ],
    ["continued into the file's end", "A b\\\n", [["A", "b"]]],
    ["a backslash at the file's end", "A b\\", [["A", "b\\"]]],
    ["a byte order mark", "\ufeffA b\n", [["A", "b"]]],
    ["UTF-8", "Übung é\n", [["Übung", "é"]]],
  ];
  for (const [name, text, expected] of cases) test(name, () => assert.deepEqual(pairs(text), expected));

  test("+ and / before a name", () => {
    assert.deepEqual(parse("+SocksPort 9100\n/Log\nA b").map(({ name, command }) => [name, command]), [
      ["SocksPort", "append"],
      ["Log", "clear"],
      ["A", "set"],
    ]);
  });

  test("each entry knows its line", () => {
    const text = '# one\nA b\n\nC d \\\n e \\\n# x\n f\nG "h"\nI\n\n\nJ k';
    assert.deepEqual(parse(text).map(({ name, file, line }) => [name, file, line]), [
      ["A", "torrc", 2],
      ["C", "torrc", 4],
      ["G", "torrc", 8],
      ["I", "torrc", 9],
      ["J", "torrc", 12],
    ]);
  });

  describe("refuses", () => {
    test("an unclosed quote", () => refused('A b\nFoo "bar\nBaz"\n', "torrc-syntax", 2, /torrc:2: found .* expected/));
    test("text after a quoted value", () => refused('\n\nFoo "bar" baz\n', "torrc-syntax", 3, /"baz"/));
    test("an unknown escape", () => refused(String.raw`Foo "\q"`, "torrc-syntax", 1));
    test("half a hex escape", () => refused(String.raw`Foo "\x4g"`, "torrc-syntax", 1));
    test("an octal escape above a byte", () => refused(String.raw`Foo "\777"`, "torrc-syntax", 1));
    test("an escape at the end", () => refused('Foo "\\', "torrc-syntax", 1));
    test("a NUL byte", () => refused("A b\0c", "torrc-syntax", 1));
    test("a NUL byte by escape", () => refused(String.raw`A "\0"`, "torrc-syntax", 1));
    test("bytes that are not UTF-8", () => refused(Uint8Array.of(65, 10, 66, 32, 0xc4, 0xeb), "torrc-encoding", 2));
    test("a file that is too long", () => refused(new Uint8Array(MAX_TORRC_BYTES + 1).fill(10), "torrc-too-long", 0));
    test("too many entries", () => refused("A b\n".repeat(10_001), "torrc-too-long", 10_001));
  });

  test("bytes that are not UTF-8 may stand in a comment", () => {
    assert.deepEqual(parse(Uint8Array.of(35, 0xff, 10, 65)).map((entry) => entry.name), ["A"]);
  });

  test("whatever the text, entries or a config error", () => {
    const texts = fc.oneof(
      fc.string({
        unit: fc.constantFrom("a", "+", "/", " ", "\t", "\n", "\r", "\\", '"', "#", "x", "7", "%", "é", "\0"),
      }),
      fc.uint8Array({ maxLength: 100 }),
    );
    fc.assert(
      fc.property(texts, (text) => {
        try {
          let last = 0;
          for (const entry of parse(text)) {
            assert.ok(entry.line >= last);
            last = entry.line;
          }
        } catch (error) {
          assert.ok(error instanceof TunicError && error.kind === "config", String(error));
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("what is quoted reads back the same", () => {
    const values = fc.string({ unit: fc.oneof(fc.constantFrom("\\", '"', "#", " ", "\n", "7", "a"), fc.string()) })
      .filter((value) => !value.includes("\0") && value.isWellFormed());
    fc.assert(fc.property(values, (value) => {
      assert.deepEqual(pairs(`Name ${quoteValue(value)} # comment\nNext x`), [["Name", value], ["Next", "x"]]);
    }));
  });
});
