// Recovery: which snapshot and which lines of which journals are the state. A function of the files alone: it writes
// nothing. The numbers are those of "A start" in docs/store.md.
import { reason } from "../errors.ts";
import {
  type Base,
  type Candidate,
  type ListedJournal,
  damaged,
  isFromBeginning,
  listJournals,
  refuseNewerSnapshot,
  sources,
} from "./candidates.ts";
import { type FolderFiles, type Notice, PREVIOUS, STATE } from "./files.ts";
import {
  type JournalLine,
  type JournalText,
  isBeingMade,
  journalName,
  readJournal,
} from "./journal.ts";
import { type TableMaps, type TableName, tableNames } from "./records.ts";

export interface Recovered {
  readonly tables: TableMaps;
  readonly rev: number;
  readonly chain: string;
  /** What it stands on; undefined: no snapshot, everything is from journals. */
  readonly snapshot: Base | undefined;
  /** The newest time in the folder, epoch milliseconds; undefined when there is none. */
  readonly newest: number | undefined;
  /** Characters of journal that the snapshot lacks. */
  readonly journalBytes: number;
  /** Journals that hold nothing which counts. */
  readonly voids: readonly string[];
  /** Names of the snapshot and the journals above it, of which the state was made. */
  readonly used: readonly string[];
  /** Snapshots that are there and were passed over. */
  readonly spoiled: readonly string[];
  /** The journals go back to the beginning: they tell all without a snapshot. */
  readonly isWhole: boolean;
  readonly notices: readonly Notice[];
}

/**
 * Finds the newest state that the files hold.
 * @throws {FatalError} exit code 78: the files are newer than this version, or damaged, with every reason
 */
export function recover(files: FolderFiles): Recovered {
  const journals = listJournals(files);
  refuseNewerSnapshot(files);
  const failures = new Map<string, string>();
  for (const { name, load, least } of sources(files, journals)) {
    try {
      const recovered = replay(files, journals, load());
      if (recovered.rev < least) throw missing(recovered.rev + 1, least);
      const told = [...failures.values()].map((failure) => passedOver(failure, name));
      const spoiled = [...failures.keys()].filter((each) => files.names.includes(each));
      return { ...recovered, spoiled, notices: [...told, ...recovered.notices] };
    } catch (error) {
      failures.set(name, `${name}: ${reason(error)}`);
    }
  }
  // 12.
  throw damaged([...failures.values()].join("; "), hintFor(failures.get(STATE) ?? ""));
}

const EDITED = "its checksum was emptied by hand, but there are journals above it";

/** What somebody who edited state.json has to know besides. */
function hintFor(failure: string): string {
  if (failure.endsWith(EDITED))
    return "an edit counts after a clean stop only, when no journal is above it";
  if (!/its (checksum is wrong|last line is not)/.test(failure)) return "";
  return 'If you edited state.json by hand: make its last line "sum":""} to have it taken as it is';
}

/** How far a replay has come. */
interface Replay {
  readonly tables: TableMaps;
  rev: number;
  chain: string;
  newest: number | undefined;
  bytes: number;
  torn: Notice | undefined;
  readonly used: string[];
}

// 6. A candidate sets rev and chain; the end of a journal is the base of the next readable one.
function replay(
  files: FolderFiles,
  journals: readonly ListedJournal[],
  { base, tables, rev, chain }: Candidate,
): Omit<Recovered, "spoiled"> {
  const newest = base?.header.savedAt;
  const state: Replay = { tables, rev, chain, newest, bytes: 0, torn: undefined, used: [] };
  const readable = journals.filter(({ isReadable }) => isReadable);
  for (const [index, journal] of readable.entries()) {
    const end = readable[index + 1]?.base;
    if (journal.base > state.rev) throw missing(state.rev + 1, journal.base);
    // Not even touching the snapshot: a busy hour leaves many of these.
    if (end !== undefined && end < state.rev) continue;
    replayJournal(state, journal.name, end, readJournal(files.read(journal.name)));
    if (state.rev > rev) state.used.push(journal.name);
  }
  const unreadable = journals.filter(({ isReadable }) => !isReadable);
  for (const journal of unreadable) passOver(state, journal, files.read(journal.name));
  if (base?.edited && state.rev > rev) {
    throw new Error(EDITED);
  }
  return {
    tables,
    rev: state.rev,
    chain: state.chain,
    snapshot: base,
    newest: state.newest,
    journalBytes: state.bytes,
    voids: [
      ...unreadable.map(({ name }) => name),
      ...files.names.filter((name) => name === journalName(state.rev)),
    ],
    used: [...(base ? [base.name] : []), ...state.used],
    isWhole: isFromBeginning(journals),
    notices: [...(state.torn ? [state.torn] : []), ...(base?.edited ? [editTaken] : [])],
  };
}

