// Data folders for store tests: made fresh, written by hand, opened with clocks that only the test moves.
import { createHash } from "node:crypto";
import {
  closeSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FatalError } from "../../src/errors.ts";
import {
  type Notice,
  type OpenStore,
  type StoreOptions,
  openStore,
} from "../../src/store/folder.ts";
import type { Client, Folder, Grant } from "../../src/store/records.ts";

export const DAY = 86_400_000;
export const START = Date.UTC(2026, 10, 21);

const made: string[] = [];
const opened: Opened[] = [];
const undos: (() => void)[] = [];

/** An empty folder, or a name where none is yet. */
export function freshFolder(exists = true): string {
  const parent = mkdtempSync(join(tmpdir(), "postern-store-"));
  made.push(parent);
  const path = join(parent, "data");
  if (exists) mkdirSync(path, { mode: 0o700 });
  return path;
}

/** Something to undo before the folders go, such as a mount. */
export const undoLater = (undo: () => void): void => void undos.push(undo);

/** A folder on a disk of its own, and the switch that fills that disk to the last byte. */
export function smallDisk(kib = 512): { path: string; fill: () => void; empty: () => void } {
  const disk = freshFolder();
  const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", `size=${kib}k`, "none", disk]);
  if (!mounted.success) throw new Error(mounted.stderr.toString());
  undoLater(() => Bun.spawnSync(["umount", disk]));
  const path = join(disk, "data");
  mkdirSync(path, { mode: 0o700 });
  const filler = join(disk, "filler");
  const fill = (): void => {
    const descriptor = openSync(filler, "w");
    try {
      for (;;) writeSync(descriptor, Buffer.alloc(4096));
    } catch {
      // Full, which is what was wanted.
    } finally {
      closeSync(descriptor);
    }
  };
  return { path, fill, empty: () => rmSync(filler) };
}

/** Closes every store that is still open and removes every folder. For afterEach. */
export async function cleanUp(): Promise<void> {
  await Promise.all(opened.splice(0).map(({ store }) => store.close()));
  for (const undo of undos.splice(0)) undo();
  for (const path of made.splice(0)) rmSync(path, { recursive: true, force: true });
}

export interface Opened {
  readonly store: OpenStore;
  readonly notices: Notice[];
  readonly fatals: FatalError[];
  readonly clock: TestClock;
}

/** Milliseconds; `wait` moves both clocks. */
export interface TestClock {
  wall: number;
  running: number;
  wait(milliseconds: number): void;
}

export function testClock(wall = START): TestClock {
  const clock = {
    wall,
    running: 0,
    wait(milliseconds: number) {
      clock.wall += milliseconds;
      clock.running += milliseconds;
    },
  };
  return clock;
}

export async function openFolder(
  path: string,
  options: Partial<StoreOptions> = {},
  clock = testClock(),
): Promise<Opened> {
  const notices: Notice[] = [];
  const fatals: FatalError[] = [];
  const store = await openStore({
    path,
    issuer: "http://localhost:7676",
    now: () => clock.wall,
    monotonic: () => clock.running,
    notice: (notice) => notices.push(notice),
    fatal: (error) => fatals.push(error),
    lockWait: 0,
    ...options,
  });
  const result = { store, notices, fatals, clock };
  opened.push(result);
  return result;
}

/** What kill -9 leaves, taken without one: a copy of the folder as it is, lock and all. */
export function copyOf(path: string): string {
  const copy = freshFolder();
  cpSync(path, copy, { recursive: true, preserveTimestamps: true });
  return copy;
}

/** The text of every file in a folder, runtime files apart, by name. */
export function contentOf(path: string): Record<string, string> {
  const names = readdirSync(path).filter((name) => !name.startsWith(".lock"));
  return Object.fromEntries(
    names.toSorted().map((name) => [name, readFileSync(join(path, name), "utf8")]),
  );
}

export const kindsOf = (notices: readonly Notice[]): string[] => notices.map(({ kind }) => kind);

export const journalNames = (path: string): string[] =>
  readdirSync(path)
    .filter((name) => name.startsWith("journal."))
    .toSorted();

