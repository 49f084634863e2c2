// A model of a disk under a recorded program: what a folder may hold after a power cut at any moment. Changes of names since
// the last sync of the directory may each have come through or not; bytes written since the last sync of their file may be
// absent, half there, NUL or whole. Reads what strace recorded; knows nothing of what the files mean.
import { basename, dirname } from "node:path";
import type { Content } from "./contents.ts";
import type { Random } from "./report.ts";

/** A file by itself, whatever its names are. */
interface DiskFile {
  /** What a power cut leaves whatever happens. */
  synced: Buffer;
  writes: readonly Write[];
}
interface Write {
  readonly position: number;
  readonly bytes: Buffer;
  readonly ended: number;
}

type Names = Map<string, DiskFile>;
interface NameChange {
  readonly ended: number;
  readonly apply: (names: Names) => void;
}

export interface Disk {
  /** As of the last sync of the directory. */
  readonly synced: Names;
  changes: readonly NameChange[];
  /** As the program sees them. */
  readonly names: Names;
}

/** The disk after one system call of the program, and what that call wrote to stdout. The disk goes on changing. */
export interface Moment {
  readonly call: string;
  readonly disk: Disk;
  readonly said: string;
}

const TRACED =
  "openat,close,write,pwrite64,writev,pwritev,pwritev2,ftruncate,truncate,fallocate,fsync,fdatasync," +
  "rename,renameat,renameat2,link,linkat,unlink,unlinkat,copy_file_range,sendfile,io_uring_setup";
/** Microseconds that a sync of a program takes longer which is to be killed in the middle of one. */
const SLOW = 3_000;
/** Starts a program so that `output` becomes its recording. */
export const recordingCommand = (output: string, isSlow = false): string[] => {
  const slow = isSlow ? ` -e inject=fsync,fdatasync:delay_enter=${SLOW}` : "";
  return `strace -f -xx -s 9000000 -e signal=none -e trace=${TRACED}${slow} -o`
    .split(" ")
    .concat(output);
};

/** A system call that ended; `began` and `ended` order the starts and ends of all of them. */
interface Call {
  readonly name: string;
  readonly words: string;
  readonly result: number;
  readonly began: number;
  readonly ended: number;
}

const WHOLE = /^(\d+) +(\w+)\((.*)\) += (-?\d+)/;
const BEGUN = /^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$/;
const RESUMED = /^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+)/;

/** @param from number of its first line among those of all recordings */
function* callsOf(recording: string, from: number): Generator<Call> {
  const waiting = new Map<string, { words: string; began: number }>();
  for (const [index, text] of recording.split("\n").entries()) {
    const line = from + index;
    const whole = WHOLE.exec(text);
    const [, thread = "", name = "", words = "", result] =
      whole ?? RESUMED.exec(text) ?? BEGUN.exec(text) ?? [];
    // The number is free for another thread before a close comes back.
    if (result === undefined && name === "close") {
      yield { name, words, result: 0, began: line, ended: line };
      continue;
    }
    if (result === undefined) {
      waiting.set(thread, { words, began: line });
      continue;
    }
    const start = whole ? { words: "", began: line } : waiting.get(thread);
    waiting.delete(thread);
    if (!start) continue;
    yield { ...start, name, words: start.words + words, result: Number(result), ended: line };
  }
}

/** A program's open files, by descriptor. */
type Descriptors = Map<number, DiskFile | "folder">;

export interface ReplayOptions {
  readonly folder: string;
  /** What was there before the program began. */
  readonly before: Content;
  /** Whether that was durable; else it was copied a moment ago. */
  readonly isSynced: boolean;
  /** Which names of the folder are of interest. */
  readonly counts: (name: string) => boolean;
}

/**
 * Goes through the recordings of programs of which each ended before the next began, by a kill or by itself: what was not
 * synced by then waits on. Every yielded moment is one that may be the last.
 * @throws {Error} a program did something that the model does not know
 */
