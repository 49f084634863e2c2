// Power cuts on real file systems: what a client was answered is on the disk, right after the answer and at any moment.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { freeze } from "../freeze.ts";
import { fillUp, work } from "../load.ts";
import { type DiskKind, loopDisk } from "../loop_disk.ts";
import {
  type World,
  callTool,
  createWorld,
  judge,
  logIn,
  processEnded,
  refresh,
  register,
  revoke,
} from "../model.ts";
import { type Program, start, startAgain, stopPrograms } from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { sizes } from "../sizes.ts";

const CLIENTS = 4;
/** Milliseconds that a load runs at most before the cut. */
const LONGEST = 60;

export const cases: readonly FaultCase[] = (["ext4", "xfs"] as const).map((kind) => ({
  name: `power cuts on ${kind}`,
  sizes: sizes["power cuts"],
  needs: ["linux", "root", kind],
  run: (size, report) => cutPower(kind, size, report),
}));

async function cutPower(kind: DiskKind, size: number, report: Report): Promise<void> {
  const disk = loopDisk(kind);
  try {
    const folder = join(disk.path, "data");
    mkdirSync(folder, { mode: 0o700 });
    let program = await start({ folder });
    const world = await createWorld(program, CLIENTS);
    for (let round = 0; round < size; round++) {
      const isAfterAnswer = round % 2 === 0;
      report.tried(`${isAfterAnswer ? "after an answer" : "under load"}, cut ${round + 1}`);
      const cut = async (): Promise<void> => {
        // Together with the power: XFS lets a sync that it interrupts return as if it had been done.
        await freeze(program);
        disk.cut();
        await program.kill();
      };
      if (isAfterAnswer) await oneAnswer(program, world, report).then(cut);
      else await work(program, world, report, Bun.sleep(report.random.next() * LONGEST).then(cut));
      processEnded(world);
      disk.boot();
      program = await startAgain(program);
      await judge(program, world, report, { logsIn: round % 10 === 0 });
      await fillUp(program, world, CLIENTS);
    }
    await program.kill();
  } finally {
    await stopPrograms();
    disk.remove();
  }
}

/** One change whose answer arrives, after a few that nobody waits for the disk with. */
async function oneAnswer(program: Program, world: World, { random }: Report): Promise<void> {
  const client = random.pick(world.clients);
  for (let before = random.below(3); before > 0; before--) await refresh(program, client);
  const kind = random.below(5);
  if (kind === 0) await logIn(program, world);
  else if (kind === 1) await revoke(program, client);
  else if (kind === 2) await register(program, world);
  else if (kind === 3) await callTool(program, client);
  else await refresh(program, client);
}
