// kill -9 before each system call of every kind of commit, one at a time: the next start needs no hand and knows what was
// answered.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Commit, commits, disturb, findPoints } from "../commits.ts";
import { type Template, copyTemplate, templateOf } from "../templates.ts";
import { judge, logsIn } from "../judge.ts";
import { processEnded } from "../model.ts";
import { startAgain } from "../program.ts";
import { type FaultCase, type Report, spread } from "../report.ts";
import { sizes } from "../sizes.ts";
import { type Point, pointsOf } from "../strace.ts";

/**
 * Rounds over what earlier ones have not hit, because another thread made the call or one made another call before it: by how
 * much the count of the call is off then.
 */
const DRIFTS = [0, 0, -1, 1, 0, -2, 2, -1, 1, 0];
/** One in so many may be left out. */
const TOLERATED = 8;

export const cases: readonly FaultCase[] = commits.map((commit) => ({
  name: `killed at each call: ${commit.name}`,
  sizes: sizes["killed at each call"],
  needs: ["linux", "strace"],
  async run(size, report) {
    const logs = mkdtempSync(join(tmpdir(), "postern-strace-"));
    const log = join(logs, "log");
    const template = await templateOf(commit.prepare);
    try {
      const points = await findPoints(commit, template, log);
      await killAtPoints(commit, template, log, spread(points, size), report);
    } finally {
      rmSync(logs, { recursive: true });
    }
  },
}));

async function killAtPoints(
  commit: Commit,
  template: Template,
  log: string,
  points: readonly Point[],
  report: Report,
): Promise<void> {
  const left = new Map(points.map((point) => [point.label, point]));
  for (const drift of DRIFTS) {
    for (const point of [...left.values()].map((each) => drifted(each, drift))) {
      const copy = copyTemplate(template);
      try {
        const hit = await killAt(commit, copy, log, point, report);
        if (hit !== undefined) left.delete(hit);
      } finally {
        rmSync(copy.folder, { recursive: true });
      }
    }
  }
  if (left.size === 0) return;
  const never = `never killed at ${[...left.keys()].join(", ")}`;
  console.log(`${commit.name}: ${never}`);
  // Threads that take turns another way may leave some out; many of them left out is a case that tests nothing.
  if (left.size > Math.max(1, points.length / TOLERATED)) report.find("wrong", never);
}

const drifted = (point: Point, drift: number): Point => ({
  ...point,
  onFile: Math.max(1, point.onFile + drift),
  onAny: Math.max(1, point.onAny + drift),
});

/** @returns what it was killed at; undefined: at nothing */
async function killAt(
  commit: Commit,
  { folder, world }: Template,
  log: string,
  point: Point,
  report: Report,
): Promise<string | undefined> {
  const killed = await disturb(commit, { folder, world }, log, { point, what: "signal=KILL" });
  const points = killed.exitCode() === 137 ? pointsOf(readFileSync(log, "utf8"), folder) : [];
  const hit = points.findLast(({ name }) => name === point.name)?.label;
  await killed.kill();
  if (hit === undefined) report.missed(`${commit.name}, before no ${point.label}`);
  else report.tried(`${commit.name}, before ${hit}`);
  processEnded(world);
  const program = await startAgain(killed);
  await commit.settle?.(program, world);
  await judge(program, world, report, { logsIn: logsIn(world, report) });
  await program.kill();
  return hit;
}
