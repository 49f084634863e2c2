// What a missing part of the machine does to a test run: skipped with a message, or failed where skipping is forbidden.
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "postern-needs-"));
afterAll(() => rmSync(folder, { recursive: true }));
writeFileSync(
  join(folder, "one.test.ts"),
  `import { expect } from "bun:test";
import { needs } from ${JSON.stringify(join(import.meta.dir, "needs.ts"))};
needs()("needs nothing", () => expect(1).toBe(1));
needs("strace")("needs strace", () => expect(1).toBe(1));
`,
);

/** Runs the file above on a machine without any command, and gives what CI reads of it. */
function runWith(environment: Record<string, string>): { exitCode: number; output: string } {
  const { exitCode, stderr } = Bun.spawnSync([process.execPath, "test"], {
    cwd: folder,
    env: { PATH: "/nowhere", ...environment },
  });
  return { exitCode, output: stderr.toString() };
}

test("a test whose part is missing is skipped with the remedy", () => {
  const { exitCode, output } = runWith({});
  expect(output).toContain("skipped: strace is missing (install strace)");
  expect(output).toMatch(/^ 1 pass\n 1 skip\n 0 fail$/m);
  expect(exitCode).toBe(0);
});

test("where skipping is forbidden a missing part fails the run and is named", () => {
  const { exitCode, output } = runWith({ TEST_NO_SKIP: "1" });
  expect(output).toContain("strace is missing (install strace), and TEST_NO_SKIP is 1");
  expect(output).toMatch(/^ 1 fail$/m);
  expect(exitCode).toBe(1);
});
