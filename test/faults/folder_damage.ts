// What can be wrong with a whole data folder: damaged, missing or foreign files, things that are no files, owners, modes and
// disks; and what a start says to each. Nothing here starts anything.
import {
  chmodSync,
  chownSync,
  lstatSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { checksum } from "../../src/primitives.ts";
import { run } from "./command.ts";

export interface FolderDamage {
  readonly name: string;
  readonly make: (folder: string) => void;
  /** Exit code of a start that refuses; 0: everybody is in, or all but the last change is there. */
  readonly exitCode: 0 | 77 | 78;
  /** What the program says of it. */
  readonly says: RegExp;
  /** The newest change is gone with it. */
  readonly isShort?: true;
  /** Ends what a copy of the folder cannot. */
  readonly mend?: (folder: string) => void;
}

const STATE = "state.json";
const edit = (name: string, change: (bytes: Buffer) => Buffer | string) => (folder: string) => {
  const path = join(folder, name);
  writeFileSync(path, change(readFileSync(path)), { mode: 0o600 });
};
const text = (name: string, change: (content: string) => string) =>
  edit(name, (bytes) => change(bytes.toString()));
/** The same in the last journal. */
const journal = (change: (bytes: Buffer) => Buffer | string) => (folder: string) =>
  edit(lastJournal(folder), change)(folder);

const journalsOf = (folder: string): string[] =>
  readdirSync(folder)
    .filter((name) => name.startsWith("journal."))
    .toSorted();
const lastJournal = (folder: string): string => journalsOf(folder).at(-1) ?? "";

function damageBoth(folder: string): void {
  for (const name of [STATE, `${STATE}.prev`]) edit(name, (bytes) => flipped(bytes, 90))(folder);
}

const inPlaceOf = (name: string, make: (path: string) => void) => (folder: string) => {
  renameSync(join(folder, name), join(folder, `${name}.was`));
  make(join(folder, name));
};

/** Like one of ours, with the checksum that belongs to it. */
function sealed(change: (shape: Record<string, unknown>) => object): (bytes: Buffer) => string {
  return (bytes) => {
    const { sum: _, ...shape } = JSON.parse(bytes.toString()) as Record<string, unknown>;
    const body = `${JSON.stringify(change(shape)).slice(0, -1)},\n`;
    return `${body}"sum":"${checksum().add(body).end()}"}\n`;
  };
}

const half = (bytes: Buffer): number => bytes.length >> 1;

const snapshots: readonly [string, (bytes: Buffer) => Buffer | string][] = [
  ["empty", () => ""],
  ["cut off", (bytes) => bytes.subarray(0, half(bytes))],
  ["with a flipped bit", (bytes) => flipped(bytes, half(bytes))],
  ["filled with NUL", (bytes) => Buffer.alloc(bytes.length)],
  ["with a byte order mark", (bytes) => `\ufeff${bytes}`],
  ["with other line ends", (bytes) => bytes.toString().replaceAll("\n", "\r\n")],
  ["of another shape", sealed((shape) => ({ ...shape, tables: [] }))],
  ["of an older schema", sealed((shape) => ({ ...shape, schema: 0 }))],
  ["that is JSON and nothing of ours", () => "{}\n"],
];

function flipped(bytes: Buffer, position: number): Buffer {
  const copy = Buffer.from(bytes);
  copy[position] = (bytes[position] ?? 0) ^ 1;
  return copy;
}

export const damages: readonly FolderDamage[] = [
  ...snapshots.map(([what, change]): FolderDamage => ({
    name: `state.json ${what}`,
    make: edit(STATE, change),
    exitCode: 0,
    says: /state\.json: .*last generation and the journals are used instead/,
  })),
  {
    name: "state.json.prev alone",
    make: (folder) => rmSync(join(folder, STATE)),
    exitCode: 0,
    says: /state\.json: it is missing; its last generation/,
  },
  {
    name: "both generations damaged",
    make: damageBoth,
    exitCode: 0,
    says: /state\.json: its checksum is wrong; the journals go back to the beginning/,
  },
  {
    name: "both generations damaged, and the first journal gone",
    make: (folder) => {
      damageBoth(folder);
      rmSync(join(folder, journalsOf(folder)[0] ?? ""));
    },
    exitCode: 78,
    says: /state\.json: its checksum is wrong; state\.json\.prev: .*check --salvage/s,
  },
  {
    name: "state.json of a newer schema",
    make: text(STATE, (content) => content.replace(`"schema":1`, `"schema":999`)),
    exitCode: 78,
    says: /written by a newer Postern \(schema 999\)/,
  },
  {
    name: "a group that is half there",
    make: journal((bytes) => `${bytes}${bytes.subarray(bytes.lastIndexOf("\n", -2) + 1, -40)}`),
    exitCode: 0,
    says: /look like a change that was never answered: dropped/,
  },
  {
    name: "the last group torn",
    make: (folder) => {
      const path = join(folder, lastJournal(folder));
      truncateSync(path, lstatSync(path).size - 30);
    },
    exitCode: 0,
    isShort: true,
    says: /look like a change that was never answered: dropped/,
  },
  {
    name: "a journal damaged in the middle",
    make: journal((bytes) => flipped(bytes, bytes.indexOf("\n") + 40)),
    exitCode: 78,
    says: /journal\.\d+\.jsonl is damaged before change \d+.*check --salvage/s,
  },
  {
    name: "a journal with other line ends",
    make: journal((bytes) => bytes.toString().replaceAll("\n", "\r\n")),
    exitCode: 78,
    says: /journal\.\d+\.jsonl is damaged before change/,
  },
  {
    name: "a journal of a newer schema",
    make: journal((bytes) => {
      const end = bytes.indexOf("\n");
      const [head = ""] = bytes.subarray(0, end).toString().split(`,"sum":`);
      const newer = head.replace(`"schema":1`, `"schema":999`);
      return `${newer},"sum":"${checksum().add(newer).end()}"}${bytes.subarray(end)}`;
    }),
    exitCode: 78,
    says: /written by a newer Postern \(schema 999\)/,
  },
  {
    name: "a journal missing",
    make: (folder) => rmSync(join(folder, journalsOf(folder).at(-2) ?? "")),
    exitCode: 78,
    says: /changes? \d+.* missing/,
  },
  {
    name: "a journal of another history",
    make: (folder) => {
      const [a = "", b = ""] = journalsOf(folder).slice(-2);
      renameSync(join(folder, a), join(folder, b));
    },
    exitCode: 78,
    says: /is damaged before change \d+|is missing/,
  },
];

export const places: readonly FolderDamage[] = [
  ...[
    ["a symbolic link", (path: string) => symlinkSync(`${path}.was`, path)] as const,
    ["a FIFO", (path: string) => run("mkfifo", path)] as const,
    ["a device", (path: string) => run("mknod", path, "c", "1", "3")] as const,
    ["a folder", (path: string) => run("mkdir", path)] as const,
  ].flatMap(([what, make]) =>
    [STATE, "journal"].map((name): FolderDamage => ({
      name: `${what} in place of ${name === STATE ? name : "a journal"}`,
      make: (folder) => inPlaceOf(name === STATE ? name : lastJournal(folder), make)(folder),
      exitCode: 78,
      says: /is not a regular file.*mv /s,
    })),
  ),
  {
    name: "a folder of somebody else",
    make: (folder) => chownSync(folder, 1234, 1234),
    exitCode: 77,
    says: /belongs to user 1234, and this is user 0.*chown -R/s,
  },
  {
    name: "a file of somebody else",
    make: (folder) => chownSync(join(folder, STATE), 1234, 1234),
    exitCode: 77,
    says: /state\.json belongs to user 1234/,
  },
  {
    name: "a folder that everybody may write to",
    make: (folder) => {
      for (const name of readdirSync(folder)) chmodSync(join(folder, name), 0o666);
      chmodSync(folder, 0o777);
    },
    exitCode: 0,
    says: /was open to others: its mode is 0700 now.*their mode is 0600 now/s,
  },
  {
    name: "a folder on a disk that is read-only",
    make: (folder) => {
      run("mount", "--bind", folder, folder);
      run("mount", "-o", "remount,bind,ro", folder);
    },
    exitCode: 77,
    says: /read-only file system/i,
    mend: (folder) => run("umount", folder),
  },
];
