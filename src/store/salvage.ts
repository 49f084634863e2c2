// Salvage: what can be saved of files that no start accepts. The newest state that is proven, then every change that can be
// read, in their order; damaged snapshots last, for what nothing better tells. Writes nothing.
import { checksum } from "../primitives.ts";
import { type ListedJournal, listJournals, refuseNewerSnapshot } from "./candidates.ts";
import { issuerOf } from "./copy.ts";
import { type FolderFiles, PREVIOUS, STATE, kindOf } from "./files.ts";
import { type Fragments, readFragments } from "./fragments.ts";
import { GENESIS, type JournalLine, readJournal } from "./journal.ts";
import { type Grant, type TableMaps, type TableName, emptyTables } from "./records.ts";
import { type Recovered, eachChange, recover } from "./recovery.ts";
import { type Snapshot, readSnapshot } from "./snapshot.ts";

export interface Salvaged {
  readonly tables: TableMaps;
  readonly rev: number;
  /** Of no other history: whatever is laid beside it is told from it. */
  readonly chain: string;
  readonly issuer: string;
  readonly host: string;
  /** The newest time found, epoch milliseconds. */
  readonly newest: number;
  /** By table: records of a damaged file, which no checksum proves, and records that could not be read. */
  readonly unproven: Readonly<Record<TableName, number>>;
  readonly unreadable: Readonly<Record<TableName, number>>;
  /** What is known to be lost, one sentence each. */
  readonly losses: readonly string[];
}

interface Layer extends Fragments {
  readonly name: string;
  readonly rev: number;
}

interface Change {
  readonly journal: string;
  readonly line: JournalLine;
}

interface State {
  readonly tables: TableMaps;
  /** Ids, behind their table's name, of records that no checksum proves. */
  readonly unproven: Set<string>;
  /** Logins and keys that were ended. Their ids are used once, so nothing brings one back. */
  readonly ended: Set<string>;
  readonly losses: string[];
  /** The newest rev up to which every change is proven. */
  reach: number;
}

/**
 * All of what a start would take, or else whatever can be saved.
 * @throws {FatalError} exit code 78: the files are newer than this version
 */
export function salvage(files: FolderFiles): Salvaged {
  refuseNewerSnapshot(files);
  try {
    return wholeState(recover(files));
  } catch {
    return saveParts(files);
  }
}

function wholeState({ tables, rev, chain, snapshot, newest = 0 }: Recovered): Salvaged {
  return {
    tables,
    rev,
    chain,
    issuer: issuerOf({ tables, snapshot }),
    host: snapshot?.header.folder.host ?? "",
    newest,
    unproven: tally(() => 0),
    unreadable: tally(() => 0),
    losses: [],
  };
}

function saveParts(given: FolderFiles): Salvaged {
  const files = { names: given.names, read: readOrNothing(given) };
  const journals = listJournals(files);
  const changes = readableChanges(files, journals);
  const { base, layers } = readSnapshots(files);
  const from = base?.header.rev ?? 0;
  const above = changes.filter(({ line }) => line.rev > from);
  const { own: later, others } = splitHistories(above, base?.header);
  const state: State = {
    tables: base?.tables ?? emptyTables(),
    unproven: new Set(),
    ended: new Set(),
    losses: [],
    reach: from,
  };
  let done = 0;
  for (const layer of layers) {
    const until = later.findIndex(({ line }, index) => index >= done && line.rev > layer.rev);
    const end = until === -1 ? later.length : until;
    for (const change of later.slice(done, end)) applyChange(state, change);
    // What is proven as a whole gains nothing from records that may be wrong.
    if (state.reach < layer.rev) applyLayer(state, layer);
    done = end;
  }
  for (const change of later.slice(done)) applyChange(state, change);
  for (const { name, base, isReadable } of journals) {
    const isOver = base < from || later.some((change) => change.journal === name);
    if (isReadable || isOver || files.read(name).length === 0) continue;
    state.losses.push(`whatever ${name} held: nothing in it can be read`);
  }
  const last = readableBases(journals).at(-1) ?? 0;
  const revs = [...later.map(({ line }) => line.rev), last + 1];
  for (const name of new Set(others.map(({ journal }) => journal))) {
    state.losses.push(`what ${name} tells of another history: the folder was restored over it`);
  }
  tellLostClients(state);
  tellGaps(state, revs, Math.max(from, ...layers.map(({ rev }) => rev)));
  return summary(state, base, layers, later.at(-1)?.line);
}

