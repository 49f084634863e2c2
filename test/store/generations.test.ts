// Two generations that stand apart: whatever one fault takes, a crash or a failed snapshot before it included, the other one
// or the journals have it all.
import { afterEach, describe, expect, test } from "bun:test";
import {
  cpSync,
  lstatSync,
  readFileSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { needs } from "../needs.ts";
import { startChild } from "./children.ts";
import {
  cleanUp,
  contentOf,
  copyOf,
  folderWith,
  freshFolder,
  handJournal,
  kindsOf,
  openFolder,
  small,
  smallDisk,
  smallRecords,
} from "./folders.ts";
import {
  bothJournals,
  chainAt,
  filesOf,
  first,
  last,
  load,
  ops,
  refusal,
  snapshotAt,
  stateAt,
} from "./histories.ts";

afterEach(cleanUp);

const inode = (path: string, name: string): number => lstatSync(join(path, name)).ino;
const names = (path: string, start: string): string[] =>
  readdirSync(path).filter((name) => name.startsWith(start));
const flip = (text: string): string => text.replace("v3", "v9");

/** Damages state.json, starts on a copy, and gives what is there. */
async function afterDamage(path: string): Promise<Record<string, string>> {
  const copy = copyOf(path);
  const state = join(copy, "state.json");
  const bytes = readFileSync(state);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  writeFileSync(state, bytes);
  return smallRecords((await openFolder(copy)).store);
}

describe("a damaged state.json without a generation before it", () => {
  test("is made anew from journals that go back to the beginning, and kept", async () => {
    const bad = flip(snapshotAt(5));
    const { path, records, notices } = await load({ "state.json": bad, ...bothJournals });
    expect(records).toEqual(stateAt(5));
    expect(notices).toContainEqual({
      kind: "previous-snapshot",
      message:
        "state.json: its checksum is wrong; the journals go back to the beginning and are used instead",
    });
    const [aside = ""] = names(path, "state.json.corrupt-");
    expect(readFileSync(join(path, aside), "utf8")).toBe(bad);
    const again = await openFolder(copyOf(path));
    expect(await smallRecords(again.store)).toEqual(stateAt(5));
    expect(kindsOf(again.notices)).toEqual(["copied"]);
  });

  test("is made anew in another start when that one was killed on the way", async () => {
    const bad = flip(snapshotAt(5));
    const killed = {
      "state.json": bad,
      "state.json.corrupt-20261121T000000.000Z": bad,
      "state.json.4711": bad.slice(0, 40),
      ...bothJournals,
    };
    expect((await load(killed)).records).toEqual(stateAt(5));
  });

  test("is refused when it tells of more than the journals do", async () => {
    const { message } = await refusal({ "state.json": flip(snapshotAt(5)), ...filesOf(first) });
    expect(message).toContain("journals: changes 4 to 5 are missing");
  });

  test("is refused when the journals do not go back to the beginning", async () => {
    const { message } = await refusal({ "state.json": flip(snapshotAt(3)), ...filesOf(last) });
    expect(message).toContain("state.json: its checksum is wrong");
  });

  test("beside one that is whole and tells another history is refused", async () => {
    const stranger = snapshotAt(4).replace(chainAt(4), chainAt(3));
    const sealed = { "state.json": flip(snapshotAt(5)), "state.json.prev": reseal(stranger) };
    const { message } = await refusal({ ...sealed, ...bothJournals });
    expect(message).toContain("journals: state.json.prev is whole, and at odds with them");
  });
});

/** A snapshot with the right sum for what it says now. */
function reseal(text: string): string {
  const body = text.slice(0, text.lastIndexOf(`"sum":`));
  return `${body}"sum":"${new Bun.CryptoHasher("sha256").update(body).digest("hex").slice(0, 16)}"}\n`;
}

describe("the generation before", () => {
  test("is made anew, apart from it, by a start that finds none", async () => {
    const { path, records } = await load({ "state.json": snapshotAt(3), ...filesOf(last) });
    expect(records).toEqual(stateAt(5));
    expect(readFileSync(join(path, "state.json.prev"), "utf8")).toBe(snapshotAt(3));
    expect(inode(path, "state.json.prev")).not.toBe(inode(path, "state.json"));
    expect(await afterDamage(path)).toEqual(stateAt(5));
  });

  needs("root")("stands apart after a snapshot that failed", async () => {
    const { path, fill } = smallDisk();
    const { store } = await openFolder(path, { spareSpace: 0 });
    for (const text of ["1", "2"]) {
      await store.folder.put("a", small(text + "x".repeat(20_000)));
      await store.compact();
    }
    await store.folder.put("a", small("3"));
    fill();
    await expect(store.compact()).rejects.toThrow();
    expect(inode(path, "state.json.prev")).not.toBe(inode(path, "state.json"));
    expect(await afterDamage(path)).toEqual({ a: "3" });
  });

  test("is the sealed one after an edit by hand, not one that the edit is not in", async () => {
    const edited = snapshotAt(5)
      .replace("v3", "mine")
      .replace(/"sum":".*"/, `"sum":""`);
    const files = { "state.json": edited, "state.json.prev": snapshotAt(3), ...filesOf(last) };
    const { path, store } = await load(files);
    await store.folder.put("next", small("x"));
    expect(await afterDamage(path)).toEqual({ ...stateAt(5), r3: "mine", next: "x" });
  });
});

describe("state.json", () => {
  test("that was only touched while running is still the one that counts", async () => {
    const path = freshFolder();
    const { store, notices } = await openFolder(path, { spareSpace: 0 });
    await store.folder.put("a", small("1"));
    await store.compact();
    const before = readFileSync(join(path, "state.json"), "utf8");
    utimesSync(join(path, "state.json"), new Date(0), new Date(0));
    await store.folder.put("a", small("2"));
    await store.compact();
    expect(readFileSync(join(path, "state.json.prev"), "utf8")).toBe(before);
    expect(names(path, "state.json.edited-")).toEqual([]);
    expect(kindsOf(notices)).toEqual(["new"]);
  });

  needs("root")("edited while running is there still when no other takes its place", async () => {
    const { path, fill, empty } = smallDisk();
    const { store, notices, clock } = await openFolder(path, { spareSpace: 0 });
    for (const text of ["1", "2"]) {
      await store.folder.put("a", small(text + "x".repeat(20_000)));
      await store.compact();
    }
    writeFileSync(join(path, "state.json"), "mine");
    await store.folder.put("a", small("3"));
    fill();
    await expect(store.compact()).rejects.toThrow();
    expect(readFileSync(join(path, "state.json"), "utf8")).toBe("mine");
    const killed = await openFolder(copyOf(path));
    expect(await smallRecords(killed.store)).toEqual({ a: "3" });
    empty();
    clock.wait(600_000);
    await store.compact();
    expect(names(path, "state.json.edited-")).toHaveLength(1);
    expect(kindsOf(notices).filter((kind) => kind === "edited")).toHaveLength(1);
  });

  needs("root")("edited by hand that cannot be sealed is refused and changes nothing", async () => {
    const { path, fill, empty } = smallDisk();
    const files = {
      "state.json": snapshotAt(5).replace(/"sum":".*"/, `"sum":""`),
      "state.json.prev": snapshotAt(3),
      ...filesOf(last),
    };
    for (const [name, text] of Object.entries(files)) {
      writeFileSync(join(path, name), text, { mode: 0o600 });
    }
    fill();
    const error = await openFolder(path).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      exitCode: 78,
      message: expect.stringMatching(
        /^state\.json was edited by hand and cannot be written anew: /,
      ),
    });
    expect(contentOf(path)).toEqual(files);
    empty();
    const { store } = await openFolder(path);
    expect(await smallRecords(store)).toEqual(stateAt(5));
  });
});

