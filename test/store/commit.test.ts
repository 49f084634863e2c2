// Group commit: what one update may do, what its neighbours see, how much is written, and what a changed folder does.
import { afterEach, describe, expect, test } from "bun:test";
import {
  appendFileSync,
  copyFileSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
} from "node:fs";
import { join } from "node:path";
import { StoreUnavailable } from "../../src/errors.ts";
import type { Draft } from "../../src/store/table.ts";
import {
  cleanUp,
  clientRecord,
  copyOf,
  freshFolder,
  grantRecord,
  journalNames,
  openFolder,
  small,
  smallRecords,
} from "./folders.ts";

afterEach(cleanUp);

/** The changes of each line of a journal. */
function linesOf(path: string, name: string): [table: string, id: string, record: unknown][][] {
  const [, ...lines] = readFileSync(join(path, name), "utf8").trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line).ops);
}

async function open(options = {}) {
  const path = freshFolder();
  return { path, ...(await openFolder(path, options)) };
}

describe("one update", () => {
  test("spans tables in one line", async () => {
    const { path, store } = await open();
    const result = await store.update((draft) => {
      draft.put("clients", "c_1", clientRecord());
      draft.put("refresh_tokens", "f_1", grantRecord());
      return "both";
    });
    expect(result).toBe("both");
    const [name = ""] = journalNames(path);
    const changed = linesOf(path, name).map((ops) => ops.map(([table, id]) => [table, id]));
    expect(changed).toEqual([
      [
        ["clients", "c_1"],
        ["refresh_tokens", "f_1"],
      ],
    ]);
    expect(await store.clients.get("c_1")).toEqual(clientRecord());
    expect(await store.refresh_tokens.get("f_1")).toEqual(grantRecord());
  });

  test("sees what was queued before it, and its own changes", async () => {
    const { store } = await open();
    const put = store.folder.put("a", small("1"));
    const seen = store.update((draft) => {
      const before = draft.get("folder", "a")?.client_id_key;
      draft.put("folder", "a", small("2"));
      draft.delete("folder", "gone");
      return [before, draft.get("folder", "a")?.client_id_key, draft.get("folder", "gone")];
    });
    // Not in memory before it is on the disk.
    expect(await store.folder.get("a")).toBeUndefined();
    await put;
    expect(await seen).toEqual(["1", "2", undefined]);
  });

  test("that throws leaves nothing of itself, and its neighbours are kept", async () => {
    const { path, store } = await open();
    await store.folder.put("a", small("old"));
    const results = await Promise.allSettled([
      store.folder.put("b", small("1")),
      store.update((draft) => {
        draft.put("folder", "a", small("new"));
        draft.put("folder", "b", small("new"));
        draft.put("folder", "c", small("new"));
        draft.delete("folder", "b");
        throw new RangeError("half way");
      }),
      store.folder.put("d", small("1")),
    ]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    const expected = { a: "old", b: "1", d: "1" };
    expect(await smallRecords(store)).toEqual(expected);
    expect(await smallRecords((await openFolder(copyOf(path))).store)).toEqual(expected);
  });

  test("lists the newest state while it changes it", async () => {
    const { store } = await open();
    for (const id of ["a", "b", "c"]) await store.folder.put(id, small(id));
    const queued = store.folder.put("d", small("d"));
    const listed = await store.update((draft) => {
      draft.put("folder", "e", small("e"));
      const seen: string[] = [];
      for (const [id, { client_id_key }] of draft.list("folder")) {
        seen.push(`${id}=${client_id_key}`);
        draft.delete("folder", "b");
        draft.put("folder", "c", small("changed"));
        draft.put("folder", `new ${id}`, small("x"));
        draft.delete("folder", id);
      }
      return seen;
    });
    await queued;
    expect(listed).toEqual(["a=a", "c=changed", "d=d", "e=e"]);
    expect(Object.keys(await smallRecords(store)).toSorted()).toEqual([
      // Put again while d was visited.
      "c",
      "new a",
      "new c",
      "new d",
      "new e",
    ]);
  });

  test("cannot be asynchronous, nor use its draft afterwards", async () => {
    const { store } = await open();
    const later: Draft[] = [];
    await store.update((draft) => void later.push(draft));
    expect(() => later[0]?.get("folder", "a")).toThrow("after its change");
    expect(() => later[0]?.put("folder", "a", small("x"))).toThrow("after its change");
    const slow = store.update(async (draft) => draft.put("folder", "a", small("x")));
    await expect(slow).rejects.toThrow("must not be asynchronous");
    expect(await store.folder.list()).toEqual([]);
  });

  test("with a record above 64 KiB is refused alone", async () => {
    const { store } = await open();
    const fits = small("x".repeat(64 * 1024 - JSON.stringify(small("")).length));
    const tooLarge = small(`${fits.client_id_key}x`);
    const [first, second] = await Promise.allSettled([
      store.folder.put("fits", fits),
      store.folder.put("large", tooLarge),
    ]);
    expect([first.status, second.status]).toEqual(["fulfilled", "rejected"]);
    expect(await store.folder.get("fits")).toEqual(fits);
    expect(await store.folder.get("large")).toBeUndefined();
  });

  test("that changes nothing writes nothing, and is answered with its group", async () => {
    const { path, store } = await open();
    expect(await store.update((draft) => draft.get("folder", "a"))).toBeUndefined();
    expect(await store.folder.delete("a")).toBe(false);
    expect(await store.folder.take("a")).toBeUndefined();
    expect(store.counters).toMatchObject({ groups: 0, writes: 0, syncs: 0 });
    expect(journalNames(path)).toEqual([]);

    const order: string[] = [];
    const put = store.folder.put("a", small("1")).then(() => order.push("put"));
    const read = store
      .update((draft) => draft.get("folder", "a"))
      .then(async (record) => order.push(`read ${record === (await store.folder.get("a"))}`));
    await Promise.all([put, read]);
    expect(order).toEqual(["put", "read true"]);
  });
});

describe("groups", () => {
  test("64 updates at once take a handful of syncs", async () => {
    const { store } = await open();
    await store.folder.put("first", small("makes the journal"));
    const { syncs, writes } = store.counters;
    const puts = Array.from({ length: 64 }, (_, n) => store.folder.put(`r${n}`, small("x")));
    await Promise.all(puts);
    expect(store.counters.syncs - syncs).toBeLessThanOrEqual(2);
    expect(store.counters.writes - writes).toBeLessThanOrEqual(2);
    expect(store.counters.changes).toBe(65);
  });

  test("64 writers that go on one after the other share their syncs, and none starves", async () => {
    const { store } = await open();
    const rounds = 20;
    await Promise.all(
      Array.from({ length: 64 }, async (_, writer) => {
        for (let round = 0; round < rounds; round++) {
          await store.folder.put(`w${writer}`, small(String(round)));
        }
      }),
    );
    expect(store.counters.changes).toBe(64 * rounds);
    expect(store.counters.syncs).toBeLessThanOrEqual(3 * rounds);
  });

  test("a line holds 256 changes, except where one update makes more", async () => {
    const { path, store } = await open();
    await Promise.all(Array.from({ length: 600 }, (_, n) => store.folder.put(`r${n}`, small("x"))));
    await store.update((draft) => {
      for (let n = 0; n < 300; n++) draft.delete("folder", `r${n}`);
    });
    const [name = ""] = journalNames(path);
    expect(linesOf(path, name).map((ops) => ops.length)).toEqual([256, 256, 88, 300]);
    expect((await openFolder(copyOf(path))).store.counters.groups).toBe(0);
    expect(await store.folder.list()).toHaveLength(300);
  });

  test("a line ends past 1 MiB", async () => {
    const { path, store } = await open();
    const text = "x".repeat(60_000);
    await Promise.all(Array.from({ length: 40 }, (_, n) => store.folder.put(`r${n}`, small(text))));
    const [name = ""] = journalNames(path);
    expect(linesOf(path, name).map((ops) => ops.length)).toEqual([18, 18, 4]);
  });

  test("the last of several changes to one record is the one that is written", async () => {
    const { path, store } = await open();
    const values = ["1", "2", "3"];
    await Promise.all(values.map((value) => store.folder.put("a", small(value))));
    const [name = ""] = journalNames(path);
    expect(linesOf(path, name)).toEqual([[["folder", "a", small("3")]]]);
  });

  test("a journal is made with the first group of each process, never appended to by another", async () => {
    const { path, store } = await open();
    await store.folder.put("a", small("1"));
    await store.folder.put("b", small("1"));
    const copy = copyOf(path);
    const [name = ""] = journalNames(copy);
    const before = readFileSync(join(copy, name), "utf8");
    const next = await openFolder(copy);
    await next.store.folder.put("c", small("1"));
    expect(journalNames(copy)).toEqual([name, "journal.000000000002.jsonl"]);
    expect(readFileSync(join(copy, name), "utf8")).toBe(before);
    expect(await smallRecords((await openFolder(copyOf(copy))).store)).toEqual({
      a: "1",
      b: "1",
      c: "1",
    });
  });
});

describe("a journal that somebody else touched", () => {
  const touches: [string, (journal: string, path: string) => void][] = [
    [
      "replaced by its copy",
      (journal) => {
        copyFileSync(journal, `${journal}.copy`);
        renameSync(`${journal}.copy`, journal);
      },
    ],
    ["truncated", (journal) => truncateSync(journal, 50)],
    ["appended to", (journal) => appendFileSync(journal, "{}\n")],
    ["deleted", (journal) => rmSync(journal)],
    ["deleted with its folder", (_, path) => rmSync(path, { recursive: true })],
  ];

  test.each(touches)("%s stops all writing with 503 and exit code 75", async (_, touch) => {
    const { path, store, fatals } = await open();
    await store.folder.put("a", small("1"));
    const [name = ""] = journalNames(path);
    touch(join(path, name), path);
    const error = await store.folder.put("a", small("2")).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(StoreUnavailable);
    expect(error).toMatchObject({ status: 503, headers: { "retry-after": "5" } });
    expect(fatals.map(({ exitCode }) => exitCode)).toEqual([75]);
    await expect(store.folder.put("b", small("2"))).rejects.toBeInstanceOf(StoreUnavailable);
    expect(fatals).toHaveLength(1);
    // What was answered is still what is read.
    expect(await smallRecords(store)).toEqual({ a: "1" });
    await store.close();
    expect(store.counters.compactions).toBe(0);
  });

  test("a folder that was replaced before the first group is not written to", async () => {
    const { path, store, fatals } = await open();
    renameSync(path, `${path}.away`);
    mkdirSync(path);
    await expect(store.folder.put("a", small("1"))).rejects.toBeInstanceOf(StoreUnavailable);
    expect(fatals.map(({ exitCode }) => exitCode)).toEqual([75]);
    expect(journalNames(path)).toEqual([]);
  });
});

describe("the end", () => {
  test("close finishes what is queued, writes the snapshot, and refuses what comes later", async () => {
    const { path, store } = await open();
    const puts = [1, 2, 3].map((n) => store.folder.put(`r${n}`, small("x")));
    const closing = store.close();
    expect(store.close()).toBe(closing);
    await expect(store.folder.put("late", small("x"))).rejects.toBeInstanceOf(StoreUnavailable);
    await Promise.all([...puts, closing]);
    expect(readFileSync(join(path, "state.json"), "utf8")).toContain(`"r3":`);
    const again = await openFolder(path);
    expect(Object.keys(await smallRecords(again.store))).toEqual(["r1", "r2", "r3"]);
    expect(again.store.isNew).toBe(false);
  });
});
