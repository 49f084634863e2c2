// The data folder as a store: the steps of "A start" in docs/store.md in their order, the tables on top, and the end. How
// each step works is in the file that it calls.
import { lstatSync, readdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { FatalError, reason } from "../errors.ts";
import { seconds } from "../primitives.ts";
import type { Base } from "./candidates.ts";
import { type FolderClock, folderClock } from "./expiry.ts";
import {
  type Counters,
  type DataFolder,
  type Notice,
  STATE,
  filesOf,
  isNewFolder,
  isUnfinishedAside,
  kindOf,
  newCounters,
  openDataFolder,
  syncContent,
  syncFolder,
  unusable,
} from "./files.ts";
import { checkFileSystem, fileSystemType } from "./filesystem.ts";
import { type Main, setAside, strangeMain } from "./generations.ts";
import { type FolderLock, lockFolder } from "./lock.ts";
import { clockDoubt, foreignNotice, movedNotice } from "./notices.ts";
import { checkEntries, checkFolder } from "./permissions.ts";
import { type TableName, sweepExpired } from "./records.ts";
import { recover } from "./recovery.ts";
import { finishRestore } from "./restore.ts";
import { type Running, startRunning } from "./running.ts";
import type { FileIdentity } from "./snapshot.ts";
import { type Store, durableTable, memoryTable } from "./table.ts";

export type { Notice } from "./files.ts";

export interface StoreOptions {
  /** Absolute path of the data folder; created when it is missing. */
  readonly path: string;
  /** The public URL, for the snapshot's header. */
  readonly issuer: string;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Milliseconds that no clock change moves. */
  readonly monotonic: () => number;
  /** Called as things are found, before the store is open too. */
  readonly notice: (notice: Notice) => void;
  /** The running store cannot go on; what comes is refused. The process should end with the error's exit code. */
  readonly fatal: (error: FatalError) => void;
  /** Allow network file systems. */
  readonly unsafeFolder?: boolean;
  /** Milliseconds to wait for another process that has the folder. */
  readonly lockWait?: number;
  /** Ends that wait. */
  readonly stop?: AbortSignal | undefined;
  /** Limits of one journal line: changes and characters. */
  readonly groupChanges?: number;
  readonly groupLength?: number;
  /** Bytes of journal below which no snapshot is made, and bytes that one leaves free on the disk. */
  readonly journalLimit?: number;
  readonly spareSpace?: number;
}

export interface OpenStore extends Store {
  /** There was nothing at all in the folder. */
  readonly isNew: boolean;
  readonly counters: Readonly<Counters>;
  /** How many records a table has. */
  size(table: TableName): number;
  /** Epoch milliseconds to decide by: the clock's, unless it does not fit the folder or jumped. */
  now(): number;
  /** Writes the snapshot now. Rejects when that fails; nothing is lost then. */
  compact(): Promise<void>;
}

/** Milliseconds. */
const LOCK_WAIT = 10_000;
/** Files that a start reads and syncs at most before it makes one of them: each kill leaves a journal. */
const CROWD = 32;
/** Records that each table in memory holds at most. */
const CODES = 256;
const SESSIONS = 50;
const ASSERTIONS = 1000;

/**
 * Opens the data folder for this process alone.
 * @throws {FatalError} exit code 75 (another process has it), 77 (not ours to use) or 78 (damaged, newer, not a folder)
 * @throws the reason of `stop`, while waiting for the other process
 */
export async function openStore(options: StoreOptions): Promise<OpenStore> {
  const counters = newCounters();
  const folder = openDataFolder(options.path, counters);
  let lock: FolderLock | undefined;
  try {
    // 1.
    checkFolder(folder, options.notice);
    checkFileSystem(folder.path, fileSystemType(folder), options);
    const { lockWait: wait = LOCK_WAIT, now, notice, stop } = options;
    lock = await lockFolder(folder, { wait, now, notice, stop });
    rmSync(folder.at("admin.sock"), { force: true });
    return await openLocked(folder, lock, counters, options);
  } catch (error) {
    lock?.release();
    folder.close();
    throw unusable(folder.path, error);
  }
}

async function openLocked(
  folder: DataFolder,
  lock: FolderLock,
  counters: Counters,
  options: StoreOptions,
): Promise<OpenStore> {
  const { now, monotonic, notice } = options;
  // 2.
  checkEntries(folder, readdirSync(folder.path).toSorted(), notice);
  if (await finishRestore(folder)) throw otherSettings();
  const names = await listFolder(folder, notice);
  const isNew = isNewFolder(names);
  if (isNew) notice({ kind: "new", message: `${folder.path} is a new data folder` });
  const identity = lstatSync(folder.at(STATE), { throwIfNoEntry: false });
  // 3 to 12.
  const recovered = recover(filesOf(folder, names));
  for (const found of recovered.notices) notice(found);
  const moved = movedNotice(folder, recovered);
  if (moved) notice(moved);
  // 13.
  await syncLoaded(folder, recovered.used, counters);
  const { snapshot } = recovered;
  const main = identity && mainOf(snapshot, identity);
  if (identity && snapshot?.name !== STATE) {
    setAside(folder, "corrupt", now());
    await folder.sync();
  }
  // 14.
  const clock = folderClock(recovered.newest, now, monotonic);
  if (clock.plausible()) sweepExpired(recovered.tables, seconds(clock.stamp()));
  else notice(clockDoubt);
  // 15.
  const running = startRunning({ ...options, folder, lock, counters, clock, recovered, main });
  // An edit counts once it is sealed: no journal may stand above it before.
  if (snapshot?.edited) await running.compact().catch(refuseEdit);
  const isCrowded = recovered.used.length > CROWD;
  await running.settle(isCrowded || (!main?.isGood && (snapshot ?? main) !== undefined));
  return tablesOf(running, clock, monotonic, counters, isNew);
}

// 2. Our temporary files are from writes that never came to their end.
async function listFolder(
  folder: DataFolder,
  notice: (notice: Notice) => void,
): Promise<readonly string[]> {
  const names = readdirSync(folder.path).toSorted();
  const temporary = names.filter((name) => kindOf(name) === "temporary");
  for (const name of temporary) sweep(folder, name);
  if (temporary.length > 0) await folder.sync();
  const foreign = foreignNotice(folder, names);
  if (foreign) notice(foreign);
  return names.filter((name) => !temporary.includes(name));
}

/** A folder under the name of a file is not of our making. */
function sweep(folder: DataFolder, name: string): void {
  const path = folder.at(name);
  if (isUnfinishedAside(name) || !lstatSync(path).isDirectory()) {
    rmSync(path, { recursive: true, force: true });
  }
}

/**
 * What a process that was killed, or a copy, left may be in memory only. Nothing is answered from it, and nothing built on
 * it, before the disk has it.
 */
async function syncLoaded(
  folder: DataFolder,
  used: readonly string[],
  counters: Counters,
): Promise<void> {
  for (const name of used) {
    counters.syncs++;
    syncContent(folder.at(name));
  }
  if (used.length === 0) return;
  await folder.sync();
  syncFolder(dirname(folder.path));
}

const mainOf = (snapshot: Base | undefined, identity: FileIdentity): Main =>
  snapshot?.name === STATE
    ? { rev: snapshot.header.rev, chain: snapshot.header.chain, identity, isGood: !snapshot.edited }
    : strangeMain(identity);

function refuseEdit(cause: unknown): never {
  throw new FatalError(`${STATE} was edited by hand and cannot be written anew: ${reason(cause)}`, {
    exitCode: 78,
    hint: "nothing was changed: start again when that is mended",
    cause,
  });
}

const otherSettings = (): FatalError =>
  new FatalError("a restore that was interrupted is finished, with other settings in config.json", {
    exitCode: 75,
    hint: "start again",
  });

function tablesOf(
  { memory, update, revoke, compact, close }: Running,
  clock: FolderClock,
  monotonic: () => number,
  counters: Counters,
  isNew: boolean,
): OpenStore {
  const { tables } = memory;
  const clocks = { now: clock.time, monotonic };
  return {
    clients: durableTable("clients", tables.clients, update),
    refresh_tokens: durableTable("refresh_tokens", tables.refresh_tokens, update),
    owner: durableTable("owner", tables.owner, update),
    folder: durableTable("folder", tables.folder, update),
    api_keys: durableTable("api_keys", tables.api_keys, update),
    codes: memoryTable({ cap: CODES, whenFull: "refuse", ...clocks }),
    sessions: memoryTable({ cap: SESSIONS, whenFull: "drop oldest", ...clocks }),
    assertions: memoryTable({ cap: ASSERTIONS, whenFull: "refuse", ...clocks }),
    isNew,
    counters,
    size: (table) => tables[table].size,
    now: clock.time,
    clockMayBeAhead: clock.mayBeAhead,
    update,
    revoke,
    compact,
    close,
  };
}
