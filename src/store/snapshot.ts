// The snapshot's text and the one atomic write of it: all tables at one moment, a record a line, the checksum last.
// When one is made is compaction.ts; which one counts is recovery.ts.
import { type Stats, lstatSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import writeFileAtomic from "write-file-atomic";
import { isObject } from "../json.ts";
import { checksum } from "../primitives.ts";
import { type TableMaps, emptyTables, tableNames } from "./records.ts";

export interface SnapshotHeader {
  readonly schema: number;
  readonly rev: number;
  readonly chain: string;
  /** Epoch milliseconds. */
  readonly savedAt: number;
  /** Where it was written: a folder that differs was copied or restored. */
  readonly folder: { readonly dev: number; readonly ino: number; readonly host: string };
  readonly issuer: string;
}

export interface Snapshot {
  readonly header: SnapshotHeader;
  readonly tables: TableMaps;
  /** The checksum was emptied by hand, which asks to take the file as it is. */
  readonly edited: boolean;
}

/** What tells one version of a file from another without reading it. */
export type FileIdentity = Pick<Stats, "ino" | "size" | "mtimeMs">;

const SLICE = 64 * 1024;
const sumLine = (sum: string): string => `"sum":"${sum}"}\n`;
const SUM_LENGTH = sumLine("0000000000000000").length;
const SUM = /\n"sum":"([0-9a-f]{16})?"\}\s*$/;
/** The last line, and what an editor may leave around it. */
const TAIL = SUM_LENGTH + 16;
const START = /^\{"schema":(\d+)(?:,"rev":(\d+),)?/;

/** The text of a snapshot, in slices small enough to let others run between them. */
export function* snapshotText(header: SnapshotHeader, tables: TableMaps): Generator<string> {
  const sum = checksum();
  let slice = `${JSON.stringify(header).slice(0, -1)},"tables":{\n`;
  for (const line of tableLines(tables)) {
    slice += line;
    if (slice.length < SLICE) continue;
    sum.add(slice);
    yield slice;
    slice = "";
  }
  slice += "},\n";
  yield slice + sumLine(sum.add(slice).end());
}

function* tableLines(tables: TableMaps): Generator<string> {
  let tableComma = "";
  for (const name of tableNames) {
    yield `${tableComma}"${name}":{`;
    tableComma = ",\n";
    let comma = "\n";
    for (const [id, record] of tables[name]) {
      yield `${comma}${JSON.stringify(id)}:${JSON.stringify(record)}`;
      comma = ",\n";
    }
    yield "\n}";
  }
  yield "\n";
}

/**
 * Reads a whole snapshot.
 * @throws {Error} whose message says what is wrong with it
 */
export function readSnapshot(bytes: Buffer): Snapshot {
  const tailStart = Math.max(0, bytes.length - TAIL);
  const tail = SUM.exec(bytes.toString("latin1", tailStart));
  if (!tail) throw new Error("its last line is not a checksum");
  const [, sum] = tail;
  const covered = bytes.subarray(0, tailStart + tail.index + 1);
  if (sum !== undefined && checksum().add(covered).end() !== sum) {
    throw new Error("its checksum is wrong");
  }
  const { tables, ...header } = snapshotShape(JSON.parse(bytes.toString("utf8")));
  return { header, tables, edited: sum === undefined };
}

const isTime = (value: unknown): value is number =>
  typeof value === "number" && !Number.isNaN(new Date(value).getTime());

/** @throws {Error} whose message says what is not there */
export function snapshotShape(value: unknown): SnapshotHeader & { tables: TableMaps } {
  if (!isObject(value)) throw new Error("it is not a JSON object");
  const { schema, rev, chain, savedAt, folder, issuer, tables } = value;
  if (typeof schema !== "number" || !Number.isSafeInteger(rev) || typeof rev !== "number") {
    throw new Error("its header has no schema and rev");
  }
  if (typeof chain !== "string" || !/^[0-9a-f]{16}$/.test(chain) || !isTime(savedAt)) {
    throw new Error("its header has no chain and time");
  }
  if (!isObject(folder) || typeof issuer !== "string") {
    throw new Error("its header has no folder and issuer");
  }
  const { dev, ino, host } = folder;
  if (typeof dev !== "number" || typeof ino !== "number" || typeof host !== "string") {
    throw new Error("its header does not say where it was written");
  }
  const place = { dev, ino, host };
  return { schema, rev, chain, savedAt, folder: place, issuer, tables: tablesShape(tables) };
}

function tablesShape(value: unknown): TableMaps {
  if (!isObject(value)) throw new Error("it has no tables");
  const tables = emptyTables();
  const names: readonly string[] = tableNames;
  const unknown = Object.keys(value).find((name) => !names.includes(name));
  if (unknown !== undefined) throw new Error(`this version does not know its table "${unknown}"`);
  for (const name of tableNames) {
    const records = value[name] ?? {};
    if (!isObject(records)) throw new Error(`its table "${name}" is no object`);
    const table: Map<string, unknown> = tables[name];
    for (const [id, record] of Object.entries(records)) {
      if (!isObject(record)) throw new Error(`its record "${id}" in "${name}" is no object`);
      table.set(id, record);
    }
  }
  return tables;
}

/** The schema and, of a schema we know, the rev of a snapshot, from its first bytes; undefined when there is neither. */
export function snapshotStart(start: Buffer): { schema: number; rev: number } | undefined {
  const [head, schema, rev] = START.exec(start.toString("latin1")) ?? [];
  return head === undefined ? undefined : { schema: Number(schema), rev: Number(rev) };
}

/**
 * Replaces the snapshot in one step; the directory is not synced yet. The old one stays whatever fails.
 * @param beforeRename called when the new one is whole and synced, beside the old one
 * @returns what the new file is told by
 */
export async function writeSnapshot(
  path: string,
  slices: Iterable<string>,
  beforeRename: () => void = () => undefined,
): Promise<FileIdentity> {
  // The package writes once and does not look how much was written, so it is given nothing to write. It also changes
  // the options it is given, so each call has its own.
  await writeFileAtomic(path, Buffer.alloc(0), {
    mode: 0o600,
    fsync: false,
    tmpfileCreated: async (temporary) => {
      await fillFile(temporary, slices);
      beforeRename();
    },
  });
  return lstatSync(path);
}

async function fillFile(path: string, slices: Iterable<string>): Promise<void> {
  await using file = await open(path, "r+");
  let size = 0;
  for (const slice of slices) {
    const bytes = Buffer.from(slice);
    await writeWhole(file, bytes, size);
    size += bytes.length;
  }
  const written = (await file.stat()).size;
  if (written !== size) throw new Error(`${written} of ${size} bytes were written`);
  await file.sync();
}

async function writeWhole(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
    if (bytesWritten === 0) throw new Error("the disk takes no more bytes");
    done += bytesWritten;
  }
}

/** What was read back of a snapshot is not what was written. */
export class WrongSnapshot extends Error {}

/**
 * Reads a snapshot back and checks its sum, letting others run in between.
 * @throws {WrongSnapshot} it is not what was written
 * @throws {Error} it cannot be read
 */
export async function verifySnapshot(path: string): Promise<void> {
  await using file = await open(path, "r");
  const { size } = await file.stat();
  const sum = checksum();
  const end = Math.max(0, size - SUM_LENGTH);
  for (let position = 0; position < end;) {
    const bytes = await readSlice(file, position, Math.min(SLICE, end - position));
    sum.add(bytes);
    position += bytes.length;
  }
  let last = "";
  while (last.length < size - end) {
    const bytes = await readSlice(file, end + last.length, size - end - last.length);
    last += bytes.toString("latin1");
  }
  if (last !== sumLine(sum.end())) throw new WrongSnapshot("its checksum is wrong after writing");
}

async function readSlice(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
  if (bytesRead === 0) throw new WrongSnapshot("it ends early");
  return buffer.subarray(0, bytesRead);
}
