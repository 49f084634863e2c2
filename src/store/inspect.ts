// What is in a data folder, what of it is damaged, and what a start would do with it, by the same checks and the same
// recovery. Changes nothing. How it is said is cli/check.ts.
import { type Stats, lstatSync, statSync } from "node:fs";
import { FatalError, reason } from "../errors.ts";
import { type Counts, countsOf, issuerOf } from "./copy.ts";
import { folderClock } from "./expiry.ts";
import {
  type DataFolder,
  type FolderFiles,
  LOCK_OWNER,
  type NameKind,
  type Notice,
  PREVIOUS,
  RESTORE,
  STATE,
  isNewFolder,
  kindOf,
  unusable,
} from "./files.ts";
import { checkFileSystem, fileSystemType } from "./filesystem.ts";
import { readFragments } from "./fragments.ts";
import { isBeingMade, journalBase, readHeader, readJournal } from "./journal.ts";
import { holderIn } from "./lock.ts";
import { clockDoubt, foreignNotice, movedNotice } from "./notices.ts";
import { inspectEntries, inspectFolder, ownUser } from "./permissions.ts";
import { type Recovered, recover } from "./recovery.ts";
import { afterRestore } from "./restore.ts";
import { readSnapshot } from "./snapshot.ts";

export interface InspectedFile {
  readonly name: string;
  readonly kind: NameKind;
  readonly bytes: number;
  /** Epoch milliseconds. */
  readonly changedAt: number;
  readonly snapshot?: SnapshotFacts;
  readonly journal?: JournalFacts;
  /** Where and why it cannot be read as it should be. */
  readonly damage?: string;
}

export interface SnapshotFacts extends Counts {
  readonly rev: number;
  /** Epoch milliseconds. */
  readonly savedAt: number;
  readonly host: string;
}

/** The changes from `first` to `last` can be read; none of them when both are undefined. */
export interface JournalFacts {
  readonly first: number | undefined;
  readonly last: number | undefined;
}

export interface Inspection {
  readonly files: readonly InspectedFile[];
  /** The process that has the folder, or was killed with it. */
  readonly holder: string | undefined;
  readonly notices: readonly Notice[];
  /** What a start would work with, or why it would refuse. */
  readonly start: Recovered | FatalError;
  readonly holds: Holds | undefined;
}

export interface Holds extends Counts {
  readonly rev: number;
  /** When the newest change was made, epoch milliseconds. */
  readonly newest: number | undefined;
  readonly issuer: string;
}

export interface InspectOptions {
  readonly folder: DataFolder;
  readonly unsafeFolder: boolean;
  /** Epoch milliseconds; asked after the folder was read, which a server may be writing to. */
  readonly now: () => number;
}

export function inspect(options: InspectOptions, given: FolderFiles): Inspection {
  const notices: Notice[] = [];
  const finished = tryFinish(given);
  const files = finished instanceof FatalError ? given : finished;
  const start = finished instanceof FatalError ? finished : tryStart(options, files, notices);
  const recovered = start instanceof FatalError ? undefined : start;
  return {
    files: inspectFiles(options.folder, files),
    holder: readHolder(files),
    notices,
    start,
    holds: recovered && {
      ...countsOf(recovered.tables),
      rev: recovered.rev,
      newest: recovered.newest,
      issuer: issuerOf(recovered),
    },
  };
}

function tryFinish(files: FolderFiles): FolderFiles | FatalError {
  try {
    return afterRestore(files);
  } catch (error) {
    if (error instanceof FatalError) return error;
    throw error;
  }
}

/** The steps of a start that decide, in its order, without those that write. */
function tryStart(
  { folder, unsafeFolder, now }: InspectOptions,
  files: FolderFiles,
  notices: Notice[],
): Recovered | FatalError {
  const notice = (found: Notice): void => void notices.push(found);
  // Root looks after the folders of others, and does not start them.
  const owner = statSync(folder.path).uid;
  const user = ownUser() === 0 ? owner : ownUser();
  if (user !== ownUser()) {
    notice({ kind: "other-user", message: `a start as root refuses it: start as user ${owner}` });
  }
  try {
    const isNew = isNewFolder(files.names);
    if (inspectFolder(folder, user) && !isNew) notice(looseNotice([folder.path]));
    checkFileSystem(folder.path, fileSystemType(folder), { unsafeFolder, notice });
    const loose = inspectEntries(folder, files.names, user);
    if (loose.length > 0) notice(looseNotice(loose));
    const foreign = foreignNotice(folder, files.names);
    if (foreign) notice(foreign);
    if (isNew) {
      notice({ kind: "new", message: "there is no state in it: a start makes a new one" });
    }
    const recovered = recover(files);
    const moved = movedNotice(folder, recovered);
    notices.push(...recovered.notices, ...(moved ? [moved] : []));
    if (!folderClock(recovered.newest, now, () => 0).plausible()) notice(clockDoubt);
    return recovered;
  } catch (error) {
    const failure = unusable(folder.path, error);
    if (failure instanceof FatalError) return failure;
    throw error;
  }
}

