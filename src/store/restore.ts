// Restore: a copy takes the place of what the folder of this process holds. Until restore.json is there the folder is what
// it was; from then on it is the copy, and whoever opens it next finishes what a crash left. Does not read the copy.
import { existsSync, readFileSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { FatalError, reason } from "../errors.ts";
import { checksum, wallClock } from "../primitives.ts";
import { type Files, createFolder, isForbidden, removeAny, writeNew } from "./copy.ts";
import {
  type DataFolder,
  type FolderFiles,
  LOCK_OWNER,
  RESTORE,
  RESTORING,
  STATE,
  kindOf,
  nameTime,
  newCounters,
  openDataFolder,
  unfinishedBeside,
  unusable,
} from "./files.ts";
import { lockFolder } from "./lock.ts";
import { inspectEntries, inspectFolder } from "./permissions.ts";

/**
 * Puts `files` in place of everything of ours in a folder whose lock is held.
 * @param now epoch milliseconds
 * @returns where what was there is now; undefined when there was nothing
 * @throws {FatalError} which says how far it came, and where what was there is
 */
export async function restoreFiles(
  folder: DataFolder,
  files: Files,
  now: number,
): Promise<string | undefined> {
  const place: Aside = {};
  let stage: Stage = existsSync(folder.at(RESTORE)) ? "earlier" : "beside";
  try {
    // One that cannot be finished gives way to this one.
    await finishRestore(folder).catch((error: unknown) => {
      if (!(error instanceof FatalError)) throw error;
    });
    stage = "beside";
    // 1. What is there is copied aside, where it is whole or not there at all.
    copyAside(folder, now, place);
    // 2. The copy is laid beside it, under names that the next start sweeps away.
    const sums = [...files].map(([name, content]) => [name, checksum().add(content).end()]);
    const list = Buffer.from(JSON.stringify(Object.fromEntries(sums)));
    stageFiles(folder, new Map([...files, [RESTORE, list]]));
    await folder.sync();
    // 3. This one step makes the folder the copy.
    stage = "counts";
    renameSync(folder.at(RESTORE + RESTORING), folder.at(RESTORE));
    await folder.sync();
    await finishRestore(folder);
    return place.path;
  } catch (error) {
    if (stage === "counts" && existsSync(folder.at(RESTORE + RESTORING))) stage = "beside";
    if (stage !== "counts" && error instanceof FatalError) throw error;
    if (stage !== "counts") undo(folder, files, place);
    const hint = [...howFar(folder, stage, error), ...keptIn(place, stage)].join("; ");
    const known = error instanceof FatalError ? error.exitCode : isForbidden(error) ? 77 : 1;
    const message = `cannot restore into ${folder.path}: ${reason(error)}`;
    throw new FatalError(message, { exitCode: known, hint, cause: error });
  }
}

/** What is going on: an earlier restore is being finished, this one is being laid beside the folder, or it counts. */
type Stage = "earlier" | "beside" | "counts";

/** Where what was there is being kept, or is. */
interface Aside {
  path?: string;
}

function howFar(folder: DataFolder, stage: Stage, error: unknown): string[] {
  if (stage === "earlier") return ["an earlier restore comes first: the next start finishes it"];
  if (stage === "beside") return ["nothing was changed"];
  if (error instanceof FatalError) return error.hint === undefined ? [] : [error.hint];
  return existsSync(folder.at(RESTORE))
    ? ["the copy counts: the next start finishes it"]
    : ["the copy is in its place, and the disk may not keep it: look with postern check"];
}

function keptIn({ path }: Aside, stage: Stage): string[] {
  if (path === undefined || !existsSync(path)) return [];
  const what = stage === "counts" ? "what was there is in" : "a copy of what is there was left in";
  return [`${what} ${path}`];
}

/** Takes away what does not count. Names that stay are told, or taken away by the next start. */
function undo(folder: DataFolder, files: Files, { path }: Aside): void {
  for (const name of [...files.keys(), RESTORE]) removeAny(folder.at(name + RESTORING));
  if (path !== undefined) removeAny(path);
}

function stageFiles(folder: DataFolder, files: Files): void {
  for (const [name, content] of files) {
    rmSync(folder.at(name + RESTORING), { force: true });
    writeNew(folder.at(name + RESTORING), content);
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

/**
 * Ends a restore that counts before anybody reads the settings, which it may replace. What refuses the folder is told by the
 * start that follows, which takes the same steps.
 * @throws {FatalError} exit code 77 or 78: a system error
 */
export async function finishBefore(path: string): Promise<void> {
  if (!existsSync(join(path, RESTORE))) return;
  try {
    const folder = openDataFolder(path, newCounters());
    try {
      inspectFolder(folder);
      const lock = await lockFolder(folder, { wait: 0, now: wallClock, notice: () => undefined });
      try {
        inspectEntries(folder, readdirSync(folder.path));
        await finishRestore(folder);
      } finally {
        lock.release();
      }
    } finally {
      folder.close();
    }
  } catch (error) {
    if (!(error instanceof FatalError)) throw unusable(path, error);
  }
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
    names: [...new Set([...restored, ...others])].toSorted(),
    read: (name, limit) => files.read(placeOf(files, name), limit),
  };
}

/** Where a restored file is until its restore has come to its end. */
const placeOf = ({ names }: FolderFiles, name: string): string =>
  names.includes(name + RESTORING) ? name + RESTORING : name;

/** Certificate, its key and the account at the CA. */
export const CERTIFICATE = "acme.json";

/** State, settings, audit trail and what was set aside; not what belongs to the process or to the machine. */
const isOurs = (name: string): boolean =>
  ![LOCK_OWNER, CERTIFICATE].includes(name) && ["file", "kept"].includes(kindOf(name));

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

/** What cannot be read keeps its content under a second name: it may be why there is a restore. */
function copyAside(folder: DataFolder, now: number, place: Aside): void {
  const names = readdirSync(folder.path).filter(
    (name) => (isOurs(name) || name === CERTIFICATE) && !["setup-link", RESTORE].includes(name),
  );
  if (!names.some(isOurs)) return;
  const files = new Map<string, Buffer>();
  const linked: string[] = [];
  for (const name of names) {
    try {
      files.set(name, readFileSync(folder.at(name)));
    } catch {
      linked.push(folder.at(name));
    }
  }
  const name = `before-${nameTime(now)}`;
  const parent = dirname(folder.path);
  // Beside a mounted volume would be on another disk, or gone with the container.
  if (statSync(parent).dev === folder.dev) {
    const beside = join(parent, `${basename(folder.path)}.${name}`);
    try {
      place.path = beside;
      return createFolder(beside, files, { linked });
    } catch (error) {
      if (!isForbidden(error)) throw error;
    }
  }
  place.path = folder.at(name);
  createFolder(place.path, files, { linked });
}
