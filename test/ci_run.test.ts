// What .ci/run makes of the tests' outcome, with stand-ins for every command it calls but bash, node and the shell's own.
import { afterAll, expect, test } from "bun:test";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { engines } from "../package.json";

const root = resolve(import.meta.dir, "..");
const checkout = mkdtempSync(join(tmpdir(), "postern-ci-"));
const commands = join(checkout, "commands");
afterAll(() => rmSync(checkout, { recursive: true }));

mkdirSync(join(checkout, ".ci"));
mkdirSync(commands);
for (const name of [".ci/run", "package.json"])
  copyFileSync(join(root, name), join(checkout, name));
const script = (name: string, text: string): void => {
  writeFileSync(join(commands, name), `#!/bin/sh\n${text}\n`);
  chmodSync(join(commands, name), 0o755);
};
const parts =
  "chromium strace xz zip unzip setpriv unshare mkfs.ext4 mkfs.xfs faketime openssl pebble nginx caddy systemd-analyze shellcheck".split(
    " ",
  );
for (const name of parts) script(name, "exit 1");
script(
  "bun",
  `case "$1 $2" in
  "--version ") echo ${engines.bun.replace(">=", "")} ;;
  "run check") exit "\${CHECK_STATUS:-0}" ;;
  "run test") printf "$SUMMARY" >&2; exit "\${TEST_STATUS:-0}" ;;
esac`,
);

function run(environment: Record<string, string>, readme = "```sh\nbun run test\n```\n") {
  writeFileSync(join(checkout, "README.md"), readme);
  const { exitCode, stdout } = Bun.spawnSync(["bash", ".ci/run"], {
    cwd: checkout,
    env: { PATH: `${commands}:${process.env["PATH"]}`, ...environment },
  });
  const lines = stdout.toString().trimEnd().split("\n");
  return { exitCode, last: lines.at(-1), said: lines.at(-2) };
}

const ran = "\n 4 expect() calls\nRan 9 tests across 2 files. [10.00ms]\n";

test.each([
  ["everything passes", {}, " 7 pass\n 0 fail", 0, "7 passed, 0 failed, 0 skipped"],
  ["one is skipped", {}, " 6 pass\n 1 skip\n 0 fail", 1, "6 passed, 0 failed, 1 skipped"],
  ["one is left to do", {}, " 6 pass\n 1 todo\n 0 fail", 1, "6 passed, 0 failed, 1 skipped"],
  ["one fails", { TEST_STATUS: "1" }, " 6 pass\n 2 fail", 1, "6 passed, 2 failed, 0 skipped"],
  [
    "the run breaks off",
    { TEST_STATUS: "1" },
    " 6 pass\n 0 fail",
    1,
    "6 passed, 0 failed, 0 skipped",
  ],
  [
    "the check fails",
    { CHECK_STATUS: "1" },
    " 7 pass\n 0 fail",
    1,
    "7 passed, 0 failed, 0 skipped",
  ],
] as const)("%s", (_, environment, summary, exitCode, last) => {
  expect(run({ ...environment, SUMMARY: summary + ran })).toMatchObject({ exitCode, last });
});

test("the summary of a run inside a test does not count", () => {
  const SUMMARY = ` 1 pass\n 5 skip\n 3 fail${ran}and then\n 7 pass\n 0 fail${ran}`;
  expect(run({ SUMMARY })).toMatchObject({ exitCode: 0, last: "7 passed, 0 failed, 0 skipped" });
});

test("a run that ends without a summary fails", () => {
  expect(run({ SUMMARY: "Killed\n" })).toEqual({
    exitCode: 1,
    said: "no test ran",
    last: "0 passed, 0 failed, 0 skipped",
  });
});

test("a README without the test command fails", () => {
  expect(run({ SUMMARY: "" }, "Run bun run test.\n")).toMatchObject({
    exitCode: 1,
    last: "README.md names no test command",
  });
});
