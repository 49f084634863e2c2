// postern restore: puts a copy, archive or folder, in place of the data folder, and says what that undoes. How the files are
// exchanged is store/restore.ts.
import { existsSync, readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline/promises";
import { readDataFolder } from "../config.ts";
import { FatalError, errorCode, reason } from "../errors.ts";
import { type Ended, endEverything } from "../oauth/grants.ts";
import { checksum, seconds, wallClock } from "../primitives.ts";
import type { GivenSettings } from "../settings.ts";
import { readArchive } from "../store/archive.ts";
import { copyFiles, countsOf, folderFiles, issuerOf } from "../store/copy.ts";
import { applyChanges, changeTexts, openGroup } from "../store/draft.ts";
import {
  type DataFolder,
  type FolderFiles,
  RESTORE,
  newCounters,
  openDataFolder,
} from "../store/files.ts";
import { listFiles, lookInto, readAtOnce } from "../store/hot_read.ts";
import { lockFolder } from "../store/lock.ts";
import { checkEntries, checkFolder } from "../store/permissions.ts";
import { type Recovered, recover } from "../store/recovery.ts";
import { afterRestore, restoreFiles } from "../store/restore.ts";
import { countsText, endedText, nextCommand, timeText, warn } from "./terminal.ts";

/** Bytes of the largest archive that is read. */
const LARGEST = 1024 ** 3;

/** What is to be restored. */
interface Copy {
  readonly files: FolderFiles;
  readonly recovered: Recovered;
}

/** @param source an archive or a folder. Resolves to the exit code. */
export async function restore(
  given: GivenSettings,
  source: string,
  revokeAll: boolean,
): Promise<number> {
  const path = resolve(source);
  const copy = await readCopy(path);
  for (const { message } of copy.recovered.notices) warn(message);
  const folder = openDataFolder(readDataFolder(given, process.env), newCounters());
  try {
    assertOther(folder, path);
    const done = await exchange(folder, copy, revokeAll);
    process.stdout.write(`${restoredText(folder, path, copy.recovered, done)}\n`);
    return 0;
  } catch (error) {
    throw unfinished(folder, error);
  } finally {
    folder.close();
  }
}

/** What a system error in the middle means: before restore.json is there nothing has changed. */
function unfinished(folder: DataFolder, error: unknown): unknown {
  if (errorCode(error) === "") return error;
  const counts = existsSync(folder.at(RESTORE));
  return new FatalError(`cannot restore into ${folder.path}: ${reason(error)}`, {
    exitCode: 78,
    hint: counts ? "the next start finishes it" : "nothing was changed",
    cause: error,
  });
}

function assertOther(folder: DataFolder, path: string): void {
  const { dev, ino } = statSync(path);
  if (dev !== folder.dev || ino !== folder.ino) return;
  throw new FatalError(`${path} is the data folder itself`, { exitCode: 2 });
}

/** @throws {FatalError} exit code 1: there is none; 78: it is damaged, or not a copy of a data folder */
async function readCopy(path: string): Promise<Copy> {
  const there = statSync(path, { throwIfNoEntry: false });
  if (!there) throw new FatalError(`there is no ${path}`);
  try {
    const copy = there.isDirectory() ? await readFolder(path) : readFile(path, there.size);
    if (copy.recovered.rev > 0) return copy;
  } catch (cause) {
    throw new FatalError(`${path} cannot be restored: ${reason(cause)}`, {
      exitCode: 78,
      ...(there.isDirectory() && { hint: `postern check --data ${path} says more` }),
      cause,
    });
  }
  throw new FatalError(`${path} cannot be restored: there is no state in it`, { exitCode: 78 });
}

const readFolder = (path: string): Promise<Copy> =>
  lookInto(path, (folder) =>
    readAtOnce(
      folder,
      (files) => ({ files, recovered: recover(files) }),
      ({ recovered }) => recovered.notices.length === 0,
    ),
  );

function readFile(path: string, size: number): Copy {
  if (!statSync(path).isFile()) throw new Error("it is neither a file nor a folder");
  if (size > LARGEST) throw new Error(`it is larger than ${LARGEST} bytes`);
  const files = afterRestore(folderFiles(readArchive(readFileSync(path))));
  return { files, recovered: recover(files) };
}

interface Done {
  /** Where what was there is now. */
  readonly aside: string | undefined;
  /** What was ended in the same step; undefined: nothing was meant to be. */
  readonly ended: Ended | undefined;
}

async function exchange(
  folder: DataFolder,
  { files, recovered }: Copy,
  revokeAll: boolean,
): Promise<Done> {
  checkFolder(folder, ({ message }) => warn(message));
  const lock = await lockFolder(folder, { wait: 0, now: wallClock, notice: () => undefined });
  try {
    checkEntries(folder, listFiles(folder), ({ message }) => warn(message));
    const host = recovered.snapshot?.header.folder.host ?? folder.host;
    const savedAt = recovered.newest ?? 0;
    const moment = { ...recovered, issuer: issuerOf(recovered), host, savedAt };
    const end = revokeAll || (await askRevokeAll(savedAt)) ? endLogins(recovered) : undefined;
    const aside = await restoreFiles(folder, copyFiles({ ...moment, ...end }, files), wallClock());
    return { aside, ended: end?.ended };
  } finally {
    lock.release();
  }
}

async function askRevokeAll(savedAt: number): Promise<boolean> {
  if (!process.stdin.isTTY) return false;
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const question =
    `The copy is from ${timeText(savedAt)}. Logins that were ended since then come back with it.\n` +
    "End every login in the same step? [y/N] ";
  const answer = await lines.question(question);
  lines.close();
  return /^y(es)?$/i.test(answer.trim());
}

/** One change above the copy, in no other history: what it leaves behind cannot be laid over it again. */
function endLogins(recovered: Recovered): { rev: number; chain: string; ended: Ended } {
  const group = openGroup(recovered.tables);
  const ended = group.run((draft) => endEverything(draft, seconds(wallClock())));
  applyChanges(recovered.tables, group.changes);
  const chain = checksum().add(recovered.chain).add(changeTexts(group.changes).join(",")).end();
  return { rev: recovered.rev + 1, chain, ended };
}

function restoredText(
  { path: data }: DataFolder,
  source: string,
  { rev, newest = 0, tables }: Recovered,
  { aside, ended }: Done,
): string {
  const undone =
    "logins that were ended since then are back, and superseded refresh tokens until their client comes:\n" +
    `  ${nextCommand("revoke-all", data)} ends every login`;
  return [
    `restored ${data} from ${source}: ${timeText(newest)}, rev ${rev}, ${countsText(countsOf(tables))}`,
    ...(aside === undefined ? [] : [`what was there is in ${aside}`]),
    ended === undefined ? undone : endedText(ended.grants, ended.keys),
    `next: ${nextCommand("", data)}`,
  ].join("\n");
}
