// Copies made under load, snapshots written in between: each starts, and lets every client in that was in when it began.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { programCommand } from "../../process.ts";
import { outgrow } from "../commits.ts";
import {
  type CopierName,
  clientsNow,
  clientsOfCopy,
  copiers,
  growJournal,
  judgeCopy,
  snapshotOf,
} from "../copies.ts";
import { fillUp, work } from "../load.ts";
import { type World, createWorld, logIn, revoke } from "../model.ts";
import { type Program, start, startAgain } from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { emptied, withScratch } from "../scratch.ts";
import { sizes } from "../sizes.ts";
import { attach } from "../strace.ts";
import { copyTemplate, nearlyFull, templateOf } from "../templates.ts";

const CLIENTS = 5;
/** Copies of one folder: each snapshot leaves a journal of 4 MiB behind for an hour. */
const OF_ONE_FOLDER = 5;
/** Registrations that fill a journal. */
const FILLING = 110;

const ANYWHERE = ["cp -a", "tar", "random order", "snapshot long before its journals"] as const;

export const cases: readonly FaultCase[] = [
  {
    name: "hot copies under load",
    sizes: sizes["hot copies"],
    needs: [],
    run: (size, report) => copyMany(ANYWHERE, size, report),
  },
  {
    name: "hot copies by rsync",
    sizes: sizes["hot copies by rsync"],
    needs: ["rsync"],
    run: (size, report) => copyMany(["rsync"], size, report),
  },
  {
    name: "archives of a live folder, restored",
    sizes: sizes["hot archives"],
    needs: ["linux", "strace"],
    async run(size, report) {
      for (let round = 0; round < size; round++) {
        await withScratch((path) => archive(path, round % 2 === 0, report));
      }
    },
  },
];

/** Milliseconds in which a snapshot of a small folder is written. */
const SNAPSHOT = 300;

/** `tar` at some moment of a snapshot, or after one that failed; then the owner's own command, and a life of the copy. */
async function archive(path: string, fails: boolean, report: Report): Promise<void> {
  const { random } = report;
  report.tried(fails ? "after a snapshot that failed" : "while a snapshot is written");
  const { folder, world } = copyTemplate(await templateOf(nearlyFull));
  const program = await start({ folder });
  const file = join(path, "copy.tgz");
  const pack = async (): Promise<void> => {
    // What changes under it is told, and is no failure.
    await Bun.spawn(["tar", "-C", folder, "-czf", file, "."], { stderr: "ignore" }).exited;
  };
  const before = clientsNow(world);
  if (fails) {
    const tracer = await attach(program, join(path, "log"), ["rename:error=EIO"]);
    await outgrow(program, world);
    await tracer.detach();
    await pack();
  } else {
    const packed = Bun.sleep(random.below(SNAPSHOT)).then(pack);
    await Promise.all([packed, outgrow(program, world)]);
  }
  const to = join(path, "restored");
  const command = [...programCommand(), "restore", file, "--data", to];
  const { exitCode, stderr } = Bun.spawnSync(command, { env: {} });
  if (exitCode === 0) {
    let copy = await start({ folder: to });
    const clients = clientsOfCopy(world, before);
    await judgeCopy(copy, clients, report);
    // Another snapshot, which lets go of what the first still had.
    await copy.kill("SIGTERM");
    copy = await startAgain(copy);
    await judgeCopy(copy, clients, report);
    await copy.kill();
  } else report.find("lost", `restore ended with ${exitCode}: ${stderr}`);
  await program.kill();
  rmSync(folder, { recursive: true });
}

async function copyMany(ways: readonly CopierName[], size: number, report: Report): Promise<void> {
  let snapshots = 0;
  for (let done = 0; done < size; done += OF_ONE_FOLDER) {
    const count = Math.min(OF_ONE_FOLDER, size - done);
    snapshots += await withScratch((path) => copyOften(path, ways, count, report));
  }
  if (snapshots < size / 4) report.find("wrong", `${snapshots} snapshots beside ${size} copies`);
}

/** How many of the copies had a snapshot written beside them. */
async function copyOften(
  path: string,
  ways: readonly CopierName[],
  count: number,
  report: Report,
): Promise<number> {
  const program = await start({ folder: emptied(join(path, "data")) });
  const world = await createWorld(program, CLIENTS);
  let snapshots = 0;
  for (let done = 0; done < count; done++) {
    const before = snapshotOf(program.folder);
    const way = ways[report.tries % ways.length] ?? "cp -a";
    await copyUnderLoad(program, world, way, join(path, "copy"), report);
    if (snapshotOf(program.folder) !== before) snapshots++;
    await fillUp(program, world, CLIENTS);
  }
  await program.kill();
  return snapshots;
}

async function copyUnderLoad(
  program: Program,
  world: World,
  way: CopierName,
  path: string,
  report: Report,
): Promise<void> {
  const { random } = report;
  report.tried(way);
  const to = emptied(path);
  const early = random.below(FILLING);
  for (let grown = 0; grown < early; grown++) await growJournal(program);
  // In no snapshot yet: the copy has both from the journals.
  await logIn(program, world);
  const [first] = world.clients;
  if (first) await revoke(program, first);
  const before = clientsNow(world);
  let isCopied = false;
  const copied = copiers[way](program.folder, to, random).then(() => void (isCopied = true));
  const growing = (async () => {
    for (let grown = early; !isCopied || grown < FILLING; grown++) await growJournal(program);
  })();
  await work(program, world, report, Promise.all([copied, growing]), 0.01);
  const clients = clientsOfCopy(world, before);
  const started = await start({ folder: to });
  await judgeCopy(started, clients, report);
  await started.kill();
}
