// The storage contract (six verbs a table, one commit over several tables) and the tables that live in memory only.
import { StoreUnavailable } from "../errors.ts";
import {
  type Code,
  type Session,
  type TableName,
  type Tables,
  type UsedAssertion,
  deepFreeze,
} from "./records.ts";

/** Records by id. Every verb resolves when its effect is durable; records are frozen and replaced, never mutated. */
export interface Table<T> {
  get(id: string): Promise<T | undefined>;
  /** Inserts or replaces. */
  put(id: string, record: T): Promise<void>;
  /** Gets and deletes; of several callers at once exactly one receives the record. */
  take(id: string): Promise<T | undefined>;
  /**
   * Replaces the record by what `change` makes of it; undefined deletes it. `change` runs once, synchronously, on the
   * newest state. Resolves to the new record.
   */
  update(id: string, change: (current: T | undefined) => T | undefined): Promise<T | undefined>;
  /** Resolves to whether there was one. */
  delete(id: string): Promise<boolean>;
  list(): Promise<[id: string, record: T][]>;
}

/** The newest queued state of the durable tables, inside one `update`: reads see every change queued before. */
export interface Draft {
  get<N extends TableName>(table: N, id: string): Tables[N] | undefined;
  put<N extends TableName>(table: N, id: string, record: Tables[N]): void;
  delete(table: TableName, id: string): void;
  list<N extends TableName>(table: N): Iterable<[id: string, record: Tables[N]]>;
}

export type DurableTables = { readonly [N in TableName]: Table<Tables[N]> };

/** All state of one Postern. */
export interface Store extends DurableTables {
  readonly codes: Table<Code>;
  readonly sessions: Table<Session>;
  readonly assertions: Table<UsedAssertion>;
  /**
   * Runs `change` synchronously on the newest queued state, makes what it changed durable in one commit with its
   * neighbours, then resolves to its result. What `change` throws rejects this call alone and changes nothing.
   * A failed write rejects with StoreUnavailable and changes nothing.
   */
  update<R>(change: (draft: Draft) => R): Promise<R>;
  /**
   * As `update`, for changes that take rights away: when the write fails, the change holds in memory at once and is
   * retried before any other write; the call rejects with StoreUnavailable all the same. `change` may run twice.
   */
  revoke<R>(change: (draft: Draft) => R): Promise<R>;
  /** Whether the clock may be years ahead, for all that the folder knows: by time alone nothing is over for good then. */
  clockMayBeAhead(): boolean;
  /** Finishes queued commits, writes the snapshot, releases the lock. */
  close(): Promise<void>;
}

export interface MemoryTableOptions {
  /** Most records held at once. */
  readonly cap: number;
  /** What a full table does with a new record: refuse it (503), or drop the record that was put first. */
  readonly whenFull: "refuse" | "drop oldest";
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Monotonic milliseconds: a record ends by whichever clock says so first. */
  readonly monotonic: () => number;
}

/** A table whose records end with the process, or at their `expires_at` (epoch seconds), whichever comes first. */
export function memoryTable<T extends { readonly expires_at: number }>(
  options: MemoryTableOptions,
): Table<T> {
  const { cap, whenFull, now, monotonic } = options;
  const records = new Map<string, { record: T; deadline: number }>();

  const live = (id: string): T | undefined => {
    const entry = records.get(id);
    if (!entry) return undefined;
    if (entry.record.expires_at * 1000 > now() && entry.deadline > monotonic()) return entry.record;
    records.delete(id);
    return undefined;
  };
  const makeRoom = (): void => {
    if (records.size < cap) return;
    for (const id of records.keys()) live(id);
    if (records.size < cap) return;
    if (whenFull === "refuse") throw new StoreUnavailable("a table in memory is full");
    const [oldest] = records.keys();
    if (oldest !== undefined) records.delete(oldest);
  };
  const set = (id: string, record: T): void => {
    const known = records.get(id);
    if (!known) makeRoom();
    const deadline =
      known && known.record.expires_at === record.expires_at
        ? known.deadline
        : monotonic() + record.expires_at * 1000 - now();
    records.set(id, { record: deepFreeze(record), deadline });
  };

  return {
    get: async (id) => live(id),
    put: async (id, record) => set(id, record),
    take: async (id) => {
      const record = live(id);
      records.delete(id);
      return record;
    },
    update: async (id, change) => {
      const next = change(live(id));
      if (next === undefined) records.delete(id);
      else set(id, next);
      return next;
    },
    delete: async (id) => live(id) !== undefined && records.delete(id),
    list: async () =>
      [...records.keys()].flatMap((id): [string, T][] => {
        const record = live(id);
        return record ? [[id, record]] : [];
      }),
  };
}

/** A durable table: reads the committed state, changes it through `update`. */
export function durableTable<N extends TableName>(
  name: N,
  committed: ReadonlyMap<string, Tables[N]>,
  update: Store["update"],
): Table<Tables[N]> {
  const change = <R>(
    id: string,
    next: (current: Tables[N] | undefined) => Tables[N] | undefined,
    result: (before: Tables[N] | undefined, after: Tables[N] | undefined) => R,
  ): Promise<R> =>
    update((draft) => {
      const before = draft.get(name, id);
      const after = next(before);
      if (after === undefined) draft.delete(name, id);
      else if (after !== before) draft.put(name, id, after);
      return result(before, after);
    });
  return {
    get: async (id) => deepFreeze(committed.get(id)),
    put: (id, record) =>
      change(
        id,
        () => record,
        () => undefined,
      ),
    take: (id) =>
      change(
        id,
        () => undefined,
        (before) => before,
      ),
    update: (id, next) => change(id, next, (_, after) => after),
    delete: (id) =>
      change(
        id,
        () => undefined,
        (before) => before !== undefined,
      ),
    list: async () => Array.from(committed, ([id, record]) => [id, deepFreeze(record)]),
  };
}
