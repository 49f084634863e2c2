// One process writes to a folder, ever: however many start at once, whatever they see of each other, and however the one before
// them ended. Nobody waits for the dead.
import { cpSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { fakeClock } from "../faketime.ts";
import { freeze, thaw } from "../freeze.ts";
import { judge } from "../judge.ts";
import { createWorld, refresh } from "../model.ts";
import {
  type Program,
  type ProgramOptions,
  launch,
  start,
  startAgain,
  untilReady,
} from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { emptied, often, withScratch } from "../scratch.ts";
import { sizes } from "../sizes.ts";

export const cases: readonly FaultCase[] = [
  {
    name: "starts right after a kill, beside a lock that is left or copied",
    sizes: sizes["locks left"],
    needs: [],
    run: (size, report) => withScratch((path) => startAfterKills(path, size, report)),
  },
  {
    name: "eight starts at once, one after the other killed",
    sizes: sizes["locks raced"],
    needs: [],
    run: (size, report) => often(size, (path) => raceAndKill(path, report)),
  },
  {
    name: "a folder that another process has",
    sizes: sizes["locks held"],
    needs: ["linux", "root", "faketime"],
    run: (size, report) => often(size, (path) => tryHeld(path, report)),
  },
];

async function startAfterKills(path: string, size: number, report: Report): Promise<void> {
  let program = await start({ folder: emptied(join(path, "data")) });
  const world = await createWorld(program, 2);
  for (let round = 0; round < size; round++) {
    const isCopied = round % 2 === 1;
    report.tried(isCopied ? "a copied lock" : "a lock that was left");
    if (isCopied) {
      // The process that the copied lock names lives on, and the sign is from a day that has not come.
      const copy = join(path, `copy-${round}`);
      const filter = (name: string): boolean => !name.endsWith(".sock");
      cpSync(program.folder, copy, { recursive: true, filter });
      utimesSync(join(copy, ".lock"), new Date("2100-01-01"), new Date("2100-01-01"));
      const original = program;
      program = await start({ folder: copy });
      await original.kill();
    } else {
      await program.kill();
      program = await startAgain(program);
    }
    if (/waiting for/.test(program.stderr())) report.find("failed start", program.stderr());
    await judge(program, world, report, { logsIn: false, isOlder: isCopied });
  }
  await program.kill();
}

/** Whoever is in first, serves; the others wait for it, and one of them comes after it. */
async function raceAndKill(path: string, report: Report): Promise<void> {
  let program = await start({ folder: emptied(join(path, "data")) });
  const world = await createWorld(program, 2);
  await program.kill();
  const { folder } = program;
  let starters = await Promise.all(Array.from({ length: 8 }, () => launch({ folder })));
  for (let round = 0; ; round++) {
    report.tried(`starter ${round + 1} of 8`);
    const serving = await firstToServe(starters);
    // Whoever waited ten seconds has given up, maybe all that were left.
    if (round > 0 && serving.length === 0 && starters.every((each) => each.exitCode() === 75))
      break;
    if (serving.length !== 1) report.find("wrong", `${serving.length} of 8 serve one folder`);
    const [first] = serving;
    if (!first) break;
    program = first;
    await judge(program, world, report, { logsIn: false, reuse: 0 });
    await program.kill(report.random.pick(["SIGKILL", "SIGTERM"]));
    starters = starters.filter((each) => each.exitCode() === undefined);
    if (starters.length === 0) break;
  }
}

/** Resolves when one of them answers, to all that do then; to none when all have ended. */
async function firstToServe(programs: readonly Program[]): Promise<Program[]> {
  const answers = (program: Program): Promise<boolean> =>
    program.fetch("/healthz").then(
      ({ ok }) => ok,
      () => false,
    );
  for (;;) {
    const asked = await Promise.all(programs.map(answers));
    const serving = programs.filter((_, index) => asked[index]);
    const ended = programs.filter((program) => program.exitCode() !== undefined);
    if (serving.length > 0 || ended.length === programs.length) return serving;
    await Bun.sleep(20);
  }
}

/** Milliseconds; whoever still runs then has got in, or hangs. */
const LONGEST_WAIT = 30_000;
const NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];

/** The folder is held by a process that stands still, or that cannot be seen; others want it for as long as they wait. */
async function tryHeld(path: string, report: Report): Promise<void> {
  const { random } = report;
  const isFrozen = report.tries % 2 === 0;
  report.tried(
    isFrozen ? "held by a process that stands still" : "held by pid 1 of another system",
  );
  const folder = emptied(join(path, "data"));
  const holder = await start({ folder, ...(!isFrozen && { prefix: NAMESPACE }) });
  const world = await createWorld(holder, 2);
  if (isFrozen) await freeze(holder);
  const clock = fakeClock(join(path, "clock"));
  clock.set(random.pick(["+1d", "-1d"]));
  const others: ProgramOptions[] = [
    { folder },
    { folder, prefix: NAMESPACE },
    { folder, environment: clock.environment },
  ];
  for (const other of await Promise.all(others.map(launch))) {
    const exitCode = await Promise.race([other.exited, Bun.sleep(LONGEST_WAIT)]);
    await other.kill();
    const said = other.stderr();
    const isTold = /waiting for pid \d+ on host .*is in use by pid \d+ on host/s.test(said);
    if (exitCode !== 75 || !isTold) report.find("wrong", `ended with ${exitCode}: ${said}`);
  }
  if (isFrozen) thaw(holder);
  for (const client of world.clients) {
    const status = await refresh(holder, client);
    if (status !== 200) report.find("wrong", `whoever held it is answered ${status}`);
  }
  // An overlapping deploy: the next waits, and is in as soon as the one before has gone.
  const next = await launch({ folder });
  while (!next.stderr().includes("waiting for") && next.exitCode() === undefined) {
    await Bun.sleep(10);
  }
  // What stands between us and a process in another namespace passes nothing on but its own death.
  await holder.kill(isFrozen ? random.pick(["SIGTERM", "SIGKILL"]) : "SIGKILL");
  await untilReady(next, 10_000);
  await judge(next, world, report, { logsIn: false });
  await next.kill();
}
