// Compaction: the state of one moment becomes state.json, the one before it state.json.prev, and journals that neither
// needs leave after an hour. Groups go on meanwhile. The numbers are those of its steps.
import {
  closeSync,
  constants,
  copyFileSync,
  fsyncSync,
  linkSync,
  lstatSync,
  openSync,
  renameSync,
  rmSync,
  statfsSync,
} from "node:fs";
import { reason } from "../errors.ts";
import { seconds } from "../primitives.ts";
import type { JournalFile } from "./append.ts";
import type { Memory } from "./commit.ts";
import { hasChanges } from "./draft.ts";
import type { FolderClock } from "./expiry.ts";
import {
  type Counters,
  type DataFolder,
  type Notice,
  PREVIOUS,
  STATE,
  asideName,
} from "./files.ts";
import { SCHEMA } from "./journal.ts";
import { type TableMaps, sweepExpired } from "./records.ts";
import { dropJournals, revOf } from "./retention.ts";
import {
  type FileIdentity,
  type SnapshotHeader,
  snapshotText,
  verifySnapshot,
  writeSnapshot,
} from "./snapshot.ts";

export interface CompactionOptions {
  readonly folder: DataFolder;
  readonly memory: Memory;
  readonly journal: JournalFile;
  readonly clock: FolderClock;
  readonly counters: Counters;
  readonly issuer: string;
  readonly now: () => number;
  readonly monotonic: () => number;
  readonly notice: (notice: Notice) => void;
  /** Journals below this many bytes, or twice the snapshot, are left to grow. */
  readonly journalLimit: number;
  /** Bytes that stay free on the disk beside two snapshots. */
  readonly spareSpace: number;
  /** state.json as it was loaded; undefined when there is none, or none that counts. */
  readonly main: Main | undefined;
  /** Bytes of journal that state.json lacks. */
  readonly journalBytes: number;
  /** Monotonic milliseconds, of the journals that this process ended. */
  readonly endedAt: Map<string, number>;
}

export interface Main {
  readonly rev: number;
  readonly identity: FileIdentity;
  /** It was read, and found good. */
  readonly isGood: boolean;
  /** Its sum is in place: it was not emptied by hand. */
  readonly isSealed: boolean;
}

export interface Compactor {
  /** To be asked between two groups: whether the journals have grown enough, and nothing speaks against it. */
  isDue(): boolean;
  /** Whether the disk has the room, which is told when it has not, and the last failure is some time ago. */
  mayBegin(): boolean;
  /**
   * To be called between two groups. Resolves when all is written; joins one that is under way.
   * @throws {Error} the snapshot could not be written; memory and journals are what they were
   */
  begin(): Promise<void>;
  /** Resolves when none is under way, however it ended. */
  settled(): Promise<void>;
}

const REST_AFTER_FAILURE = 600_000;

interface State extends CompactionOptions {
  main: Main | undefined;
  /** counters.bytes at the moment that state.json holds. */
  savedBytes: number;
  running: Promise<void> | undefined;
  failedAt: number | undefined;
}

export function createCompactor(options: CompactionOptions): Compactor {
  const { memory, counters, journalLimit } = options;
  const state: State = {
    ...options,
    savedBytes: counters.bytes - options.journalBytes,
    running: undefined,
    failedAt: undefined,
  };
  return {
    isDue() {
      const limit = Math.max(journalLimit, 2 * (state.main?.identity.size ?? 0));
      if (state.running || counters.bytes - state.savedBytes <= limit) return false;
      return !hasChanges(memory.owed) && mayBegin(state);
    },
    mayBegin: () => mayBegin(state),
    begin: () => begin(state),
    async settled() {
      await state.running?.catch(() => undefined);
    },
  };
}

// 1.
function mayBegin(state: State): boolean {
  const { failedAt, monotonic, notice } = state;
  if (failedAt !== undefined && monotonic() - failedAt < REST_AFTER_FAILURE) return false;
  if (hasRoom(state)) return true;
  state.failedAt = monotonic();
  notice({ kind: "no-room", message: `no room for a new ${STATE}: the journals go on growing` });
  return false;
}

function hasRoom({ folder, main, spareSpace }: State): boolean {
  try {
    const { bavail, bsize } = statfsSync(folder.path);
    return bavail * bsize >= 2 * (main?.identity.size ?? 0) + spareSpace;
  } catch {
    // Where nobody can tell, the write will.
    return true;
  }
}

interface Moment {
  readonly header: SnapshotHeader;
  readonly tables: TableMaps;
  /** counters.bytes at that moment. */
  readonly bytes: number;
}

