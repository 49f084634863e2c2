// A restore that a crash left: before restore.json is there the folder is what it was, afterwards it is the copy. The command
// and its kills are test/cli/restore*.test.ts.
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { FatalError } from "../../src/errors.ts";
import { type DataFolder, newCounters, openDataFolder } from "../../src/store/files.ts";
import { readAtOnce } from "../../src/store/hot_read.ts";
import { recover } from "../../src/store/recovery.ts";
import { afterRestore, restoreFiles } from "../../src/store/restore.ts";
import {
  GENESIS,
  START,
  change,
  cleanUp,
  contentOf,
  folderWith,
  handJournal,
  handSnapshot,
  openFolder,
  smallRecords,
  sumOf,
} from "./folders.ts";

afterEach(cleanUp);

const { name: journal, text } = handJournal(0, GENESIS, [change("old", "1"), change("old", "2")]);
const old = { [journal]: text };
const copy = handSnapshot(7, "0123456789abcdef", { new: "1" });
const staged = { "state.json.restoring": copy };
const marker = (files: Record<string, string>) => ({
  "restore.json": JSON.stringify(
    Object.fromEntries(Object.entries(files).map(([name, content]) => [name, sumOf(content)])),
  ),
});

const records = async (path: string): Promise<Record<string, string>> =>
  smallRecords((await openFolder(path)).store);

/** What somebody who only reads the folder finds in it. */
async function readOnly(path: string): Promise<string[]> {
  const folder = openDataFolder(path, newCounters());
  try {
    return await readAtOnce(
      folder,
      (files) => [...recover(afterRestore(files)).tables.folder.keys()],
      () => true,
    );
  } finally {
    folder.close();
  }
}

async function refusal(path: string): Promise<FatalError> {
  const error = await openFolder(path).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof FatalError) return error;
  throw new Error("the folder was not refused", { cause: error });
}

describe("a folder that a restore was killed in", () => {
  test.each<[string, Record<string, string>]>([
    ["before anything was laid beside", {}],
    ["while the copy was laid beside", { "state.json.restoring": copy.slice(0, 50) }],
    [
      "before the step that counts",
      { ...staged, "restore.json.restoring": marker({ "state.json": copy })["restore.json"] },
    ],
  ])("%s is the old one, and nothing else is left", async (_, files) => {
    const path = folderWith({ ...old, ...files });
    expect(await readOnly(path)).toEqual(["old"]);
    expect(await records(path)).toEqual({ old: "2" });
    expect(Object.keys(contentOf(path))).toEqual([journal]);
  });

  test.each<[string, Record<string, string>]>([
    ["right after the step that counts", { ...old, ...staged }],
    ["while the old files went", staged],
    ["when all is done but the end", { "state.json": copy }],
    [
      "with an old snapshot to replace",
      { "state.json": handSnapshot(2, GENESIS, { old: "2" }), ...staged },
    ],
    ["with an old spare", { ...old, "state.json.prev": copy, ...staged }],
  ])("%s is the new one, and nothing else is left", async (_, files) => {
    const path = folderWith({ ...files, ...marker({ "state.json": copy }) });
    expect(await readOnly(path)).toEqual(["new"]);
    expect(await records(path)).toEqual({ new: "1" });
    expect(Object.keys(contentOf(path))).toEqual(["state.json", "state.json.prev"]);
  });

  test("has the settings of the copy at the next start, not those that this one was begun with", async () => {
    const port = `{"port":"1"}`;
    const settings = { "config.json": "{}", "config.json.restoring": port };
    const counts = marker({ "state.json": copy, "config.json": port });
    const path = folderWith({ ...old, ...staged, ...settings, ...counts });
    const error = await refusal(path);
    expect([error.exitCode, error.hint]).toEqual([75, "start again"]);
    expect(await records(path)).toEqual({ new: "1" });
    expect(readFileSync(join(path, "config.json"), "utf8")).toBe(`{"port":"1"}`);
  });

  test.each<[string, Record<string, string>]>([
    ["what counts is empty", { ...staged, "restore.json": "" }],
    ["what counts names nothing", { ...staged, "restore.json": "{}" }],
    ["what counts is no list", { ...staged, "restore.json": "null" }],
    [
      "what counts names a place outside",
      { ...staged, ...marker({ "state.json": copy, "../config.json": "{}" }) },
    ],
    [
      "what counts names what is not ours",
      { ...staged, "notes.txt": "x", ...marker({ "state.json": copy, "notes.txt": "x" }) },
    ],
    ["the copy is not there", marker({ "state.json": copy })],
    [
      "the copy is damaged",
      { "state.json.restoring": `${copy} `, ...marker({ "state.json": copy }) },
    ],
    [
      "the old state.json is in its place",
      { "state.json": handSnapshot(2, GENESIS, {}), ...marker({ "state.json": copy }) },
    ],
  ])("is not touched when %s; the next restore goes over it", async (_, files) => {
    const path = folderWith({ ...old, ...files });
    const before = contentOf(path);
    expect((await refusal(path)).exitCode).toBe(78);
    expect(contentOf(path)).toEqual(before);
    const aside = await restore(path);
    expect(await records(path)).toEqual({ new: "1" });
    expect(Object.keys(contentOf(aside ?? ""))).not.toContain("restore.json");
  });
});

/** Restores the copy; resolves to where the old files are. @param failing which sync of the folder the disk fails */
async function restore(path: string, failing = 0): Promise<string | undefined> {
  const opened = openDataFolder(path, newCounters());
  let syncs = 0;
  const folder: DataFolder = {
    ...opened,
    async sync() {
      if (++syncs === failing) throw Object.assign(new Error("EIO"), { code: "EIO" });
      await opened.sync();
    },
  };
  try {
    return await restoreFiles(folder, new Map([["state.json", Buffer.from(copy)]]), START);
  } finally {
    folder.close();
  }
}

describe("a restore", () => {
  test("leaves the copy and what is not ours, and keeps everything of ours aside", async () => {
    const path = folderWith({
      ...old,
      "state.json.corrupt-1": "x",
      "notes.txt": "mine",
      "setup-link": "l",
    });
    const aside = await restore(path);
    expect(aside).toBe(`${path}.before-20261121T000000.000Z`);
    expect(Object.keys(contentOf(path))).toEqual(["notes.txt", "state.json"]);
    expect(contentOf(aside ?? "")).toEqual({ ...old, "state.json.corrupt-1": "x" });
  });

  const counts = "the copy counts: the next start finishes it; what was there is in ";
  test.each([
    [1, { old: "2" }, "nothing was changed"],
    [2, { new: "1" }, counts],
    [3, { new: "1" }, counts],
    [4, { new: "1" }, "the copy is in its place, and the disk may not keep it: look with postern"],
  ])("whose sync number %d fails says what is true of the folder", async (failing, holds, hint) => {
    const path = folderWith(old);
    const error = await restore(path, failing).catch((thrown: unknown) => thrown);
    if (!(error instanceof FatalError)) throw new Error("it did not fail", { cause: error });
    expect([error.exitCode, error.message]).toEqual([1, `cannot restore into ${path}: EIO`]);
    expect(error.hint).toStartWith(hint);
    const aside = `${path}.before-20261121T000000.000Z`;
    expect([existsSync(aside), error.hint?.includes(aside)]).toEqual(
      failing === 1 ? [false, false] : [true, true],
    );
    expect(await records(path)).toEqual(holds);
  });

  test("into an empty folder keeps nothing aside", async () => {
    const path = folderWith({});
    expect(await restore(path)).toBeUndefined();
    expect(readdirSync(path)).toEqual(["state.json"]);
  });
});
