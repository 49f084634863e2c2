// The names in the data folder and the open folder itself: paths, identity, directory sync. Knows no file's content.
import {
  closeSync,
  fstatSync,
  fsync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  readSync,
  realpathSync,
  statSync,
} from "node:fs";
import { hostname } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { promisify } from "node:util";
import { FatalError, errorCode, reason } from "../errors.ts";

/** What the store found, for the terminal and the audit trail. `kind` is one stable word, `message` one sentence. */
export interface Notice {
  readonly kind: string;
  readonly message: string;
}

/** Work done since the start: for metrics, and for tests, which count instead of measuring time. */
export interface Counters {
  groups: number;
  changes: number;
  writes: number;
  bytes: number;
  syncs: number;
  failures: number;
  /** Groups that could not be saved since the last that was. */
  failuresInRow: number;
  compactions: number;
}

export const newCounters = (): Counters => ({
  groups: 0,
  changes: 0,
  writes: 0,
  bytes: 0,
  syncs: 0,
  failures: 0,
  failuresInRow: 0,
  compactions: 0,
});

export const STATE = "state.json";
export const PREVIOUS = "state.json.prev";
export const LOCK = ".lock";
export const LOCK_OWNER = ".lock.json";
/** Says that a restore counts, and of which files the folder is made from now on. */
export const RESTORE = "restore.json";
/** At the end of the names of files that wait for that. */
export const RESTORING = ".restoring";

/** What a name in the data folder stands for. */
export type NameKind = "file" | "temporary" | "kept" | "lock" | "socket" | "tolerated" | "foreign";

/** Of what a restore keeps: the folder as it was before, under its time. */
const BEFORE = String.raw`before-\d{8}T[\d.]+Z`;
/** At the end of the names of files and folders that are being written. */
const PART = String.raw`\.[\w-]{8}\.part`;

const UNFINISHED_ASIDE = new RegExp(`^${BEFORE}${PART}$`);
/** Whether a name is that of a folder in which a restore was keeping what was there before. */
export const isUnfinishedAside = (name: string): boolean => UNFINISHED_ASIDE.test(name);

const kinds: readonly [NameKind, RegExp][] = [
  ["temporary", /^(state|acme)\.json\.\d+$/],
  ["temporary", /^((state|acme|config|restore)\.json|audit\.jsonl(\.\d+)?)\.restoring$/],
  ["temporary", UNFINISHED_ASIDE],
  ["kept", /^state\.json\.(corrupt|edited)-/],
  ["file", /^(state\.json(\.prev)?|journal\.\d{12,}\.jsonl|audit\.jsonl(\.\d+)?)$/],
  ["file", /^((acme|config|restore)\.json|setup-link|\.lock\.json)$/],
  ["lock", /^\.lock$/],
  ["socket", /^admin\.sock$/],
  ["tolerated", /^(README\.md|\.gitignore|\.gitkeep|\.DS_Store|lost\+found)$/],
  ["tolerated", new RegExp(`^${BEFORE}$`)],
];

export const kindOf = (name: string): NameKind =>
  kinds.find(([, pattern]) => pattern.test(name))?.[0] ?? "foreign";

/** Whether there is nothing at all of ours among the names. */
export const isNewFolder = (names: readonly string[]): boolean =>
  !names.some((name) => kindOf(name) === "kept" || /^(state|journal)\./.test(name));

/** The data folder, open for as long as the process owns it. */
export interface DataFolder {
  /** Absolute, symbolic links resolved. */
  readonly path: string;
  readonly dev: number;
  readonly ino: number;
  readonly host: string;
  /** Of the directory; undefined where directories cannot be opened (Windows). */
  readonly descriptor: number | undefined;
  at(name: string): string;
  /** Makes creations, renames and removals in the folder durable. */
  sync(): Promise<void>;
  /** Whether the path still leads to the folder that was opened. */
  isInPlace(): boolean;
  close(): void;
}

const fsyncDirectory = promisify(fsync);
/** What file systems without directory sync answer; there is nothing better to do on them. */
const unsyncable: readonly string[] = ["EINVAL", "ENOTSUP", "EOPNOTSUPP"];

/**
 * Opens the folder, created with mode 0700 when it is missing.
 * @throws {FatalError} exit code 77 or 78
 */
