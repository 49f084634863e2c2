// postern restore: puts a copy, archive or folder, in place of the data folder, and says what that undoes. How the files are
// exchanged is store/restore.ts.
import { existsSync, readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline/promises";
import { CONFIG_FILE, readDataFolder } from "../config.ts";
import { FatalError, errorCode, reason } from "../errors.ts";
import { type Ended, endEverything } from "../oauth/grants.ts";
import { checksum, seconds, wallClock } from "../primitives.ts";
import type { GivenSettings } from "../settings.ts";
import { readArchive } from "../store/archive.ts";
import { copyFiles, countsOf, folderFiles, isForbidden, issuerOf } from "../store/copy.ts";
import { applyChanges, changeTexts, openGroup } from "../store/draft.ts";
import {
  type DataFolder,
  type FolderFiles,
  kindOf,
  newCounters,
  openDataFolder,
} from "../store/files.ts";
import { listFiles, lookInto, readAtOnce } from "../store/hot_read.ts";
import { lockFolder } from "../store/lock.ts";
import { checkEntries, checkFolder } from "../store/permissions.ts";
import { type Recovered, recover } from "../store/recovery.ts";
import { CERTIFICATE, afterRestore, restoreFiles } from "../store/restore.ts";
import { shown } from "../store/tar.ts";
import { countsText, endedText, nextCommand, timeText, warn } from "./terminal.ts";

/** Bytes of the largest archive that is read. */
const LARGEST = 1024 ** 3;
/** Of a command that a person left. */
const LEFT = 130;

/** What is to be restored. */
interface Copy {
  readonly files: FolderFiles;
  readonly recovered: Recovered;
  /** Names in it that are not ours. */
  readonly foreign: readonly string[];
}

/** @param source an archive or a folder. Resolves to the exit code. */
export async function restore(
  given: GivenSettings,
  source: string,
  revokeAll: boolean,
): Promise<number> {
  const path = resolve(source);
  const data = readDataFolder(given, process.env);
  const copy = await readCopy(path);
  assertOther(data, path);
  for (const { message } of copy.recovered.notices) warn(message);
  const endsLogins = revokeAll || (await askRevokeAll(copy.recovered));
  if (endsLogins === undefined) {
    process.stderr.write("\nnothing was changed\n");
    return LEFT;
  }
  const folder = openDataFolder(data, newCounters());
  try {
    const done = await exchange(folder, copy, endsLogins);
    for (const each of done.unread) warn(`not in the copy: ${each}`);
    process.stdout.write(`${restoredText(folder, path, copy, done)}\n`);
    return 0;
  } finally {
    folder.close();
  }
}

function assertOther(data: string, path: string): void {
  const there = statSync(data, { throwIfNoEntry: false });
  const { dev, ino } = statSync(path);
  if (dev !== there?.dev || ino !== there.ino) return;
  throw new FatalError(`${path} is the data folder itself`, { exitCode: 2 });
}

/** @throws {FatalError} exit code 66: there is none; 77: it may not be read; 78: damaged, or no copy of a data folder */
async function readCopy(path: string): Promise<Copy> {
  try {
    const copy = statSync(path).isDirectory() ? await readFolder(path) : readFile(path);
    if (copy.recovered.rev > 0) return copy;
  } catch (cause) {
    if (errorCode(cause) === "ENOENT")
      throw new FatalError(`there is no ${path}`, { exitCode: 66 });
    const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
    throw new FatalError(`${path} cannot be restored: ${reason(cause)}`, {
      exitCode: isForbidden(cause) ? 77 : cause instanceof FatalError ? cause.exitCode : 78,
      ...(isFolder && { hint: `${nextCommand("check", path)} says more` }),
      cause,
    });
  }
  throw new FatalError(`${path} cannot be restored: there is no state in it`, { exitCode: 78 });
}

const readFolder = (path: string): Promise<Copy> =>
  lookInto(path, (folder) =>
    readAtOnce(
      folder,
      (there) => {
        const files = afterRestore(there);
        const foreign = there.names.filter((name) => kindOf(name) === "foreign");
        return { files, recovered: recover(files), foreign };
      },
      ({ recovered }) => recovered.notices.length === 0,
    ),
  );

function readFile(path: string): Copy {
  const there = statSync(path);
  if (!there.isFile()) throw new Error("it is neither a file nor a folder");
  if (there.size > LARGEST) throw new Error(`it is larger than ${LARGEST} bytes`);
  const archive = readArchive(readFileSync(path));
  const files = afterRestore(folderFiles(archive.files));
  return { files, recovered: recover(files), foreign: archive.foreign };
}

interface Done {
  /** Where what was there is now. */
  readonly aside: string | undefined;
  /** What was ended in the same step; undefined: nothing was meant to be. */
  readonly ended: Ended | undefined;
  /** What of the copy could not be read. */
  readonly unread: readonly string[];
  /** What has become of the settings; undefined: there were none and are none. */
  readonly settings: string | undefined;
}

async function exchange(
  folder: DataFolder,
  { files, recovered }: Copy,
  endsLogins: boolean,
): Promise<Done> {
  checkFolder(folder, ({ message }) => warn(message));
  const lock = await lockFolder(folder, { wait: 0, now: wallClock, notice: () => undefined });
  try {
    checkEntries(folder, listFiles(folder), ({ message }) => warn(message));
    const host = recovered.snapshot?.header.folder.host ?? folder.host;
    const savedAt = recovered.newest ?? 0;
    const moment = { ...recovered, issuer: issuerOf(recovered), host, savedAt };
    const end = endsLogins ? endLogins(recovered) : undefined;
    const copied = copyFiles({ ...moment, ...end }, files);
    const settings = settingsText(folder, copied.files.has(CONFIG_FILE));
    const all = new Map([...copied.files, ...certificate(folder, files)]);
    const aside = await restoreFiles(folder, all, wallClock());
    return { aside, ended: end?.ended, unread: copied.unread, settings };
  } finally {
    lock.release();
  }
}

/** It belongs to the machine: the one that is there stays, and another is better than none. */
const certificate = (folder: DataFolder, files: FolderFiles): [string, Buffer][] =>
  existsSync(folder.at(CERTIFICATE)) || !files.names.includes(CERTIFICATE)
    ? []
    : [[CERTIFICATE, files.read(CERTIFICATE)]];

function settingsText(folder: DataFolder, come: boolean): string | undefined {
  if (come) return `settings: those of the copy, in ${folder.at(CONFIG_FILE)}`;
  if (!existsSync(folder.at(CONFIG_FILE))) return undefined;
  return `settings: the copy has none; ${CONFIG_FILE} is kept with what was there`;
}

/** Undefined: the person left. */
async function askRevokeAll({ newest = 0 }: Recovered): Promise<boolean | undefined> {
  if (!process.stdin.isTTY) return false;
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const question =
    `The copy is from ${timeText(newest)}. Logins that were ended since then come back with it.\n` +
    "End every login in the same step? [y/N] ";
  const left = Promise.withResolvers<undefined>();
  lines.once("close", left.resolve);
  lines.once("SIGINT", left.resolve);
  const asked = lines.question(question).catch(() => undefined);
  const answer = await Promise.race([asked, left.promise]);
  lines.close();
  return answer === undefined ? undefined : /^y(es)?$/i.test(answer.trim());
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
  { recovered: { rev, newest = 0, tables }, foreign }: Copy,
  { aside, ended, settings }: Done,
): string {
  const undone =
    "logins that were ended since then are back, and superseded refresh tokens until their client comes:\n" +
    `  ${nextCommand("revoke-all", data)} ends every login`;
  const more = foreign.length > 5 ? ` and ${foreign.length - 5} more` : "";
  return [
    `restored ${data} from ${source}: ${timeText(newest)}, rev ${rev}, ${countsText(countsOf(tables))}`,
    ...(foreign.length === 0
      ? []
      : [`left out, not Postern's: ${foreign.slice(0, 5).map(shown).join(", ")}${more}`]),
    ...(settings === undefined ? [] : [settings]),
    ...(aside === undefined ? [] : [`what was there is in ${aside}`]),
    ended === undefined ? undone : endedText(ended.grants, ended.keys),
    `next: ${nextCommand("", data)}`,
  ].join("\n");
}
