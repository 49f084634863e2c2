// Writes that end early: the file may grow by some bytes and no more. What was cut short was not saved, is answered 503, and
// leaves neither a journal nor a state.json behind that cannot be read.
import { readdirSync, readlinkSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "../../server.ts";
import { fillUp } from "../load.ts";
import { type World, createWorld, judge, processEnded, refresh, revoke } from "../model.ts";
import { type Program, start, startAgain } from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { sizes } from "../sizes.ts";

const CLIENTS = 3;
/** Shorter than a group. */
const GROUP = 400;
/** Shorter than a state.json. */
const SNAPSHOT = 2_000;

export const cases: readonly FaultCase[] = [
  {
    name: "short writes",
    sizes: sizes["short writes"],
    needs: ["linux", "prlimit"],
    async run(size, report) {
      const folder = temporaryFolder();
      let program = await start({ folder });
      const world = await createWorld(program, CLIENTS);
      for (let round = 0; round < size; round++) {
        program = await (round % 3 === 2 ? cutSnapshot : cutGroup)(program, world, report);
        await judge(program, world, report, { logsIn: round % 10 === 0 });
        await fillUp(program, world, CLIENTS);
      }
      await program.kill();
      rmSync(folder, { recursive: true });
    },
  },
];

/** Bytes that no file of the program may grow past. */
function limit(program: Program, bytes: number | "unlimited"): void {
  const { success, stderr } = Bun.spawnSync([
    "prlimit",
    `--pid=${program.pid()}`,
    `--fsize=${bytes}:unlimited`,
  ]);
  if (!success) throw new Error(`prlimit: ${stderr}`);
}

async function cutGroup(program: Program, world: World, report: Report): Promise<Program> {
  const { random } = report;
  // In half of the rounds the first group of a process, which makes its journal.
  if (random.chance(0.5)) await refresh(program, random.pick(world.clients));
  const room = random.below(GROUP);
  report.tried(`a group cut after ${room} bytes`);
  limit(program, journalSize(program) + room);
  const client = random.pick(world.clients);
  const revokes = random.chance(0.3);
  const status = await (revokes ? revoke : refresh)(program, client);
  if (status !== 503) report.find("wrong", `what was cut short is answered ${status}`);
  if (random.chance(0.5)) {
    await program.kill();
    processEnded(world);
    return startAgain(program);
  }
  limit(program, "unlimited");
  await judge(program, world, report, { logsIn: false, reuse: 0 });
  await program.kill();
  processEnded(world);
  return startAgain(program);
}

/** Size of the journal that the next group extends; 0 when it makes one. */
function journalSize(program: Program): number {
  const handles = `/proc/${program.pid()}/fd`;
  const journal = readdirSync(handles)
    .map((handle) => targetOf(join(handles, handle)))
    .find((path) => path.includes("/journal."));
  return journal === undefined ? 0 : statSync(journal).size;
}

/** Where a handle leads; nowhere when it was closed meanwhile. */
function targetOf(handle: string): string {
  try {
    return readlinkSync(handle);
  } catch {
    return "";
  }
}

async function cutSnapshot(program: Program, world: World, report: Report): Promise<Program> {
  for (const client of world.clients) await refresh(program, client);
  const room = report.random.below(SNAPSHOT);
  report.tried(`a snapshot cut after ${room} bytes`);
  limit(program, room);
  const exitCode = await program.kill("SIGTERM");
  if (exitCode !== 0) report.find("wrong", `it ended with ${exitCode}: ${program.stderr()}`);
  if (!program.stderr().includes("state.json could not be written")) {
    report.find("wrong", `nobody was told of the snapshot: ${program.stderr()}`);
  }
  processEnded(world);
  const again = await startAgain(program);
  if (again.stderr().includes("state.json")) {
    report.find("wrong", `the next start says: ${again.stderr()}`);
  }
  return again;
}
