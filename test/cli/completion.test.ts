// Completion as bash itself does it: the script is loaded and asked as for a press of Tab.
import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventNames } from "../../src/audit/events.ts";
import { helpText } from "../../src/cli/run.ts";
import { recipes } from "../../src/clients/recipes.ts";
import { programCommand } from "../process.ts";

const print = (...words: string[]) =>
  Bun.spawnSync([...programCommand(), ...words], { env: {}, stdio: ["ignore", "pipe", "pipe"] });
const script = print("completion", "bash").stdout.toString();
const bash = Bun.which("bash");

/** What bash offers for a line, the last word of which is being typed. */
function offered(line: string, folder = tmpdir()): string[] {
  const words = ["postern", ...line.split(" ")];
  const ask = `${script}
COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}
_postern; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout, stderr, exitCode } = Bun.spawnSync([bash ?? "", "--norc", "-c", ask], {
    cwd: folder,
  });
  expect([exitCode, stderr.toString()]).toEqual([0, ""]);
  return stdout.toString().split("\n").filter(Boolean);
}

describe.skipIf(bash === null)("bash is offered", () => {
  test("every command that --help names", () => {
    const named = [...helpText().matchAll(/^ {2}([a-z][a-z-]*)(?= |$)/gm)].map(([, name]) => name);
    expect(new Set(offered(""))).toEqual(new Set(named as string[]));
  });

  test.each<[string, string[]]>([
    ["cl", ["clients"]],
    ["clients ", ["show", "rename", "remove", "purge", "add"]],
    ["clients re", ["rename", "remove"]],
    ["--data /srv/x grants ", ["show", "rename", "tools", "revoke", "purge"]],
    ["--json keys a", ["add"]],
    ["clients add --f", ["--for"]],
    ["clients add --for c", ["claude", "chatgpt", "cursor", "codex"]],
    ["connect ", Object.keys(recipes)],
    ["audit --level ", ["debug", "info", "warn", "error"]],
    ["audit --event key_", eventNames.filter((name) => name.startsWith("key_"))],
    ["audit --fo", ["--follow"]],
    ["grants --fo", []],
    ["--registration ", ["open", "closed"]],
    ["--rate-li", ["--rate-limits"]],
    ["--url ", []],
    ["completion ", ["bash"]],
    ["nothing ", []],
  ])("for %j: %p", (line, words) => {
    expect(offered(line)).toEqual(words);
  });

  test("names of files where a file or a folder is meant", () => {
    const folder = mkdtempSync(join(tmpdir(), "postern-test-"));
    writeFileSync(join(folder, "copy.tar.gz"), "");
    for (const line of ["restore co", "--data co", "check --salvage co", "--password-file co"])
      expect(offered(line, folder)).toEqual(["copy.tar.gz"]);
    rmSync(folder, { recursive: true });
  });
});

test("another shell is told which one there is", () => {
  const { exitCode, stderr } = print("completion", "fish");
  expect([exitCode, stderr.toString()]).toEqual([
    2,
    expect.stringContaining("postern: error: there is no completion for fish\npostern: hint: "),
  ]);
});