export function* replay(recordings: readonly string[], options: ReplayOptions): Generator<Moment> {
  const disk = diskOf(options);
  let lines = 0;
  for (const recording of recordings) {
    const open: Descriptors = new Map();
    for (const call of callsOf(recording, lines)) {
      if (call.result < 0) continue;
      const said = call.name === "write" && call.words.startsWith("1,");
      if (!said && !takeStep(disk, open, call, options)) continue;
      yield { call: call.name, disk, said: said ? (textsOf(call)[0]?.toString() ?? "") : "" };
    }
    lines += recording.split("\n").length;
  }
}

function diskOf({ before, isSynced }: ReplayOptions): Disk {
  const disk: Disk = { synced: new Map(), changes: [], names: new Map() };
  for (const [name, bytes] of before) {
    const write: Write = { position: 0, bytes, ended: -1 };
    const file: DiskFile = isSynced
      ? { synced: bytes, writes: [] }
      : { synced: Buffer.alloc(0), writes: [write] };
    change(disk, -1, (names) => void names.set(name, file));
    if (isSynced) disk.synced.set(name, file);
  }
  if (isSynced) disk.changes = [];
  return disk;
}

/** What the program finds in the folder. */
export const contentNow = ({ names }: Disk): Content =>
  new Map([...names].map(([name, file]) => [name, bytesOf(file)]));

/** The strings among the arguments. */
const textsOf = ({ words }: Call): Buffer[] =>
  [...words.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g)].map(([, hex = ""]) =>
    Buffer.from(hex.replaceAll("\\x", ""), "hex"),
  );

const numberAt = ({ words }: Call, index: number): number => Number(words.split(", ").at(index));

/** Whether the disk changed. */
function takeStep(disk: Disk, open: Descriptors, call: Call, options: ReplayOptions): boolean {
  const { name, ended } = call;
  const paths = /^(open|rename|link|unlink)/.test(name) ? textsOf(call).map(String) : [];
  const inside = paths.filter(
    (path) => dirname(path) === options.folder && options.counts(basename(path)),
  );
  const [from, to] = inside.map((path) => basename(path));
  if (name === "openat") return openFile(disk, open, call, paths[0] === options.folder, from);
  if (name === "close") return open.delete(numberAt(call, 0)) && false;
  if (paths.length > 0) {
    if (from === undefined) return false;
    change(disk, ended, nameChange(name, disk.names.get(from), from, to));
    return true;
  }
  const file = open.get(numberAt(call, 0));
  if (file === undefined) return false;
  if (name === "fsync" || name === "fdatasync") return sync(disk, file, call);
  if (file === "folder") throw new Error(`${name} of a folder is not in the model`);
  if (name === "copy_file_range") return copyOn(file, open.get(numberAt(call, 2)), call);
  if (name === "ftruncate" && numberAt(call, 1) === bytesOf(file).length) return false;
  if (name !== "pwrite64") throw new Error(`${name} is not in the model`);
  const [bytes = Buffer.alloc(0)] = textsOf(call);
  if (call.result === 0) return false;
  const write = { position: numberAt(call, -1), bytes: bytes.subarray(0, call.result), ended };
  file.writes = [...file.writes, write];
  return true;
}

/** Goes on where the last copy into the same file ended. */
function copyOn(
  from: DiskFile,
  to: DiskFile | "folder" | undefined,
  { result, ended }: Call,
): boolean {
  if (to === undefined || to === "folder") throw new Error("a copy leads out of the folder");
  const position = bytesOf(to).length;
  const bytes = bytesOf(from).subarray(position, position + result);
  if (bytes.length > 0) to.writes = [...to.writes, { position, bytes, ended }];
  return bytes.length > 0;
}

function openFile(
  disk: Disk,
  open: Descriptors,
  { words, result, ended }: Call,
  isFolder: boolean,
  name: string | undefined,
): boolean {
  open.delete(result);
  if (isFolder) open.set(result, "folder");
  if (name === undefined) return false;
  const there = disk.names.get(name);
  const file = there ?? { synced: Buffer.alloc(0), writes: [] };
  open.set(result, file);
  if (there && words.includes("O_TRUNC")) throw new Error(`${name} is truncated`);
  if (!there) change(disk, ended, (names) => void names.set(name, file));
  return !there;
}

function change(disk: Disk, ended: number, apply: NameChange["apply"]): void {
  apply(disk.names);
  disk.changes = [...disk.changes, { ended, apply }];
}

