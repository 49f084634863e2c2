// Restore: a copy takes the place of what the folder of this process holds. Until restore.json is there the folder is what
// it was; from then on it is the copy, and whoever opens it next finishes what a crash left. Does not read the copy.
import { existsSync, readFileSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { FatalError, errorCode } from "../errors.ts";
import { checksum } from "../primitives.ts";
import { type Files, createFolder, writeNew } from "./copy.ts";
import {
  type DataFolder,
  type FolderFiles,
  LOCK_OWNER,
  RESTORE,
  RESTORING,
  STATE,
  kindOf,
  nameTime,
  unfinishedBeside,
} from "./files.ts";

/**
 * Puts `files` in place of everything of ours in a folder whose lock is held.
 * @param now epoch milliseconds
 * @returns where what was there is now; undefined when there was nothing
 */
export async function restoreFiles(
  folder: DataFolder,
  files: Files,
  now: number,
): Promise<string | undefined> {
  // One that cannot be finished gives way to this one, and is kept aside with the rest.
  await finishRestore(folder).catch((error: unknown) => {
    if (!(error instanceof FatalError)) throw error;
  });
  // 1. What is there is copied aside, where it is whole or not there at all.
  const aside = copyAside(folder, now);
  // 2. The copy is laid beside it, under names that the next start sweeps away.
  const sums = [...files].map(([name, content]) => [name, checksum().add(content).end()]);
  const list = Buffer.from(JSON.stringify(Object.fromEntries(sums)));
  try {
    stageFiles(folder, new Map([...files, [RESTORE, list]]));
    await folder.sync();
  } catch (error) {
    if (aside !== undefined) rmSync(aside, { recursive: true });
    throw error;
  }
  // 3. This one step makes the folder the copy.
  renameSync(folder.at(RESTORE + RESTORING), folder.at(RESTORE));
  await folder.sync();
  await finishRestore(folder);
  return aside;
}

function stageFiles(folder: DataFolder, files: Files): void {
  const unstage = (): void => {
    for (const name of files.keys()) rmSync(folder.at(name + RESTORING), { force: true });
  };
  unstage();
  try {
    for (const [name, content] of files) writeNew(folder.at(name + RESTORING), content);
  } catch (error) {
    unstage();
    throw error;
  }
}

/**
 * 4. Ends a restore that counts. Every step may be repeated; nothing is done when there is none.
 * @returns whether the settings in the folder are others than before
 * @throws {FatalError} exit code 78: it cannot be finished; nothing was changed
 */
export async function finishRestore(folder: DataFolder): Promise<boolean> {
  sweepBeside(folder);
  const names = readdirSync(folder.path);
  if (!names.includes(RESTORE)) return false;
  const settings = readSettings(folder);
  const restored = restoredNames({ names, read: (name) => readFileSync(folder.at(name)) });
  for (const name of names.filter(isOurs)) {
    if (!restored.includes(name) && name !== RESTORE) rmSync(folder.at(name));
  }
  for (const name of restored.filter((each) => names.includes(each + RESTORING))) {
    renameSync(folder.at(name + RESTORING), folder.at(name));
  }
  await folder.sync();
  rmSync(folder.at(RESTORE));
  await folder.sync();
  return settings !== readSettings(folder);
}

/** Half of a folder that was to be kept aside, where the whole of it still is in the folder. */
function sweepBeside(folder: DataFolder): void {
  try {
    for (const name of unfinishedBeside(folder))
      rmSync(join(dirname(folder.path), name), { recursive: true, force: true });
  } catch {
    // Above the folder may be somebody else's place, which we may neither read nor change.
  }
}

const readSettings = (folder: DataFolder): string =>
  existsSync(folder.at("config.json")) ? readFileSync(folder.at("config.json"), "utf8") : "";

/** A folder as it is once its restore, if there is one that counts, has come to its end. */
export function afterRestore(files: FolderFiles): FolderFiles {
  if (!files.names.includes(RESTORE)) return files;
  const restored = restoredNames(files);
  const others = files.names.filter((name) => !isOurs(name) && !name.endsWith(RESTORING));
  return {
    names: [...restored, ...others].toSorted(),
    read: (name, limit) => files.read(placeOf(files, name), limit),
  };
}

/** Where a restored file is until its restore has come to its end. */
const placeOf = ({ names }: FolderFiles, name: string): string =>
  names.includes(name + RESTORING) ? name + RESTORING : name;

/** State, settings, audit trail and what was set aside; not what belongs to the process that has the folder. */
const isOurs = (name: string): boolean =>
  name !== LOCK_OWNER && ["file", "kept"].includes(kindOf(name));

/** The names in restore.json, whose files must be there as it says: it may have come with a copy of half a folder. */
function restoredNames(files: FolderFiles): string[] {
  const sums = parseSums(files.read(RESTORE));
  const isThere = ([name, sum]: [string, unknown]): boolean => {
    const place = placeOf(files, name);
    if (kindOf(name) !== "file" || !files.names.includes(place)) return false;
    return checksum().add(files.read(place)).end() === sum;
  };
  if (sums.some(([name]) => name === STATE) && sums.every(isThere))
    return sums.map(([name]) => name);
  throw new FatalError("a restore was interrupted, and its files are not there as they were", {
    exitCode: 78,
    hint: "run postern restore once more",
  });
}

function parseSums(content: Buffer): [string, unknown][] {
  try {
    return Object.entries(JSON.parse(content.toString()));
  } catch {
    return [];
  }
}

function copyAside(folder: DataFolder, now: number): string | undefined {
  const names = readdirSync(folder.path).filter((name) => isOurs(name) && name !== "setup-link");
  if (names.length === 0) return undefined;
  const files = new Map(names.map((name) => [name, readFileSync(folder.at(name))]));
  const name = `before-${nameTime(now)}`;
  const parent = dirname(folder.path);
  // Beside a mounted volume would be on another disk, or gone with the container.
  if (statSync(parent).dev === folder.dev) {
    const beside = join(parent, `${basename(folder.path)}.${name}`);
    try {
      createFolder(beside, files);
      return beside;
    } catch (error) {
      if (!["EACCES", "EPERM", "EROFS"].includes(errorCode(error))) throw error;
    }
  }
  createFolder(folder.at(name), files);
  return folder.at(name);
}
