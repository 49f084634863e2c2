// Compaction: the state of one moment becomes state.json, the one before it state.json.prev, and journals that neither
// needs leave after an hour. Groups go on meanwhile. The numbers are those of "A snapshot" in docs/store.md.
import { lstatSync, renameSync, rmSync, statfsSync } from "node:fs";
import { reason } from "../errors.ts";
import { seconds } from "../primitives.ts";
import type { JournalFile } from "./append.ts";
import type { Memory } from "./commit.ts";
import { hasChanges } from "./draft.ts";
import type { FolderClock } from "./expiry.ts";
import { type Counters, type DataFolder, type Notice, PREVIOUS, STATE } from "./files.ts";
import {
  type Main,
  copyPrevious,
  keepPrevious,
  lacksPrevious,
  readMain,
  setAside,
  strangeMain,
} from "./generations.ts";
import { SCHEMA } from "./journal.ts";
import { type TableMaps, sweepExpired } from "./records.ts";
import { dropJournals } from "./retention.ts";
import {
  type FileIdentity,
  type SnapshotHeader,
  WrongSnapshot,
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
  /** state.json as the start found it; undefined when there is none. */
  readonly main: Main | undefined;
  /** state.json.prev is damaged, or older than an edit that counts. */
  readonly isPreviousDoubtful: boolean;
  /** Bytes of journal that state.json lacks. */
  readonly journalBytes: number;
  /** Monotonic milliseconds, of the journals that this process ended. */
  readonly endedAt: Map<string, number>;
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
  /** Makes a state.json.prev where a restore, a copy or a crash left none that stands alone; a failure is for another time. */
  secure(): Promise<void>;
}

/** Milliseconds. */
const REST_AFTER_FAILURE = 600_000;

interface State extends CompactionOptions {
  main: Main | undefined;
  isPreviousDoubtful: boolean;
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
    async secure() {
      const { main, folder } = state;
      if (!main?.isGood || !(state.isPreviousDoubtful || lacksPrevious(folder))) return;
      if (hasRoom(state)) await replacePrevious(state).catch(() => undefined);
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
  const isSaved = main ? main.isGood && main.rev === memory.rev : memory.rev === 0;
  // A revocation that no journal took yet has no rev of its own.
  if (isSaved && !hasChanges(memory.owed)) return Promise.resolve();
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
  const isKept = state.main?.isGood ?? false;
  // 4, 6, 7.
  const identity = await writeSnapshot(folder.at(STATE), snapshotText(header, tables), () => {
    if (isKept) keepPrevious(folder);
  });
  counters.syncs++;
  const { rev, chain } = header;
  state.main = { rev, chain, identity, isGood: false };
  // 8.
  await folder.sync();
  try {
    await verifySnapshot(folder.at(STATE));
  } catch (error) {
    // One that cannot be read now may be good; what follows leaves it and the one before it alone.
    if (error instanceof WrongSnapshot) await putPreviousBack(state);
    throw error;
  }
  state.main = { rev, chain, identity, isGood: true };
  if (isKept) state.isPreviousDoubtful = false;
  if (state.isPreviousDoubtful) await replacePrevious(state).catch(() => undefined);
}

async function replacePrevious(state: State): Promise<void> {
  state.counters.syncs++;
  await copyPrevious(state.folder);
  state.isPreviousDoubtful = false;
}

// 5. One that was only touched, or copied over itself, is what it was.
function setEditedAside(state: State): void {
  const { folder, main, now, notice } = state;
  const identity = lstatSync(folder.at(STATE), { throwIfNoEntry: false });
  if (identity && main && isSame(identity, main.identity)) return;
  state.main = undefined;
  if (!identity) return;
  const found = readMain(folder);
  if (found?.isGood && main?.isGood && found.rev === main.rev && found.chain === main.chain) {
    state.main = found;
    return;
  }
  const aside = setAside(folder, "edited", now());
  state.main = strangeMain(identity);
  notice({
    kind: "edited",
    message: `${STATE} was changed while running, which has no effect: kept as ${aside}`,
  });
}

const isSame = (a: FileIdentity, b: FileIdentity): boolean =>
  a.ino === b.ino && a.size === b.size && a.mtimeMs === b.mtimeMs;

// 9. What was written is not what can be read.
async function putPreviousBack(state: State): Promise<void> {
  const { folder, now } = state;
  if (lstatSync(folder.at(PREVIOUS), { throwIfNoEntry: false })) {
    setAside(folder, "corrupt", now());
    renameSync(folder.at(PREVIOUS), folder.at(STATE));
  } else {
    // The first snapshot of all: the journals tell everything, and would not be believed beside a .corrupt-.
    rmSync(folder.at(STATE));
  }
  state.main = readMain(folder);
  await folder.sync();
}

const copyTables = (tables: TableMaps): TableMaps => ({
  clients: new Map(tables.clients),
  refresh_tokens: new Map(tables.refresh_tokens),
  owner: new Map(tables.owner),
  folder: new Map(tables.folder),
  api_keys: new Map(tables.api_keys),
});
