// The two generations of the snapshot, state.json and state.json.prev, as files: what is kept of the older one, what is set
// aside, and that one damaged file never takes both. What stands in them is snapshot.ts.
import {
  constants,
  copyFileSync,
  existsSync,
  linkSync,
  lstatSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
} from "node:fs";
import { errorCode } from "../errors.ts";
import { type DataFolder, PREVIOUS, STATE, nameTime, syncContent } from "./files.ts";
import { type FileIdentity, type SnapshotHeader, readSnapshot } from "./snapshot.ts";

/** What a process knows of state.json. */
export interface Main extends Pick<SnapshotHeader, "rev" | "chain"> {
  readonly identity: FileIdentity;
  /** It was read as a whole, and its sum is right and in place. */
  readonly isGood: boolean;
}

/** What links answer where there are none, or no more of them to this file. */
const unlinkable: readonly string[] = ["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EMLINK"];

/** Gives a file a second name; where there are no links, a copy that is synced. @throws {Error} the name is free then */
function secondName(path: string, other: string): void {
  try {
    linkSync(path, other);
  } catch (error) {
    if (!unlinkable.includes(errorCode(error))) throw error;
    copyWhole(path, other);
  }
}

function copyWhole(path: string, other: string): void {
  try {
    copyFileSync(path, other, constants.COPYFILE_EXCL);
    syncContent(other);
  } catch (error) {
    if (errorCode(error) !== "EEXIST") rmSync(other, { force: true });
    throw error;
  }
}

/** state.json, which is not what was loaded: it is never kept as the older generation. */
export const strangeMain = (identity: FileIdentity): Main => ({
  rev: 0,
  chain: "",
  identity,
  isGood: false,
});

/** state.json as it stands there; undefined when it is none that a start would take as it is. */
export function readMain({ at }: DataFolder): Main | undefined {
  try {
    const identity = lstatSync(at(STATE));
    const { header, edited } = readSnapshot(readFileSync(at(STATE)));
    return { rev: header.rev, chain: header.chain, identity, isGood: !edited };
  } catch {
    return undefined;
  }
}

/** The good state.json becomes state.json.prev as well, right before another takes its place. */
export function keepPrevious(folder: DataFolder): void {
  if (inode(folder, PREVIOUS) !== inode(folder, STATE)) replacePrevious(folder, secondName);
}

/** A state.json.prev that shares no byte with state.json and holds the same. */
export async function copyPrevious(folder: DataFolder): Promise<void> {
  replacePrevious(folder, copyWhole);
  await folder.sync();
}

/** At every moment there is one, the old or the new. */
function replacePrevious({ at }: DataFolder, make: typeof secondName): void {
  // Named as what a start sweeps.
  const next = at(`${STATE}.${process.pid}`);
  rmSync(next, { force: true });
  make(at(STATE), next);
  renameSync(next, at(PREVIOUS));
}

const inode = ({ at }: DataFolder, name: string): number | undefined =>
  lstatSync(at(name), { throwIfNoEntry: false })?.ino;

/** Whether one damaged file would take both generations, or there is only one. */
export function lacksPrevious(folder: DataFolder): boolean {
  const main = inode(folder, STATE);
  return main !== undefined && main === (inode(folder, PREVIOUS) ?? main);
}

/**
 * Keeps what state.json is under a name that is never loaded. It stays where it is until another takes its place, so that a
 * crash in between leaves what there was.
 * @param now epoch milliseconds
 * @returns the name
 */
export function setAside(folder: DataFolder, label: "corrupt" | "edited", now: number): string {
  const prefix = `${STATE}.${label}-`;
  const { ino } = lstatSync(folder.at(STATE));
  const known = readdirSync(folder.path).find(
    (name) => name.startsWith(prefix) && lstatSync(folder.at(name)).ino === ino,
  );
  if (known !== undefined) return known;
  const aside = freeName(folder, prefix + nameTime(now));
  try {
    secondName(folder.at(STATE), folder.at(aside));
  } catch {
    // It cannot be read, and has no other name.
    renameSync(folder.at(STATE), folder.at(aside));
  }
  return aside;
}

function freeName(folder: DataFolder, name: string): string {
  for (let count = 1; ; count++) {
    const free = count === 1 ? name : `${name}-${count}`;
    if (!existsSync(folder.at(free))) return free;
  }
}
