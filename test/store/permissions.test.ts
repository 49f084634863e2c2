// Who may read the data folder, what may stand in it, and what it may lie on.
import { afterEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { FatalError } from "../../src/errors.ts";
import { checkFileSystem } from "../../src/store/filesystem.ts";
import type { Notice, StoreOptions } from "../../src/store/folder.ts";
import { needs } from "../needs.ts";
import { cleanUp, freshFolder, kindsOf, openFolder, small, undoLater } from "./folders.ts";

afterEach(cleanUp);

const modeOf = (path: string): number => statSync(path).mode & 0o777;

async function refusal(path: string, options: Partial<StoreOptions> = {}): Promise<FatalError> {
  const error = await openFolder(path, options).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof FatalError)) throw new Error("it was not refused", { cause: error });
  return error;
}

async function savedFolder(): Promise<string> {
  const path = freshFolder();
  const { store } = await openFolder(path);
  await store.folder.put("a", small("1"));
  await store.close();
  return path;
}

describe("modes", () => {
  test("that let others in are tightened and told once", async () => {
    const path = await savedFolder();
    chmodSync(path, 0o755);
    chmodSync(join(path, "state.json"), 0o644);
    writeFileSync(join(path, "config.json"), "{}", { mode: 0o640 });
    const { notices } = await openFolder(path);
    expect(kindsOf(notices)).toEqual(["loose-modes", "loose-modes"]);
    expect(notices[1]?.message).toEndWith("config.json, state.json");
    expect([path, join(path, "state.json"), join(path, "config.json")].map(modeOf)).toEqual([
      0o700, 0o600, 0o600,
    ]);
  });

  test("of a folder with nothing of ours in it are tightened without a word", async () => {
    const path = freshFolder();
    chmodSync(path, 0o755);
    writeFileSync(join(path, "README.md"), "as a clone brings it");
    const { notices } = await openFolder(path);
    expect(kindsOf(notices)).toEqual(["new"]);
    expect(modeOf(path)).toBe(0o700);
  });

  test("of everything that is made are the owner's alone under any umask", async () => {
    const umask = process.umask(0);
    try {
      const path = freshFolder(false);
      const { store } = await openFolder(join(path, "deeper"), { spareSpace: 0 });
      const inside = (name: string): string => join(path, "deeper", name);
      await store.folder.put("a", small("1"));
      await store.compact();
      await store.folder.put("a", small("2"));
      await store.compact();
      expect([path, inside(""), inside(".lock")].map(modeOf)).toEqual([0o700, 0o700, 0o700]);
      const files = ["state.json", "state.json.prev", "journal.000000000000.jsonl", ".lock.json"];
      expect(files.map(inside).map(modeOf)).toEqual([0o600, 0o600, 0o600, 0o600]);
    } finally {
      process.umask(umask);
    }
  });
});

describe("entries that are not what they should be", () => {
  test.each([
    "state.json",
    "state.json.prev",
    "journal.000000000001.jsonl",
    "config.json",
    "setup-link",
  ])("a symbolic link in place of %s is refused", async (name) => {
    const path = await savedFolder();
    const target = join(dirname(path), "elsewhere");
    writeFileSync(target, "kept");
    Bun.spawnSync(["rm", "-f", join(path, name)]);
    symlinkSync(target, join(path, name));
    const error = await refusal(path);
    expect(error.exitCode).toBe(78);
    expect(error.message).toBe(`${join(path, name)} is not a regular file`);
    expect(error.hint).toContain("mv ");
    expect(readFileSync(target, "utf8")).toBe("kept");
    expect(existsSync(join(path, ".lock"))).toBe(false);
  });

  needs("root", "linux")("the name that is proposed for it is none of ours", async () => {
    const path = await savedFolder();
    Bun.spawnSync(["mkfifo", join(path, "audit.jsonl")]);
    const [, command = ""] = /^move it away: (.*)$/.exec((await refusal(path)).hint ?? "") ?? [];
    expect(Bun.spawnSync(["sh", "-c", command]).success).toBe(true);
    expect(kindsOf((await openFolder(path)).notices)).toEqual(["foreign-names"]);
  });

  test("a folder in place of a journal is refused", async () => {
    const path = await savedFolder();
    mkdirSync(join(path, "journal.000000000001.jsonl"));
    expect((await refusal(path)).exitCode).toBe(78);
  });

  needs("linux").each(["state.json", "restore.json", "state.json.restoring"])(
    "a pipe in place of %s is refused without reading it",
    async (name) => {
      const path = freshFolder();
      Bun.spawnSync(["mkfifo", join(path, name)]);
      expect((await refusal(path)).exitCode).toBe(78);
    },
  );

  test("names that only look like ours are nobody's business", async () => {
    const path = await savedFolder();
    for (const name of ["my.edited-photos", "state.json.2"]) mkdirSync(join(path, name));
    writeFileSync(join(path, "notes.schema-draft.md"), "mine", { mode: 0o644 });
    const { notices } = await openFolder(path);
    expect(kindsOf(notices)).toEqual(["foreign-names"]);
    expect(statSync(join(path, "notes.schema-draft.md")).mode & 0o777).toBe(0o644);
    expect(existsSync(join(path, "state.json.2"))).toBe(true);
  });

  test("a link planted under a temporary name is removed, never written through", async () => {
    const path = await savedFolder();
    const target = join(dirname(path), "elsewhere");
    writeFileSync(target, "kept");
    symlinkSync(target, join(path, "state.json.123"));
    await openFolder(path);
    expect(existsSync(join(path, "state.json.123"))).toBe(false);
    expect(readFileSync(target, "utf8")).toBe("kept");
  });

  test("a link to the folder itself is followed once", async () => {
    const path = await savedFolder();
    const link = join(dirname(path), "link");
    symlinkSync(path, link);
    const { store, notices } = await openFolder(link);
    expect(await store.folder.get("a")).toEqual(small("1"));
    expect(notices).toEqual([]);
  });

  test("a file in place of the folder is refused", async () => {
    const path = freshFolder(false);
    writeFileSync(path, "");
    const error = await refusal(path);
    expect(error.exitCode).toBe(78);
    expect(error.hint).toContain("--data");
  });
});

