// The journal file of the running process: made with its first group, appended to, given up for good at the first
// failure. Knows nothing of tables; what a group holds is commit.ts.
import {
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  fsync,
  lstatSync,
  openSync,
  rmSync,
  writeSync,
} from "node:fs";
import { promisify } from "node:util";
import { FatalError, errorCode } from "../errors.ts";
import type { Counters, DataFolder } from "./files.ts";
import { type GroupLine, groupLine, headerLine, journalName } from "./journal.ts";

export interface JournalFileOptions {
  readonly folder: DataFolder;
  readonly counters: Counters;
  /** Names of journals that hold nothing which counts: a new file takes their place. */
  readonly voids: Set<string>;
  /** Whether the folder's lock is still ours. */
  readonly held: () => boolean;
  /** Told of a journal that takes no more lines. */
  readonly ended: (name: string) => void;
}

export interface JournalFile {
  /** Name of the file in use; undefined when the next group makes a new one. */
  name(): string | undefined;
  /**
   * Writes one group and syncs it. Resolves to the line's sum.
   * @throws {FatalError} exit code 75: somebody else changed the folder, nothing may be written any more
   * @throws {Error} the write failed: the file is given up, the next group makes a new one
   */
  append(group: GroupLine): Promise<string>;
  /** Ends the file; the next group makes a new one. */
  end(): void;
}

interface OpenFile {
  readonly descriptor: number;
  readonly name: string;
  readonly dev: number;
  readonly ino: number;
  size: number;
  sum: string;
}

const NEW_FILE =
  constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | (constants.O_NOFOLLOW ?? 0);
const syncFile = promisify(fsync);
const syncContent = promisify(fdatasync);

export function journalFile(options: JournalFileOptions): JournalFile {
  const { folder, counters, voids, held, ended } = options;
  let file: OpenFile | undefined;

  const end = (): void => {
    if (!file) return;
    const { descriptor, name } = file;
    file = undefined;
    ended(name);
    try {
      closeSync(descriptor);
    } catch {
      // Synced or given up already: a failing close loses nothing.
    }
  };
  const create = async (group: GroupLine): Promise<string> => {
    if (!folder.isInPlace()) throw lost(`the data folder ${folder.path} is another one now`);
    const base = group.rev - 1;
    const header = headerLine(base, group.prev);
    const line = groupLine(group, header.sum);
    const name = journalName(base);
    if (voids.has(name)) rmSync(folder.at(name), { force: true });
    const descriptor = openNew(folder.at(name));
    // Until the sync below nothing in it was promised to anybody.
    voids.add(name);
    const { dev, ino } = fstatSync(descriptor);
    file = { descriptor, name, dev, ino, size: 0, sum: line.sum };
    write(file, header.text + line.text, counters);
    counters.syncs++;
    await syncFile(descriptor);
    await folder.sync();
    voids.delete(name);
    return line.sum;
  };
  const extend = async (open: OpenFile, group: GroupLine): Promise<string> => {
    assertUntouched(folder, open);
    const line = groupLine(group, open.sum);
    write(open, line.text, counters);
    counters.syncs++;
    // Measured: syncing on this thread saves a tenth of a millisecond on a fast disk and stops every stream for as long
    // as a slow one takes. The write itself goes to the page cache, so a thread hop for it would only cost.
    await syncContent(open.descriptor);
    open.sum = line.sum;
    return line.sum;
  };

  return {
    name: () => file?.name,
    async append(group) {
      try {
        if (!held()) throw lost(`the lock of the data folder ${folder.path} was taken over`);
        return file ? await extend(file, group) : await create(group);
      } catch (error) {
        end();
        throw error;
      }
    },
    end,
  };
}

function openNew(path: string): number {
  try {
    return openSync(path, NEW_FILE, 0o600);
  } catch (error) {
    if (errorCode(error) === "EEXIST") throw lost(`${path} was put there by somebody else`);
    throw error;
  }
}

function assertUntouched(folder: DataFolder, file: OpenFile): void {
  const there = lstatSync(folder.at(file.name), { throwIfNoEntry: false });
  if (there?.ino === file.ino && there.dev === file.dev && there.size === file.size) return;
  throw lost(`${folder.at(file.name)} was changed by somebody else`);
}

function lost(message: string): FatalError {
  return new FatalError(message, {
    exitCode: 75,
    hint: "end what else writes there, then start again: the folder is read anew",
  });
}

function write(file: OpenFile, text: string, counters: Counters): void {
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length;) {
    const count = writeSync(file.descriptor, bytes, done, bytes.length - done, file.size + done);
    if (count === 0) throw new Error("the disk takes no more bytes");
    counters.writes++;
    done += count;
  }
  file.size += bytes.length;
  counters.bytes += bytes.length;
}
