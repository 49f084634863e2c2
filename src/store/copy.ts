// A copy of the data folder: which files it is made of, and writing them to a new place, where they are then whole or not
// there at all. Where what it holds comes from is recovery.ts or salvage.ts.
import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join, sep } from "node:path";
import { FatalError, errorCode, reason } from "../errors.ts";
import { randomToken } from "../primitives.ts";
import { type DataFolder, type FolderFiles, STATE, syncFolder } from "./files.ts";
import { SCHEMA } from "./journal.ts";
import type { TableMaps } from "./records.ts";
import type { Recovered } from "./recovery.ts";
import { snapshotText } from "./snapshot.ts";

/** Contents by name. */
export type Files = ReadonlyMap<string, Buffer>;

/** All tables at one moment. */
export interface Moment extends Pick<Recovered, "tables" | "rev" | "chain"> {
  readonly issuer: string;
  readonly host: string;
  /** Epoch milliseconds. */
  readonly savedAt: number;
}

const CARRIED = /^(config\.json|audit\.jsonl(\.\d+)?)$/;

export interface Copied {
  readonly files: Files;
  /** Which files are not in the copy, and why: "audit.jsonl: EIO: i/o error, read". */
  readonly unread: readonly string[];
}

/** One snapshot, and what the source has beside its state: settings and audit trail, on which nothing depends. */
export function copyFiles(moment: Moment, source: FolderFiles): Copied {
  const { tables, rev, chain, issuer, host, savedAt } = moment;
  // No folder has this identity: whoever starts on the copy is told that it is one.
  const folder = { dev: 0, ino: 0, host };
  const text = snapshotText({ schema: SCHEMA, rev, chain, savedAt, folder, issuer }, tables);
  const files = new Map<string, Buffer>([[STATE, Buffer.from([...text].join(""))]]);
  const unread: string[] = [];
  for (const name of source.names.filter((each) => CARRIED.test(each))) {
    try {
      files.set(name, source.read(name));
    } catch (error) {
      unread.push(`${name}: ${reason(error)}`);
    }
  }
  return { files, unread };
}

/** The public URL that a folder was last used under, "" when nothing tells it. */
export const issuerOf = ({ tables, snapshot }: Pick<Recovered, "tables" | "snapshot">): string =>
  tables.folder.get("self")?.issuer ?? snapshot?.header.issuer ?? "";

export function folderFiles(files: Files): FolderFiles {
  return {
    names: [...files.keys()].toSorted(),
    read(name, limit) {
      const content = files.get(name);
      if (!content) throw new Error(`there is no ${name}`);
      return limit === undefined ? content : content.subarray(0, limit);
    },
  };
}

export interface Counts {
  readonly clients: number;
  readonly logins: number;
  readonly keys: number;
  readonly owner: boolean;
}

export const countsOf = ({ clients, refresh_tokens, owner, api_keys }: TableMaps): Counts => ({
  clients: clients.size,
  logins: refresh_tokens.size,
  keys: api_keys.size,
  owner: owner.has("owner"),
});

/**
 * Writes a file that appears whole or not at all.
 * @param verify is given what the disk gives back, before the file gets its name
 * @throws {FatalError} exit code 1: it exists, and `replace` is false or it is no file
 */
export function createFile(
  path: string,
  content: Buffer,
  replace: boolean,
  verify: (content: Buffer) => void,
): void {
  assertReplaceable(path, replace);
  const part = partOf(path);
  try {
    writeNew(part, content);
    verify(readFileSync(part));
    if (replace) renameSync(part, path);
    else nameOnce(part, path);
  } finally {
    removeAny(part);
  }
  syncFolder(dirname(path));
}

const partOf = (path: string): string => `${path}.${randomToken(6)}.part`;

/** What could not be written may not be removable either; why it could not is what people need to know. */
export function removeAny(part: string): void {
  try {
    rmSync(part, { recursive: true, force: true });
  } catch {
    // The disk is read-only by now, or gone.
  }
}

/** What a system error means for a file or folder that is written; other errors as they are. */
export const unwritable = (path: string, error: unknown): unknown =>
  errorCode(error) === ""
    ? error
    : new FatalError(`cannot write ${path}: ${reason(error)}`, {
        exitCode: isForbidden(error) ? 77 : 1,
        cause: error,
      });

