// Uses of credentials, on their way into their records: each joins the next commit, and nobody waits for it.

export interface Uses {
  /** Returns whether it was new: a burst of calls writes once. */
  mark(name: string, save: () => Promise<void>): boolean;
}

/** Milliseconds that a disk which failed a mark is left alone. */
const RETRY = 5000;

export function createUses(): Uses {
  const pending = new Set<string>();
  return {
    mark: (name, save) => {
      if (pending.has(name)) return false;
      pending.add(name);
      save().then(
        () => pending.delete(name),
        () => setTimeout(() => pending.delete(name), RETRY).unref(),
      );
      return true;
    },
  };
}