test("however many kills leave a journal each, a start syncs a few dozen files", async () => {
  const path = freshFolder();
  let synced = 0;
  for (let kill = 0; kill < 40; kill++) {
    const left = kill === 0 ? path : copyOf(path);
    const { store } = await openFolder(left, { spareSpace: 0 });
    synced = Math.max(synced, store.counters.syncs);
    await store.folder.put("a", small(String(kill)));
    const killed = copyOf(left);
    await store.close();
    rmSync(path, { recursive: true });
    cpSync(killed, path, { recursive: true });
  }
  expect(names(path, "journal.").length).toBeGreaterThan(35);
  expect(synced).toBeGreaterThan(30);
  expect(synced).toBeLessThan(45);
  expect(await smallRecords((await openFolder(path)).store)).toEqual({ a: "39" });
});

test("a journal under another name ends none before it, and none leaves for it", async () => {
  const path = folderWith({
    ...bothJournals,
    "state.json": snapshotAt(4),
    "state.json.prev": snapshotAt(3),
  });
  // What the generation before needs ends at 5, whatever stands under the name of 4.
  writeFileSync(
    join(path, "journal.000000000004.jsonl"),
    handJournal(1, chainAt(1), ops.slice(1, 2)).text,
  );
  const { store, clock } = await openFolder(path, { spareSpace: 0 });
  expect(await smallRecords(store)).toEqual(stateAt(5));
  clock.wait(2 * 3_600_000);
  await store.compact();
  expect(names(path, last.name)).toEqual([last.name]);
});

needs("linux", "strace")(
  "an end that no journal takes is in the snapshot of a clean stop",
  async () => {
    const path = freshFolder();
    const prefix = [
      ..."strace -f -qq -o /dev/null -e inject=fsync,fdatasync:error=EIO -P".split(" "),
      join(path, "journal.000000000001.jsonl"),
    ];
    const child = startChild("revoke", path, prefix);
    await child.said("refused");
    expect(await child.exited).toBe(0);
    expect(child.lines.filter((line) => line.startsWith("notice owed"))).toEqual([]);
    const { store } = await openFolder(copyOf(path));
    expect(await smallRecords(store)).toEqual({ stays: "1" });
  },
);
