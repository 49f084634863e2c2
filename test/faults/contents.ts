// A data folder as the bytes of its files: read from a disk, written to one, and what the real recovery makes of it.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { kindOf } from "../../src/store/files.ts";
import { type OpenStore, openStore } from "../../src/store/folder.ts";
import { type TableName, type Tables, tableNames } from "../../src/store/records.ts";
import { type Recovered, recover } from "../../src/store/recovery.ts";
import { START } from "../store/folders.ts";
import { emptied } from "./scratch.ts";

/** The content of a folder, by name. */
export type Content = ReadonlyMap<string, Buffer>;

const HOUR = 3_600_000;

/** The files that a state is made of. */
export const counts = (name: string): boolean => /^(state|journal)\./.test(name);

/** Makes a folder of exactly these files. */
export function writeContent(path: string, content: Content): string {
  emptied(path);
  for (const [name, bytes] of content) writeFileSync(join(path, name), bytes, { mode: 0o600 });
  return path;
}

export function contentOf(path: string): Content {
  const names = readdirSync(path).filter(counts).toSorted();
  return new Map(names.map((name) => [name, readFileSync(join(path, name))]));
}

export const isSame = (a: Content, b: Content): boolean =>
  a.size === b.size && [...a].every(([name, bytes]) => b.get(name)?.equals(bytes));

/** What a start makes of the files, without a disk. @throws {FatalError} as a start does */
export const recoverContent = (content: Content): Recovered =>
  recover({
    names: [...content.keys()].filter((name) => kindOf(name) !== "temporary"),
    read: (name, limit) => (content.get(name) ?? Buffer.alloc(0)).subarray(0, limit),
  });

/** The real store, some hours after everything that these tests put into one. */
export const openHere = (path: string): Promise<OpenStore> =>
  openStore({
    path,
    issuer: "http://localhost:7676",
    now: () => START + 5 * HOUR,
    monotonic: () => 0,
    notice: () => undefined,
    fatal: () => undefined,
    // A program that another case is starting has every descriptor of this process for a moment.
    lockWait: 2_000,
    spareSpace: 0,
  });

/** The same for the same records, in whatever order. */
export const textOf = (tables: {
  readonly [N in TableName]: Iterable<[string, Tables[N]]>;
}): string =>
  JSON.stringify(
    tableNames.map((name) => [...tables[name]].toSorted(([a], [b]) => (a < b ? -1 : 1))),
  );

export const textOfStore = async (store: OpenStore): Promise<string> =>
  textOf({
    clients: await store.clients.list(),
    refresh_tokens: await store.refresh_tokens.list(),
    owner: await store.owner.list(),
    folder: await store.folder.list(),
    api_keys: await store.api_keys.list(),
  });
