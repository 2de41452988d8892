import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { countTests } from "../../scripts/count_tests.ts";

describe("count_tests", () => {
  test("counts Deno's report: tests, not the groups they are in", () => {
    const xml = `<testsuites name="deno test" tests="6" failures="1">
      <testsuite name="./a_test.ts" tests="2">
        <testcase name="alone" classname="./a_test.ts" time="0.003"></testcase>
        <testcase name="group" classname="./a_test.ts"><failure message="1 step failed">…</failure></testcase>
      </testsuite>
      <testsuite name="ext:deno_node/testing.ts" tests="4">
        <testcase name="group &gt; one" line="1"></testcase>
        <testcase name="group &gt; later"><skipped/></testcase>
        <testcase name="group &gt; inner"><failure message="1 step failed"/></testcase>
        <testcase name="group &gt; inner &gt; wrong"><failure message="2 &gt; 1">…</failure></testcase>
      </testsuite>
    </testsuites>`;
    assert.deepEqual(countTests(xml), { passed: 2, failed: 1, skipped: 1 });
  });

  test("counts a group that failed by itself", () => {
    const xml = '<testcase name="g"><failure message="hook"/></testcase><testcase name="g &gt; one"></testcase>';
    assert.deepEqual(countTests(xml), { passed: 1, failed: 1, skipped: 0 });
  });

  test("counts Bun's report", () => {
    const xml = `<testsuite name="g" tests="3">
      <testcase name="one" classname="g" time="0.0008" assertions="0" />
      <testcase name="two" classname="g"><skipped /></testcase>
      <testcase name="three" classname="h &gt; g"><failure type="AssertionError" message="no"/></testcase>
    </testsuite>`;
    assert.deepEqual(countTests(xml), { passed: 1, failed: 1, skipped: 1 });
  });

  test("finds nothing in nothing", () => assert.deepEqual(countTests(""), { passed: 0, failed: 0, skipped: 0 }));
});
