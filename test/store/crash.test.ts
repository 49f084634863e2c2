// kill -9 while saving: whatever was answered is there after the next start, which waits for nobody.
import { afterEach, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { startChild } from "./children.ts";
import { cleanUp, copyOf, freshFolder, kindsOf, openFolder, smallRecords } from "./folders.ts";

afterEach(cleanUp);

test("20 kills while saving lose nothing that was answered", async () => {
  const path = freshFolder();
  const answered: Record<string, number> = {};
  for (let round = 0; round < 20; round++) {
    const child = startChild("save", path);
    await child.said("open");
    await Bun.sleep(20 + Math.random() * 120);
    child.kill();
    await child.exited;
    for (const line of child.lines) {
      const [id = "", count] = line.split(" ");
      if (/^[abcd]$/.test(id)) answered[id] = Number(count);
    }
    // On a copy, so that the next round starts from what the kill left.
    const left = copyOf(path);
    const { store, notices } = await openFolder(left);
    for (const [id, count] of Object.entries(await smallRecords(store))) {
      // One more may have reached the disk without its answer.
      expect([answered[id], (answered[id] ?? 0) + 1]).toContain(Number(count));
      answered[id] = Number(count);
    }
    const harmless = ["torn-tail", "copied", "clock"];
    expect(kindsOf(notices).filter((kind) => !harmless.includes(kind))).toEqual([]);
    expect(readdirSync(left).filter((name) => /^state\.json\.\d+$/.test(name))).toEqual([]);
    await store.close();
  }
  expect(Object.keys(answered).toSorted()).toEqual(["a", "b", "c", "d"]);
  expect(readdirSync(path)).toContain("state.json");
}, 30_000);
