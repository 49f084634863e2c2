// From a run of the tests to a row for each requirement.
import type { Named, Requirement } from "./list.ts";

export interface Case {
  /** Under test/. */
  readonly file: string;
  /** "group > test" */
  readonly name: string;
  readonly passed: boolean;
}

/** The test cases of a JUnit report as Bun writes it. A skipped one has not passed. */
export function readReport(xml: string): Case[] {
  const cases = xml.matchAll(/<testcase ([^>]*?)(?:\/>|>([\s\S]*?)<\/testcase>)/g);
  return [...cases].map(([, attributes = "", inner = ""]) => {
    const read = (name: string): string =>
      unescape(new RegExp(`(?:^|\\s)${name}="([^"]*)"`).exec(attributes)?.[1] ?? "");
    const group = read("classname");
    return {
      file: read("file").replace(/^test\//, ""),
      name: group === "" ? read("name") : `${group} > ${read("name")}`,
      passed: !/<(failure|error|skipped)\b/.test(inner),
    };
  });
}

const entities: Record<string, string> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };
const unescape = (text: string): string =>
  text.replace(/&(?:#(\d+)|#x([\da-f]+)|(\w+));/gi, (all, decimal, hex, name) => {
    if (name !== undefined) return entities[name] ?? all;
    return String.fromCodePoint(decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal));
  });

export interface Outcome extends Requirement {
  /** What is missing; undefined when every test that is named has passed. */
  readonly problem: string | undefined;
}

export const judge = (requirements: readonly Requirement[], cases: readonly Case[]): Outcome[] =>
  requirements.map((requirement) => ({ ...requirement, problem: problemOf(requirement, cases) }));

function problemOf({ tests }: Requirement, cases: readonly Case[]): string | undefined {
  for (const named of tests) {
    const found = casesOf(named, cases);
    if (found.length === 0) return `no test of ${named.file} is named "${named.name}"`;
    const failed = found.find(({ passed }) => !passed);
    if (failed) return `not passed: ${failed.file}: ${failed.name}`;
  }
  return undefined;
}

const casesOf = ({ file, name }: Named, cases: readonly Case[]): Case[] =>
  cases.filter((each) => each.file === file && each.name.includes(name));

/** As docs/conformance.md has it; a row that is decided otherwise says why. */
export function table(outcomes: readonly Outcome[]): string {
  const rows = outcomes.map(({ id, words, tests, reason, problem }) => {
    const requirement = reason === "" ? words : `${words} (${reason})`;
    const names = tests.map(
      ({ file, name }) => `[${file.replace(".test.ts", "")}](../test/${file}) “${name}”`,
    );
    return `| ${id} | ${requirement} | ${names.join("<br>")} | ${problem === undefined ? "yes" : "**no**"} |`;
  });
  return ["| id | requirement | test | pass |", "| --- | --- | --- | --- |", ...rows].join("\n");
}

/** The document with another table in place of the one it has. */
export const withTable = (document: string, rows: string): string =>
  document.replace(/^\| id \|.*(?:\n\|.*)*/m, () => rows);
