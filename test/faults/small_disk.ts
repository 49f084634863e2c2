// A disk of few pages in memory that is filled and emptied while the program runs on it. Needs root.
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { temporaryFolder } from "../server.ts";
import { run } from "./command.ts";

export interface SmallDisk {
  /** The data folder on it. */
  readonly folder: string;
  /** Leaves `slack` bytes at most: what is left is whole pages. */
  fill(slack: number): void;
  empty(): void;
  remove(): void;
}

const PAGE = 4096;

export function smallDisk(mib: number): SmallDisk {
  const disk = temporaryFolder();
  run("mount", "-t", "tmpfs", "-o", `size=${mib}m`, "none", disk);
  const folder = join(disk, "data");
  mkdirSync(folder, { mode: 0o700 });
  const filler = join(disk, "filler");
  return {
    folder,
    fill(slack) {
      const descriptor = openSync(filler, "w");
      let size = 0;
      try {
        for (;;) size += writeSync(descriptor, Buffer.alloc(PAGE));
      } catch {
        // Full, which is what was wanted.
      }
      ftruncateSync(descriptor, size - slack);
      closeSync(descriptor);
    },
    empty: () => rmSync(filler),
    remove: () => {
      run("umount", disk);
      rmSync(disk, { recursive: true });
    },
  };
}