/** A small record of the table "folder". */
export const small = (text: string): Folder => ({
  client_id_key: text,
  issuer: "http://localhost:7676",
});

export const clientRecord = (more: Partial<Client> = {}): Client => ({
  redirect_uris: ["http://127.0.0.1/callback"],
  grant_types: ["authorization_code", "refresh_token"],
  response_types: ["code"],
  token_endpoint_auth_method: "none",
  scope: "mcp",
  client_id_issued_at: START / 1000,
  source: "dcr",
  ...more,
});

export const grantRecord = (more: Partial<Grant> = {}): Grant => ({
  client_id: "c_1",
  subject: "owner",
  scope: "mcp",
  resource: "http://localhost:7676/mcp",
  secret_hash: "s".repeat(43),
  tag_key: "t".repeat(43),
  generation: 1,
  used_generation: 0,
  rotated_at: START / 1000,
  rotated_from: "192.0.2.0/24",
  access: [{ generation: 1, scope: "mcp", hash: "h".repeat(43), expires_at: START / 1000 + 3600 }],
  created_at: START / 1000,
  last_used_at: START / 1000,
  expires_at: START / 1000 + 365 * 86_400,
  ...more,
});

/** The first 16 hex digits of SHA-256, computed apart from the source under test. */
export const sumOf = (text: string): string =>
  createHash("sha256").update(text).digest("hex").slice(0, 16);

export const GENESIS = "0000000000000000";

/** What changes of a history by hand hold: record n of the table "folder" becomes `text`. */
export const change = (id: string, text: string): string =>
  `["folder",${JSON.stringify(id)},${JSON.stringify(small(text))}]`;

export interface Change {
  readonly rev: number;
  readonly ops: string;
  readonly prev: string;
  readonly sum: string;
  readonly text: string;
}

export interface HandJournal {
  readonly name: string;
  readonly header: string;
  readonly changes: readonly Change[];
  readonly text: string;
}

/**
 * A journal by hand.
 * @param ops of the changes base+1, base+2, ...
 */
export function handJournal(
  base: number,
  chain: string,
  ops: readonly string[],
  at = START,
): HandJournal {
  const head = `{"journal":1,"schema":1,"base":${base},"chain":"${chain}"`;
  let above = sumOf(head);
  const header = `${head},"sum":"${above}"}\n`;
  let prev = chain;
  const changes = ops.map((each, index) => {
    const rev = base + index + 1;
    const body = `{"rev":${rev},"prev":"${prev}","at":${at},"ops":[${each}]`;
    const sum = sumOf(above + body);
    const line = { rev, ops: each, prev, sum, text: `${body},"sum":"${sum}"}\n` };
    above = prev = sum;
    return line;
  });
  const name = `journal.${String(base).padStart(12, "0")}.jsonl`;
  return { name, header, changes, text: header + changes.map(({ text }) => text).join("") };
}

/** A snapshot by hand, of the table "folder" alone. */
export function handSnapshot(
  rev: number,
  chain: string,
  records: Readonly<Record<string, string>>,
  savedAt = START,
): string {
  const lines = Object.entries(records).map(
    ([id, text]) => `${JSON.stringify(id)}:${JSON.stringify(small(text))}`,
  );
  const head = `{"schema":1,"rev":${rev},"chain":"${chain}","savedAt":${savedAt},"folder":{"dev":1,"ino":2,"host":"h"},"issuer":"http://localhost:7676","tables":{`;
  const body = `${head}\n"folder":{\n${lines.join(",\n")}\n}\n},\n`;
  return `${body}"sum":"${sumOf(body)}"}\n`;
}

/** Writes files into a fresh folder. */
export function folderWith(files: Readonly<Record<string, string | Buffer>>): string {
  const path = freshFolder();
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(path, name), content, { mode: 0o600 });
  }
  return path;
}

/** What the table "folder" holds, as id -> text. */
export async function smallRecords(store: OpenStore): Promise<Record<string, string>> {
  const records = await store.folder.list();
  return Object.fromEntries(records.map(([id, { client_id_key }]) => [id, client_id_key]));
}
