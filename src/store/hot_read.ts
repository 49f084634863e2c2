// Reading a data folder without owning it: nothing is made, locked or changed, and what a running server does meanwhile is
// told from damage by looking again.
import { existsSync, lstatSync, readdirSync } from "node:fs";
import { FatalError } from "../errors.ts";
import {
  type DataFolder,
  type FolderFiles,
  filesOf,
  newCounters,
  openDataFolder,
  unusable,
} from "./files.ts";

const LOOKS = 20;
/** Milliseconds between two. */
const PAUSE = 50;

/**
 * Opens a folder for the time of `look`.
 * @throws {FatalError} exit code 66: there is none; 77 or 78: it cannot be read
 */
export async function lookInto<T>(
  path: string,
  look: (folder: DataFolder) => T | Promise<T>,
): Promise<T> {
  if (!existsSync(path)) {
    throw new FatalError(`there is no data folder ${path}`, {
      exitCode: 66,
      hint: "name it with --data",
    });
  }
  try {
    const folder = openDataFolder(path, newCounters());
    try {
      return await look(folder);
    } finally {
      folder.close();
    }
  } catch (error) {
    throw unusable(path, error);
  }
}

/**
 * Reads what the folder holds at one moment. Journals only grow and the server keeps them for an hour, so one listing and
 * then its files make a state that was, with everything answered before; a file that goes away in between can look like
 * damage. So what is not good is looked at again for as long as the files keep changing. An interrupted restore is for
 * `read` to see.
 */
export async function readAtOnce<T>(
  folder: DataFolder,
  read: (files: FolderFiles) => T,
  isGood: (found: T) => boolean,
): Promise<T> {
  for (let look = 1; ; look++) {
    const before = fingerprint(folder);
    const found = attempt(() => read(regularFiles(folder)));
    const isFinal = look === LOOKS || fingerprint(folder) === before;
    if ("value" in found && (isFinal || isGood(found.value))) return found.value;
    if ("error" in found && isFinal) throw found.error;
    await Bun.sleep(PAUSE);
  }
}

/** A FIFO would be read for ever. */
function regularFiles(folder: DataFolder): FolderFiles {
  const { names, read } = filesOf(folder, listFiles(folder));
  return {
    names,
    read(name, limit) {
      if (lstatSync(folder.at(name)).isFile()) return read(name, limit);
      throw new FatalError(`${folder.at(name)} is not a regular file`, { exitCode: 78 });
    },
  };
}

type Attempt<T> = { readonly value: T } | { readonly error: unknown };

function attempt<T>(step: () => T): Attempt<T> {
  try {
    return { value: step() };
  } catch (error) {
    return { error };
  }
}

export const listFiles = (folder: DataFolder): string[] => readdirSync(folder.path).toSorted();

/** Changes with every write to what a copy is made of. */
function fingerprint(folder: DataFolder): string {
  return listFiles(folder)
    .filter((name) => /^(state|journal|restore|audit|config)\./.test(name))
    .map((name) => {
      const there = lstatSync(folder.at(name), { throwIfNoEntry: false });
      return there ? `${name} ${there.ino} ${there.size} ${there.mtimeMs}` : name;
    })
    .join("\n");
}
