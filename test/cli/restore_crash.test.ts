// kill -9 before every system call with which a restore changes something, and each of them failing once.
import { afterAll, expect } from "bun:test";
import { cpSync, existsSync, readFileSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { folderFiles } from "../../src/store/copy.ts";
import { recover } from "../../src/store/recovery.ts";
import { needs } from "../needs.ts";
import { backUp, cleanUp, copyOf, endLogin, logIn, place, rotate, run, startOn } from "./copies.ts";

afterAll(cleanUp);

const CHANGING =
  "rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,pwrite64,write,fsync";

/** The nth call of a name by the first thread: where strace kills. */
interface Point {
  readonly name: string;
  readonly when: number;
  readonly line: string;
}

/** The calls of the thread that restores, on paths in `place` or on what it has open there. */
function pointsOf(log: string, parent: string): Point[] {
  const lines = log.split("\n");
  const main = /^(\d+)/.exec(lines.find((line) => line.includes(`mkdir("${parent}`)) ?? "")?.[1];
  const seen = new Map<string, number>();
  return lines
    .filter((line) => line.startsWith(`${main} `))
    .flatMap((line): Point[] => {
      const name = /^\d+ +(\w+)\(/.exec(line)?.[1];
      if (name === undefined) return [];
      const when = (seen.get(name) ?? 0) + 1;
      seen.set(name, when);
      return line.includes(parent) ? [{ name, when, line }] : [];
    });
}

const traced = (words: readonly string[], log: string, options: readonly string[] = []) =>
  run(words, ["strace", "-f", "-y", "-qq", "-o", log, "-e", `trace=${CHANGING}`, ...options]);

/** What a folder holds: generation by client, as an owner sees it. */
async function holds(data: string): Promise<Record<string, number>> {
  const { exitCode, stdout, stderr } = await run(["grants", "--json", "--data", data]);
  if (exitCode !== 0) throw new Error(stderr);
  const rows = JSON.parse(stdout) as { client_name: string; generation: number }[];
  return Object.fromEntries(rows.map((row) => [row.client_name, row.generation]));
}

const OLD = { Kept: 4 };
const NEW = { Kept: 1, Ended: 1 };

/** What was set aside, as far as it says that it is whole. */
function asideHolds(data: string): (number | undefined)[] {
  return readdirSync(dirname(data))
    .filter((name) => name.startsWith(`${basename(data)}.before-`) && !name.endsWith(".part"))
    .map((name) => {
      const path = join(dirname(data), name);
      const files = readdirSync(path).map(
        (each) => [each, readFileSync(join(path, each))] as const,
      );
      const grants = recover(folderFiles(new Map(files))).tables.refresh_tokens.values();
      return [...grants].find(({ client_name: client }) => client === "Kept")?.generation;
    });
}

/** A folder whose client is ahead of its backup. */
async function makeFolder(): Promise<{ folder: string; file: string; points: Point[] }> {
  const server = await startOn();
  const kept = await logIn(server, "Kept");
  const ended = await logIn(server, "Ended");
  const file = await backUp(server.folder);
  await rotate(server, kept, 3);
  await endLogin(server, ended);
  await server.kill("SIGKILL");
  const log = place("log");
  const whole = copyOf(server.folder);
  expect((await traced(["restore", file, "--data", whole], log)).exitCode).toBe(0);
  const points = pointsOf(readFileSync(log, "utf8"), dirname(whole));
  expect(points.length).toBeGreaterThan(20);
  return { folder: server.folder, file, points };
}

/** Restores into a copy of the folder while something happens at a point. */
async function disturbed(folder: string, file: string, { name, when }: Point, what: string) {
  const data = join(dirname(place("data")), "data");
  cpSync(folder, data, { recursive: true, filter: (path) => !path.endsWith(".sock") });
  const inject = ["-e", `inject=${name}:${what}:when=${when}`];
  return { data, ...(await traced(["restore", file, "--data", data], `${data}.log`, inject)) };
}

async function atEach(points: readonly Point[], call: (point: Point) => Promise<void>) {
  const waiting = [...points];
  const work = async (): Promise<void> => {
    for (let point = waiting.pop(); point; point = waiting.pop()) await call(point);
  };
  await Promise.all([work(), work(), work()]);
}

const { folder, file, points } = await makeFolder();

needs("strace", "linux")(
  "killed at any step, it leaves the old folder or the new one, and may be run again",
  async () => {
    const outcomes: string[] = [];
    const changing = points.filter(({ name }) => name !== "fsync");
    await atEach(changing, async (point) => {
      const { line } = point;
      const { data } = await disturbed(folder, file, point, "signal=KILL");
      const isCopied = asideHolds(data);
      const isUnfinished = existsSync(join(data, "restore.json"));
      if (isUnfinished) {
        const { exitCode, stdout } = await run(["check", "--data", data]);
        expect([line, exitCode]).toEqual([line, 0]);
        expect(stdout).toContain("2 logins");
      }
      const is = await holds(data);
      const isNew = Bun.deepEquals(is, NEW);
      outcomes.push(isUnfinished ? "finished later" : isNew ? "new" : "old");
      expect([line, is]).toEqual([line, isNew ? NEW : OLD]);
      expect(readdirSync(data).filter((each) => each.includes("restor"))).toEqual([]);
      expect(readdirSync(dirname(data)).filter((each) => each.endsWith(".part"))).toEqual([]);
      // What the new one replaced is never only on its way to safety.
      if (isNew) expect(isCopied).toEqual([4]);
      else expect((await run(["restore", file, "--data", data])).exitCode).toBe(0);
    });
    expect(new Set(outcomes)).toEqual(new Set(["old", "finished later", "new"]));
  },
  120_000,
);

needs("strace", "linux")(
  "whichever of its calls fails, what it says of the folder is true",
  async () => {
    const said = new Set<string>();
    await atEach(points, async (point) => {
      const { data, exitCode, stdout, stderr } = await disturbed(folder, file, point, "error=EIO");
      const hint = /^postern: hint: ([^;\n]+)/m.exec(stderr)?.[1];
      const { line } = point;
      const about = [line, stderr];
      expect([...about, exitCode === 0]).toEqual([...about, hint === undefined]);
      expect([...about, stderr.includes(" at ")]).toEqual([...about, false]);
      if (hint !== undefined) said.add(hint);
      const aside = readdirSync(dirname(data)).filter((each) => each.startsWith("data.before-"));
      // Whatever is left beside the folder is named.
      for (const each of aside.filter((name) => !name.endsWith(".part")))
        expect([...about, (stdout + stderr).includes(each)]).toEqual([...about, true]);
      expect([...about, existsSync(join(data, "restore.json"))]).toEqual([
        ...about,
        hint === "the copy counts: the next start finishes it",
      ]);
      const isOld = hint !== undefined && !hint.startsWith("the copy ");
      expect([...about, await holds(data)]).toEqual([...about, isOld ? OLD : NEW]);
      if (!isOld) expect([...about, asideHolds(data)]).toEqual([...about, [4]]);
    });
    expect([...said].toSorted()).toEqual([
      "name a folder that you may write to with --data",
      "nothing was changed",
      "the copy counts: the next start finishes it",
    ]);
  },
  120_000,
);
