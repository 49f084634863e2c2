// Who may read the data folder, and what stands in it: the owner's alone, and regular files only. Tightens modes and
// refuses the rest.
import {
  type Stats,
  chmodSync,
  lstatSync,
  readdirSync,
  statSync,
  accessSync,
  constants,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { notOurs, shellWord } from "../access.ts";
import { FatalError, reason } from "../errors.ts";
import { type DataFolder, type Notice, RESTORING, isNewFolder, kindOf } from "./files.ts";

/** Permission bits of group and others. */
const OTHERS = 0o077;

/**
 * Checks the folder itself.
 * @throws {FatalError} exit code 77 or 78
 */
export function checkFolder(folder: DataFolder, notice: (notice: Notice) => void): void {
  if (!inspectFolder(folder)) return;
  tighten(folder.path, 0o700);
  // A fresh clone brings the folder with the modes of its umask, and nothing in it that anybody could have read.
  if (isNewFolder(readdirSync(folder.path))) return;
  const message = `${folder.path} was open to others: its mode is 0700 now`;
  notice({ kind: "loose-modes", message });
}

/** The user that this process is; undefined where there are none (Windows). */
export const ownUser = (): number | undefined => process.geteuid?.();

/**
 * The same without a change to it, for a start as `user`. Returns whether it is open to others.
 * @throws {FatalError} exit code 77 or 78
 */
export function inspectFolder(folder: DataFolder, user = ownUser()): boolean {
  const there = statSync(folder.path);
  if (!there.isDirectory()) {
    throw new FatalError(`${folder.path} is not a folder`, {
      exitCode: 78,
      hint: "name a folder with --data",
    });
  }
  checkOwner(folder.path, there, user);
  checkWritable(folder.path);
  return isLoose(there);
}

/**
 * Checks everything in the folder that is ours.
 * @throws {FatalError} exit code 77 or 78
 */
export function checkEntries(
  folder: DataFolder,
  names: readonly string[],
  notice: (notice: Notice) => void,
): void {
  const loose = inspectEntries(folder, names);
  if (loose.length === 0) return;
  for (const name of loose) tighten(folder.at(name), 0o600);
  const message = `files were open to others, their mode is 0600 now: ${loose.join(", ")}`;
  notice({ kind: "loose-modes", message });
}

/**
 * The same without a change to them, for a start as `user`. Returns the names of those that are open to others.
 * @throws {FatalError} exit code 77 or 78
 */
export function inspectEntries(
  folder: DataFolder,
  names: readonly string[],
  user = ownUser(),
): string[] {
  return names.filter((name) => {
    const kind = kindOf(name);
    if (kind !== "file" && kind !== "kept" && !name.endsWith(RESTORING)) return false;
    const path = folder.at(name);
    const there = lstatSync(path, { throwIfNoEntry: false });
    if (!there) return false;
    if (!there.isFile()) {
      throw new FatalError(`${path} is not a regular file`, {
        exitCode: 78,
        hint: `move it away: mv ${shellWord(path)} ${shellWord(join(dirname(path), `away-${basename(path)}`))}`,
      });
    }
    checkOwner(path, there, user);
    if (kind === "file") checkReadable(path, there);
    return isLoose(there);
  });
}

/** What may not be read is not damaged: nothing is decided before it may be. */
function checkReadable(path: string, { mode }: Stats): void {
  try {
    accessSync(path, constants.R_OK);
  } catch (cause) {
    const bits = (mode & 0o777).toString(8).padStart(4, "0");
    throw new FatalError(`${path} may not be read: its mode is ${bits}`, {
      exitCode: 77,
      hint: `chmod 600 ${shellWord(path)}`,
      cause,
    });
  }
}

function checkOwner(path: string, { uid }: Stats, user: number | undefined): void {
  if (user === undefined || uid === user) return;
  throw notOurs(path, uid, user);
}

/** What cannot be saved is answered 503 while running; a start says it at once. */
function checkWritable(path: string): void {
  try {
    accessSync(path, constants.W_OK);
  } catch (cause) {
    throw new FatalError(`the data folder ${path} cannot be written to: ${reason(cause)}`, {
      exitCode: 77,
      hint: "make it writable for this user, or name another folder with --data",
      cause,
    });
  }
}

const isLoose = ({ mode }: Stats): boolean => process.platform !== "win32" && (mode & OTHERS) !== 0;

/** Takes the rights of others away. */
function tighten(path: string, mode: number): void {
  try {
    chmodSync(path, mode);
  } catch {
    // A file system without modes shows everything as open; who may read it was decided at the mount.
  }
}
