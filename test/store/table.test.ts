// The contract of a table, held by every implementation: in memory, and on the data folder.
import { afterEach, describe, expect, test } from "bun:test";
import type { OpenStore } from "../../src/store/folder.ts";
import type { Grant } from "../../src/store/records.ts";
import { type Table, memoryTable } from "../../src/store/table.ts";
import { cleanUp, freshFolder, grantRecord, openFolder, testClock } from "./folders.ts";

afterEach(cleanUp);

const implementations: Record<string, () => Promise<Table<Grant>>> = {
  "in memory": async () => {
    const clock = testClock();
    return memoryTable({
      cap: 1000,
      whenFull: "refuse",
      now: () => clock.wall,
      monotonic: () => clock.running,
    });
  },
  "on the folder": async () => (await openFolder(freshFolder())).store.refresh_tokens,
};

describe.each(Object.entries(implementations))("table %s", (_, open) => {
  test("get gives nothing for an id that was never put", async () => {
    const table = await open();
    expect(await table.get("f_1")).toBeUndefined();
    expect(await table.list()).toEqual([]);
  });

  test("put inserts, then replaces", async () => {
    const table = await open();
    await table.put("f_1", grantRecord({ generation: 1 }));
    expect((await table.get("f_1"))?.generation).toBe(1);
    await table.put("f_1", grantRecord({ generation: 2 }));
    expect(await table.get("f_1")).toEqual(grantRecord({ generation: 2 }));
  });

  test("records are frozen through and through", async () => {
    const table = await open();
    await table.put("f_1", grantRecord());
    const record = await table.get("f_1");
    expect(Object.isFrozen(record)).toBe(true);
    expect(Object.isFrozen(record?.access)).toBe(true);
    expect(Object.isFrozen(record?.access[0])).toBe(true);
  });

  test("list gives every record with its id", async () => {
    const table = await open();
    for (const id of ["f_1", "f_2", "f_3"]) await table.put(id, grantRecord({ client_id: id }));
    const listed = (await table.list()).map(([id, { client_id }]) => [id, client_id]);
    expect(listed.toSorted()).toEqual(["f_1", "f_2", "f_3"].map((id) => [id, id]));
  });

  test("take gives the record to exactly one of 20 callers at once", async () => {
    const table = await open();
    await table.put("f_1", grantRecord());
    const taken = await Promise.all(Array.from({ length: 20 }, () => table.take("f_1")));
    expect(taken.filter((record) => record !== undefined)).toEqual([grantRecord()]);
    expect(await table.get("f_1")).toBeUndefined();
  });

  test("take right behind put, without waiting, gets the record", async () => {
    const table = await open();
    const [, record] = await Promise.all([table.put("f_1", grantRecord()), table.take("f_1")]);
    expect(record).toEqual(grantRecord());
    expect(await table.get("f_1")).toBeUndefined();
  });

  test("update sees the newest state, once: 50 at once count to 50", async () => {
    const table = await open();
    await table.put("f_1", grantRecord({ generation: 0 }));
    let calls = 0;
    const seen = await Promise.all(
      Array.from({ length: 50 }, () =>
        table.update("f_1", (current) => {
          calls++;
          return grantRecord({ generation: (current?.generation ?? 0) + 1 });
        }),
      ),
    );
    expect(calls).toBe(50);
    expect(seen.map((record) => record?.generation)).toEqual(seen.map((_record, n) => n + 1));
    expect((await table.get("f_1"))?.generation).toBe(50);
  });

  test("update makes a record where there was none, and deletes it with undefined", async () => {
    const table = await open();
    const create = (current: Grant | undefined): Grant => {
      expect(current).toBeUndefined();
      return grantRecord();
    };
    expect(await table.update("f_1", create)).toEqual(grantRecord());
    expect(await table.update("f_1", () => undefined)).toBeUndefined();
    expect(await table.get("f_1")).toBeUndefined();
  });

  test("an update that throws rejects with that error and changes nothing", async () => {
    const table = await open();
    await table.put("f_1", grantRecord());
    const refuse = (): Grant => {
      throw new RangeError("no");
    };
    const [refused, other] = await Promise.allSettled([
      table.update("f_1", refuse),
      table.put("f_2", grantRecord()),
    ]);
    expect(refused).toMatchObject({ status: "rejected", reason: new RangeError("no") });
    expect(other.status).toBe("fulfilled");
    expect(await table.get("f_1")).toEqual(grantRecord());
    expect(await table.get("f_2")).toEqual(grantRecord());
  });

  test("delete tells whether there was a record, to one of two callers", async () => {
    const table = await open();
    await table.put("f_1", grantRecord());
    expect(await table.delete("f_0")).toBe(false);
    const both = await Promise.all([table.delete("f_1"), table.delete("f_1")]);
    expect(both.toSorted()).toEqual([false, true]);
    expect(await table.list()).toEqual([]);
  });
});