function begin(state: State): Promise<void> {
  if (state.running) return state.running;
  const { main, memory } = state;
  const isSaved = main ? main.isGood && main.isSealed && main.rev === memory.rev : memory.rev === 0;
  if (isSaved) return Promise.resolve();
  const moment = takeMoment(state);
  state.running = finish(state, moment).finally(() => {
    state.running = undefined;
  });
  return state.running;
}

// 2. Records are frozen and replaced, never changed, so copies of the maps are enough.
function takeMoment({ memory, journal, clock, counters, folder, issuer }: State): Moment {
  if (clock.plausible()) sweepExpired(memory.tables, seconds(clock.stamp()));
  journal.end();
  const { rev, chain, tables } = memory;
  const { dev, ino, host } = folder;
  const place = { dev, ino, host };
  return {
    header: { schema: SCHEMA, rev, chain, savedAt: clock.stamp(), folder: place, issuer },
    tables: copyTables(tables),
    bytes: counters.bytes,
  };
}

// 3. From here on groups go on beside.
async function finish(state: State, moment: Moment): Promise<void> {
  try {
    await save(state, moment);
    state.savedBytes = moment.bytes;
    state.failedAt = undefined;
    state.counters.compactions++;
  } catch (error) {
    state.failedAt = state.monotonic();
    throw error;
  }
  const { folder, journal, endedAt, clock, monotonic } = state;
  try {
    const now = clock.stamp;
    await dropJournals({ folder, current: journal.name(), endedAt, now, monotonic });
  } catch (error) {
    state.notice({ kind: "journal-kept", message: `an old journal stays: ${reason(error)}` });
  }
}

async function save(state: State, { header, tables }: Moment): Promise<void> {
  const { folder, counters } = state;
  if (!folder.isInPlace()) throw new Error(`${folder.path} is another folder now`);
  setEditedAside(state);
  if (state.main?.isGood) keepPrevious(folder, counters);
  // 4, 7.
  const identity = await writeSnapshot(folder.at(STATE), snapshotText(header, tables));
  counters.syncs++;
  const { rev } = header;
  state.main = { rev, identity, isGood: false, isSealed: true };
  // 8.
  await folder.sync();
  try {
    await verifySnapshot(folder.at(STATE));
  } catch (error) {
    await putPreviousBack(state);
    throw error;
  }
  state.main = { rev, identity, isGood: true, isSealed: true };
}

// 5.
function setEditedAside(state: State): void {
  const { folder, main, now, notice } = state;
  const there = lstatSync(folder.at(STATE), { throwIfNoEntry: false });
  if (there && main && isSame(there, main.identity)) return;
  state.main = undefined;
  if (!there) return;
  const aside = asideName(folder, STATE, "edited", now());
  renameSync(folder.at(STATE), folder.at(aside));
  notice({
    kind: "edited",
    message: `${STATE} was changed while running, which has no effect: kept as ${aside}`,
  });
}

const isSame = (a: FileIdentity, b: FileIdentity): boolean =>
  a.ino === b.ino && a.size === b.size && a.mtimeMs === b.mtimeMs;

// 6.
function keepPrevious(folder: DataFolder, counters: Counters): void {
  const previous = folder.at(PREVIOUS);
  rmSync(previous, { force: true });
  try {
    linkSync(folder.at(STATE), previous);
  } catch {
    // A file system without hard links.
    copyFileSync(folder.at(STATE), previous, constants.COPYFILE_EXCL);
    const copy = openSync(previous, "r+");
    try {
      counters.syncs++;
      fsyncSync(copy);
    } finally {
      closeSync(copy);
    }
  }
}

// 9. What was written is not what can be read.
async function putPreviousBack(state: State): Promise<void> {
  const { folder, now } = state;
  const rev = revOf(folder, PREVIOUS);
  if (rev === undefined) {
    // The first snapshot of all: the journals tell everything, and would not be believed beside a .corrupt-.
    rmSync(folder.at(STATE));
    state.main = undefined;
  } else {
    renameSync(folder.at(STATE), folder.at(asideName(folder, STATE, "corrupt", now())));
    renameSync(folder.at(PREVIOUS), folder.at(STATE));
    const identity = lstatSync(folder.at(STATE));
    state.main = { rev, identity, isGood: true, isSealed: true };
  }
  await folder.sync();
}

const copyTables = (tables: TableMaps): TableMaps => ({
  clients: new Map(tables.clients),
  refresh_tokens: new Map(tables.refresh_tokens),
  owner: new Map(tables.owner),
  folder: new Map(tables.folder),
  api_keys: new Map(tables.api_keys),
});