interface Snapshots {
  /** The newest whose sum is right, or was emptied by hand. */
  readonly base: Snapshot | undefined;
  /** Damaged ones that may be newer, oldest first. */
  readonly layers: readonly Layer[];
}

function readSnapshots(files: FolderFiles): Snapshots {
  const listed = [PREVIOUS, STATE].filter((name) => files.names.includes(name));
  // What was once set aside is older than anything else there is.
  const names = listed.length > 0 ? listed : files.names.filter(isSetAside);
  let base: Snapshot | undefined;
  let layers: Layer[] = [];
  for (const name of names) {
    const content = files.read(name);
    const snapshot = proven(content);
    if (snapshot && snapshot.header.rev >= (base?.header.rev ?? 0)) {
      base = snapshot;
      layers = layers.filter(({ rev }) => rev > snapshot.header.rev);
    }
    if (snapshot) continue;
    const fragments = readFragments(content);
    const rev = fragments.header?.rev ?? base?.header.rev ?? 0;
    if (rev >= (base?.header.rev ?? 0)) layers.push({ ...fragments, name, rev });
  }
  return { base, layers: layers.toSorted((a, b) => a.rev - b.rev) };
}

const isSetAside = (name: string): boolean => kindOf(name) === "kept" && name.startsWith(STATE);

function proven(content: Buffer): Snapshot | undefined {
  try {
    return readSnapshot(content);
  } catch {
    return undefined;
  }
}

/** A file that the disk does not give back has nothing in it. */
const readOrNothing =
  ({ read }: FolderFiles): FolderFiles["read"] =>
  (name, limit) => {
    try {
      return read(name, limit);
    } catch {
      return Buffer.alloc(0);
    }
  };

/** Every good line of every journal by rev; lines that a later journal voids are left out, as in a start. */
function readableChanges(files: FolderFiles, journals: readonly ListedJournal[]): Change[] {
  const bases = readableBases(journals);
  return journals
    .flatMap(({ name, base }) => {
      const end = bases.find((other) => other > base) ?? Number.POSITIVE_INFINITY;
      const { lines, behind } = readJournal(files.read(name));
      return [...lines, ...behind]
        .filter(({ rev }) => rev <= end)
        .map((line): Change => ({ journal: name, line }));
    })
    .toSorted((a, b) => a.line.rev - b.line.rev);
}

/**
 * Changes by rev, and those of them that do not build on the ones before: they were made before something older was restored,
 * so what was ended since must not come back with them. What stands behind a gap is believed.
 * @param base what the first one builds on, where a checksum proves it
 */
function splitHistories(
  changes: readonly Change[],
  base: { readonly rev: number; readonly chain: string } | undefined,
): { own: Change[]; others: Change[] } {
  const others = new Map<string, Change>();
  let last = base;
  const own = changes.filter((change) => {
    const { rev, prev, sum } = change.line;
    const fits =
      last === undefined || rev > last.rev + 1 || (rev > last.rev && prev === last.chain);
    const isOther = others.has(prev) || !(fits || sum === last?.chain);
    if (isOther) others.set(sum, change);
    else last = { rev, chain: sum };
    return !isOther;
  });
  return { own, others: [...others.values()] };
}

const readableBases = (journals: readonly ListedJournal[]): number[] =>
  journals.filter(({ isReadable }) => isReadable).map(({ base }) => base);

function applyChange(state: State, { journal, line }: Change): void {
  try {
    eachChange(journal, line, (table, id, record) => {
      if (record !== null) return put(state, table, id, record, true);
      state.tables[table].delete(id);
      if (table === "refresh_tokens" || table === "api_keys") state.ended.add(id);
    });
    if (line.rev === state.reach + 1) state.reach = line.rev;
  } catch {
    state.losses.push(`change ${line.rev} in ${journal} is not one that this version knows`);
  }
}