function replayJournal(
  state: Replay,
  name: string,
  end: number | undefined,
  text: JournalText,
): void {
  for (const line of text.lines) {
    // 8. A journal named N voids what older journals hold above N: the one change that failed there.
    if (end !== undefined && line.rev > end) {
      if (line.rev > end + 1) throw anotherHistory(name, end + 1);
      continue;
    }
    replayLine(state, name, line);
  }
  if (end !== undefined) {
    // 10.
    if (state.rev < end) throw missing(state.rev + 1, end);
    return;
  }
  // 11.
  assertNothingBehind(state, name, text);
  if (text.badBytes === 0) return;
  state.torn = torn(name, text.badBytes);
}

/** 5. A journal whose header cannot be read counts as absent when it was being made and nobody was answered from it. */
function passOver(state: Replay, { name, base }: ListedJournal, content: Buffer): void {
  const text = readJournal(content);
  assertNothingBehind(state, name, text);
  // It is made when the change before it is durable.
  if (base > state.rev) throw missing(state.rev + 1, base);
  if (base < state.rev || content.length === 0) return;
  if (!isBeingMade(content, base, state.chain)) {
    throw new Error(`${name} is damaged from its beginning`);
  }
  state.torn = state.rev === 0 ? nothingRead(name, content.length) : torn(name, content.length);
}

function replayLine(state: Replay, name: string, line: JournalLine): void {
  state.newest = Math.max(state.newest ?? 0, line.at);
  // 7.
  if (line.rev < state.rev) return;
  if (line.rev === state.rev) {
    if (line.sum === state.chain) return;
    throw anotherHistory(name, line.rev);
  }
  // 9.
  if (line.rev > state.rev + 1) throw missing(state.rev + 1, line.rev - 1);
  if (line.prev !== state.chain) throw anotherHistory(name, line.rev);
  const { tables } = state;
  eachChange(name, line, (tableName, id, record) => {
    const table: Map<string, unknown> = tables[tableName];
    if (record === null) table.delete(id);
    else table.set(id, record);
  });
  state.rev = line.rev;
  state.chain = line.sum;
  state.bytes += line.length;
}

/**
 * Calls with each record of a group; null: it was deleted.
 * @throws {Error} this version does not know what the line says
 */
export function eachChange(
  journal: string,
  line: JournalLine,
  call: (table: TableName, id: string, record: object | null) => void,
): void {
  const changes: unknown = JSON.parse(line.changes());
  if (!Array.isArray(changes)) throw new Error(`change ${line.rev} in ${journal} is no list`);
  for (const change of changes) {
    const [tableName, id, record]: unknown[] = Array.isArray(change) ? change : [];
    const known = tableNames.find((name) => name === tableName);
    if (known === undefined || typeof id !== "string" || typeof record !== "object") {
      throw new Error(`change ${line.rev} in ${journal} is not one that this version knows`);
    }
    call(known, id, record);
  }
}

/** A good line above all that was found, behind a bad one or a bad header: what was once durable is damaged. */
function assertNothingBehind(state: Replay, name: string, text: JournalText): void {
  const last = text.lines.at(-1)?.rev ?? 0;
  const highest = text.behind.reduce((above, { rev }) => Math.max(above, rev), last);
  if (highest > state.rev) throw new Error(`${name} is damaged before change ${highest}`);
}

const anotherHistory = (name: string, rev: number): Error =>
  new Error(`${name} tells another history of change ${rev}`);

function missing(first: number, last: number): Error {
  return new Error(
    first >= last ? `change ${first} is missing` : `changes ${first} to ${last} are missing`,
  );
}

function passedOver(failure: string, taken: string): Notice {
  const rest =
    taken === PREVIOUS
      ? "its last generation and the journals"
      : "the journals go back to the beginning and";
  return { kind: "previous-snapshot", message: `${failure}; ${rest} are used instead` };
}

const torn = (name: string, bytes: number): Notice => ({
  kind: "torn-tail",
  message: `the last ${bytes} bytes of ${name} look like a change that was never answered: dropped`,
});

const nothingRead = (name: string, bytes: number): Notice => ({
  kind: "nothing-read",
  message: `none of the ${bytes} bytes of ${name} can be read: the folder begins anew`,
});

const editTaken: Notice = {
  kind: "edited",
  message: `${STATE} was edited by hand and is taken as it is`,
};
