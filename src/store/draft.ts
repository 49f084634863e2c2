// The draft of one group: reads see memory and every change queued before, and nothing reaches memory until the group
// is durable. Does not write.
import { type TableMaps, type TableName, type Tables, deepFreeze, tableNames } from "./records.ts";
import type { Draft } from "./table.ts";

/** Bytes of JSON of the largest record. */
const LARGEST_RECORD = 64 * 1024;

interface Change<T> {
  /** undefined: deleted. */
  readonly record: T | undefined;
  /** As it stands in the journal: `["table","id",record]`. */
  readonly text: string;
}
export type Changes = { readonly [N in TableName]: Map<string, Change<Tables[N]>> };

export const noChanges = (): Changes => ({
  clients: new Map(),
  refresh_tokens: new Map(),
  owner: new Map(),
  folder: new Map(),
  api_keys: new Map(),
});

/** The texts of all changes, in the order of tables and of first change. */
export function changeTexts(changes: Changes): string[] {
  return tableNames.flatMap((name) => [...changes[name].values()].map(({ text }) => text));
}

export const hasChanges = (changes: Changes): boolean =>
  tableNames.some((name) => changes[name].size > 0);

/** Adds `newer` to `changes`; what both hold is newer's. */
export function addChanges(changes: Changes, newer: Changes): void {
  const add = <N extends TableName>(name: N): void => {
    for (const [id, change] of newer[name]) changes[name].set(id, change);
  };
  tableNames.forEach(add);
}

export function clearChanges(changes: Changes): void {
  for (const name of tableNames) changes[name].clear();
}

/** Makes the changes part of the tables. */
export function applyChanges(tables: TableMaps, changes: Changes): void {
  const apply = <N extends TableName>(name: N): void => {
    for (const [id, { record }] of changes[name]) {
      if (record === undefined) tables[name].delete(id);
      else tables[name].set(id, record);
    }
  };
  tableNames.forEach(apply);
}

export interface Group {
  readonly changes: Changes;
  /** How many changes the group's line holds, and their length in characters. */
  readonly size: { changes: number; length: number };
  /** Runs one change on the newest state. What it throws is thrown on, and leaves no trace. */
  run<R>(change: (draft: Draft) => R): R;
}

export function openGroup(tables: TableMaps): Group {
  const changes = noChanges();
  const size = { changes: 0, length: 0 };

  const run = <R>(change: (draft: Draft) => R): R => {
    const undo: (() => void)[] = [];
    const before = { ...size };
    let over = false;
    const draft = createDraft(
      tables,
      changes,
      () => over,
      (table, id, made) => {
        const known = changes[table].get(id);
        undo.push(() => (known ? changes[table].set(id, known) : changes[table].delete(id)));
        changes[table].set(id, made);
        size.changes += known ? 0 : 1;
        size.length += made.text.length - (known?.text.length ?? 0);
      },
    );
    try {
      const result = change(draft);
      if (result instanceof Promise) throw new TypeError("a change must not be asynchronous");
      return result;
    } catch (error) {
      for (const step of undo.toReversed()) step();
      Object.assign(size, before);
      throw error;
    } finally {
      over = true;
    }
  };
  return { changes, size, run };
}

type Make = <N extends TableName>(table: N, id: string, change: Change<Tables[N]>) => void;

function createDraft(tables: TableMaps, changes: Changes, over: () => boolean, make: Make): Draft {
  const assertOpen = (): void => {
    if (over()) throw new Error("a draft was used after its change");
  };
  const get: Draft["get"] = (table, id) => {
    assertOpen();
    const change = changes[table].get(id);
    return change ? change.record : deepFreeze(tables[table].get(id));
  };
  const put: Draft["put"] = (table, id, record) => {
    assertOpen();
    const json = JSON.stringify(record);
    if (Buffer.byteLength(json) > LARGEST_RECORD) {
      throw new RangeError(`a record of "${table}" is larger than ${LARGEST_RECORD} bytes`);
    }
    const text = `["${table}",${JSON.stringify(id)},${json}]`;
    make(table, id, { record: deepFreeze(record), text });
  };
  const remove: Draft["delete"] = (table, id) => {
    if (get(table, id) === undefined) return;
    make(table, id, { record: undefined, text: `["${table}",${JSON.stringify(id)},null]` });
  };
  return {
    get,
    put,
    delete: remove,
    *list(table) {
      // Changes made while the caller iterates are seen, but records put meanwhile are not visited.
      const added = [...changes[table].keys()].filter((id) => !tables[table].has(id));
      for (const ids of [tables[table].keys(), added]) {
        for (const id of ids) {
          const record = get(table, id);
          if (record !== undefined) yield [id, record];
        }
      }
    },
  };
}
