// The store while it runs: journal, committer and compaction around one memory, and the end. How memory came to be is
// folder.ts.
import { type FatalError, reason } from "../errors.ts";
import { journalFile } from "./append.ts";
import { type Committer, type Memory, createCommitter } from "./commit.ts";
import { type Main, createCompactor } from "./compaction.ts";
import { hasChanges, noChanges } from "./draft.ts";
import type { FolderClock } from "./expiry.ts";
import type { Counters, DataFolder, Notice } from "./files.ts";
import type { FolderLock } from "./lock.ts";
import type { Recovered } from "./recovery.ts";

export interface RunningOptions {
  readonly folder: DataFolder;
  readonly lock: FolderLock;
  readonly counters: Counters;
  readonly clock: FolderClock;
  readonly recovered: Recovered;
  /** state.json; undefined when there is none that counts. */
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
  /** Compacts when the journals have grown enough, or when `mustCompact`; failure is a notice. */
  settle(mustCompact: boolean): Promise<void>;
  close(): Promise<void>;
}

const MIB = 1024 * 1024;

export function startRunning(options: RunningOptions): Running {
  const { folder, lock, counters, recovered, monotonic, notice } = options;
  const { tables, rev, chain, journalBytes } = recovered;
  const memory: Memory = { tables, rev, chain, owed: noChanges() };
  const endedAt = new Map<string, number>();
  const journal = journalFile({
    folder,
    counters,
    voids: new Set(recovered.voids),
    held: lock.held,
    ended: (name) => void endedAt.set(name, monotonic()),
  });
  const { journalLimit = 4 * MIB, spareSpace = 16 * MIB } = options;
  const compactor = createCompactor({
    ...options,
    memory,
    journal,
    endedAt,
    journalBytes,
    journalLimit,
    spareSpace,
  });
  const { groupChanges = 256, groupLength = MIB } = options;
  const committer = createCommitter({
    ...options,
    memory,
    journal,
    groupChanges,
    groupLength,
    between: () => {
      if (compactor.isDue()) void compactor.begin().catch(tellFailure);
    },
  });

  const tellFailure = (error: unknown): void => {
    const message = `state.json could not be written, the journals keep everything: ${reason(error)}`;
    notice({ kind: "compaction-failed", message });
  };
  const compact = (): Promise<void> =>
    new Promise((resolve, reject) => {
      committer.between(() => void compactor.begin().then(resolve, reject));
    });
  const finish = async (): Promise<void> => {
    committer.close();
    await committer.drain();
    if (hasChanges(memory.owed)) notice(owedAtEnd);
    if (!committer.isStopped() && compactor.isAllowed()) await compact().catch(tellFailure);
    journal.end();
    lock.release();
    folder.close();
  };
  let closing: Promise<void> | undefined;
  return {
    update: committer.update,
    revoke: committer.revoke,
    memory,
    compact,
    async settle(mustCompact) {
      if (mustCompact || compactor.isDue()) await compact().catch(tellFailure);
    },
    close: () => (closing ??= finish()),
  };
}

const owedAtEnd: Notice = {
  kind: "owed",
  message: "revocations could not be saved before the end: they are not in the folder",
};
