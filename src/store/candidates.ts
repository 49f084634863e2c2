// What a recovery may begin from: state.json, the generation before it, or journals from the beginning. A function of the
// files alone; what stands above it is recovery.ts.
import { FatalError } from "../errors.ts";
import { type FolderFiles, PREVIOUS, STATE, kindOf } from "./files.ts";
import { findOddRecord } from "./fragments.ts";
import { GENESIS, SCHEMA, journalBase, readHeader } from "./journal.ts";
import { type TableMaps, emptyTables } from "./records.ts";
import { type SnapshotHeader, readSnapshot, snapshotStart } from "./snapshot.ts";

export interface Base {
  readonly name: typeof STATE | typeof PREVIOUS;
  readonly header: SnapshotHeader;
  readonly edited: boolean;
}

/** Where replay begins. */
export interface Candidate {
  readonly base: Base | undefined;
  readonly tables: TableMaps;
  readonly rev: number;
  readonly chain: string;
}

interface Source {
  readonly name: string;
  readonly load: () => Candidate;
  /** The least that it must come to: a damaged snapshot says how far it went. */
  readonly least: number;
}

export interface ListedJournal {
  readonly name: string;
  readonly base: number;
  readonly isReadable: boolean;
}

/** Bytes in which a header stands. */
const START = 4096;
const SALVAGE =
  "`postern check --salvage <new folder>`, with the same --data, writes what can be saved into a new folder";

/** @param more of the hint */
export const damaged = (message: string, more = ""): FatalError =>
  new FatalError(`the data folder cannot be loaded: ${message}`, {
    exitCode: 78,
    hint: more === "" ? SALVAGE : `${SALVAGE}. ${more}`,
  });

function newer(name: string, schema: number): FatalError {
  return new FatalError(`${name} was written by a newer Postern (schema ${schema})`, {
    exitCode: 78,
    hint: "use that version; nothing was changed",
  });
}

/** The first bytes; of a file that cannot be read nothing, which is told where it is wanted whole. */
function readable(files: FolderFiles, name: string): Buffer {
  try {
    return files.read(name, START);
  } catch {
    return Buffer.alloc(0);
  }
}

/** 3. A schema above ours is left alone. @throws {FatalError} exit code 78 */
export function refuseNewerSnapshot(files: FolderFiles): void {
  if (!files.names.includes(STATE)) return;
  const start = snapshotStart(readable(files, STATE));
  if (start && start.schema > SCHEMA) throw newer(STATE, start.schema);
}

/** 5. By base; without a readable header a journal counts as absent. @throws {FatalError} exit code 78: a newer schema */
export function listJournals(files: FolderFiles): ListedJournal[] {
  const journals = files.names.flatMap((name): ListedJournal[] => {
    const base = journalBase(name);
    if (base === undefined) return [];
    const header = readHeader(files.read(name, START));
    if (header && header.schema > SCHEMA) throw newer(name, header.schema);
    return [{ name, base, isReadable: header?.base === base }];
  });
  return journals.toSorted((a, b) => a.base - b.base);
}

export const isFromBeginning = ([first]: readonly ListedJournal[]): boolean =>
  first?.base === 0 && first.isReadable;

// 4. state.json, then the generation before it, then journals from the beginning; empty only where nothing says that there
// was more.
export function sources(files: FolderFiles, journals: readonly ListedJournal[]): Source[] {
  const tables = emptyTables();
  const listed = [STATE, PREVIOUS].filter((name) => files.names.includes(name));
  const genesis = {
    name: "journals",
    load: () => {
      const whole = listed.find((name) => isIntact(files, name));
      if (whole !== undefined) throw new Error(`${whole} is whole, and at odds with them`);
      return { base: undefined, tables, rev: 0, chain: GENESIS };
    },
  };
  if (listed.length > 0) {
    const least = Math.max(...listed.map((name) => snapshotStart(readable(files, name))?.rev ?? 0));
    return [
      ...([STATE, PREVIOUS] as const).map((name) => ({
        name,
        load: () => loadSnapshot(files, name),
        least: 0,
      })),
      ...(isFromBeginning(journals) ? [{ ...genesis, least }] : []),
    ];
  }
  const [first] = journals;
  if (first && first.base > 0) throw damaged(`${STATE} is missing, and ${first.name} builds on it`);
  const aside = files.names.filter((name) => kindOf(name) === "kept" && name.startsWith(STATE));
  // Journals from the beginning tell everything, unless what they stood on was found damaged.
  const telling = first ? aside.find((name) => name.includes(".corrupt-")) : aside[0];
  if (telling !== undefined) throw damaged(`${STATE} is missing, and there is ${telling}`);
  return [{ ...genesis, least: 0 }];
}

/** Whatever it says is somebody's word, not damage. */
function isIntact(files: FolderFiles, name: string): boolean {
  try {
    readSnapshot(files.read(name));
    return true;
  } catch {
    return false;
  }
}

function loadSnapshot(files: FolderFiles, name: Base["name"]): Candidate {
  if (!files.names.includes(name)) throw new Error("it is missing");
  const { header, tables, edited } = readSnapshot(files.read(name));
  if (header.schema !== SCHEMA) throw new Error(`its schema ${header.schema} is not known`);
  // A checksum proves that a record is ours; where it was emptied by hand only a look at each does.
  const odd = edited ? findOddRecord(tables) : undefined;
  if (odd) throw new Error(`its record "${odd.id}" in "${odd.table}" is none of that table`);
  return { base: { name, header, edited }, tables, rev: header.rev, chain: header.chain };
}
