// What a start takes from the folder may be in memory only, left so by a process that was killed or by a copy: it is on the
// disk before anybody is answered from it.
import { afterEach, expect } from "bun:test";
import { cpSync } from "node:fs";
import { join } from "node:path";
import { type DiskKind, loopDisk } from "../faults/loop_disk.ts";
import { needs } from "../needs.ts";
import { startChild } from "./children.ts";
import {
  cleanUp,
  copyOf,
  freshFolder,
  kindsOf,
  openFolder,
  small,
  smallRecords,
} from "./folders.ts";

afterEach(cleanUp);

const kinds: DiskKind[] = ["ext4", "xfs"];

for (const kind of kinds) {
  needs(
    "linux",
    "root",
    kind,
  )(`a power cut on ${kind} takes nothing that was loaded`, async () => {
    const path = freshFolder();
    const { store } = await openFolder(path);
    await store.folder.put("in state.json", small("1"));
    await store.compact();
    await store.folder.put("in the journal", small("2"));
    const expected = await smallRecords(store);

    const disk = loopDisk(kind);
    try {
      const folder = join(disk.path, "data");
      cpSync(path, folder, { recursive: true });
      const child = startChild("hold", folder);
      await child.said("open");
      disk.cut();
      child.kill();
      await child.exited;
      disk.boot();
      const left = await openFolder(copyOf(folder));
      expect(kindsOf(left.notices)).toEqual(["copied"]);
      expect(await smallRecords(left.store)).toEqual(expected);
    } finally {
      disk.remove();
    }
  });
}
