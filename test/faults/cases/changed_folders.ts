// Somebody takes the folder away, puts another in its place, or writes into it, while the program runs: nothing is answered that
// is not saved, nothing is written where it does not belong, and the program ends, because it is not alone any more.
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { PartName } from "../../needs.ts";
import { judge } from "../judge.ts";
import { type World, callTool, createWorld, processEnded, refresh } from "../model.ts";
import { type Program, start, startAgain } from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { emptied, withScratch } from "../scratch.ts";
import { sizes } from "../sizes.ts";

/** Milliseconds in which the program ends. */
const PATIENCE = 10_000;

interface Change {
  readonly name: string;
  readonly make: (folder: string, older: string) => void;
  /** Makes it the folder that it was; absent: it is gone for good. */
  readonly undo?: (folder: string) => void;
}

const away = (folder: string): string => `${folder}.away`;
const back = (folder: string): void => {
  rmSync(folder, { recursive: true, force: true });
  renameSync(away(folder), folder);
};
const newest = (folder: string): string => {
  const journals = readdirSync(folder).filter((name) => name.startsWith("journal."));
  return join(folder, journals.toSorted().at(-1) ?? "");
};

const changes: readonly Change[] = [
  { name: "the folder deleted", make: (folder) => rmSync(folder, { recursive: true }) },
  {
    name: "the folder moved away",
    make: (folder) => renameSync(folder, away(folder)),
    undo: back,
  },
  {
    name: "an empty folder in its place",
    make(folder) {
      renameSync(folder, away(folder));
      mkdirSync(folder, { mode: 0o700 });
    },
    undo: back,
  },
  {
    name: "an older copy in its place",
    make(folder, older) {
      renameSync(folder, away(folder));
      cpSync(older, folder, { recursive: true, preserveTimestamps: true });
    },
    undo: back,
  },
  {
    name: "its journal deleted",
    make(folder) {
      const path = newest(folder);
      renameSync(path, `${folder}.away`);
    },
    undo: (folder) => renameSync(away(folder), join(folder, "journal.000000000000.jsonl")),
  },
  {
    name: "a line written into its journal",
    make: (folder) => appendFileSync(newest(folder), "not yours\n"),
    undo: (folder) => {
      const path = newest(folder);
      writeFileSync(path, readFileSync(path, "utf8").replace("not yours\n", ""));
    },
  },
];

const unmounted: Change = {
  name: "the disk unmounted",
  make: (folder) => void Bun.spawnSync(["umount", "--lazy", folder]),
};

const caseOf = (
  name: string,
  list: readonly Change[],
  needs: readonly PartName[],
  prepare: (folder: string) => void = () => undefined,
): FaultCase => ({
  name,
  needs,
  sizes: sizes["changed folders"],
  async run(size, report) {
    for (let round = 0; round < size; round++) {
      for (const change of list) {
        report.tried(change.name);
        await withScratch(async (path) => {
          prepare(emptied(join(path, "data")));
          await changeOne(path, change, report);
        });
      }
    }
  },
});

export const cases: readonly FaultCase[] = [
  caseOf("a folder changed under a running server", changes, []),
  caseOf("a disk unmounted under a running server", [unmounted], ["linux", "root"], (folder) => {
    Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "mode=0700", "none", folder]);
  }),
];

async function changeOne(path: string, change: Change, report: Report): Promise<void> {
  const folder = join(path, "data");
  let program = await start({ folder });
  const world = await createWorld(program, 2);
  const older = join(path, "older");
  const filter = (name: string): boolean => !name.endsWith(".sock");
  cpSync(folder, older, { recursive: true, filter });
  for (const client of world.clients) await refresh(program, client);

  change.make(folder, older);
  const before = look(folder);
  await workInVain(program, world, report);
  const exitCode = await Promise.race([program.exited, Bun.sleep(PATIENCE)]);
  if (exitCode !== 75) report.find("wrong", `it ended with ${exitCode}: ${program.stderr()}`);
  if (look(folder) !== before) report.find("wrong", `there is something else now: ${look(folder)}`);
  await program.kill();
  processEnded(world);
  if (!change.undo) return;
  change.undo(folder);
  program = await startAgain(program);
  await judge(program, world, report);
  await program.kill();
}

/** Whoever is in goes on; whoever wants something saved is told that it is not. */
async function workInVain(program: Program, { clients }: World, report: Report): Promise<void> {
  const [first] = clients;
  const called = first ? await callTool(program, first) : 0;
  if (called !== 200 && called !== 0) report.find("lost", `a call is answered ${called}`);
  for (const client of clients) {
    const status = await refresh(program, client);
    if (status !== 503 && status !== 0) report.find("wrong", `a refresh is answered ${status}`);
  }
}

/** All that stands in the folder's place, as far as the program would not take it with it at its end. */
function look(folder: string): string {
  if (!existsSync(folder)) return "nothing";
  return readdirSync(folder)
    .filter((name) => /^(state|journal)\./.test(name))
    .map((name) => `${name} ${Bun.hash(readFileSync(join(folder, name)))}`)
    .join();
}