export function openDataFolder(given: string, counters: Counters): DataFolder {
  const { path, descriptor } = makeFolder(given);
  const { dev, ino } = descriptor === undefined ? statSync(path) : fstatSync(descriptor);
  return {
    path,
    dev,
    ino,
    host: hostname(),
    descriptor,
    at: (name) => join(path, name),
    async sync() {
      if (descriptor === undefined) return;
      counters.syncs++;
      await fsyncDirectory(descriptor).catch((error: unknown) => {
        if (!unsyncable.includes(errorCode(error))) throw error;
      });
    },
    isInPlace() {
      const there = statSync(path, { throwIfNoEntry: false });
      return there?.dev === dev && there.ino === ino;
    },
    close() {
      if (descriptor !== undefined) closeSync(descriptor);
    },
  };
}

function makeFolder(given: string): Pick<DataFolder, "path" | "descriptor"> {
  try {
    const first = mkdirSync(given, { recursive: true, mode: 0o700 });
    if (first !== undefined) syncNewFolders(resolve(first), resolve(given));
    const path = realpathSync(given);
    return { path, descriptor: process.platform === "win32" ? undefined : openSync(path, "r") };
  } catch (cause) {
    const code = errorCode(cause);
    const why = code === "EEXIST" ? "it is not a folder" : reason(cause);
    throw new FatalError(`the data folder ${given} cannot be used: ${why}`, {
      exitCode: exitCodeOf(code),
      hint: "name a folder that you may write to with --data",
      cause,
    });
  }
}

/** A new folder is lost with all that is synced in it when the folder above has not been synced. */
function syncNewFolders(first: string, last: string): void {
  for (let made = last; made.length >= first.length; made = dirname(made)) {
    syncFolder(dirname(made));
  }
}

/** Makes the content of a file durable, whoever wrote it. */
export function syncContent(path: string): void {
  // Windows syncs only what is open for writing.
  if (process.platform === "win32") return;
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } catch (error) {
    if (!unsyncable.includes(errorCode(error))) throw error;
  } finally {
    closeSync(descriptor);
  }
}

/** Makes creations, renames and removals in a folder durable that is not the data folder. */
export function syncFolder(path: string): void {
  if (process.platform === "win32") return;
  try {
    const descriptor = openSync(path, "r");
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    // A folder that may be entered but not read cannot be synced by us.
    if (errorCode(error) !== "EACCES" && !unsyncable.includes(errorCode(error))) throw error;
  }
}

/** 77: not ours to use; 78: something is wrong with it. */
const exitCodeOf = (code: string): 77 | 78 =>
  code === "EACCES" || code === "EPERM" || code === "EROFS" ? 77 : 78;

/** What a system error means for the whole folder; other errors as they are. */
export function unusable(path: string, error: unknown): unknown {
  const code = errorCode(error);
  if (code === "") return error;
  return new FatalError(`the data folder ${path} cannot be opened: ${reason(error)}`, {
    exitCode: exitCodeOf(code),
    cause: error,
  });
}

/** Names beside a data folder of what an interrupted restore did not finish writing. */
export function unfinishedBeside(folder: DataFolder): string[] {
  const start = `${basename(folder.path)}.`;
  return readdirSync(dirname(folder.path)).filter(
    (name) => name.startsWith(start) && isUnfinishedAside(name.slice(start.length)),
  );
}

/** A moment (epoch ms) as it stands in names: 20261121T103107.123Z */
export const nameTime = (now: number): string =>
  new Date(now).toISOString().replaceAll(/[-:]/g, "");

/** The files of a folder, listed once. */
export interface FolderFiles {
  readonly names: readonly string[];
  /** The content of a file, or its first `limit` bytes. */
  read(name: string, limit?: number): Buffer;
}

export const filesOf = (folder: DataFolder, names: readonly string[]): FolderFiles => ({
  names,
  read: (name, limit) =>
    limit === undefined ? readFileSync(folder.at(name)) : readStart(folder.at(name), limit),
});

/** Reads a file, or its first `limit` bytes. */
export function readStart(path: string, limit: number): Buffer {
  const descriptor = openSync(path, "r");
  try {
    const start = Buffer.alloc(limit);
    return start.subarray(0, readSync(descriptor, start, 0, limit, 0));
  } finally {
    closeSync(descriptor);
  }
}
