// The README tells the truth: its commands run, its links lead somewhere, its settings are the ones of the program.
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Glob } from "bun";
import { parseCommandLine } from "../src/cli/command_line.ts";
import { findCommand } from "../src/cli/run.ts";
import { readConfig } from "../src/config.ts";
import { settingKeys, settings } from "../src/settings.ts";
import { settingRows } from "../src/settings/rows.ts";

const root = join(import.meta.dir, "..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");
const settingsPage = read("docs/settings.md");

/** Code in a cell: a bar would end the cell. */
const code = (text: string): string => (text === "" ? "" : `\`${text.replaceAll("|", "\\|")}\``);
/** Text in a cell: what stands in angle brackets would be a tag. */
const plain = (text: string): string => text.replaceAll("|", "\\|").replaceAll("<", "\\<");

const settingsTable = (): string =>
  [
    "| flag | default | what it does |",
    "| --- | --- | --- |",
    ...settingRows().map(
      ({ flag, fallback, help }) => `| ${code(flag)} | ${code(fallback)} | ${plain(help)} |`,
    ),
  ].join("\n");

const marked = /(<!-- settings: [^>]* -->\n)([\s\S]*?)(<!-- \/settings -->)/;

test("the settings table is the one of src/settings.ts (UPDATE_README=1 writes it)", () => {
  const wanted = `${settingsTable()}\n`;
  if (process.env["UPDATE_README"] === "1") {
    writeFileSync(
      join(root, "docs/settings.md"),
      settingsPage.replace(
        marked,
        (_all, open: string, _old, close: string) => open + wanted + close,
      ),
    );
  }
  expect(marked.exec(read("docs/settings.md"))?.[2]).toBe(wanted);
});

test("no text of README.md or docs/ is lost as a tag", () => {
  const files = ["README.md", ...new Glob("docs/*.md").scanSync(root)];
  const tags = files.flatMap((file) => {
    const text = read(file)
      .replaceAll(/^```[\s\S]*?^```/gm, "")
      .replaceAll(/`[^`]*`/g, "")
      .replaceAll(/<!--[\s\S]*?-->|<br>|\\</g, "");
    return (text.match(/<[a-z/][^>]*>/gi) ?? []).map((tag) => `${file} ${tag}`);
  });
  expect(tags).toEqual([]);
});

test("the settings that need a restart are the ones of src/settings.ts", () => {
  const sentence = /Only ([\s\S]+?) need a restart\./.exec(settingsPage)?.[1] ?? "";
  const named = [...sentence.matchAll(/--([a-z-]+)/g)].map(([, flag = ""]) => flag);
  const atStart = settingKeys.filter((key) => settings[key].atStart);
  expect(named.toSorted()).toEqual(atStart.map((key) => settings[key].flag).toSorted());
});

describe.each(["README.md", "CHANGELOG.md", ...new Glob("docs/*.md").scanSync(root)])(
  "%s",
  (file) => {
    test("every relative link leads to a file", () => {
      const links = [...read(file).matchAll(/\]\((?!https?:)([^)#]+)/g)].map(
        ([, target = ""]) => target,
      );
      const base = file.startsWith("docs/") ? join(root, "docs") : root;
      expect(links.filter((target) => !existsSync(join(base, target)))).toEqual([]);
    });
  },
);

describe("commands", () => {
  const files = ["README.md", ...new Glob("docs/*.md").scanSync(root)];
  const blocks = (text: string): string[] =>
    [...text.matchAll(/^```sh\n([\s\S]*?)^```/gm)].flatMap(([, block = ""]) =>
      block.split("\n").filter((line) => line !== "" && !line.startsWith("#")),
    );
  const shown = files.flatMap((file) => blocks(read(file)).map((line) => [file, line] as const));
  const inText = files.flatMap((file) =>
    [...read(file).matchAll(/`((?:postern|bun|npx)(?: [^`]*)?)`/g)].map(
      ([, line = ""]) => [file, line] as const,
    ),
  );

  test.each(shown)("%s: %s", (_file, line) => {
    expect(() => parseLine(line)).not.toThrow();
  });

  test.each(inText)("%s names `%s`, which there is", (_file, line) => {
    // Named in passing, a command may lack its words.
    for (const tail of ["", " x", " x x"]) {
      try {
        return parseLine(line + tail);
      } catch (error) {
        if (!/ takes | missing/.test(String(error)) || tail === " x x") throw error;
      }
    }
  });

  test("a command line that there is not is seen", () => {
    for (const line of [
      "postern grant",
      "bun start --prot 1",
      "bun start -- npx",
      "bun run tests",
      "bun test test/no",
    ])
      expect(() => parseLine(line)).toThrow();
    expect(shown.length).toBeGreaterThan(10);
    expect(inText.length).toBeGreaterThan(10);
  });

  test("every file of every script exists", () => {
    const named = Object.values(scripts).flatMap((script) => script.match(/\S+\.ts\b/g) ?? []);
    expect(named.filter((path) => !existsSync(join(root, path)))).toEqual([]);
    expect(named).toContain("src/main.ts");
  });
});

const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };

/** Commands of others that the documents use. */
const others = new Set(
  "caddy claude cloudflared cp curl nginx rsync sh sudo systemctl tailscale tar".split(" "),
);

/** Understands a line of a shell as its programs would. @throws {Error} what is wrong with it */
function parseLine(line: string): void {
  const words = line
    .replace(/ #.*$/, "")
    .replaceAll(/<[^>]*>/g, "example")
    .split(" ");
  if (words[0] === "npx") words.splice(0, 3, "bun");
  const [program = "", verb = "", ...rest] = words;
  if (program === "postern") return parsePostern(words.slice(1));
  if (program !== "bun") {
    if (others.has(program)) return;
    throw new Error(`${program} is not known here`);
  }
  // Bun takes away the "--" that follows the name of a script.
  if (verb === "start") return parsePostern(rest[0] === "--" ? rest.slice(1) : rest);
  if (verb === "test") {
    const missing = rest.find((path) => path.includes("/") && !existsSync(join(root, path)));
    if (missing !== undefined) throw new Error(`there is no ${missing}`);
    return;
  }
  const script = verb === "run" ? rest[0] : verb;
  if (script === "install") return;
  if (scripts[script ?? ""] === undefined) throw new Error(`there is no script ${script}`);
}

function parsePostern(words: readonly string[]): void {
  const line = parseCommandLine(words);
  if (!line.help && !line.version) findCommand(line);
  readConfig({ ...line.given, data: "/nonexistent" });
}
