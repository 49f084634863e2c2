// Group commit: all waiting changes become one draft, one line, one sync; then memory changes; then the callers are
// answered. The file itself is append.ts.
import { FatalError, StoreUnavailable, reason } from "../errors.ts";
import type { JournalFile } from "./append.ts";
import {
  type Changes,
  type Group,
  addChanges,
  applyChanges,
  changeTexts,
  clearChanges,
  hasChanges,
  noChanges,
  openGroup,
} from "./draft.ts";
import type { FolderClock } from "./expiry.ts";
import type { Counters } from "./files.ts";
import type { TableMaps } from "./records.ts";
import type { Draft } from "./table.ts";

/** The truth while the process runs. */
export interface Memory {
  readonly tables: TableMaps;
  /** Of the newest durable change, and the sum of its line. */
  rev: number;
  chain: string;
  /** What takes rights away, holds here and waits for the disk. */
  readonly owed: Changes;
}

export interface CommitOptions {
  readonly memory: Memory;
  readonly journal: JournalFile;
  readonly clock: FolderClock;
  readonly counters: Counters;
  /** A group takes no further change once it holds so many, or so many characters; one change is never split. */
  readonly groupChanges: number;
  readonly groupLength: number;
  /** Runs between every two groups. */
  readonly between: () => void;
  /** Nothing may be written any more. */
  readonly fatal: (error: FatalError) => void;
}

export interface Committer {
  update<R>(change: (draft: Draft) => R): Promise<R>;
  revoke<R>(change: (draft: Draft) => R): Promise<R>;
  /** Runs a step between two groups. */
  between(step: () => void): void;
  /** Runs what waits, owed revocations included, and resolves when nothing does. */
  drain(): Promise<void>;
  /** Refuses whatever comes from now on. */
  close(): void;
  isStopped(): boolean;
}

interface Call {
  readonly revocation: boolean;
  /** Runs the change; gives what answers the caller once the group is durable. */
  run(group: Group): () => void;
  reject(error: unknown): void;
}

interface State extends CommitOptions {
  queue: Call[];
  steps: (() => void)[];
  /** The run of the loop that is under way. */
  running: Promise<void> | undefined;
  retry: ReturnType<typeof setTimeout> | undefined;
  retryDelay: number;
  closed: boolean;
  stopped: FatalError | undefined;
}

/** Milliseconds until what is owed to the disk is tried again. */
const FIRST_RETRY = 1_000;
const LONGEST_RETRY = 30_000;

export function createCommitter(options: CommitOptions): Committer {
  const state: State = {
    ...options,
    queue: [],
    steps: [],
    running: undefined,
    retry: undefined,
    retryDelay: FIRST_RETRY,
    closed: false,
    stopped: undefined,
  };
  const enqueue = <R>(change: (draft: Draft) => R, revocation: boolean): Promise<R> => {
    const { promise, resolve, reject } = Promise.withResolvers<R>();
    if (state.closed) {
      reject(new StoreUnavailable("the store is closed"));
      return promise;
    }
    const run = (group: Group): (() => void) => {
      const result = group.run(change);
      return () => resolve(result);
    };
    state.queue.push({ revocation, run, reject });
    void wake(state);
    return promise;
  };
  return {
    update: (change) => enqueue(change, false),
    revoke: (change) => enqueue(change, true),
    between(step) {
      state.steps.push(step);
      void wake(state);
    },
    drain: () => wake(state),
    close() {
      state.closed = true;
      clearTimeout(state.retry);
    },
    isStopped: () => state.stopped !== undefined,
  };
}

function wake(state: State): Promise<void> {
  return (state.running ??= runLoop(state));
}

async function runLoop(state: State): Promise<void> {
  // One turn first, so that callers of the same moment share a group.
  await Promise.resolve();
  try {
    do {
      for (const step of state.steps.splice(0)) step();
      state.between();
      await commitGroup(state);
    } while (state.queue.length > 0 || state.steps.length > 0);
  } finally {
    // In the same turn as the last look at the queue: a change that comes now starts the next run.
    state.running = undefined;
  }
}

async function commitGroup(state: State): Promise<void> {
  const { memory, counters } = state;
  const group = openGroup(memory.tables);
  const taken = fillGroup(state, group);
  const changes = withOwed(memory, group);
  if (hasChanges(changes)) {
    const texts = changeTexts(changes);
    try {
      memory.chain = await appendGroup(state, texts);
    } catch (error) {
      return failGroup(state, taken, hasChanges(group.changes), error);
    }
    memory.rev++;
    applyChanges(memory.tables, group.changes);
    counters.groups++;
    counters.failuresInRow = 0;
    counters.changes += texts.length;
    settleOwed(state);
  }
  for (const { answer } of taken) answer();
}

interface Taken {
  readonly call: Call;
  readonly answer: () => void;
}

/** Runs waiting changes in order until the group is full; what throws is refused alone. */
function fillGroup(state: State, group: Group): Taken[] {
  const { queue, groupChanges, groupLength } = state;
  const taken: Taken[] = [];
  let count = 0;
  for (const call of queue) {
    if (group.size.changes >= groupChanges || group.size.length >= groupLength) break;
    count++;
    try {
      taken.push({ call, answer: call.run(group) });
    } catch (error) {
      call.reject(error);
    }
  }
  queue.splice(0, count);
  return taken;
}

function withOwed(memory: Memory, group: Group): Changes {
  if (!hasChanges(memory.owed)) return group.changes;
  const changes = noChanges();
  addChanges(changes, memory.owed);
  addChanges(changes, group.changes);
  return changes;
}

function appendGroup(state: State, changes: readonly string[]): Promise<string> {
  if (state.stopped) throw state.stopped;
  const { rev, chain } = state.memory;
  return state.journal.append({ rev: rev + 1, prev: chain, at: state.clock.stamp(), changes });
}

/** Nothing of the group holds, except that what takes rights away is run again on memory alone and owed to the disk. */
function failGroup(state: State, taken: readonly Taken[], changed: boolean, cause: unknown): void {
  const { memory, counters } = state;
  counters.failures++;
  counters.failuresInRow++;
  if (cause instanceof FatalError && !state.stopped) {
    state.stopped = cause;
    state.fatal(cause);
  }
  const refusal = new StoreUnavailable(`a change could not be saved: ${reason(cause)}`, cause);
  for (const { call, answer } of taken) {
    try {
      if (call.revocation) holdRevocation(memory, call);
      // Only what is owed was written in vain: who changes nothing is told what holds.
      if (changed || call.revocation) call.reject(refusal);
      else answer();
    } catch (error) {
      call.reject(error);
    }
  }
  if (hasChanges(memory.owed)) retryLater(state);
}

function holdRevocation(memory: Memory, call: Call): void {
  const alone = openGroup(memory.tables);
  call.run(alone);
  applyChanges(memory.tables, alone.changes);
  addChanges(memory.owed, alone.changes);
}

/** Sooner than others fail: each of them would put it off. */
function retryLater(state: State): void {
  if (state.retry || state.closed || state.stopped) return;
  state.retry = setTimeout(() => {
    state.retry = undefined;
    void wake(state);
  }, state.retryDelay);
  state.retry.unref();
  state.retryDelay = Math.min(2 * state.retryDelay, LONGEST_RETRY);
}

function settleOwed(state: State): void {
  clearTimeout(state.retry);
  state.retry = undefined;
  clearChanges(state.memory.owed);
  state.retryDelay = FIRST_RETRY;
}
