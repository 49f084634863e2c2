// What counts as a change of a watched file, on a real file system with quick looks.
import { afterAll, expect, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Watch, watchFiles } from "../../src/cli/watch.ts";
import { temporaryFolder } from "../server.ts";

const EVERY = 20;
const folders: string[] = [];
const watches: Watch[] = [];
afterAll(() => {
  for (const watch of watches) watch.stop();
  for (const folder of folders) rmSync(folder, { recursive: true });
});

/** A watched path, and how often it was told to have changed once it is quiet. */
function watched(name = "file"): { folder: string; path: string; told: () => Promise<number> } {
  const folder = temporaryFolder();
  folders.push(folder);
  const path = join(folder, name);
  let count = 0;
  const start = (): Watch =>
    watchFiles({ paths: () => [path], changed: () => count++, now: Date.now, every: EVERY });
  writeFileSync(path, "one");
  watches.push(start());
  return { folder, path, told: async () => (await Bun.sleep(10 * EVERY), count) };
}

const steps: [string, (path: string, folder: string) => void, number][] = [
  ["another content of the same length", (path) => writeFileSync(path, "two"), 1],
  [
    "one with the time and length of the old",
    (path) => {
      const time = new Date(0);
      utimesSync(path, time, time);
      writeFileSync(path, "two");
      utimesSync(path, time, time);
    },
    1,
  ],
  ["the same content again", (path) => writeFileSync(path, "one"), 0],
  ["another time only", (path) => utimesSync(path, new Date(0), new Date(0)), 0],
  [
    "another file in its place",
    (path, folder) => {
      writeFileSync(join(folder, "new"), "two");
      renameSync(join(folder, "new"), path);
    },
    1,
  ],
  [
    "a link in its place",
    (path, folder) => {
      writeFileSync(join(folder, "target"), "two");
      symlinkSync(join(folder, "target"), join(folder, "link"));
      renameSync(join(folder, "link"), path);
    },
    1,
  ],
  [
    "a pipe in its place, which nobody writes into",
    (path) => {
      rmSync(path);
      Bun.spawnSync(["mkfifo", path]);
    },
    1,
  ],
  ["its end", (path) => rmSync(path), 1],
  [
    "a folder in its place",
    (path) => {
      rmSync(path);
      mkdirSync(path);
    },
    1,
  ],
  [
    "gone and back as it was",
    (path) => {
      rmSync(path);
      writeFileSync(path, "one");
    },
    0,
  ],
];

test.concurrent.each(steps)("%s", async (_, step, expected) => {
  const { folder, path, told } = watched();
  step(path, folder);
  expect(await told()).toBe(expected);
});

test("a file that goes on changing is told once, when it is quiet", async () => {
  const { path, told } = watched();
  for (let index = 0; index < 40; index++) {
    writeFileSync(path, `content ${index}`);
    await Bun.sleep(EVERY / 5);
  }
  expect(await told()).toBe(1);
});

test("what is known already is not told", async () => {
  const { path, told } = watched();
  writeFileSync(path, "two");
  watches.at(-1)?.know();
  expect(await told()).toBe(0);
  writeFileSync(path, "six");
  expect(await told()).toBe(1);
});
