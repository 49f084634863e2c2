// Each system call of every kind of commit made to fail, once or until somebody mends it: what was not saved is answered 503
// and changes nothing, a revocation holds all the same, and it ends by itself.
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Commit, commits, disturb, findPoints } from "../commits.ts";
import { type Template, copyTemplate, templateOf } from "../templates.ts";
import { judge, logsIn } from "../judge.ts";
import { processEnded } from "../model.ts";
import { type Program, startAgain } from "../program.ts";
import type { FaultCase, Report } from "../report.ts";
import { sizes } from "../sizes.ts";
import type { Point } from "../strace.ts";

const ERRORS = ["EIO", "ENOSPC", "EROFS", "EACCES", "EDQUOT", "EMFILE", "EINTR"] as const;
/** Exit codes with which a program may give up: in use, not ours, damaged. */
const GIVEN_UP = [75, 77, 78];

/** Fewer tries than this are a sample; with more each call fails at least once. */
const SAMPLE = 10;

interface Failure {
  readonly point: Point;
  readonly error: (typeof ERRORS)[number];
  readonly forGood: boolean;
}

export const cases: readonly FaultCase[] = commits.map((commit) => ({
  name: `failing calls: ${commit.name}`,
  sizes: sizes["failing calls"],
  needs: ["linux", "strace"],
  async run(size, report) {
    const logs = mkdtempSync(join(tmpdir(), "postern-strace-"));
    const log = join(logs, "log");
    const template = await templateOf(commit.prepare);
    try {
      const failures = await allFailures(commit, template, log);
      let missed = 0;
      for (const failure of drawn(failures, size, report)) {
        const copy = copyTemplate(template);
        try {
          if (!(await failAt(commit, copy, log, failure, report))) missed++;
        } finally {
          rmSync(copy.folder, { recursive: true });
        }
      }
      // Another thread may make the call; where that is the rule the case tests nothing.
      if (missed > Math.max(1, report.tries / 4)) {
        report.find("wrong", `in ${missed} of ${report.tries} tries no call failed`);
      }
    } finally {
      rmSync(logs, { recursive: true });
    }
  },
}));

/** As many as are asked for, in a random order in which each call comes once before one comes again. */
function drawn(failures: readonly Failure[], size: number, { random }: Report): Failure[] {
  const left = new Map<Point, Failure[]>();
  for (const failure of failures) {
    left.set(failure.point, [...(left.get(failure.point) ?? []), failure]);
  }
  const count = Math.min(failures.length, size < SAMPLE ? size : Math.max(size, left.size));
  const chosen: Failure[] = [];
  while (chosen.length < count) {
    const round = [...left.values()].filter((list) => list.length > 0);
    while (round.length > 0 && chosen.length < count) {
      const [list = []] = round.splice(random.below(round.length), 1);
      chosen.push(...list.splice(random.below(list.length), 1));
    }
  }
  return chosen;
}

async function allFailures(commit: Commit, template: Template, log: string): Promise<Failure[]> {
  const points = await findPoints(commit, template, log);
  return points
    .filter(({ label }) => !label.includes(" answer "))
    .flatMap((point) =>
      ERRORS.flatMap((error) => [
        { point, error, forGood: false },
        // A call that is interrupted for ever is made for ever.
        ...(error === "EINTR" ? [] : [{ point, error, forGood: true }]),
      ]),
    );
}

/** @returns whether a call failed */
async function failAt(
  commit: Commit,
  { folder, world }: Template,
  log: string,
  { point, error, forGood }: Failure,
  report: Report,
): Promise<boolean> {
  const statuses: number[] = [];
  report.tried(`${commit.name}, ${error} ${forGood ? "from" : "at"} ${point.label}`);
  const disturbance = { point, what: `error=${error}`, forGood };
  const loaded = readdirSync(folder);
  const program = await disturb(commit, { folder, world }, log, disturbance, statuses);
  const made = readFileSync(log, "utf8");
  if (commit.from === "start") judgeServing(made, loaded, program, statuses, report);
  else judgeAnswers(made, statuses, report);
  if (commit.from === "running" && program.exitCode() === undefined) {
    await commit.settle?.(program, world);
    await judge(program, world, report, { logsIn: logsIn(world, report) });
  }
  judgeEnd(commit, program, report);
  await program.kill();
  processEnded(world);
  const again = await startAgain(program);
  await commit.settle?.(again, world);
  await judge(again, world, report, { logsIn: logsIn(world, report) });
  await again.kill();
  return made.includes("(INJECTED)");
}

/** 503 for what was not saved, and no other failure. */
function judgeAnswers(log: string, statuses: readonly number[], report: Report): void {
  const odd = statuses.filter((status) => status >= 500 && status !== 503);
  if (odd.length > 0) report.find("wrong", `answered ${odd.join(", ")}`);
  const unsaved = /^\d+ +(\w+)\([^"<]*["<]\S*journal\.\d+\.jsonl.*= -1 (\w+).*\(INJECTED\)/m.exec(
    log,
  );
  const [, call = "", error] = unsaved ?? [];
  if (error === "EINTR" || !/^(openat|pwrite64|fsync|fdatasync)$/.test(call)) return;
  if (!statuses.includes(503)) report.find("wrong", `${call} failed, and nobody was answered 503`);
}

/** The file that a call on an open descriptor, made to fail, was about. */
const UNSYNCED = /f(?:data)?sync\(\d+<\S*\/([^/>]+)>\) += -1 .*\(INJECTED\)/g;

/** It serves, or says why not; and never from what may be gone with the power. */
function judgeServing(
  log: string,
  loaded: readonly string[],
  program: Program,
  statuses: readonly number[],
  report: Report,
): void {
  const serves = statuses.includes(200);
  const odd = statuses.filter((status) => status !== 200);
  if (odd.length > 0) report.find("wrong", `it serves, and answers ${odd.join(", ")}`);
  const unsynced = [...log.matchAll(UNSYNCED)].map(([, name = ""]) => name);
  if (serves && unsynced.some((name) => loaded.includes(name)))
    report.find("wrong", "it serves what it could not sync");
  if (!serves && !GIVEN_UP.includes(program.exitCode() ?? 0)) {
    report.find("wrong", `it never served: ${program.exitCode()}: ${program.stderr()}`);
  }
}

/** It goes on until it is told to stop, or it says why it cannot. */
function judgeEnd({ stops = false }: Commit, program: Program, report: Report): void {
  const exitCode = program.exitCode();
  if (exitCode === (stops ? 0 : undefined)) return;
  if (exitCode !== undefined && GIVEN_UP.includes(exitCode) && program.stderr() !== "") return;
  const how = exitCode === undefined ? "did not stop" : `ended with ${exitCode}`;
  report.find("wrong", `the program ${how}: ${program.stdout()}${program.stderr()}`);
}