function nameChange(
  call: string,
  file: DiskFile | undefined,
  from: string,
  to: string | undefined,
): NameChange["apply"] {
  if (call.startsWith("unlink")) return (names) => void names.delete(from);
  if (!file || to === undefined) throw new Error(`${call} of ${from} leads out of the folder`);
  return (names) => {
    names.set(to, file);
    if (call.startsWith("rename")) names.delete(from);
  };
}

/** Only what ended before the sync began is covered by it. */
function sync(disk: Disk, file: DiskFile | "folder", { began }: Call): boolean {
  if (file === "folder") {
    for (const { ended, apply } of disk.changes) if (ended < began) apply(disk.synced);
    disk.changes = disk.changes.filter(({ ended }) => ended > began);
    return true;
  }
  file.synced = written(
    file.synced,
    file.writes.filter(({ ended }) => ended < began),
  );
  file.writes = file.writes.filter(({ ended }) => ended > began);
  return true;
}

/** As the program sees them. */
const bytesOf = ({ synced, writes }: DiskFile): Buffer => written(synced, writes);

function written(before: Buffer, writes: readonly Write[]): Buffer {
  const end = Math.max(
    before.length,
    ...writes.map(({ position, bytes }) => position + bytes.length),
  );
  const content = Buffer.alloc(end);
  before.copy(content);
  for (const { position, bytes } of writes) bytes.copy(content, position);
  return content;
}

/** What of its unsynced bytes a file may have. */
function contentsOf({ synced, writes }: DiskFile): Buffer[] {
  const [last, ...more] = writes.toReversed();
  if (!last) return [synced];
  const nul = written(
    synced,
    writes.map((each) => ({ ...each, bytes: Buffer.alloc(each.bytes.length) })),
  );
  const half = { ...last, bytes: last.bytes.subarray(0, last.bytes.length >> 1) };
  const rest = more.toReversed();
  const contents = [synced, written(synced, [...rest, half]), nul, written(synced, writes)];
  // Later bytes may be there before earlier ones.
  return rest.length === 0 ? contents : [...contents, written(nul, [last])];
}

/** More unsynced changes of names than this are not combined in every way. */
const COMBINED = 10;
/** Contents of files are combined in every way up to so many. */
const CONTENTS = 64;

/** Every content that the folder may have after a power cut at this moment. */
export function* crashStates(disk: Disk, random: Random): Generator<Content> {
  const seen = new Set<string>();
  for (const kept of subsets(disk.changes, random)) {
    const names: Names = new Map(disk.synced);
    for (const { apply } of kept) apply(names);
    for (const content of combinations(names, random)) {
      const key = [...content]
        .map(([name, bytes]) => `${name} ${Bun.hash(bytes)}`)
        .toSorted()
        .join();
      if (seen.has(key)) continue;
      seen.add(key);
      yield content;
    }
  }
}

function* subsets<T>(list: readonly T[], random: Random): Generator<T[]> {
  if (list.length <= COMBINED) {
    for (let bits = 0; bits < 1 << list.length; bits++) {
      yield list.filter((_, index) => bits & (1 << index));
    }
    return;
  }
  for (let index = 0; index <= list.length; index++) {
    yield list.slice(0, index);
    yield list.filter((_, dropped) => dropped !== index);
  }
  for (let count = 0; count < 1 << COMBINED; count++) yield list.filter(() => random.chance(0.5));
}

function* combinations(names: Names, random: Random): Generator<Content> {
  const files = [...new Set(names.values())].map((file) => ({ file, contents: contentsOf(file) }));
  const all = files.reduce((product, { contents }) => product * contents.length, 1);
  for (let count = 0; count < Math.min(all, CONTENTS); count++) {
    let choice = all <= CONTENTS ? count : random.below(all);
    const chosen = new Map<DiskFile, Buffer>();
    for (const { file, contents } of files) {
      chosen.set(file, contents[choice % contents.length] ?? Buffer.alloc(0));
      choice = Math.floor(choice / contents.length);
    }
    yield new Map([...names].map(([name, file]) => [name, chosen.get(file) ?? Buffer.alloc(0)]));
  }
}