describe("owners", () => {
  needs("root")("a folder of somebody else is refused with the command that mends it", async () => {
    const path = await savedFolder();
    chownSync(path, 1234, 1234);
    const error = await refusal(path);
    expect(error.exitCode).toBe(77);
    expect(error.message).toBe(`${path} belongs to user 1234, and this is user 0`);
    expect(error.hint).toBe(
      `start as that user (in a container: user: "1234"), or give it away: sudo chown -R 0 ${path}`,
    );
  });

  needs("root")("a file of somebody else in our folder is refused too", async () => {
    const path = await savedFolder();
    chownSync(join(path, "state.json"), 1234, 1234);
    const error = await refusal(path);
    expect(error.exitCode).toBe(77);
    expect(error.message).toContain("state.json belongs to user 1234");
  });
});

describe("a folder that cannot be written to", () => {
  needs("root", "linux")("is refused in one line, before anything is tried in it", async () => {
    const path = await savedFolder();
    Bun.spawnSync(["mount", "--bind", path, path]);
    Bun.spawnSync(["mount", "-o", "remount,bind,ro", path]);
    undoLater(() => void Bun.spawnSync(["umount", path]));
    const notices: Notice[] = [];
    const error = await refusal(path, { notice: (notice) => notices.push(notice) });
    expect(error.exitCode).toBe(77);
    expect(error.message).toStartWith(`the data folder ${path} cannot be written to: `);
    expect(error.hint).toContain("--data");
    expect(notices).toEqual([]);
  });
});

describe("file systems", () => {
  function check(path: string, type: number, unsafeFolder = false): Notice[] {
    const notices: Notice[] = [];
    const notice = (each: Notice): void => void notices.push(each);
    checkFileSystem(path, type, { unsafeFolder, notice });
    return notices;
  }

  test.each([
    ["NFS", 0x6969],
    ["CIFS", 0xff534d42],
    // As statfs gives it where the type is a signed number.
    ["CIFS", 0xff534d42 - 2 ** 32],
    ["SMB", 0xfe534d42],
  ])("%s is refused, unless it is asked for", (name, type) => {
    expect(() => check("/data", type)).toThrow(`/data is on ${name}`);
    expect(kindsOf(check("/data", type, true))).toEqual(["network-folder"]);
  });

  test.each([
    ["/home/me/data", []],
    ["/home/me/Dropbox/data", ["synced-folder"]],
    ["/home/me/Dropbox (Personal)/data", ["synced-folder"]],
    ["/Users/me/Library/Mobile Documents/com~apple~CloudDocs/data", ["synced-folder"]],
    ["C:\\Users\\me\\OneDrive - Work\\data", ["synced-folder"]],
    ["/home/me/Dropboxes/data", []],
  ])("a synced folder is told: %s", (path, kinds) => {
    expect(kindsOf(check(path, 0xef53))).toEqual(kinds);
  });

  test("Syncthing's folders are told by their mark", () => {
    const path = freshFolder();
    mkdirSync(join(dirname(path), ".stfolder"));
    expect(check(path, 0xef53)[0]?.message).toContain("Syncthing");
  });

  test("a folder in memory is told", () => {
    expect(kindsOf(check("/data", 0x01021994))).toEqual(["tmpfs"]);
  });

  test("a folder that goes with its container is told", () => {
    expect(kindsOf(check("/data", 0x794c7630))).toEqual(["container"]);
  });
});
