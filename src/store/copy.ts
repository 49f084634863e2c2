// A copy of the data folder: which files it is made of, and writing them to a new place, where they are then whole or not
// there at all. Where what it holds comes from is recovery.ts or salvage.ts.
import {
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  rmdirSync,
  writeSync,
} from "node:fs";
import { dirname, join, sep } from "node:path";
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

/** One snapshot, and what the source has beside its state: settings and audit trail. */
export function copyFiles(moment: Moment, source: FolderFiles): Files {
  const { tables, rev, chain, issuer, host, savedAt } = moment;
  // No folder has this identity: whoever starts on the copy is told that it is one.
  const folder = { dev: 0, ino: 0, host };
  const text = snapshotText({ schema: SCHEMA, rev, chain, savedAt, folder, issuer }, tables);
  const carried = source.names.filter((name) => CARRIED.test(name));
  return new Map([
    [STATE, Buffer.from([...text].join(""))],
    ...carried.map((name): [string, Buffer] => [name, source.read(name)]),
  ]);
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
 * @throws {FatalError} exit code 1: it exists, and `replace` is false
 */
export function createFile(
  path: string,
  content: Buffer,
  replace: boolean,
  verify: (content: Buffer) => void,
): void {
  const part = `${path}.${randomToken(6)}.part`;
  try {
    writeNew(part, content);
    verify(readFileSync(part));
    if (replace) renameSync(part, path);
    else nameOnce(part, path);
  } finally {
    rmSync(part, { force: true });
  }
  syncFolder(dirname(path));
}

/** What a system error means for a file or folder that is written; other errors as they are. */
export const unwritable = (path: string, error: unknown): unknown =>
  errorCode(error) === ""
    ? error
    : new FatalError(`cannot write ${path}: ${reason(error)}`, { cause: error });

export const fileExists = (path: string): FatalError =>
  new FatalError(`${path} exists`, { hint: "choose another name, or replace it with --force" });

function nameOnce(part: string, path: string): void {
  try {
    linkSync(part, path);
  } catch (error) {
    if (errorCode(error) === "EEXIST" || existsSync(path)) throw fileExists(path);
    // A file system without hard links.
    renameSync(part, path);
  }
}

/**
 * Writes a folder that appears whole or not at all.
 * @param verify is given what the disk gives back, before the folder gets its name
 * @throws {FatalError} exit code 1: something is there
 */
export function createFolder(
  path: string,
  files: Files,
  verify: (files: Files) => void = () => undefined,
): void {
  assertFree(path);
  const part = `${path}.${randomToken(6)}.part`;
  try {
    mkdirSync(part, { mode: 0o700 });
    for (const [name, content] of files) writeNew(join(part, name), content);
    syncFolder(part);
    verify(new Map([...files.keys()].map((name) => [name, readFileSync(join(part, name))])));
    if (existsSync(path)) rmdirSync(path);
    renameSync(part, path);
  } finally {
    rmSync(part, { recursive: true, force: true });
  }
  syncFolder(dirname(path));
}

/** @throws {FatalError} exit code 2: the path is in the folder itself, which holds nothing but its own files */
export function assertApart(folder: DataFolder, path: string): void {
  if (path !== folder.path && !path.startsWith(folder.path + sep)) return;
  throw new FatalError(`${path} is in the data folder itself`, {
    exitCode: 2,
    hint: "name a place outside of it",
  });
}

/** @throws {FatalError} exit code 1: something is there that is not an empty folder */
export function assertFree(path: string): void {
  try {
    if (readdirSync(path).length === 0) return;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return;
    if (errorCode(error) !== "ENOTDIR") throw error;
  }
  throw new FatalError(`${path} exists, and is not an empty folder`, {
    hint: "name a folder that is not there yet",
  });
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