const looseNotice = (names: readonly string[]): Notice => ({
  kind: "loose-modes",
  message: `open to others until the next start closes it: ${names.join(", ")}`,
});

function readHolder(files: FolderFiles): string | undefined {
  if (!files.names.includes(LOCK_OWNER)) return undefined;
  return holderIn(files.read(LOCK_OWNER, 4096).toString());
}

function inspectFiles(folder: DataFolder, files: FolderFiles): InspectedFile[] {
  const bases = files.names.flatMap((name) => journalBase(name) ?? []);
  return files.names
    .filter((name) => name !== RESTORE && name !== LOCK_OWNER)
    .flatMap((name) => {
      const there = lstatSync(folder.at(name), { throwIfNoEntry: false });
      return there ? [inspectFile(files, name, there, bases)] : [];
    });
}

function inspectFile(
  files: FolderFiles,
  name: string,
  there: Stats,
  bases: readonly number[],
): InspectedFile {
  const kind = kindOf(name);
  const file = { name, kind, bytes: there.size, changedAt: Math.floor(there.mtimeMs) };
  if (kind === "file" && !there.isFile()) return { ...file, damage: "it is not a regular file" };
  const base = journalBase(name);
  try {
    if (name === STATE || name === PREVIOUS) {
      return { ...file, ...inspectSnapshot(files.read(name)) };
    }
    if (base === undefined) {
      // Nothing is decided by it, and a start or a backup may want it.
      if (kind === "file" || kind === "kept") files.read(name);
      return file;
    }
    const next = bases.toSorted((a, b) => a - b).find((other) => other > base);
    return { ...file, ...inspectJournal(files.read(name), base, next) };
  } catch (error) {
    return { ...file, damage: `it cannot be read: ${reason(error)}` };
  }
}

type Found = Pick<InspectedFile, "snapshot" | "journal" | "damage">;

function inspectSnapshot(content: Buffer): Found {
  try {
    const { header, tables } = readSnapshot(content);
    const { rev, savedAt, folder } = header;
    return { snapshot: { rev, savedAt, host: folder.host, ...countsOf(tables) } };
  } catch (error) {
    const { unreadable, records } = readFragments(content);
    const lines = unreadable
      .slice(0, 5)
      .map(({ line, table }) => (table ? `${line} (${table})` : String(line)));
    const where = lines.length > 0 ? `; cannot be read: line ${lines.join(", ")}` : "";
    return { damage: `${reason(error)}${where}; ${records.length} records can be read` };
  }
}

/** @param next the base of the journal after it, up to which its changes must go */
function inspectJournal(content: Buffer, base: number, next: number | undefined): Found {
  const header = readHeader(content);
  const { lines, behind } = readJournal(content);
  const last = lines.at(-1)?.rev;
  const journal = { first: lines[0]?.rev, last };
  const [lowest] = behind;
  const highest = behind.reduce((above, { rev }) => Math.max(above, rev), 0);
  if (lowest && !header) return { journal, damage: `line 1 is damaged, with changes behind it` };
  if (header && header.base !== base) return { journal, damage: `it begins at ${header.base}` };
  if (lowest) {
    const damage = `line ${lines.length + 2} is damaged; changes ${lowest.rev} to ${highest} stand behind it`;
    return { journal, damage };
  }
  if (!header && !isBeingMade(content, base)) {
    return { journal, damage: "nothing in it can be read" };
  }
  const end = last ?? base;
  if (next === undefined || !header || end >= next) return { journal };
  return { journal, damage: `it ends with change ${end}, and the next one begins after ${next}` };
}
