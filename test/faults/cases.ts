// Every fault case there is, in the order of the printed table, and how one is run.
import { cases as changedFolders } from "./cases/changed_folders.ts";
import { cases as clocks } from "./cases/clocks.ts";
import { cases as damagedFiles } from "./cases/damaged_files.ts";
import { cases as damagedFolders } from "./cases/damaged_folders.ts";
import { cases as diskModel } from "./cases/disk_model.ts";
import { cases as failingCalls } from "./cases/failing_calls.ts";
import { cases as fileSystems } from "./cases/file_systems.ts";
import { cases as fullDisk } from "./cases/full_disk.ts";
import { cases as hotCopies } from "./cases/hot_copies.ts";
import { cases as killPoints } from "./cases/kill_points.ts";
import { cases as kills } from "./cases/kills.ts";
import { cases as largeFolders } from "./cases/large_folders.ts";
import { cases as locks } from "./cases/locks.ts";
import { cases as oldCopies } from "./cases/old_copies.ts";
import { cases as planted } from "./cases/planted.ts";
import { cases as powerCuts } from "./cases/power_cuts.ts";
import { cases as resources } from "./cases/resources.ts";
import { cases as shortWrites } from "./cases/short_writes.ts";
import { cases as superseded } from "./cases/superseded.ts";
import { FailedStart, withPrograms } from "./program.ts";
import { cases as sweeps } from "./cases/sweeps.ts";
import { cases as twoFaults } from "./cases/two_faults.ts";
import { cases as upstreams } from "./cases/upstreams.ts";
import { type FaultCase, EnoughFound, type Report, newReport } from "./report.ts";

export const allCases: readonly FaultCase[] = [
  ...killPoints,
  ...failingCalls,
  ...shortWrites,
  ...fullDisk,
  ...kills,
  ...resources,
  ...upstreams,
  ...superseded,
  ...planted,
  ...damagedFiles,
  ...damagedFolders,
  ...twoFaults,
  ...changedFolders,
  ...diskModel,
  ...powerCuts,
  ...fileSystems,
  ...hotCopies,
  ...oldCopies,
  ...locks,
  ...clocks,
  ...sweeps,
  ...largeFolders,
];

/** Those that are tried on the compiled program as well, which brings its own runtime and finds its files another way. */
export const compiledCases: readonly FaultCase[] = [...killPoints, ...kills].map((each) => ({
  ...each,
  name: `${each.name}, compiled`,
}));

export interface RunOptions {
  readonly seed: number;
  /** Milliseconds after which it is a finding that it goes on. */
  readonly limit: number;
  /** Ends with the first finding. */
  readonly untilFound?: boolean;
}

/** Runs a case to its end, whatever happens in it, and leaves no process behind. */
export async function runCase(
  { run }: FaultCase,
  size: number,
  { seed, limit, untilFound = false }: RunOptions,
): Promise<Report> {
  const report = newReport(seed, untilFound);
  const overdue = Promise.withResolvers<never>();
  const alarm = setTimeout(() => overdue.reject(new Error(`no end after ${limit} ms`)), limit);
  try {
    await withPrograms(() => Promise.race([run(size, report), overdue.promise]));
    if (report.tries === 0) report.find("wrong", "nothing was tried");
  } catch (error) {
    if (!(error instanceof EnoughFound)) findError(report, error);
  } finally {
    clearTimeout(alarm);
  }
  return report;
}

function findError(report: Report, error: unknown): void {
  const kind = error instanceof FailedStart ? "failed start" : "wrong";
  try {
    report.find(kind, error instanceof Error ? (error.stack ?? error.message) : String(error));
  } catch (enough) {
    if (!(enough instanceof EnoughFound)) throw enough;
  }
}

/** Runs what it is given, so many at a time, in the order in which they were given. */
export function lanes(count: number): <T>(run: () => Promise<T>) => Promise<T> {
  let free = count;
  const waiting: (() => void)[] = [];
  return async (run) => {
    if (free > 0) free--;
    else await new Promise<void>((resolve) => waiting.push(resolve));
    try {
      return await run();
    } finally {
      const next = waiting.shift();
      if (next) next();
      else free++;
    }
  };
}
