// Power cuts on real file systems: what a client was answered is on the disk, right after the answer and at any moment. What a
// process left in memory when it was killed, or a copy that was just made, is on the disk too once somebody was answered from it.
import { mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { copiers } from "../copies.ts";
import { freeze } from "../freeze.ts";
import { fillUp, work } from "../load.ts";
import { type LoopDisk, loopDisk } from "../loop_disk.ts";
import { judge } from "../judge.ts";
import {
  type World,
  callTool,
  createWorld,
  logIn,
  processEnded,
  refresh,
  register,
  revoke,
} from "../model.ts";
import { type Program, start, startAgain, stopPrograms } from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { sizes } from "../sizes.ts";
import { attach } from "../strace.ts";

const CLIENTS = 4;
/** Milliseconds that a load runs at most before the cut. */
const LONGEST = 60;

export const cases: readonly FaultCase[] = (["ext4", "xfs"] as const).map((kind) => ({
  name: `power cuts on ${kind}`,
  sizes: sizes["power cuts"],
  needs: ["linux", "root", "strace", kind],
  async run(size, report) {
    const disk = loopDisk(kind);
    try {
      await cutPower({ disk, log: `${disk.path}.log` }, size, report);
    } finally {
      await stopPrograms();
      disk.remove();
    }
  },
}));

interface Place {
  readonly disk: LoopDisk;
  /** Where strace writes to, on another disk. */
  readonly log: string;
}

/** What goes before a cut. Resolves to the program that has the folder when it comes. */
type Before = (program: Program, world: World, report: Report, place: Place) => Promise<Program>;

const befores: readonly (readonly [name: string, before: Before])[] = [
  ["after an answer", oneAnswer],
  [
    "killed before a sync, then another answer",
    async (program, world, report, place) =>
      oneAnswer(await killBeforeSync(program, world, report, place), world, report),
  ],
  [
    "killed before a sync, then the same answer",
    async (program, world, report, place) => {
      const again = await killBeforeSync(program, world, report, place);
      // Nothing is left to write: it is answered from what was loaded.
      const [client] = world.clients;
      if (client) await revoke(again, client);
      return again;
    },
  ],
  [
    "copied, then an answer",
    async (program, world, report) =>
      oneAnswer(await copied(program, world, report), world, report),
  ],
];

async function cutPower(place: Place, size: number, report: Report): Promise<void> {
  const { disk } = place;
  const folder = join(disk.path, "data");
  mkdirSync(folder, { mode: 0o700 });
  let program = await start({ folder });
  const world = await createWorld(program, CLIENTS);
  const cut = async (): Promise<void> => {
    // Together with the power: XFS lets a sync that it interrupts return as if it had been done.
    await freeze(program);
    disk.cut();
    await program.kill();
  };
  for (let round = 0; round < size; round++) {
    const [name, before] = befores[(round >> 1) % befores.length] ?? [];
    report.tried(`${before && round % 2 === 0 ? name : "under load"}, cut ${round + 1}`);
    if (before && round % 2 === 0) {
      program = await before(program, world, report, place);
      await cut();
    } else await work(program, world, report, Bun.sleep(report.random.next() * LONGEST).then(cut));
    processEnded(world);
    disk.boot();
    program = await startAgain(program);
    await judge(program, world, report, { logsIn: round % 10 === 0 });
    await fillUp(program, world, CLIENTS);
  }
  await program.kill();
}

/** Microseconds that a sync takes longer; milliseconds after which all have asked and nobody is answered. */
const SLOW = 1_000_000;
const ASKED = 100;

/** Everybody wants something, nothing of which is synced when the process goes; the next one finds it all in memory. */
async function killBeforeSync(
  program: Program,
  world: World,
  { random }: Report,
  { log }: Place,
): Promise<Program> {
  const [first, ...others] = world.clients;
  // In half of the rounds the process has a journal already.
  if (random.chance(0.5)) for (const client of others) await refresh(program, client);
  const tracer = await attach(program, log, [`fsync,fdatasync:delay_enter=${SLOW}`]);
  const asked = [first && revoke(program, first), ...others.map((each) => refresh(program, each))];
  await Bun.sleep(ASKED);
  await program.kill();
  await Promise.all([tracer.ended, ...asked]);
  processEnded(world);
  return startAgain(program);
}

/** The folder moves as a copy that nobody has synced. */
async function copied(program: Program, world: World, { random }: Report): Promise<Program> {
  await program.kill();
  processEnded(world);
  const folder = join(dirname(program.folder), `data-${random.below(1_000_000)}`);
  mkdirSync(folder, { mode: 0o700 });
  await copiers["cp -a"](program.folder, folder);
  rmSync(program.folder, { recursive: true });
  return start({ folder });
}

/** One change whose answer arrives, after a few that nobody waits for the disk with. */
async function oneAnswer(program: Program, world: World, { random }: Report): Promise<Program> {
  const client = random.pick(world.clients);
  for (let before = random.below(3); before > 0; before--) await refresh(program, client);
  const kind = random.below(5);
  if (kind === 0) await logIn(program, world);
  else if (kind === 1) await revoke(program, client);
  else if (kind === 2) await register(program, world);
  else if (kind === 3) await callTool(program, client);
  else await refresh(program, client);
  return program;
}
