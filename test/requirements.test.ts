// The list of requirements holds together: every id once, every test that it names exists, the document carries it.
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type Requirement, requirements } from "./requirements/list.ts";
import { judge, readReport, table, withTable } from "./requirements/report.ts";

/** How many core ids each group has, and the ids up to the highest that are not core. */
const groups: Record<string, { highest: number; without: number[] }> = {
  PRM: { highest: 12, without: [8, 11] },
  ASM: { highest: 20, without: [15] },
  CIM: { highest: 22, without: [16, 17, 18] },
  DCR: { highest: 19, without: [11, 12, 13, 18] },
  RED: { highest: 9, without: [] },
  AUT: { highest: 27, without: [24] },
  TOK: { highest: 21, without: [20] },
  REF: { highest: 11, without: [] },
  REV: { highest: 6, without: [5] },
  RS: { highest: 23, without: [3, 4, 17, 18, 19, 22] },
  COR: { highest: 8, without: [] },
  SEC: { highest: 16, without: [12, 15] },
};

test("every core id is there once, in order: 173 of them", () => {
  const expected = Object.entries(groups).flatMap(([group, { highest, without }]) =>
    Array.from({ length: highest }, (_, index) => index + 1)
      .filter((number) => !without.includes(number))
      .map((number) => `${group}-${number}`),
  );
  expect(expected).toHaveLength(173);
  expect(requirements.map(({ id }) => id)).toEqual(expected);
});

describe.each(requirements.map((requirement) => [requirement.id, requirement] as const))(
  "%s",
  (_id, { words, tests }) => {
    test("says what is required and names tests that exist", () => {
      expect(words.length).toBeGreaterThan(10);
      expect(tests.length).toBeGreaterThan(0);
      for (const { file, name } of tests) {
        const path = join(import.meta.dir, file);
        expect([file, existsSync(path)]).toEqual([file, true]);
        expect([file, name, readFileSync(path, "utf8").includes(name)]).toEqual([file, name, true]);
      }
    });
  },
);

const row: Requirement = {
  id: "X-1",
  words: "it works",
  tests: [{ file: "a/b.test.ts", name: "it's > fine" }],
  reason: "",
};
const report = (inner: string, name = "fine"): string =>
  `<testsuite name="x"><testcase name="${name}" classname="it&apos;s" time="0" file="test/a/b.test.ts" line="1"${inner}</testsuite>`;

test.each([
  ["a test that passed", report(" />"), undefined],
  ["one that failed", report("><failure/></testcase>"), "not passed: a/b.test.ts: it's > fine"],
  [
    "one that was skipped",
    report("><skipped/></testcase>"),
    "not passed: a/b.test.ts: it's > fine",
  ],
  ["none of that name", report(" />", "else"), `no test of a/b.test.ts is named "it's > fine"`],
  ["no report at all", "", `no test of a/b.test.ts is named "it's > fine"`],
])("%s gives the row what it deserves", (_name, xml, problem) => {
  const [outcome] = judge([row], readReport(xml));
  expect(outcome?.problem).toBe(problem);
  const written = table(outcome ? [outcome] : [])
    .split("\n")
    .at(-1);
  expect(written).toEndWith(problem === undefined ? "| yes |" : "| **no** |");
});

test("a new table takes the place of the old one, whole, and nothing else changes", () => {
  const [outcome] = judge([row], []);
  const rows = table(outcome ? [outcome] : []);
  const document = "# Title\n\n| id | old |\n| --- | --- |\n| A-1 | $& |\n\nText | with a bar.\n";
  const written = `# Title\n\n${rows}\n\nText | with a bar.\n`;
  expect(withTable(document, rows)).toBe(written);
  expect(withTable(written, rows)).toBe(written);
});

test("docs/conformance.md carries the list, all of it passed (bun run requirements --write)", () => {
  const document = readFileSync(join(import.meta.dir, "../docs/conformance.md"), "utf8").split(
    "\n",
  );
  const passed = requirements.map((each) => ({ ...each, problem: undefined }));
  expect(
    table(passed)
      .split("\n")
      .filter((line) => !document.includes(line)),
  ).toEqual([]);
  expect(document.filter((line) => line.startsWith("| "))).toHaveLength(requirements.length + 2);
});