/** Whether a system error is about who may, not about what is there. */
export const isForbidden = (error: unknown): boolean =>
  ["EACCES", "EPERM", "EROFS"].includes(errorCode(error));

const isExisting = (path: string): FatalError =>
  new FatalError(`${path} exists`, { hint: "choose another name, or replace it with --force" });

/** A device or pipe is no place for a file, and a link leads to one that nobody named. @throws {FatalError} exit code 1 */
export function assertReplaceable(path: string, replace: boolean): void {
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (!there) return;
  if (!there.isFile()) {
    throw new FatalError(`${path} exists, and is not a regular file`, {
      hint: "choose another name",
    });
  }
  if (!replace) throw isExisting(path);
}

function nameOnce(part: string, path: string): void {
  try {
    linkSync(part, path);
  } catch (error) {
    if (errorCode(error) === "EEXIST" || existsSync(path)) throw isExisting(path);
    // A file system without hard links.
    renameSync(part, path);
  }
}

export interface FolderOptions {
  /** Whether one that copyFiles made gives way. */
  readonly replace?: boolean;
  /** Is given what the disk gives back, before the folder gets its name. */
  readonly verify?: (files: Files) => void;
  /** Paths of files that get a second name in the folder, unread. */
  readonly linked?: readonly string[];
}

/**
 * Writes a folder that appears whole or not at all.
 * @throws {FatalError} exit code 1: something is there
 */
export function createFolder(
  given: string,
  files: Files,
  { replace = false, verify, linked = [] }: FolderOptions = {},
): void {
  const path = realPath(given);
  assertFree(path, replace);
  const part = partOf(path);
  const old = `${part}.old.part`;
  try {
    mkdirSync(part, { mode: 0o700 });
    for (const [name, content] of files) writeNew(join(part, name), content);
    for (const source of linked) linkSync(source, join(part, basename(source)));
    syncFolder(part);
    verify?.(new Map([...files.keys()].map((name) => [name, readFileSync(join(part, name))])));
    if (existsSync(path)) renameSync(path, old);
    renameSync(part, path);
  } catch (error) {
    if (existsSync(old) && !existsSync(path)) renameSync(old, path);
    throw error;
  } finally {
    removeAny(part);
  }
  syncFolder(dirname(path));
  removeAny(old);
}

/** @throws {FatalError} exit code 2: the path leads into the folder itself, which holds nothing but its own files */
export function assertApart(folder: DataFolder, path: string): void {
  if (!(realPath(path) + sep).startsWith(folder.path + sep)) return;
  throw new FatalError(`${path} is in the data folder itself`, {
    exitCode: 2,
    hint: "name a place outside of it",
  });
}

/** Where a path leads, as far as there is anything on the way. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path === dirname(path) ? path : join(realPath(dirname(path)), basename(path));
  }
}

/** @throws {FatalError} exit code 1: something is there that is not an empty folder, and no copy that may be replaced */
export function assertFree(path: string, replace = false): void {
  try {
    const names = readdirSync(path);
    if (names.length === 0) return;
    const isCopy =
      names.includes(STATE) && names.every((name) => name === STATE || CARRIED.test(name));
    if (isCopy && replace) return;
    if (isCopy) throw isExisting(path);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return;
    if (errorCode(error) !== "ENOTDIR") throw unwritable(path, error);
  }
  const other = replace ? ", and is more than a backup" : ", and is not an empty folder";
  throw new FatalError(`${path} exists${other}`, { hint: "name a folder that is not there yet" });
}

const NEW_FILE =
  constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | (constants.O_NOFOLLOW ?? 0);

/** Writes a file that was not there, mode 0600, synced; its name is not. */
export function writeNew(path: string, content: Buffer): void {
  const descriptor = openSync(path, NEW_FILE, 0o600);
  try {
    for (let done = 0; done < content.length;) {
      const count = writeSync(descriptor, content, done, content.length - done, done);
      if (count === 0) throw new Error(`the disk takes no more bytes of ${path}`);
      done += count;
    }
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
