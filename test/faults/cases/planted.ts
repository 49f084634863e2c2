// Something stands where the next journal would be made, while the program runs: it is neither written to nor followed, nothing
// is answered that is not saved, and the program ends, because it is not alone in the folder.
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { journalName } from "../../../src/store/journal.ts";
import { temporaryFolder } from "../../server.ts";
import { judge } from "../judge.ts";
import { createWorld, processEnded, refresh } from "../model.ts";
import { start, startAgain } from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { sizes } from "../sizes.ts";

/** Milliseconds in which the program ends. */
const PATIENCE = 10_000;

/** What is planted, and how long the owner leaves it there. */
interface Plant {
  readonly name: string;
  readonly put: (path: string, elsewhere: string) => void;
  readonly stays: boolean;
}
const plants: readonly Plant[] = [
  {
    name: "a file of somebody else",
    put: (path) => writeFileSync(path, "not yours\n", { mode: 0o600 }),
    stays: false,
  },
  { name: "an empty file", put: (path) => writeFileSync(path, "", { mode: 0o600 }), stays: true },
  {
    name: "a link to another file",
    put: (path, elsewhere) => symlinkSync(elsewhere, path),
    stays: false,
  },
  {
    name: "a link to nothing",
    put: (path, elsewhere) => symlinkSync(`${elsewhere}.none`, path),
    stays: false,
  },
  { name: "a folder", put: (path) => void mkdirSync(path), stays: false },
];

export const cases: readonly FaultCase[] = [
  {
    name: "something in the place of the next journal",
    sizes: sizes["planted"],
    needs: [],
    async run(size, report) {
      for (let round = 0; round < size; round++) {
        for (const plant of plants) await plantOne(plant, report);
      }
    },
  },
];

async function plantOne({ name, put, stays }: Plant, report: Report): Promise<void> {
  report.tried(name);
  const parent = temporaryFolder();
  const folder = join(parent, "data");
  const first = await start({ folder });
  const world = await createWorld(first, 2);
  await first.kill();

  const program = await startAgain(first);
  const path = join(folder, journalName(lastRev(folder)));
  const elsewhere = join(parent, "elsewhere");
  writeFileSync(elsewhere, "not yours either\n");
  put(path, elsewhere);
  const before = look(path, elsewhere);
  for (const client of world.clients) {
    const status = await refresh(program, client);
    if (status !== 503 && status !== 0) report.find("wrong", `a refresh is answered ${status}`);
  }
  const exitCode = await Promise.race([program.exited, Bun.sleep(PATIENCE)]);
  if (exitCode !== 75) report.find("wrong", `it ended with ${exitCode}: ${program.stderr()}`);
  if (look(path, elsewhere) !== before) report.find("wrong", "what was planted is another now");
  await program.kill();
  processEnded(world);

  if (!stays) rmSync(path, { recursive: true });
  const again = await startAgain(program);
  await judge(again, world, report);
  await again.kill();
  rmSync(parent, { recursive: true });
}

/** The newest change in the newest journal. */
function lastRev(folder: string): number {
  const newest = readdirSync(folder)
    .filter((name) => name.startsWith("journal."))
    .toSorted()
    .at(-1);
  const lines = readFileSync(join(folder, newest ?? ""), "utf8")
    .trimEnd()
    .split("\n");
  const { rev }: { rev: number } = JSON.parse(lines.at(-1) ?? "");
  return rev;
}

/** What stands there, and what a link to elsewhere would have changed. */
function look(path: string, elsewhere: string): string {
  const there = lstatSync(path);
  const content = there.isFile() ? readFileSync(path, "utf8") : "";
  const others = [elsewhere, `${elsewhere}.none`].map((each) =>
    existsSync(each) ? readFileSync(each, "utf8") : "nothing",
  );
  return JSON.stringify([there.ino, there.size, there.mode, content, ...others]);
}
