// Steps 10 and 11 of compaction: which journals neither state.json nor the generation before it needs, and when they go.
import { existsSync, lstatSync, readdirSync, unlinkSync } from "node:fs";
import { type DataFolder, PREVIOUS, STATE, readStart } from "./files.ts";
import { journalBase, readHeader } from "./journal.ts";
import { snapshotStart } from "./snapshot.ts";

export interface Retention {
  readonly folder: DataFolder;
  /** Name of the journal in use. */
  readonly current: string | undefined;
  /** Monotonic milliseconds, of the journals that this process ended. */
  readonly endedAt: Map<string, number>;
  readonly now: () => number;
  readonly monotonic: () => number;
}

/** Bytes in which a header stands. */
const START = 4096;
/** Milliseconds. */
const HOUR = 3_600_000;

/** Removes, oldest first, so that what stays is always one unbroken history. */
export async function dropJournals(retention: Retention): Promise<void> {
  const { folder, current, endedAt } = retention;
  const main = revOf(folder, STATE);
  const previous = revOf(folder, PREVIOUS);
  // Without two generations a damaged state.json would leave the journals alone to tell everything.
  if (main === undefined || previous === undefined) return;
  const floor = Math.min(main, previous);
  const journals = listJournals(folder);
  for (const [index, { name }] of journals.entries()) {
    const end = journals[index + 1]?.base ?? main;
    if (name === current || end > floor || !isLongEnded(retention, name)) return;
    unlinkSync(folder.at(name));
    endedAt.delete(name);
    await folder.sync();
  }
}

/** The rev of a snapshot, from the disk; undefined when there is none to read. */
function revOf(folder: DataFolder, name: string): number | undefined {
  const path = folder.at(name);
  return existsSync(path) ? snapshotStart(readStart(path, START))?.rev : undefined;
}

/** Readable journals, oldest first. */
function listJournals(folder: DataFolder): { name: string; base: number }[] {
  return readdirSync(folder.path)
    .flatMap((name) => {
      const base = journalBase(name);
      if (base === undefined) return [];
      return readHeader(readStart(folder.at(name), START))?.base === base ? [{ name, base }] : [];
    })
    .toSorted((a, b) => a.base - b.base);
}

/** A copy of the folder that began before the journal ended may still want it. */
function isLongEnded({ folder, endedAt, now, monotonic }: Retention, name: string): boolean {
  const ended = endedAt.get(name);
  if (ended !== undefined) return monotonic() - ended > HOUR;
  return now() - lstatSync(folder.at(name)).mtimeMs > HOUR;
}
