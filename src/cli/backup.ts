// postern backup: one archive, or a folder, of all lasting state; the server may run meanwhile. What is written is read
// back and recovered before it gets its name.
import { lstatSync } from "node:fs";
import { resolve } from "node:path";
import { readDataFolder } from "../config.ts";
import { FatalError } from "../errors.ts";
import { monotonicClock, seconds, wallClock } from "../primitives.ts";
import type { GivenSettings } from "../settings.ts";
import { readArchive } from "../store/archive.ts";
import {
  type Copied,
  type Files,
  assertApart,
  assertFree,
  assertReplaceable,
  copyFiles,
  countsOf,
  createFile,
  createFolder,
  folderFiles,
  issuerOf,
  unwritable,
} from "../store/copy.ts";
import { folderClock } from "../store/expiry.ts";
import type { DataFolder, FolderFiles, Notice } from "../store/files.ts";
import { lookInto, readAtOnce } from "../store/hot_read.ts";
import { type Recovered, recover } from "../store/recovery.ts";
import { afterRestore } from "../store/restore.ts";
import { packArchive } from "../store/tar.ts";
import { bytesText, countsText, timeText, warn } from "./terminal.ts";

interface Backup extends Copied {
  readonly recovered: Recovered;
  /** Epoch milliseconds. */
  readonly savedAt: number;
}

/** @param target a file, or a folder when it ends in a slash or is one. Resolves to the exit code. */
export async function backup(
  given: GivenSettings,
  target: string,
  replace: boolean,
): Promise<number> {
  const path = resolve(target);
  const asFolder =
    /[/\\]$/.test(target) || lstatSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  const { recovered, files, unread, savedAt } = await lookInto(
    readDataFolder(given, process.env),
    (folder) => {
      assertApart(folder, path);
      (asFolder ? assertFree : assertReplaceable)(path, replace);
      return readAtOnce(folder, (there) => readBackup(folder, there), isSound);
    },
  );
  const size = write(path, files, asFolder ? undefined : savedAt, replace);
  for (const { message } of recovered.notices.filter(isWorthTelling)) warn(message);
  for (const each of unread) warn(`not in the backup: ${each}`);
  const holds = `rev ${recovered.rev}, ${countsText(countsOf(recovered.tables))}`;
  process.stdout.write(`wrote ${path}: ${timeText(savedAt)}, ${bytesText(size)}, ${holds}\n`);
  return 0;
}

/** @param savedAt of an archive; undefined: as a folder. Returns how many bytes were written. */
function write(path: string, files: Files, savedAt: number | undefined, replace: boolean): number {
  try {
    if (savedAt === undefined) {
      createFolder(path, files, { replace, verify: (copy) => assertSame(files, copy) });
      return [...files.values()].reduce((sum, { length }) => sum + length, 0);
    }
    const archive = packArchive(files, seconds(savedAt));
    createFile(path, archive, replace, (content) => assertSame(files, readArchive(content).files));
    return archive.length;
  } catch (error) {
    throw unwritable(path, error);
  }
}

function readBackup(folder: DataFolder, given: FolderFiles): Backup {
  const there = afterRestore(given);
  const recovered = recover(there);
  if (recovered.rev === 0) throw new FatalError(`there is nothing to back up in ${folder.path}`);
  const { tables, rev, chain, newest } = recovered;
  const savedAt = folderClock(newest, wallClock, monotonicClock).stamp();
  const moment = { tables, rev, chain, issuer: issuerOf(recovered), host: folder.host, savedAt };
  return { recovered, ...copyFiles(moment, there), savedAt };
}

/** A group that is being written while it is read is no damage. */
const isWorthTelling = ({ kind }: Notice): boolean => kind !== "torn-tail";
const isSound = ({ recovered, unread }: Backup): boolean =>
  unread.length === 0 && !recovered.notices.some(isWorthTelling);

/** @throws {FatalError} what can be read is not what was written, or is nothing that can be restored */
function assertSame(files: Files, copy: Files): void {
  const isSame = [...files].every(([name, content]) => copy.get(name)?.equals(content));
  if (!isSame || copy.size !== files.size) {
    throw new FatalError("the disk does not give back what was written: there is no backup");
  }
  recover(folderFiles(copy));
}
