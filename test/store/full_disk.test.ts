// A disk that is full: nothing is answered that is not saved, revocations hold all the same, and it ends by itself.
import { afterEach, describe, expect } from "bun:test";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { StoreUnavailable } from "../../src/errors.ts";
import type { StoreOptions } from "../../src/store/folder.ts";
import { needs } from "../needs.ts";
import {
  cleanUp,
  contentOf,
  copyOf,
  journalNames,
  kindsOf,
  openFolder,
  small,
  smallDisk,
  smallRecords,
} from "./folders.ts";

const test = needs("root", "linux");

afterEach(cleanUp);

async function open(options: Partial<StoreOptions> = {}) {
  const disk = smallDisk();
  return { ...disk, ...(await openFolder(disk.path, { spareSpace: 0, ...options })) };
}

const large = small("x".repeat(20_000));

describe("a full disk", () => {
  test("answers 503, changes nothing, and goes on in a new journal once there is room", async () => {
    const { path, store, fill, empty, fatals } = await open();
    await store.folder.put("a", small("1"));
    const before = contentOf(path);
    fill();
    const results = await Promise.allSettled([
      store.folder.put("c", large),
      store.folder.put("b", small("2")),
      store.folder.take("a"),
    ]);
    for (const result of results) {
      expect(result).toMatchObject({ status: "rejected", reason: { status: 503 } });
    }
    expect(await smallRecords(store)).toEqual({ a: "1" });
    // The next ones try a new journal, which has no room either.
    await expect(store.folder.put("c", large)).rejects.toBeInstanceOf(StoreUnavailable);
    await expect(store.folder.put("c", large)).rejects.toBeInstanceOf(StoreUnavailable);
    expect(store.counters.failures).toBe(3);
    expect(Object.keys(contentOf(path))).toEqual([
      ...Object.keys(before),
      "journal.000000000001.jsonl",
    ]);

    const crashed = await openFolder(copyOf(path));
    expect(await smallRecords(crashed.store)).toEqual({ a: "1" });

    empty();
    await store.folder.put("c", large);
    expect(journalNames(path)).toEqual([
      "journal.000000000000.jsonl",
      "journal.000000000001.jsonl",
    ]);
    const expected = { a: "1", c: large.client_id_key };
    expect(await smallRecords((await openFolder(copyOf(path))).store)).toEqual(expected);
    expect(fatals).toEqual([]);
  });

  test("a revocation holds in memory at once, and is written first when there is room", async () => {
    const { path, store, fill, empty } = await open();
    await store.folder.put("right", small("1"));
    await store.folder.put("other", small("1"));
    fill();
    let runs = 0;
    const results = await Promise.allSettled([
      store.folder.put("other", large),
      store.revoke((draft) => {
        runs++;
        const seen = draft.get("folder", "other")?.client_id_key.length;
        draft.delete("folder", "right");
        draft.put("folder", "log", small(`saw ${seen}`));
      }),
    ]);
    for (const result of results) {
      expect(result).toMatchObject({ status: "rejected", reason: { status: 503 } });
    }
    // Run again on memory alone: the change that failed beside it is not in what it saw.
    expect(runs).toBe(2);
    const revoked = { other: "1", log: "saw 1" };
    expect(await smallRecords(store)).toEqual(revoked);
    // Until there is room a crash forgets it; that is why it was answered 503.
    expect(await smallRecords((await openFolder(copyOf(path))).store)).toEqual({
      right: "1",
      other: "1",
    });

    empty();
    await store.folder.put("next", small("1"));
    const [, name = ""] = journalNames(path);
    const [, line = ""] = readFileSync(join(path, name), "utf8").split("\n");
    expect(JSON.parse(line).ops.map(([, id]: [string, string]) => id)).toEqual([
      "right",
      "log",
      "next",
    ]);
    const crashed = await openFolder(copyOf(path));
    expect(await smallRecords(crashed.store)).toEqual({ ...revoked, next: "1" });
  });

  test("while a revocation waits for room, who only reads is answered, and who revokes is not", async () => {
    const { store, fill } = await open();
    await store.folder.put("right", small("1"));
    fill();
    const revoke = () => store.revoke((draft) => draft.delete("folder", "right"));
    await expect(
      store.revoke((draft) => {
        draft.delete("folder", "right");
        draft.put("folder", "log", large);
      }),
    ).rejects.toBeInstanceOf(StoreUnavailable);
    expect(await store.update((draft) => draft.get("folder", "right"))).toBeUndefined();
    // It holds and is not saved: whoever asks for it again is not told that it is done.
    await expect(revoke()).rejects.toBeInstanceOf(StoreUnavailable);
    await expect(store.folder.put("other", small("1"))).rejects.toBeInstanceOf(StoreUnavailable);
  });

  test("a revocation is retried by itself, however many others fail meanwhile", async () => {
    const { path, store, fill, empty } = await open();
    await store.folder.put("right", small("1"));
    await store.folder.put("other", large);
    fill();
    const revoking = store.revoke((draft) => {
      draft.delete("folder", "right");
      draft.put("folder", "other", small("x".repeat(10_000)));
    });
    await expect(revoking).rejects.toBeInstanceOf(StoreUnavailable);
    for (let n = 0; n < 8; n++) {
      await expect(store.folder.put("more", large)).rejects.toBeInstanceOf(StoreUnavailable);
    }
    empty();
    while (store.counters.groups < 3) await Bun.sleep(20);
    const crashed = await openFolder(copyOf(path));
    expect(await crashed.store.folder.get("right")).toBeUndefined();
  }, 15_000);

  test("a revocation that throws rejects with its own error and holds nothing", async () => {
    const { store, fill } = await open();
    await store.folder.put("right", small("1"));
    fill();
    let runs = 0;
    const revoking = store.revoke((draft) => {
      draft.put("folder", "right", large);
      if (runs++ > 0) throw new RangeError("the second time");
    });
    await expect(revoking).rejects.toBeInstanceOf(RangeError);
    expect(await smallRecords(store)).toEqual({ right: "1" });
  });

  test("does not stop a start, which then answers 503 until there is room", async () => {
    const { path, store, fill, empty } = await open();
    await store.folder.put("a", small("1"));
    await store.close();
    fill();
    const again = await openFolder(path, { spareSpace: 0 });
    expect(await smallRecords(again.store)).toEqual({ a: "1" });
    await expect(again.store.folder.put("b", large)).rejects.toBeInstanceOf(StoreUnavailable);
    empty();
    await again.store.folder.put("b", large);
    expect(await again.store.folder.get("b")).toEqual(large);
  });

  test("a snapshot that does not fit leaves the old one and the journals as they are", async () => {
    const { path, store, fill, notices } = await open();
    for (let n = 0; n < 5; n++) await store.folder.put(`r${n}`, large);
    await store.compact();
    await store.folder.put("last", small("1"));
    const before = contentOf(path);
    fill();
    await expect(store.compact()).rejects.toThrow();
    expect(contentOf(path)).toEqual(before);
    expect(readdirSync(path).filter((name) => /^state\.json\.\d/.test(name))).toEqual([]);
    const crashed = await openFolder(copyOf(path));
    expect(await smallRecords(crashed.store)).toEqual(await smallRecords(store));
    // Within ten minutes of a failure the end does not try again.
    await store.close();
    expect(kindsOf(notices)).toEqual(["tmpfs", "new"]);
    expect(store.counters.compactions).toBe(1);
  });

  test("without the room for two snapshots none is begun", async () => {
    const { path, store, notices } = await open({ spareSpace: 10 * 1024 * 1024 });
    await store.folder.put("a", small("1"));
    await store.close();
    expect(kindsOf(notices)).toEqual(["tmpfs", "new", "no-room"]);
    expect(Object.keys(contentOf(path))).toEqual(["journal.000000000000.jsonl"]);
  });
});
