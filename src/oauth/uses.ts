// Uses of credentials, on their way into their records: each joins the next commit, and nobody waits for it.
import type { Draft, Store } from "../store/table.ts";

export interface Uses {
  /** Returns whether it was new: a burst of calls writes once. */
  mark(name: string, change: (draft: Draft) => void): boolean;
  /** Whether a mark is on its way to the disk, or waits for a disk that failed it. */
  isPending(name: string): boolean;
}

/** Milliseconds that a disk which failed a mark is left alone. */
const RETRY = 5000;

export function createUses(store: Store): Uses {
  const pending = new Set<string>();
  return {
    isPending: (name) => pending.has(name),
    mark: (name, change) => {
      if (pending.has(name)) return false;
      pending.add(name);
      const saved = store.update(change);
      saved.then(
        () => pending.delete(name),
        () => setTimeout(() => pending.delete(name), RETRY).unref(),
      );
      return true;
    },
  };
}
