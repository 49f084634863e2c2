// `bun run requirements`: runs the tests that the requirements name, prints a row for each requirement, and fails if one of
// them has no passing test. `--write` puts the table into docs/conformance.md.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { judge, readReport, table, withTable } from "./report.ts";
import { requirements } from "./list.ts";

const root = resolve(import.meta.dir, "../..");
const folder = mkdtempSync(join(tmpdir(), "postern-requirements-"));
const report = join(folder, "junit.xml");
const files = [...new Set(requirements.flatMap(({ tests }) => tests.map(({ file }) => file)))];
const run = Bun.spawnSync(
  [
    [process.execPath, "test", "--timeout", "60000"],
    ["--reporter=junit", `--reporter-outfile=${report}`],
    files.map((file) => join("test", file)),
  ].flat(),
  { cwd: root, stdio: ["ignore", "ignore", "inherit"] },
);
const outcomes = judge(requirements, readReport(readFileSync(report, "utf8")));
rmSync(folder, { recursive: true });

const rows = table(outcomes);
process.stdout.write(`${rows}\n`);
const failed = outcomes.filter(({ problem }) => problem !== undefined);
for (const { id, problem } of failed) process.stderr.write(`${id}: ${problem}\n`);
process.stdout.write(
  `\n${outcomes.length - failed.length} of ${outcomes.length} requirements pass\n`,
);
if (process.argv.includes("--write")) {
  const path = join(root, "docs/conformance.md");
  writeFileSync(path, withTable(readFileSync(path, "utf8"), rows));
}
process.exitCode = failed.length > 0 ? 1 : run.exitCode;
