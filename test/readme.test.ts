// The README tells the truth: its commands run, its links lead somewhere, its settings are the ones of the program.
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { settingKeys, settingRows, settings } from "../src/settings.ts";

const root = join(import.meta.dir, "..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const readme = read("README.md");

const settingsTable = (): string =>
  [
    "| flag | variable | default | what it does |",
    "| --- | --- | --- | --- |",
    ...settingRows().map(({ flag, variable, fallback, help }) =>
      `| \`${flag}\` | \`${variable}\` | ${fallback === "" ? "" : `\`${fallback}\``} | ${help} |`.replaceAll(
        /<([^>]*\|[^>]*)>/g,
        (text) => text.replaceAll("|", "\\|"),
      ),
    ),
  ].join("\n");

const marked = /(<!-- settings: [^>]* -->\n)([\s\S]*?)(<!-- \/settings -->)/;

test("the settings table is the one of src/settings.ts (UPDATE_README=1 writes it)", () => {
  const wanted = `${settingsTable()}\n`;
  if (process.env["UPDATE_README"] === "1") {
    writeFileSync(
      join(root, "README.md"),
      readme.replace(marked, (_all, open: string, _old, close: string) => open + wanted + close),
    );
  }
  expect(marked.exec(read("README.md"))?.[2]).toBe(wanted);
});

test("the settings that need a restart are the ones of src/settings.ts", () => {
  const sentence = /Only ([\s\S]+?) need a restart\./.exec(readme)?.[1] ?? "";
  const named = [...sentence.matchAll(/--([a-z-]+)/g)].map(([, flag = ""]) => flag);
  const atStart = settingKeys.filter((key) => settings[key].atStart);
  expect(named.toSorted()).toEqual(atStart.map((key) => settings[key].flag).toSorted());
});

describe.each([
  "README.md",
  "docs/admin-api.md",
  "docs/conformance.md",
  "docs/durability.md",
  "docs/security.md",
  "CHANGELOG.md",
])("%s", (file) => {
  test("every relative link leads to a file", () => {
    const links = [...read(file).matchAll(/\]\((?!https?:)([^)#]+)/g)].map(
      ([, target = ""]) => target,
    );
    const base = file.startsWith("docs/") ? join(root, "docs") : root;
    expect(links.filter((target) => !existsSync(join(base, target)))).toEqual([]);
  });
});

test("every bun script that the README names exists", () => {
  const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
  const named = [...readme.matchAll(/bun(?:@[\d.]+)? run ([a-z:]+)/g)].map(([, name = ""]) => name);
  expect(named).toContain("test");
  expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
});
