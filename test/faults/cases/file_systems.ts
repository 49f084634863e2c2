// File systems that lack something or take their time: no hard links, no sync of folders, no numbers that stay, slow syncs. What
// was answered is there after kill -9, and both generations of the state are.
import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { judge } from "../judge.ts";
import { type World, createWorld, logIn, processEnded, refresh } from "../model.ts";
import { type Program, launch, startAgain, untilReady } from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { emptied, withScratch } from "../scratch.ts";
import { sizes } from "../sizes.ts";
import { straced } from "../strace.ts";
import { run } from "../command.ts";

/** Milliseconds that a start may take under strace. */
const PATIENCE = 30_000;

interface FileSystem {
  readonly name: string;
  /** Starts the program so that its folder seems to lie there. */
  readonly prefix: (log: string, folder: string) => readonly string[];
}

const lacking: readonly FileSystem[] = [
  {
    name: "without hard links",
    prefix: (log) => straced(log, ["link,linkat:error=EPERM"]),
  },
  {
    name: "without sync of folders",
    prefix: (log, folder) => straced(log, ["fsync:error=EINVAL"], [folder]),
  },
  {
    name: "with slow syncs",
    prefix: (log) => straced(log, ["fsync,fdatasync:delay_enter=100000"]),
  },
];

export const cases: readonly FaultCase[] = [
  {
    name: "a file system that lacks something",
    sizes: sizes["file systems"],
    needs: ["linux", "strace"],
    async run(size, report) {
      for (let round = 0; round < size; round++) {
        for (const fileSystem of lacking)
          await withScratch((path) => live(path, fileSystem, report));
      }
    },
  },
  {
    name: "an overlay, as in a container",
    sizes: sizes["file systems"],
    needs: ["linux", "root"],
    async run(size, report) {
      for (let round = 0; round < size; round++) {
        await withScratch((path) => liveOnOverlay(path, report));
      }
    },
  },
];

async function live(path: string, { name, prefix }: FileSystem, report: Report): Promise<void> {
  report.tried(name);
  const folder = emptied(join(path, "data"));
  const log = join(path, "log");
  await liveThrough({ folder, prefix: prefix(log, folder), log }, report);
}

/** An image layer below and a layer of the container above it, on a disk as containers have it. */
async function liveOnOverlay(path: string, report: Report): Promise<void> {
  report.tried("overlay");
  const layers = ["lower", "upper", "work", "data"].map((name) => emptied(join(path, name)));
  const [lower, upper, work, folder = ""] = layers;
  run(
    "mount",
    "-t",
    "overlay",
    "-o",
    `lowerdir=${lower},upperdir=${upper},workdir=${work}`,
    "none",
    folder,
  );
  try {
    const says = "all of it is gone with the container";
    await liveThrough({ folder: join(folder, "data"), prefix: [], says }, report);
  } finally {
    run("umount", folder);
  }
}

interface Place {
  readonly folder: string;
  readonly prefix: readonly string[];
  /** Where strace writes what it does, if it does. */
  readonly log?: string;
  /** What every start tells. */
  readonly says?: string;
}

/** Kills and clean stops in turn, until there are two generations; then the newest is damaged. */
async function liveThrough(place: Place, report: Report): Promise<void> {
  const { folder, prefix, log, says = "" } = place;
  let isLacking = log === undefined;
  let program = await launch({ folder, prefix });
  await untilReady(program, PATIENCE);
  const world = await createWorld(program, 2);
  for (const signal of ["SIGKILL", "SIGTERM", "SIGTERM"] as const) {
    await change(program, world);
    await program.kill(signal);
    // Each start begins its log anew.
    if (log !== undefined) {
      isLacking ||= /\((?:INJECTED|DELAYED)\)$/m.test(readFileSync(log, "utf8"));
    }
    processEnded(world);
    program = await launch(program.options);
    await untilReady(program, PATIENCE);
    if (!program.stderr().includes(says)) report.find("wrong", `it says only ${program.stderr()}`);
    await judge(program, world, report, { reuse: 0 });
  }
  await program.kill();
  if (!existsSync(join(folder, "state.json.prev"))) report.find("wrong", "one generation only");
  if (!isLacking) report.find("wrong", "the file system lacked nothing");
  appendFileSync(join(folder, "state.json"), "damage");
  const again = await startAgain(program, { prefix: [] });
  await judge(again, world, report);
  await again.kill();
}

async function change(program: Program, world: World): Promise<void> {
  for (const client of world.clients) await refresh(program, client);
  await logIn(program, world);
}
