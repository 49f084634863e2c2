// The layout: which part may use which, where packages come in, how long files and functions may get.
import { describe, expect, test } from "bun:test";
import { Glob } from "bun";
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";

const root = join(import.meta.dir, "..");
const files = [...new Glob("src/**/*.ts").scanSync(root)]
  .filter((path) => !path.endsWith(".d.ts"))
  .toSorted();

/** Run-time imports of a file: type-only ones do not count. */
function importsOf(path: string): string[] {
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  return transpiler
    .scanImports(readFileSync(join(root, path), "utf8").replace(/^#!.*/, ""))
    .map(({ path: name }) => name);
}

/** From the entry down to the ground: a part may import those below it, and its own. */
const layers = [
  ["main"],
  ["cli"],
  ["app"],
  ["routes"],
  ["account"],
  ["admin", "alerts", "health", "tls"],
  ["gateway"],
  ["oauth"],
  ["login"],
  ["web"],
  ["store"],
  ["http", "form", "attempts"],
  ["audit", "config", "metrics", "checkup"],
  ["limits", "ration"],
  ["settings", "clients"],
  ["values"],
  ["json", "access"],
  ["errors", "primitives", "addresses", "deps"],
];
const partOf = (path: string): string => {
  const [, first = ""] = path.split("/");
  return first.replace(/\.ts$/, "");
};
const rank = (part: string): number => layers.findIndex((layer) => layer.includes(part));

describe("imports", () => {
  test.each(files)("%s imports only what lies below it", (file) => {
    const from = rank(partOf(file));
    expect(from).toBeGreaterThanOrEqual(0);
    for (const name of importsOf(file)) {
      if (!name.startsWith(".") || !name.endsWith(".ts")) continue;
      const target = normalize(join(dirname(file), name));
      const to = rank(partOf(target));
      if (partOf(target) !== partOf(file)) expect([target, to > from]).toEqual([target, true]);
    }
  });

  test("every package entry is imported in one file", () => {
    const users = new Map<string, string[]>();
    for (const file of files) {
      for (const name of importsOf(file)) {
        if (name.startsWith(".") || name.startsWith("node:") || name.startsWith("bun")) continue;
        users.set(name, [...(users.get(name) ?? []), file]);
      }
    }
    expect([...users].filter(([, where]) => where.length > 1)).toEqual([]);
    const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const packages = new Set(
      [...users.keys()].map((name) =>
        name
          .split("/")
          .slice(0, name.startsWith("@") ? 2 : 1)
          .join("/"),
      ),
    );
    expect([...packages].toSorted()).toEqual(Object.keys(dependencies).toSorted());
  });
});

describe("sizes", () => {
  test.each(files)("%s has at most 350 lines", (file) => {
    expect(readFileSync(join(root, file), "utf8").split("\n").length).toBeLessThanOrEqual(350);
  });

  test.each(files)("no function of %s is longer than 60 lines", (file) => {
    const long = functionsOf(file).filter(({ lines }) => lines > 60);
    expect(long).toEqual([]);
  });
});

/** In formatted code a body ends at the first line that closes at the indentation of the line that opened it. */
function functionsOf(file: string): { name: string; lines: number }[] {
  const lines = readFileSync(join(root, file), "utf8").split("\n");
  return lines.flatMap((line, start) => {
    const opens =
      /(=>|\)(: [^=]+)?) \{$/.test(line) &&
      !/^\s*(\}? ?(if|else|for|while|switch|try|catch|do)\b)/.test(line);
    if (!opens) return [];
    const indent = /^\s*/.exec(line)?.[0] ?? "";
    const length = lines.slice(start + 1).findIndex((later) => later.startsWith(`${indent}}`)) + 2;
    return [{ name: `${file}:${start + 1}`, lines: length }];
  });
}

test("the measure of functions sees long ones", () => {
  const counted = functionsOf("src/oauth/authorize.ts").map(({ lines }) => lines);
  expect(Math.max(...counted)).toBeGreaterThan(20);
  expect(Math.min(...counted)).toBeGreaterThan(1);
});

/** Names that the other files take from a file, by import or `await import`. */
function namesTaken(path: string): Set<string> {
  const text = readFileSync(join(root, path), "utf8");
  const folder = dirname(path);
  const found = new Set<string>();
  const statements = text.matchAll(
    /(?:import|export|const) (?:type )?\{([^}]*)\}\s*(?:from\s*|=\s*await import\()"(\.[^"]*)"/g,
  );
  for (const [, names = "", from = ""] of statements) {
    for (const name of names.split(",")) {
      const taken = name
        .trim()
        .replace(/^type /, "")
        .split(/[ :]/, 1)[0];
      if (taken) found.add(`${normalize(join(folder, from))} ${taken}`);
    }
  }
  return found;
}

test("what is exported is used somewhere else", () => {
  const users = [...new Glob("{src,test,.ci}/**/*.ts").scanSync({ cwd: root, dot: true })];
  const taken = new Set(users.flatMap((path) => [...namesTaken(path)]));
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  const unused = files.flatMap((path) => {
    const { exports } = transpiler.scan(
      readFileSync(join(root, path), "utf8").replace(/^#!.*/, ""),
    );
    return exports.map((name) => `${path} ${name}`).filter((entry) => !taken.has(entry));
  });
  expect(taken.size).toBeGreaterThan(100);
  expect(unused).toEqual([]);
});

test("what tests share is closed by each file that uses it", () => {
  // In a module that several files import it runs for the first of them only.
  const shared = [...new Glob("test/**/*.ts").scanSync(root)].filter(
    (path) => !path.endsWith(".test.ts") && path !== "test/leftovers.ts",
  );
  const own = shared.filter((path) =>
    /^(after|before)(All|Each)\(/m.test(readFileSync(join(root, path), "utf8")),
  );
  expect(own).toEqual([]);
});

describe("habits", () => {
  test.each(files)("%s says first what it owns", (file) => {
    const [first = "", second = ""] = readFileSync(join(root, file), "utf8").split("\n");
    expect(first.startsWith("#!") ? second : first).toStartWith("// ");
  });

  test("no file is named for a layer or for nothing", () => {
    expect(
      files.filter((file) => /(util|helper|manager|common|service|impl|index)/.test(file)),
    ).toEqual([]);
  });

  test("nothing is kept at the top of a module", () => {
    const kept = files.filter((file) =>
      /^(export )?(let|var) |^(export )?const \w+ = new (Map|Set)\(\)/m.test(
        readFileSync(join(root, file), "utf8"),
      ),
    );
    expect(kept).toEqual([]);
  });

  test("any, suppressions and casts of convenience stay out", () => {
    const odd = files.filter((file) =>
      /: any(\[\])?[,;)=]|<any[,>]|\bas any\b|@ts-(ignore|expect-error|nocheck)/.test(
        readFileSync(join(root, file), "utf8"),
      ),
    );
    expect(odd).toEqual([]);
  });
});
