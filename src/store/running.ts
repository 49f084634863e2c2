// The store while it runs: journal, committer and compaction around one memory, and the end. How memory came to be is
// folder.ts.
import { type FatalError, reason } from "../errors.ts";
import { type JournalFile, journalFile } from "./append.ts";
import { type Committer, type Memory, createCommitter } from "./commit.ts";
import { type Compactor, createCompactor } from "./compaction.ts";
import { hasChanges, noChanges } from "./draft.ts";
import type { FolderClock } from "./expiry.ts";
import { type Counters, type DataFolder, type Notice, PREVIOUS } from "./files.ts";
import type { Main } from "./generations.ts";
import type { FolderLock } from "./lock.ts";
import type { Recovered } from "./recovery.ts";

export interface RunningOptions {
  readonly folder: DataFolder;
  readonly lock: FolderLock;
  readonly counters: Counters;
  readonly clock: FolderClock;
  readonly recovered: Recovered;
  /** state.json as it was found; undefined when there is none. */
  readonly main: Main | undefined;
  readonly issuer: string;
  readonly now: () => number;
  readonly monotonic: () => number;
  readonly notice: (notice: Notice) => void;
  readonly fatal: (error: FatalError) => void;
  readonly groupChanges?: number;
  readonly groupLength?: number;
  readonly journalLimit?: number;
  readonly spareSpace?: number;
}

export interface Running extends Pick<Committer, "update" | "revoke"> {
  readonly memory: Memory;
  compact(): Promise<void>;
  /** Compacts when the journals have grown enough, or when `mustCompact`, and secures both generations; failure is a notice. */
  settle(mustCompact: boolean): Promise<void>;
  close(): Promise<void>;
}

const MIB = 1024 * 1024;

export function startRunning(options: RunningOptions): Running {
  const { folder, lock, counters, recovered, monotonic } = options;
  const { tables, rev, chain, voids, journalBytes, snapshot, spoiled, isWhole } = recovered;
  const memory: Memory = { tables, rev, chain, owed: noChanges() };
  const endedAt = new Map<string, number>();
  const ended = (name: string): void => void endedAt.set(name, monotonic());
  const journal = journalFile({ folder, counters, voids: new Set(voids), held: lock.held, ended });
  const { journalLimit = 4 * MIB, spareSpace = 16 * MIB } = options;
  const limits = { journalLimit, spareSpace };
  const isPreviousDoubtful = spoiled.includes(PREVIOUS) || (snapshot?.edited ?? false);
  const compactor = createCompactor({
    ...options,
    ...limits,
    memory,
    journal,
    endedAt,
    journalBytes,
    isPreviousDoubtful,
  });
  const { groupChanges = 256, groupLength = MIB } = options;
  const between = (): void => {
    if (compactor.isDue()) void compactor.begin().catch(tellFailure(options));
  };
  const groups = { groupChanges, groupLength, between };
  const committer = createCommitter({ ...options, ...groups, memory, journal });

  const parts: Parts = { options, memory, journal, compactor, committer };
  let closing: Promise<void> | undefined;
  return {
    update: committer.update,
    revoke: committer.revoke,
    memory,
    compact: () => compact(parts),
    async settle(mustCompact) {
      if (mustCompact || compactor.isDue()) await compact(parts).catch(tellFailure(options));
      // Journals from the beginning tell as much as another generation.
      if (!isWhole) await compactor.secure();
    },
    close: () => (closing ??= finish(parts)),
  };
}

interface Parts {
  readonly options: RunningOptions;
  readonly memory: Memory;
  readonly journal: JournalFile;
  readonly compactor: Compactor;
  readonly committer: Committer;
}

/** One that is under way may have begun before the last change; what begins afterwards has it. */
async function compact({ compactor, committer }: Parts): Promise<void> {
  await compactor.settled();
  await new Promise<void>((resolve, reject) => {
    committer.between(() => void compactor.begin().then(resolve, reject));
  });
}

async function finish(parts: Parts): Promise<void> {
  const { options, memory, journal, compactor, committer } = parts;
  committer.close();
  await committer.drain();
  const isSaved =
    !committer.isStopped() &&
    compactor.mayBegin() &&
    (await compact(parts).then(() => true, tellFailure(options)));
  if (hasChanges(memory.owed) && !isSaved) options.notice(owedAtEnd);
  await compactor.settled();
  journal.end();
  options.lock.release();
  options.folder.close();
}

const tellFailure =
  ({ notice }: RunningOptions) =>
  (error: unknown): false => {
    const message = `state.json could not be written, the journals keep everything: ${reason(error)}`;
    notice({ kind: "compaction-failed", message });
    return false;
  };

const owedAtEnd: Notice = {
  kind: "owed",
  message:
    "ends of logins or first uses of tokens could not be saved before the end: the folder lacks them",
};
