// kill -9 while saving: whatever was answered is there after the next start, which waits for nobody. TEST_SEED makes the
// moments of a run again.
import { afterEach, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { seeded } from "../faults/report.ts";
import { startChild } from "./children.ts";
import { cleanUp, copyOf, freshFolder, kindsOf, openFolder, smallRecords } from "./folders.ts";

afterEach(cleanUp);

const SEED = Number(process.env["TEST_SEED"] ?? Date.now() % 1_000_000);
const IDS = ["a", "b", "c", "d"];

test("20 kills while saving lose nothing that was answered", async () => {
  const path = freshFolder();
  console.log(`TEST_SEED=${SEED}`);
  const random = seeded(SEED);
  const answered: Record<string, number> = {};
  for (let round = 0; round < 20; round++) {
    const child = startChild("save", path);
    await child.said("open");
    await Bun.sleep(20 + random.next() * 120);
    child.kill();
    await child.exited;
    for (const line of child.lines) {
      const [id = "", count] = line.split(" ");
      if (/^[abcd]$/.test(id)) answered[id] = Number(count);
    }
    // On a copy, so that the next round starts from what the kill left.
    const left = copyOf(path);
    const { store, notices } = await openFolder(left);
    const found = await smallRecords(store);
    for (const id of IDS) {
      const said = answered[id] ?? 0;
      const count = Number(found[id] ?? 0);
      // One more may have reached the disk without its answer.
      expect([said, said + 1]).toContain(count);
      answered[id] = count;
    }
    const harmless = ["torn-tail", "copied", "clock"];
    expect(kindsOf(notices).filter((kind) => !harmless.includes(kind))).toEqual([]);
    expect(readdirSync(left).filter((name) => /^state\.json\.\d+$/.test(name))).toEqual([]);
    await store.close();
  }
  expect(IDS.filter((id) => answered[id] === 0)).toEqual([]);
  expect(readdirSync(path)).toContain("state.json");
}, 30_000);
