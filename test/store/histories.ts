// Folders written by hand around one history of five changes, and what a start makes of them.
import { expect } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { FatalError } from "../../src/errors.ts";
import {
  GENESIS,
  type HandJournal,
  change,
  contentOf,
  folderWith,
  handJournal,
  handSnapshot,
  openFolder,
  smallRecords,
} from "./folders.ts";

/** Five changes: each writes its own record and the one record that all of them write. */
export const ops = [1, 2, 3, 4, 5].map(
  (n) => `${change(`r${n}`, `v${n}`)},${change("all", `v${n}`)}`,
);

/** What the table holds after the first `rev` changes. */
export const stateAt = (rev: number): Record<string, string> => ({
  ...Object.fromEntries(Array.from({ length: rev }, (_, n) => [`r${n + 1}`, `v${n + 1}`])),
  ...(rev > 0 ? { all: `v${rev}` } : {}),
});

/** The five changes in journals that begin at these revs. */
export function history(...bases: readonly number[]) {
  const chains = [GENESIS];
  const journals = bases.map((base, index) => {
    const journal = handJournal(base, chains[base] ?? "", ops.slice(base, bases[index + 1]));
    for (const { rev, sum } of journal.changes) chains[rev] = sum;
    return journal;
  });
  const chainAt = (rev: number): string => chains[rev] ?? "";
  return {
    journals,
    chainAt,
    files: filesOf(...journals),
    snapshotAt: (rev: number): string => handSnapshot(rev, chainAt(rev), stateAt(rev)),
  };
}

export function filesOf(...journals: readonly HandJournal[]): Record<string, string> {
  return Object.fromEntries(journals.map(({ name, text }) => [name, text]));
}

/** The usual history: two journals, the second from change 4 on. */
export const { journals, files: bothJournals, chainAt, snapshotAt } = history(0, 3);
export const [first = handJournal(0, GENESIS, []), last = handJournal(0, GENESIS, [])] = journals;
/** The same changes in one journal. */
export const {
  journals: [whole = first],
  snapshotAt: wholeSnapshotAt,
  chainAt: wholeChainAt,
} = history(0);

/** Opens, reads, and gives what was found. */
export async function load(files: Readonly<Record<string, string | Buffer>>) {
  const path = folderWith(files);
  const { store, notices } = await openFolder(path);
  return { path, store, notices, records: await smallRecords(store) };
}

/** Opens a folder that must be refused; checks that nothing in it changed. */
export async function refusal(
  files: Readonly<Record<string, string | Buffer>>,
): Promise<FatalError> {
  const path = folderWith(files);
  const before = contentOf(path);
  const error = await openFolder(path).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(contentOf(path)).toEqual(before);
  expect(existsSync(join(path, ".lock"))).toBe(false);
  if (!(error instanceof FatalError))
    throw new Error("the folder was not refused", { cause: error });
  return error;
}
