// One process owns a folder, however processes end.
import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FatalError } from "../../src/errors.ts";
import { newCounters, openDataFolder } from "../../src/store/files.ts";
import type { Notice } from "../../src/store/folder.ts";
import { lockFolder } from "../../src/store/lock.ts";
import { startChild } from "./children.ts";
import { cleanUp, freshFolder, kindsOf, openFolder, small, undoLater } from "./folders.ts";

afterEach(cleanUp);

describe("a second process", () => {
  test("says at once whom it waits for, then ends with exit code 75; the first is unhurt", async () => {
    const path = freshFolder();
    const { store } = await openFolder(path);
    const child = startChild("hold", path);
    expect(await child.exited).toBe(75);
    const who = `pid ${process.pid} on host`;
    expect(child.lines[0]).toStartWith(`notice waiting: waiting for ${who}`);
    expect(child.lines[1]).toContain(`fatal 75: the data folder ${path} is in use by ${who}`);
    await store.folder.put("a", small("1"));
    expect(await store.folder.get("a")).toEqual(small("1"));
    expect(existsSync(join(path, ".lock"))).toBe(true);
  });

  test("gets the folder when the first ends while it waits", async () => {
    const path = freshFolder();
    const first = await openFolder(path);
    const opening = openFolder(path, { lockWait: 5000 });
    await Bun.sleep(150);
    await first.store.close();
    const second = await opening;
    expect(kindsOf(second.notices)).toEqual(["waiting", "new"]);
    expect(existsSync(join(path, ".lock"))).toBe(true);
  });
});

describe("the end of a process", () => {
  test("by kill -9 frees the folder at once", async () => {
    const path = freshFolder();
    const child = startChild("hold", path);
    await child.said("open");
    child.kill();
    await child.exited;
    expect(existsSync(join(path, ".lock"))).toBe(true);
    const { notices } = await openFolder(path, { lockWait: 0 });
    expect(kindsOf(notices)).toEqual(["new"]);
  });

  test("by kill -9 frees the folder though its own child lives on", async () => {
    const path = freshFolder();
    const child = startChild("spawn", path);
    const [, pid] = (await child.said("child")).split(" ");
    undoLater(() => process.kill(Number(pid)));
    child.kill();
    await child.exited;
    expect(() => process.kill(Number(pid), 0)).not.toThrow();
    await openFolder(path, { lockWait: 0 });
  });

  test.each(["nothing more to do", "exit", "throw", "reject"])(
    "by %s leaves no sign",
    async (what) => {
      const path = freshFolder();
      const child = startChild(what, path);
      await child.exited;
      expect(child.lines).toContain("open");
      expect(readdirSync(path)).toEqual([]);
    },
  );
});

describe("the sign beside the lock", () => {
  test("is nobody's when it was left or copied", async () => {
    const path = freshFolder();
    mkdirSync(join(path, ".lock"));
    writeFileSync(join(path, ".lock", "junk"), "");
    writeFileSync(join(path, ".lock.json"), `{"pid":1,"host":"elsewhere"}`);
    const { notices } = await openFolder(path);
    expect(kindsOf(notices)).toEqual(["new"]);
  });

  test("is made again when somebody removes it", async () => {
    const path = freshFolder();
    const { store, fatals } = await openFolder(path);
    rmdirSync(join(path, ".lock"));
    for (let waited = 0; !existsSync(join(path, ".lock")) && waited < 7000; waited += 50) {
      await Bun.sleep(50);
    }
    expect(existsSync(join(path, ".lock"))).toBe(true);
    await store.folder.put("a", small("1"));
    expect(fatals).toEqual([]);
  }, 10_000);
});

describe("without flock", () => {
  /** Locks as on a machine that cannot lock directories. */
  function lockBySign(path: string, wait: number) {
    const notices: Notice[] = [];
    const folder = { ...openDataFolder(path, newCounters()), descriptor: undefined };
    const notice = (each: Notice): void => void notices.push(each);
    return { notices, locking: lockFolder(folder, { wait, now: Date.now, notice }) };
  }

  test("the sign is the guard", async () => {
    const path = freshFolder();
    const first = await lockBySign(path, 0).locking;
    expect(first.held()).toBe(true);
    const second = lockBySign(path, -2000);
    const error = await second.locking.catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(FatalError);
    expect(error).toMatchObject({ exitCode: 75 });
    expect(kindsOf(second.notices)).toEqual(["waiting"]);
    first.release();
    const third = await lockBySign(path, 0).locking;
    third.release();
    expect(readdirSync(path)).toEqual([]);
  });

  test("a sign is taken over once it is stale, and who lost it knows", async () => {
    const path = freshFolder();
    const first = await lockBySign(path, 0).locking;
    const stale = new Date(Date.now() - 20_000);
    utimesSync(join(path, ".lock"), stale, stale);
    await Bun.sleep(2);
    const second = await lockBySign(path, 0).locking;
    expect([first.held(), second.held()]).toEqual([false, true]);
    first.release();
    expect(readdirSync(path).toSorted()).toEqual([".lock", ".lock.json"]);
    second.release();
    expect(readdirSync(path)).toEqual([]);
  });
});
