// Snapshots while the store runs: what is written, what is kept, what may leave, and what a copy made meanwhile holds.
import { afterEach, beforeAll, describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { OpenStore } from "../../src/store/folder.ts";
import { seeded, shuffled } from "../faults/report.ts";
import {
  DAY,
  START,
  cleanUp,
  copyOf,
  freshFolder,
  journalNames,
  kindsOf,
  openFolder,
  small,
  smallRecords,
} from "./folders.ts";

afterEach(cleanUp);

const HOUR = 3_600_000;

async function open(options = {}) {
  const path = freshFolder();
  return { path, ...(await openFolder(path, { spareSpace: 0, ...options })) };
}

const revIn = (path: string, name = "state.json"): number =>
  JSON.parse(`${readFileSync(join(path, name), "utf8").split(`,"tables"`)[0]}}`).rev;

const names = (path: string): string[] =>
  readdirSync(path)
    .filter((name) => !name.startsWith(".lock"))
    .toSorted();

/** Overwrites one byte near the end. */
function damage(file: string): void {
  const descriptor = openSync(file, "r+");
  writeSync(descriptor, "?", lstatSync(file).size - 100);
  closeSync(descriptor);
}

async function putMany(store: OpenStore, count: number, text = "x"): Promise<void> {
  await store.update((draft) => {
    for (let n = 0; n < count; n++) draft.put("folder", `m${n}`, small(text));
  });
}

describe("a snapshot", () => {
  test("keeps the one before it, and the next group opens a new journal", async () => {
    const { path, store } = await open();
    await store.folder.put("a", small("1"));
    await store.compact();
    expect(names(path)).toEqual(["journal.000000000000.jsonl", "state.json"]);
    const first = readFileSync(join(path, "state.json"), "utf8");
    await store.folder.put("b", small("1"));
    await store.compact();
    await store.folder.put("c", small("1"));
    expect(names(path)).toEqual([
      "journal.000000000000.jsonl",
      "journal.000000000001.jsonl",
      "journal.000000000002.jsonl",
      "state.json",
      "state.json.prev",
    ]);
    expect(readFileSync(join(path, "state.json.prev"), "utf8")).toBe(first);
    expect(revIn(path)).toBe(2);
    expect(statSync(join(path, "state.json")).mode & 0o777).toBe(0o600);
    const crashed = await openFolder(copyOf(path));
    expect(await smallRecords(crashed.store)).toEqual({ a: "1", b: "1", c: "1" });
  });

  test("is not written again when nothing changed", async () => {
    const { path, store } = await open();
    await store.compact();
    expect(names(path)).toEqual([]);
    await store.folder.put("a", small("1"));
    await Promise.all([store.compact(), store.compact()]);
    const { ino } = lstatSync(join(path, "state.json"));
    await store.compact();
    await store.close();
    expect(lstatSync(join(path, "state.json")).ino).toBe(ino);
    expect(store.counters.compactions).toBe(1);
  });

  test("holds one moment while groups go on beside it", async () => {
    const { path, store } = await open();
    await putMany(store, 20_000);
    const compacting = store.compact();
    await Bun.sleep(0);
    let groups = 0;
    let compacted = false;
    void compacting.then(() => (compacted = true));
    while (!compacted) {
      await store.folder.put("beside", small(String(++groups)));
      await store.folder.put(`m${groups}`, small("changed"));
    }
    await compacting;
    expect(groups).toBeGreaterThan(1);
    const snapshot = readFileSync(join(path, "state.json"), "utf8");
    expect(revIn(path)).toBe(1);
    expect(snapshot).not.toContain("beside");
    expect(snapshot).not.toContain("changed");
    expect(journalNames(path)).toEqual([
      "journal.000000000000.jsonl",
      "journal.000000000001.jsonl",
    ]);
    const crashed = await openFolder(copyOf(path));
    expect(await smallRecords(crashed.store)).toEqual(await smallRecords(store));
  });

  test("is begun by itself when the journals have grown past the limit, and past twice the last one", async () => {
    const { path, store } = await open({ journalLimit: 10_000 });
    while (store.counters.bytes <= 10_000) await store.folder.put("a", small("x".repeat(1000)));
    while (store.counters.compactions === 0) await store.folder.put("b", small("1"));
    await putMany(store, 1000);
    while (store.counters.compactions === 1) await store.folder.put("b", small("2"));
    const { size } = statSync(join(path, "state.json"));
    const { bytes } = store.counters;
    while (store.counters.bytes - bytes < 1.8 * size) {
      await store.folder.put("a", small("x".repeat(1000)));
    }
    expect(store.counters.compactions).toBe(2);
    while (store.counters.compactions === 2) await store.folder.put("a", small("x".repeat(1000)));
    const crashed = await openFolder(copyOf(path));
    expect(await smallRecords(crashed.store)).toEqual(await smallRecords(store));
  });

  test("that failed is not tried again for ten minutes", async () => {
    const { path, store, clock, notices } = await open({ journalLimit: 100 });
    await store.folder.put("a", small("1"));
    await store.compact();
    mkdirSync(join(path, "state.json.prev"));
    const before = readFileSync(join(path, "state.json"), "utf8");
    const failures = (): number =>
      kindsOf(notices).filter((kind) => kind === "compaction-failed").length;
    while (failures() === 0) await store.folder.put("b", small("1"));
    rmdirSync(join(path, "state.json.prev"));
    clock.wait(599_000);
    for (let n = 0; n < 50; n++) await store.folder.put("b", small("2"));
    expect([failures(), store.counters.compactions]).toEqual([1, 1]);
    expect(readFileSync(join(path, "state.json"), "utf8")).toBe(before);
    clock.wait(1000);
    while (store.counters.compactions === 1) await store.folder.put("b", small("3"));
    expect(failures()).toBe(1);
  });

  test("that cannot be read back is set aside, and the one before put back", async () => {
    const { path, store } = await open();
    await store.folder.put("a", small("1"));
    await store.compact();
    const good = readFileSync(join(path, "state.json"), "utf8");
    const { ino } = lstatSync(join(path, "state.json"));
    await putMany(store, 30_000, "x".repeat(300));
    const failing = store.compact().catch((error: unknown) => error);
    while (lstatSync(join(path, "state.json")).ino === ino) await Bun.sleep(0);
    damage(join(path, "state.json"));
    expect(await failing).toBeInstanceOf(Error);
    expect(readFileSync(join(path, "state.json"), "utf8")).toBe(good);
    expect(names(path).filter((name) => name.includes(".corrupt-"))).toHaveLength(1);
    const crashed = await openFolder(copyOf(path));
    expect(await crashed.store.folder.list()).toHaveLength(30_001);
    await store.compact();
    expect(revIn(path)).toBe(2);
    expect(readFileSync(join(path, "state.json.prev"), "utf8")).toBe(good);
  });
});

describe("the first snapshot of all", () => {
  test("that cannot be read back is removed: the journals alone are a good folder", async () => {
    const { path, store } = await open();
    await putMany(store, 30_000, "x".repeat(300));
    const failing = store.compact().catch((error: unknown) => error);
    while (!existsSync(join(path, "state.json"))) await Bun.sleep(0);
    damage(join(path, "state.json"));
    expect(await failing).toBeInstanceOf(Error);
    expect(names(path)).toEqual(["journal.000000000000.jsonl"]);
    const crashed = await openFolder(copyOf(path));
    expect(await crashed.store.folder.list()).toHaveLength(30_000);
  });
});

describe("the end", () => {
  test("while a snapshot is being written leaves one of the very end", async () => {
    const { path, store } = await open();
    await putMany(store, 20_000);
    const compacting = store.compact();
    await Bun.sleep(0);
    await store.folder.put("last", small("1"));
    expect(store.counters.compactions).toBe(0);
    await Promise.all([compacting, store.close()]);
    expect(revIn(path)).toBe(2);
    expect(revIn(path, "state.json.prev")).toBe(1);
  });
});

describe("state.json changed by somebody else", () => {
  test("is kept as .edited- and never becomes the one before", async () => {
    const { path, store, notices } = await open();
    await store.folder.put("a", small("1"));
    await store.compact();
    await store.folder.put("b", small("1"));
    await store.compact();
    const previous = readFileSync(join(path, "state.json.prev"), "utf8");
    writeFileSync(join(path, "state.json"), "mine");
    await store.folder.put("c", small("1"));
    await store.compact();
    const [edited = ""] = names(path).filter((name) => name.startsWith("state.json.edited-"));
    expect(readFileSync(join(path, edited), "utf8")).toBe("mine");
    expect(readFileSync(join(path, "state.json.prev"), "utf8")).toBe(previous);
    expect(revIn(path)).toBe(3);
    expect(notices.at(-1)).toMatchObject({
      kind: "edited",
      message: expect.stringContaining(edited),
    });
    const crashed = await openFolder(copyOf(path));
    expect(await smallRecords(crashed.store)).toEqual({ a: "1", b: "1", c: "1" });
  });

  test("or deleted, is written anew", async () => {
    const { path, store } = await open();
    await store.folder.put("a", small("1"));
    await store.compact();
    rmSync(join(path, "state.json"));
    await store.folder.put("b", small("1"));
    await store.close();
    expect(revIn(path)).toBe(2);
    expect(names(path)).not.toContain("state.json.prev");
  });
});

describe("journals", () => {
  test("leave only when both generations hold them and they ended over an hour ago", async () => {
    const { path, store, clock } = await open();
    const round = async (text: string): Promise<string[]> => {
      await store.folder.put("a", small(text));
      await store.compact();
      return journalNames(path).map((name) => String(Number(name.slice(8, 20))));
    };
    expect(await round("1")).toEqual(["0"]);
    expect(await round("2")).toEqual(["0", "1"]);
    // The floor is the older generation: 2. Both end at or below it, but not long enough ago.
    expect(await round("3")).toEqual(["0", "1", "2"]);
    clock.wait(HOUR);
    expect(await round("4")).toEqual(["0", "1", "2", "3"]);
    clock.wait(1);
    // Journals 0 to 2 end at or below 4 and over an hour ago; 3 ended just now.
    expect(await round("5")).toEqual(["3", "4"]);
    clock.wait(HOUR + 1);
    // 5 is the older generation: journal 4 ends there, journal 5 above it.
    expect(await round("6")).toEqual(["5"]);
    const crashed = await openFolder(copyOf(path));
    expect(await smallRecords(crashed.store)).toEqual({ a: "6" });
  });

  test("of former processes leave by the time of their file", async () => {
    const path = freshFolder();
    for (const text of ["1", "2", "3"]) {
      const { store } = await openFolder(path, { spareSpace: 0 });
      await store.folder.put("a", small(text));
      await store.close();
    }
    expect(journalNames(path)).toHaveLength(3);
    const [first = "", second = "", third = ""] = journalNames(path);
    const age = (name: string, milliseconds: number): void =>
      utimesSync(join(path, name), new Date(START - milliseconds), new Date(START - milliseconds));
    age(first, HOUR + 1000);
    age(second, HOUR - 1000);
    const { store } = await openFolder(path, { spareSpace: 0 });
    await store.folder.put("a", small("4"));
    await store.close();
    expect(journalNames(path)).toEqual([second, third, "journal.000000000003.jsonl"]);
  });

  test("stay, all of them, while there is only one generation", async () => {
    const { path, store, clock } = await open();
    await store.folder.put("a", small("1"));
    clock.wait(DAY);
    await store.compact();
    clock.wait(DAY);
    rmSync(join(path, "state.json"));
    await store.folder.put("a", small("2"));
    await store.compact();
    expect(journalNames(path)).toHaveLength(2);
  });
});

describe("a copy made while running", () => {
  const seed = Number(process.env["TEST_SEED"] ?? Date.now() % 1_000_000);
  const random = seeded(seed);
  beforeAll(() => console.log(`TEST_SEED=${seed}`));

  /** Reads a folder file by file in any order, as a copy tool would. */
  async function hotCopy(path: string): Promise<string> {
    const copy = freshFolder();
    const listed = (await readdir(path)).filter((name) => name !== ".lock");
    for (const name of shuffled(listed, random)) {
      const content = await readFile(join(path, name)).catch(() => undefined);
      if (content) writeFileSync(join(copy, name), content, { mode: 0o600 });
    }
    return copy;
  }

  test("holds every change that was answered before it began, 40 times", async () => {
    const { path, store } = await open({ journalLimit: 3000 });
    let answered = 0;
    let going = true;
    const writing = (async () => {
      while (going) {
        await store.folder.put(`r${answered % 50}`, small(String(answered + 1)));
        answered++;
      }
    })();
    for (let round = 0; round < 40; round++) {
      const before = answered;
      const copy = await hotCopy(path);
      const opened = await openFolder(copy);
      const highest = Math.max(0, ...Object.values(await smallRecords(opened.store)).map(Number));
      expect(highest).toBeGreaterThanOrEqual(before);
      await opened.store.close();
    }
    going = false;
    await writing;
    expect(store.counters.compactions).toBeGreaterThan(3);
  });

  test("is noticed as a copy when it is opened", async () => {
    const { path, store } = await open();
    await store.folder.put("a", small("1"));
    await store.compact();
    const opened = await openFolder(copyOf(path));
    expect(kindsOf(opened.notices)).toEqual(["copied"]);
    await opened.store.folder.put("b", small("1"));
    await opened.store.close();
    await store.close();
    expect((await openFolder(path)).notices).toEqual([]);
  });
});