function applyLayer(state: State, { name, records, whole, unreadable }: Layer): void {
  for (const table of whole) {
    const there = new Set(records.filter((each) => each.table === table).map(({ id }) => id));
    // It was ended before this snapshot was written, as far as can be told.
    for (const id of state.tables[table].keys()) {
      if (!there.has(id)) state.tables[table].delete(id);
    }
  }
  for (const { table, id, record } of records) put(state, table, id, record, false);
  const lines = unreadable.map(({ line, table }) => (table ? `${line} (${table})` : String(line)));
  if (lines.length > 0) {
    const more = lines.length > 10 ? ` and ${lines.length - 10} more` : "";
    state.losses.push(
      `lines of ${name} that cannot be read: ${lines.slice(0, 10).join(", ")}${more}`,
    );
  } else state.losses.push(`${name} is damaged in a place that cannot be told`);
}

function put(state: State, table: TableName, id: string, record: object, isProven: boolean): void {
  if (state.ended.has(id)) return;
  if (table === "refresh_tokens") {
    const known = state.tables.refresh_tokens.get(id);
    if (known && !isLater(record as Grant, known, isProven)) return;
  }
  const records: Map<string, object> = state.tables[table];
  records.set(id, record);
  const key = `${table} ${id}`;
  if (isProven) state.unproven.delete(key);
  else state.unproven.add(key);
}

/** Of two records of one login the one of the higher generation holds; without proof only when it is the same login. */
const isLater = (record: Grant, known: Grant, isProven: boolean): boolean =>
  record.generation >= known.generation &&
  (isProven || (record.secret_hash === known.secret_hash && record.tag_key === known.tag_key));

function tellLostClients({ tables: { clients, refresh_tokens }, losses }: State): void {
  const left = refresh_tokens.values().filter(({ client_id: id }) => !clients.has(id));
  const count = [...left].length;
  if (count > 0)
    losses.push(
      `the clients of ${count} ${count === 1 ? "login" : "logins"}, which must connect again`,
    );
}

/** @param revs of what is there, in order; the last one may be that of a line yet to come */
function tellGaps({ losses }: State, revs: readonly number[], from: number): void {
  let known = from;
  for (const rev of revs) {
    const [first, last] = [known + 1, rev - 1];
    if (first === last) losses.push(`change ${first}`);
    if (first < last) losses.push(`changes ${first} to ${last}`);
    known = Math.max(known, rev);
  }
}

const tally = (count: (table: TableName) => number): Record<TableName, number> => ({
  clients: count("clients"),
  refresh_tokens: count("refresh_tokens"),
  owner: count("owner"),
  folder: count("folder"),
  api_keys: count("api_keys"),
});

function summary(
  { tables, unproven, losses }: State,
  base: Snapshot | undefined,
  layers: readonly Layer[],
  last: JournalLine | undefined,
): Salvaged {
  const headers = [base?.header, ...layers.map(({ header }) => header)].filter((each) => !!each);
  const newestHeader = headers.toSorted((a, b) => b.rev - a.rev)[0];
  const chain = last?.sum ?? newestHeader?.chain ?? GENESIS;
  const lines = layers.flatMap(({ unreadable }) => unreadable);
  return {
    tables,
    rev: Math.max(last?.rev ?? 0, ...headers.map(({ rev }) => rev)),
    chain: checksum().add("salvaged\0").add(chain).end(),
    issuer: tables.folder.get("self")?.issuer ?? newestHeader?.issuer ?? "",
    host: newestHeader?.folder.host ?? "",
    newest: Math.max(last?.at ?? 0, ...headers.map(({ savedAt }) => savedAt)),
    unproven: tally((table) => [...unproven].filter((id) => id.startsWith(`${table} `)).length),
    unreadable: tally((table) => lines.filter((line) => line.table === table).length),
    losses,
  };
}
