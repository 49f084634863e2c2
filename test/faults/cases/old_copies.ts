// Copies that are older than the clients: restored into an empty folder, laid over the running server, laid over a newer folder.
// Nobody who is in the copy logs in again, and two generations are never mixed without a word.
import { join } from "node:path";
import { copiers, growJournal, judgeCopy } from "../copies.ts";
import { judge } from "../judge.ts";
import {
  type Generations,
  type World,
  callTool,
  createWorld,
  familyOf,
  generationsOf,
  logIn,
  processEnded,
  refresh,
  revoke,
} from "../model.ts";
import { FailedStart, type Program, start, startAgain } from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { emptied, often } from "../scratch.ts";
import { sizes } from "../sizes.ts";
import { copyFolder } from "../templates.ts";

export const cases: readonly FaultCase[] = [
  {
    name: "old copies restored",
    sizes: sizes["old copies"],
    needs: [],
    run: (size, report) => often(size, (path) => restore(path, report)),
  },
  {
    name: "old copies laid over a newer folder",
    sizes: sizes["old copies"],
    needs: [],
    run: (size, report) => layOften(size, false, report),
  },
  {
    name: "old copies laid over a running server",
    sizes: sizes["old copies"],
    needs: [],
    run: (size, report) => layOften(size, true, report),
  },
  {
    name: "a copy that runs beside its original",
    sizes: sizes["old copies"],
    needs: [],
    run: (size, report) => often(size, (path) => runTwice(path, report)),
  },
];

/** Rotations since the copy was made. */
const AGES = [1, 10, 1000];

async function restore(path: string, report: Report): Promise<void> {
  const { random } = report;
  const rotations = AGES[report.tries % AGES.length] ?? 1;
  const isHot = random.chance(0.5);
  report.tried(`${rotations} rotations after a ${isHot ? "hot" : "cold"} copy`);
  let program = await start({ folder: emptied(join(path, "data")) });
  // The long way costs a second for each client.
  const world = await createWorld(program, rotations > 100 ? 1 : 3);
  for (const client of world.clients) await refresh(program, client);
  if (!isHot) await program.kill(random.pick(["SIGTERM", "SIGKILL"]));
  const copy = copyFolder(program.folder, emptied(join(path, "copy")));
  if (!isHot) program = await startAgain(program);
  await rotate(program, world, rotations, report);
  await program.kill();
  const restored = await start({ folder: copy });
  const clients = world.clients.map((client) => ({ ...client, superseded: [] }));
  await judgeCopy(restored, clients, report);
  await restored.kill();
}

/** @param count how often every client gets new tokens; some answers on the way are lost */
async function rotate(
  program: Program,
  world: World,
  count: number,
  { random, find }: Report,
): Promise<void> {
  for (const client of world.clients) {
    for (let done = 0; done < count; done++) {
      const status = await refresh(program, client, done < count - 1 && random.chance(0.1));
      if (status !== 200) find("wrong", `rotation ${done} is answered ${status}`);
      if (random.chance(0.1)) await callTool(program, client);
    }
  }
}

/** Fills a journal, so that a snapshot is written. */
async function makeSnapshot(program: Program): Promise<void> {
  for (let count = 0; count < 120; count++) await growJournal(program);
}

/** What clients that got every answer know of the server's generations. */
function generationsIn({ clients }: World): Generations {
  const live = clients.filter(({ ended }) => ended === "no");
  return Object.fromEntries(
    live.map(({ tokens }) => {
      const { family, generation } = familyOf(tokens);
      return [family, generation];
    }),
  );
}

const isSame = (a: Generations, b: Generations): boolean =>
  JSON.stringify(Object.entries(a).toSorted()) === JSON.stringify(Object.entries(b).toSorted());

/** Months of a folder: some rotations, snapshots, restarts, kills. */
async function age(program: Program, world: World, report: Report): Promise<Program> {
  const { random } = report;
  let running = program;
  for (let steps = 1 + random.below(3); steps > 0; steps--) {
    await rotate(running, world, 1 + random.below(2), report);
    const kind = random.below(4);
    if (kind === 0) await makeSnapshot(running);
    if (kind < 2) continue;
    await running.kill(random.pick(["SIGTERM", "SIGKILL"]));
    running = await startAgain(running);
  }
  return running;
}

