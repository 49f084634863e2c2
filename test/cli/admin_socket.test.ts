// data/admin.sock when the disk does not do what it is asked: without its mode it is not offered, and the server still stops.
import { afterAll, expect } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { launch, stopPrograms, untilReady } from "../faults/program.ts";
import { straced } from "../faults/strace.ts";
import { needs } from "../needs.ts";
import { temporaryFolder } from "../server.ts";

const folder = temporaryFolder();
afterAll(async () => {
  await stopPrograms();
  rmSync(folder, { recursive: true });
});

needs("linux", "strace").each([
  ["a mode that cannot be set", "chmod:error=EIO"],
  ["a name that cannot be removed", "unlink:error=EIO:when=3+"],
])("%s leaves no server behind", async (_, injection) => {
  const prefix = straced(join(folder, "strace"), [injection], [join(folder, "admin.sock")]);
  const program = await launch({ folder, prefix });
  await untilReady(program, 20_000);
  expect(await program.kill("SIGTERM")).toBe(0);
  expect(program.stdout()).toContain("stopping");
});
