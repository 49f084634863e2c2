// Writes that end early: the file may grow by some bytes and no more. What was cut short was not saved, is answered 503, and
// leaves neither a journal nor a state.json behind that cannot be read; what can go on after a short write does.
import { readFileSync, readdirSync, readlinkSync, rmSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { temporaryFolder } from "../../server.ts";
import { type Commit, commits, findPoints, watched } from "../commits.ts";
import { fillUp } from "../load.ts";
import { judge, logsIn } from "../judge.ts";
import { type World, createWorld, processEnded, refresh, revoke } from "../model.ts";
import { type Program, launch, start, startAgain } from "../program.ts";
import { type FaultCase, type Report, spread } from "../report.ts";
import { withScratch } from "../scratch.ts";
import { sizes } from "../sizes.ts";
import { attach } from "../strace.ts";
import { type Template, copyTemplate, inUse, templateOf } from "../templates.ts";

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
  {
    name: "every write of every commit cut short",
    sizes: sizes["every write cut"],
    needs: ["linux", "prlimit", "strace"],
    run: cutEveryWrite,
  },
  {
    name: "short writes that go on",
    sizes: sizes["short writes that go on"],
    needs: ["linux", "prlimit", "strace"],
    run: goOnAfterCuts,
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

/** A write of a commit that ends before its last byte, at this size of the file. */
interface Cut {
  readonly commit: Commit;
  readonly file: string;
  readonly size: number;
}

async function cutEveryWrite(size: number, report: Report): Promise<void> {
  const cuts: Cut[] = [];
  const share = Math.max(1, Math.ceil(size / commits.length));
  await withScratch(async (path) => {
    const log = join(path, "log");
    // A kind of commit by itself, so that a small number of tries meets several of them.
    const kinds = size < commits.length ? spread(commits, size) : commits;
    for (const commit of kinds) {
      const template = await templateOf(commit.prepare);
      await findPoints(commit, template, log);
      cuts.push(...spread(cutsOf(commit, readFileSync(log, "utf8"), report), share));
    }
  });
  let missed = 0;
  for (const cut of cuts) {
    const copy = copyTemplate(await templateOf(cut.commit.prepare));
    if (!(await cutWrite(cut, copy, report))) missed++;
    rmSync(copy.folder, { recursive: true });
  }
  // What is written is not always as long as it was.
  if (missed > Math.max(1, cuts.length / 4)) {
    report.find("wrong", `in ${missed} of ${cuts.length} tries nothing was cut`);
  }
}

/** After the first byte, in the middle, and before the last byte of each write; nothing is cut off one of no bytes. */
function cutsOf(commit: Commit, log: string, { random }: Report): Cut[] {
  const writes = log.matchAll(/^\d+ +pwrite64\([^<]*<([^>]*)>.*?, ([1-9]\d+), (\d+)\)? /gm);
  return [...writes].flatMap(([, path = "", length, offset]) =>
    [1, 1 + random.below(Number(length) - 1), Number(length) - 1].map((bytes) => ({
      commit,
      file: basename(path).replace(/\.\d{9,}$/, ".temporary"),
      size: Number(offset) + bytes,
    })),
  );
}

/** What is said of a write that was cut, in an answer apart. */
const SAID = /cannot write to|too large|could not be written|bytes were written/i;

/** An edit that counts is written anew by the start that takes it, or that start refuses. */
const UNSEALED = /edited by hand and cannot be written anew: /;

/** @returns whether anybody was told */
async function cutWrite(
  { commit, file, size }: Cut,
  { folder, world }: Template,
  report: Report,
): Promise<boolean> {
  report.tried(`${commit.name}, ${file} cut at ${size} bytes`);
  const isStart = commit.from === "start";
  const prefix = ["prlimit", `--fsize=${size}:unlimited`];
  const program = await (isStart ? launch({ folder, prefix }) : start({ folder }));
  if (!isStart) {
    await commit.first?.(program, world);
    limit(program, size);
  }
  const statuses: number[] = [];
  await commit.act(watched(program, statuses), world);
  const odd = statuses.filter((status) => status >= 500 && status !== 503);
  if (odd.length > 0) report.find("wrong", `answered ${odd.join(", ")}`);
  if (program.exitCode() === undefined) {
    limit(program, "unlimited");
    await commit.settle?.(program, world);
    await judge(program, world, report, { logsIn: logsIn(world, report) });
  } else if (program.exitCode() !== 0 && !UNSEALED.test(program.stderr())) {
    report.find("wrong", `it ended with ${program.exitCode()}: ${program.stderr()}`);
  }
  await program.kill();
  const isTold = statuses.includes(503) || SAID.test(program.stderr());
  processEnded(world);
  const again = await startAgain(program, { prefix: [] });
  await commit.settle?.(again, world);
  await judge(again, world, report, { logsIn: false });
  await again.kill();
  return isTold;
}

/** Microseconds for which a write that was cut does not come back. */
const DELAY = 300_000;
/** Milliseconds until it has been made. */
const SOON = 5_000;

/** There is room again before the program asks for the rest: everything is saved, and nobody hears of it. */
async function goOnAfterCuts(size: number, report: Report): Promise<void> {
  const { folder, world } = copyTemplate(await templateOf(inUse));
  await withScratch(async (path) => {
    let program = await start({ folder });
    for (let round = 0; round < size; round++) {
      if (round % 2 === 0) await refresh(program, report.random.pick(world.clients));
      const cut = journalSize(program) + 1 + report.random.below(GROUP);
      report.tried(`a group that pauses at ${cut} bytes`);
      const delay = `pwrite64:delay_exit=${DELAY}:when=1`;
      const tracer = await attach(program, join(path, "log"), [delay]);
      limit(program, cut);
      const answer = refresh(program, report.random.pick(world.clients));
      for (let waited = 0; waited < SOON && journalSize(program) < cut; waited++) {
        await Bun.sleep(1);
      }
      limit(program, "unlimited");
      if ((await answer) !== 200) report.find("wrong", `it is answered ${await answer}`);
      await tracer.detach();
      await program.kill();
      processEnded(world);
      program = await startAgain(program);
      await judge(program, world, report, { logsIn: false, reuse: 0 });
    }
    await program.kill();
  });
  rmSync(folder, { recursive: true });
}