test("what was loaded is frozen too, however it is read", async () => {
  const path = freshFolder();
  const first = await openFolder(path);
  await first.store.refresh_tokens.put("f_1", grantRecord());
  await first.store.close();
  const ways: ((store: OpenStore) => Promise<Grant | undefined>)[] = [
    (store) => store.refresh_tokens.get("f_1"),
    async (store) => (await store.refresh_tokens.list())[0]?.[1],
    (store) => store.update((draft) => draft.get("refresh_tokens", "f_1")),
    (store) => store.update((draft) => [...draft.list("refresh_tokens")][0]?.[1]),
  ];
  for (const way of ways) {
    const { store } = await openFolder(path);
    const record = await way(store);
    expect(record).toEqual(grantRecord());
    expect(Object.isFrozen(record) && Object.isFrozen(record?.access[0])).toBe(true);
    await store.close();
  }
});

describe("table in memory", () => {
  const record = (expires_at: number): { expires_at: number } => ({ expires_at });
  const open = (whenFull: "refuse" | "drop oldest", cap = 2) => {
    const clock = testClock();
    const table = memoryTable<{ readonly expires_at: number }>({
      cap,
      whenFull,
      now: () => clock.wall,
      monotonic: () => clock.running,
    });
    return {
      table,
      clock,
      soon: record(clock.wall / 1000 + 60),
      later: record(clock.wall / 1000 + 600),
    };
  };

  test("a record ends at its time", async () => {
    const { table, clock, soon } = open("refuse");
    await table.put("a", soon);
    clock.wait(59_999);
    expect(await table.get("a")).toEqual(soon);
    clock.wait(1);
    expect(await table.get("a")).toBeUndefined();
    expect(await table.take("a")).toBeUndefined();
  });

  test("a record ends by the monotonic clock when the other is set back", async () => {
    const { table, clock, soon } = open("refuse");
    await table.put("a", soon);
    clock.running += 60_000;
    clock.wall -= 3_600_000;
    expect(await table.get("a")).toBeUndefined();
  });

  test("an update that keeps the end does not move it on the monotonic clock", async () => {
    const { table, clock, soon } = open("refuse");
    await table.put("a", soon);
    clock.wall -= 3_600_000;
    await table.update("a", (current) => current && { ...current });
    clock.running += 60_000;
    expect(await table.get("a")).toBeUndefined();
  });

  test("a full table refuses with 503 until a record has ended", async () => {
    const { table, clock, soon, later } = open("refuse");
    await table.put("a", soon);
    await table.put("b", later);
    await expect(table.put("c", later)).rejects.toMatchObject({ status: 503 });
    await table.put("b", later);
    clock.wait(60_000);
    await table.put("c", later);
    expect((await table.list()).map(([id]) => id)).toEqual(["b", "c"]);
  });

  test("a full table that drops drops the record that was put first", async () => {
    const { table, later } = open("drop oldest");
    for (const id of ["a", "b", "c"]) await table.put(id, later);
    expect((await table.list()).map(([id]) => id)).toEqual(["b", "c"]);
  });
});
