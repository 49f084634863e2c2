// A second fault before the first is mended: a state.json that was changed by hand or whose next one was not written, and then
// damage or a kill; and damage to a state.json that is all there is, or nearly. The start comes to the newest state, or refuses
// where nothing else in the folder has it.
import {
  appendFileSync,
  existsSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { programCommand } from "../../process.ts";
import { type Commit, commits, disturb, findPoints, outgrow } from "../commits.ts";
import { judge, logsIn } from "../judge.ts";
import { type World, processEnded, refresh } from "../model.ts";
import { FailedStart, type Program, launch, start, startAgain, untilReady } from "../program.ts";
import { type FaultCase, type Report, spread } from "../report.ts";
import { emptied, withScratch } from "../scratch.ts";
import { sizes } from "../sizes.ts";
import { type Injection, attach, straced } from "../strace.ts";
import {
  type Prepare,
  type Template,
  copyTemplate,
  edited,
  inUseForLong,
  nearlyFull,
  templateOf,
  young,
} from "../templates.ts";

const STATE = "state.json";

export const cases: readonly FaultCase[] = [
  {
    name: "a snapshot that failed or was killed, then damage",
    sizes: sizes["two faults"],
    needs: ["linux", "strace"],
    run: (size, report) => withScratch((path) => failThenDamage(path, size, report)),
  },
  {
    name: "state.json changed while running, then a snapshot that fails",
    sizes: sizes["two faults"],
    needs: ["linux", "strace"],
    run: (size, report) => withScratch((path) => changeThenFail(path, size, report)),
  },
  {
    name: "damage to a young folder or a restored one",
    sizes: sizes["young and restored folders"],
    needs: [],
    async run(size, report) {
      for (let round = 0; round < size; round++) {
        for (const each of lonely) await withScratch((path) => damageLonely(path, each, report));
      }
    },
  },
];

/** In place, so that every name of the file has it. */
function flip(folder: string, { random }: Report): void {
  const path = join(folder, STATE);
  if (!existsSync(path)) return;
  const bytes = readFileSync(path);
  const position = random.below(bytes.length);
  bytes[position] = (bytes[position] ?? 0) ^ (1 << random.below(7));
  writeFileSync(path, bytes);
}

/** Whether the state can be told without this state.json: by another file before it, or by journals from the beginning. */
function isSpare(folder: string): boolean {
  const inode = (name: string): number | undefined =>
    statSync(join(folder, name), { throwIfNoEntry: false })?.ino;
  const previous = inode(`${STATE}.prev`);
  const hasOther = previous !== undefined && previous !== inode(STATE);
  return hasOther || inode("journal.000000000000.jsonl") !== undefined;
}

/** The next start has everything, or refuses where it may and leaves all as it is. */
async function judgeStart(
  { folder, world }: Template,
  mayRefuse: boolean,
  report: Report,
): Promise<void> {
  const state = (): string => {
    const path = join(folder, STATE);
    return existsSync(path) ? readFileSync(path, "latin1") : "nothing";
  };
  const before = state();
  const program = await start({ folder }).catch((error: unknown) => error);
  if (program instanceof Error) {
    const isRefusal = program instanceof FailedStart && /ended with 78: /.test(program.message);
    if (!isRefusal || !mayRefuse) report.find("failed start", program.message);
    else if (state() !== before) report.find("wrong", "what was refused is changed");
    return;
  }
  const running = program as Awaited<ReturnType<typeof start>>;
  await judge(running, world, report, { logsIn: logsIn(world, report) });
  await running.kill();
  processEnded(world);
  const again = await startAgain(running);
  await judge(again, world, report, { logsIn: false });
  await again.kill();
}

async function failThenDamage(path: string, size: number, report: Report): Promise<void> {
  const log = join(path, "log");
  const stops = commits.find(({ name }) => name === "snapshot at a clean stop");
  if (!stops) throw new Error("there is no such commit");
  const kinds: readonly Prepare[] = [young, inUseForLong];
  for (const prepare of kinds) {
    const commit: Commit = { ...stops, prepare };
    const template = await templateOf(prepare);
    const points = await findPoints(commit, template, log);
    const about = points.filter(({ label }) => label.includes(STATE));
    for (const point of spread(about, Math.ceil(size / kinds.length))) {
      const what = report.random.pick(["signal=KILL", "error=EIO", "error=ENOSPC"] as const);
      report.tried(`${prepare.name}, ${what} at ${point.label}`);
      const copy = copyTemplate(template);
      const program = await disturb(commit, copy, log, { point, what });
      await program.kill();
      processEnded(copy.world);
      flip(copy.folder, report);
      await judgeStart(copy, !isSpare(copy.folder), report);
      rmSync(copy.folder, { recursive: true });
    }
  }
}

/** What somebody does to state.json while the program runs. */
const changes: Readonly<Record<string, (path: string) => void>> = {
  touched: (path) => utimesSync(path, new Date(), new Date()),
  edited: (path) => appendFileSync(path, "\n"),
  replaced(path) {
    writeFileSync(`${path}.mine`, readFileSync(path));
    renameSync(`${path}.mine`, path);
  },
  emptied: (path) => writeFileSync(path, ""),
  deleted: (path) => rmSync(path),
};

/** Milliseconds in which a program that is killed by its call has ended. */
const KILLED = 500;
/** Milliseconds that a start may take under strace. */
const PATIENCE = 30_000;

/** What becomes of the snapshot. Its syncs come after what was changed is set aside; strace counts by thread. */
const failures: readonly Injection[] = [
  "rename:error=ENOSPC",
  "rename:signal=KILL",
  "fsync:error=EIO:when=1",
  "fsync:error=ENOSPC:when=1",
  "fsync:signal=KILL:when=1",
];

async function changeThenFail(path: string, size: number, report: Report): Promise<void> {
  const log = join(path, "log");
  const names = Object.keys(changes);
  let failed = 0;
  for (let round = 0; round < size; round++) {
    const how = names[round % (names.length + 1)];
    const { folder, world } =
      how === undefined ? await startEdited(log, report) : await changeRunning(how, log, report);
    if (/INJECTED|SIGKILL/.test(readFileSync(log, "utf8"))) failed++;
    processEnded(world);
    await judgeStart({ folder, world }, false, report);
    rmSync(folder, { recursive: true });
  }
  if (failed < size / 2) report.find("wrong", `${failed} of ${size} snapshots failed`);
}

/** A snapshot is due when the program has run for a while. */
async function changeRunning(how: string, log: string, report: Report): Promise<Template> {
  const injection = report.random.pick(failures);
  report.tried(`${how}, then ${injection}`);
  const copy = copyTemplate(await templateOf(nearlyFull));
  const { folder, world } = copy;
  const program = await start({ folder });
  changes[how]?.(join(folder, STATE));
  const tracer = await attach(program, log, [injection]);
  await outgrow(program, world);
  const isKilled = injection.includes("KILL");
  await (isKilled ? Promise.race([program.exited, Bun.sleep(KILLED)]) : tracer.detach());
  if (program.exitCode() === undefined) await changeAll(program, world, report);
  await program.kill();
  return copy;
}

/** What is taken as it is at a start has to be written anew at once: without that it does not start. */
async function startEdited(log: string, report: Report): Promise<Template> {
  report.tried("edited while stopped, then no rename");
  const copy = copyTemplate(await templateOf(edited));
  const { folder, world } = copy;
  const program = await launch({ folder, prefix: straced(log, ["rename:error=ENOSPC"]) });
  try {
    await untilReady(program, PATIENCE);
    await changeAll(program, world, report);
  } catch (error) {
    if (!/edited by hand and cannot be written anew: ENOSPC/.test(String(error))) throw error;
  }
  await program.kill();
  return copy;
}

async function changeAll(program: Program, { clients }: World, report: Report): Promise<void> {
  for (const client of clients) {
    const status = await refresh(program, client);
    if (status !== 200) report.find("wrong", `after the snapshot a refresh is answered ${status}`);
  }
}

/** A state.json with nothing beside it, or little. */
interface Lonely {
  readonly name: string;
  readonly prepare: Prepare;
  /** Whether nothing else has the state. */
  readonly isAlone: boolean;
  /** What is done to a copy before the damage. */
  readonly make: (template: Template, path: string) => Promise<void>;
}

const lonely: readonly Lonely[] = [
  {
    name: "a first generation",
    prepare: young,
    isAlone: false,
    make: async ({ folder }) => rmSync(join(folder, `${STATE}.prev`), { force: true }),
  },
  {
    name: "a first generation that was started",
    prepare: young,
    isAlone: false,
    make: changeAndKill,
  },
  { name: "a restored copy", prepare: inUseForLong, isAlone: true, make: restoreInto },
  {
    name: "a restored copy that was started",
    prepare: inUseForLong,
    isAlone: false,
    async make(template, path) {
      await restoreInto(template, path);
      await changeAndKill(template);
    },
  },
];

async function changeAndKill({ folder, world }: Template): Promise<void> {
  const program = await start({ folder });
  for (const client of world.clients) await refresh(program, client);
  await program.kill();
  processEnded(world);
}

/** By the owner's own commands: a backup has one state.json. */
async function restoreInto({ folder }: Template, path: string): Promise<void> {
  const archive = join(path, "backup.tar.gz");
  command("backup", archive, "--data", folder);
  emptied(folder);
  command("restore", archive, "--data", folder);
}

function command(...words: string[]): void {
  const { exitCode, stderr } = Bun.spawnSync([...programCommand(), ...words], { env: {} });
  if (exitCode !== 0) throw new Error(`${words.join(" ")} ended with ${exitCode}: ${stderr}`);
}

async function damageLonely(
  path: string,
  { name, prepare, isAlone, make }: Lonely,
  report: Report,
): Promise<void> {
  report.tried(name);
  const copy = copyTemplate(await templateOf(prepare));
  await make(copy, path);
  flip(copy.folder, report);
  await judgeStart(copy, isAlone, report);
  rmSync(copy.folder, { recursive: true });
}
