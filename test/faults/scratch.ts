// Folders for cases in which no disk counts: in memory where the machine has that, so that syncs cost nothing.
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Runs with a new folder, and removes it. */
export async function withScratch<T>(run: (path: string) => Promise<T>): Promise<T> {
  const path = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "postern-"));
  try {
    return await run(path);
  } finally {
    rmSync(path, { recursive: true, force: true });
  }
}

/** So many times one after the other, each with a new folder. */
export async function often(size: number, once: (path: string) => Promise<void>): Promise<void> {
  for (let round = 0; round < size; round++) await withScratch(once);
}

/** An empty folder at this path, whatever was there. */
export function emptied(path: string): string {
  rmSync(path, { recursive: true, force: true });
  mkdirSync(path, { mode: 0o700 });
  return path;
}
