// Reading a folder beside the process that writes to it, with a snapshot every few milliseconds.
import { afterEach, expect, test } from "bun:test";
import { inspect } from "../../src/store/inspect.ts";
import { lookInto, readAtOnce } from "../../src/store/hot_read.ts";
import { recover } from "../../src/store/recovery.ts";
import { startChild } from "./children.ts";
import { cleanUp, freshFolder } from "./folders.ts";

afterEach(cleanUp);

test("every look sees a whole state, with everything that was answered before it", async () => {
  const path = freshFolder();
  const child = startChild("save", path);
  await child.said("a 20");
  const answered = (id: string): number =>
    Number(child.lines.findLast((line) => line.startsWith(`${id} `))?.slice(2) ?? 0);
  const revs: number[] = [];
  for (let look = 0; look < 60; look++) {
    const before = ["a", "b", "c", "d"].map((id) => [id, answered(id)] as const);
    const { start, files } = await lookInto(path, (folder) =>
      readAtOnce(
        folder,
        (there) => inspect({ folder, unsafeFolder: false, now: Date.now }, there),
        ({ start: found }) => !(found instanceof Error),
      ),
    );
    if (start instanceof Error) throw start;
    expect(files.filter(({ damage }) => damage !== undefined)).toEqual([]);
    for (const [id, count] of before) {
      const saved = Number(start.tables.folder.get(id)?.client_id_key ?? 0);
      expect(saved).toBeGreaterThanOrEqual(count);
    }
    revs.push(start.rev);
    await Bun.sleep(5);
  }
  expect(revs).toEqual(revs.toSorted((a, b) => a - b));
  expect(revs.at(-1)).toBeGreaterThan(revs[0] ?? 0);
  child.kill();
  await child.exited;
}, 30_000);

test("what stays damaged is damage, however busy the folder is", async () => {
  const path = freshFolder();
  const child = startChild("save", path);
  await child.said("a 5");
  let looks = 0;
  const found = lookInto(path, (folder) =>
    readAtOnce(
      folder,
      (files) => {
        looks++;
        // Long enough for the writer to write.
        Bun.sleepSync(20);
        const read = (): never => {
          throw new Error("the disk does not give it back");
        };
        recover({ ...files, read });
      },
      () => true,
    ),
  );
  expect(
    await found.then(
      () => "read",
      (error: unknown) => String(error),
    ),
  ).toContain("the disk does not give it back");
  expect(looks).toBeGreaterThan(1);
  child.kill();
  await child.exited;
}, 30_000);