async function layOften(size: number, isRunning: boolean, report: Report): Promise<void> {
  let refused = 0;
  await often(size, async (path) => {
    if (await layOver(path, isRunning, report)) refused++;
  });
  console.log(`an old copy laid over: ${refused} of ${size} refused`);
  // A few mixtures cannot be told apart; more, and nothing is tried of the rest.
  if (refused > Math.max(2, size / 2)) report.find("wrong", `${refused} of ${size} are refused`);
}

/** @returns whether the start refused what it found */
async function layOver(path: string, isRunning: boolean, report: Report): Promise<boolean> {
  const { random } = report;
  let program = await start({ folder: emptied(join(path, "data")) });
  const world = await createWorld(program, 3);
  program = await age(program, world, report);
  if (random.chance(0.5)) {
    await program.kill(random.pick(["SIGTERM", "SIGKILL"]));
    program = await startAgain(program);
  }
  const older = await generationsOf(program);
  const copy = copyFolder(program.folder, emptied(join(path, "copy")));
  program = await age(program, world, report);
  const [first, second] = world.clients;
  if (first) await revoke(program, first);
  await logIn(program, world);
  if (!isRunning) await program.kill(random.pick(["SIGTERM", "SIGKILL"]));
  const how = random.pick(["cp -a", "random order"] as const);
  report.tried(how);
  await copiers[how](copy, program.folder, random);
  const said = isRunning && second ? await disturbed(program, world, report) : "";
  processEnded(world);
  try {
    program = await startAgain(program);
  } catch (error) {
    // It says what is wrong, and does not start: never a mixture.
    if (!(error instanceof FailedStart) || !/ended with 78: .*hint: /s.test(error.message))
      throw error;
    return true;
  }
  await judgeGeneration(program, world, older, said, report);
  await program.kill();
  return false;
}

/** The server goes on, or notices at its next change and ends; then it is stopped. What it printed to say so. */
async function disturbed(program: Program, world: World, report: Report): Promise<string> {
  const { random } = report;
  for (const client of world.clients) {
    if (client.ended === "no" && random.chance(0.7)) await refresh(program, client);
  }
  await Bun.sleep(50);
  if (program.exitCode() === undefined) {
    await program.kill(random.pick(["SIGTERM", "SIGKILL"]));
    return "";
  }
  const exitCode = await program.exited;
  if (exitCode !== 75 || !program.stderr().includes("by somebody else")) {
    report.find("wrong", `ended with ${exitCode}: ${program.stderr()}`);
  }
  return program.stderr();
}

async function judgeGeneration(
  program: Program,
  world: World,
  older: Generations,
  said: string,
  report: Report,
): Promise<void> {
  const found = await generationsOf(program);
  if (isSame(found, older)) {
    const inCopy = world.clients.filter(
      ({ tokens, ended }) => ended === "no" && familyOf(tokens).family in older,
    );
    return judgeCopy(
      program,
      inCopy.map((client) => ({ ...client, superseded: [] })),
      report,
    );
  }
  if (said === "" && !isSame(found, generationsIn(world))) {
    report.find("wrong", `${JSON.stringify({ older, found, newer: generationsIn(world) })}`);
  }
  await judge(program, world, report, { logsIn: false });
}

/** Neither can know of the other. Clients that meet now the one and now the other stay in with both. */
async function runTwice(path: string, report: Report): Promise<void> {
  const { random } = report;
  report.tried("two of one folder");
  const first = await start({ folder: emptied(join(path, "data")) });
  const world = await createWorld(first, 3);
  await rotate(first, world, 2, report);
  const second = await start({ folder: copyFolder(first.folder, emptied(join(path, "copy"))) });
  for (let turn = 0; turn < 12; turn++) {
    const client = random.pick(world.clients);
    const program = random.pick([first, second]);
    const status = await refresh(program, client);
    if (status !== 200) report.find("lost", `a client between two is answered ${status}`);
    const call = await callTool(program, client);
    if (call !== 200) report.find("lost", `a client between two is answered ${call}`);
  }
  for (const program of [first, second]) await program.kill(random.pick(["SIGTERM", "SIGKILL"]));
  for (const program of [first, second]) {
    const again = await startAgain(program);
    const clients = world.clients.map((client) => ({ ...client, superseded: [] }));
    await judgeCopy(again, clients, report);
    await again.kill();
  }
}
