// Archives: ustar (POSIX.1-1988) in gzip, as postern backup writes them, and whatever else tar makes of a folder. Knows
// nothing of what the files are. Bun.Archive writes mode 0644 and passes over links and devices in silence; a copy of the
// data folder needs 0600, and to be told.
import { dirname } from "node:path/posix";
import { gunzipSync, gzipSync } from "node:zlib";
import { oneLine } from "../audit.ts";

export interface ArchiveEntry {
  /** As it stands in the archive. */
  readonly path: string;
  /** Of a file; undefined: it is a folder, or nothing that belongs into a copy. */
  readonly content: Buffer | undefined;
  /** What it is, in words. */
  readonly is: string;
}

const BLOCK = 512;
/** Bytes that an archive may unpack to; past the second, not more than so many times its own size. */
const LARGEST = 1024 ** 3;
const SMALL = 64 * 1024 ** 2;
const RATIO = 100;
const MOST_ENTRIES = 100_000;
/** Bytes of an extended header. */
const LONGEST = 1024 ** 2;
const MODE = 0o600;
const kinds: Readonly<Record<string, string>> = {
  "0": "a file",
  "1": "a hard link to what is not in it",
  "2": "a symbolic link",
  "3": "a device",
  "4": "a device",
  "5": "a folder",
  "6": "a FIFO",
};

/** @param at modification time, epoch seconds */
export function packArchive(files: ReadonlyMap<string, Buffer>, at: number): Buffer {
  const blocks: Buffer[] = [];
  for (const [name, content] of files) {
    blocks.push(headerBlock(name, content.length, at), content);
    blocks.push(Buffer.alloc(padding(content.length)));
  }
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]));
}

const padding = (size: number): number => (BLOCK - (size % BLOCK)) % BLOCK;

function headerBlock(name: string, size: number, at: number): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, start: number, length: number): void =>
    void block.write(value.toString(8).padStart(length - 1, "0"), start, "latin1");
  if (block.write(name, 0, 100, "utf8") !== Buffer.byteLength(name)) {
    throw new RangeError(`the name ${name} is too long for an archive`);
  }
  octal(MODE, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(at, 136, 12);
  block.write("0", 156);
  block.write("ustar\0" + "00", 257, "latin1");
  block.write(`${sumOf(block).toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

/** The sum of all bytes, with spaces in place of the sum itself. */
function sumOf(block: Buffer): number {
  let sum = 8 * 0x20;
  for (const [index, byte] of block.entries()) if (index < 148 || index >= 156) sum += byte;
  return sum;
}

/**
 * What is in an archive, packed by gzip or not.
 * @throws {Error} whose message says what is wrong with it: damaged, or too large
 */
export function unpackArchive(bytes: Buffer, largest = LARGEST): ArchiveEntry[] {
  const limit = Math.min(largest, Math.max(SMALL, RATIO * bytes.length));
  const tar = bytes[0] === 0x1f && bytes[1] === 0x8b ? unzip(bytes, limit) : bytes;
  const entries: ArchiveEntry[] = [];
  const files = new Map<string, Buffer>();
  let names: Names = {};
  let linked = 0;
  for (let position = 0; ;) {
    const block = tar.subarray(position, position + BLOCK);
    if (block.length < BLOCK) throw new Error("it ends early");
    if (block.every((byte) => byte === 0)) return entries;
    const header = parseHeader(block);
    position += BLOCK;
    const content = tar.subarray(position, position + header.size);
    if (content.length < header.size) throw new Error("it ends early");
    position += header.size + padding(header.size);
    const more = extendedNames(header, content);
    if (more) {
      names = { ...names, ...more };
      continue;
    }
    const { path, linkTo, type } = { ...header, ...names };
    names = {};
    if (entries.length === MOST_ENTRIES)
      throw new Error(`it has more than ${MOST_ENTRIES} entries`);
    const isFile = type === "0" || type === "\0";
    if (isFile) files.set(path, content);
    // What has two names in a folder stands in a tar under the first, and as a link to it under the second.
    const isLink = type === "1" && dirname(path) === dirname(linkTo);
    const target = isLink ? files.get(linkTo) : undefined;
    linked += target?.length ?? 0;
    if (linked > limit) throw tooLarge(limit);
    const is = kinds[type] ?? "of an unknown kind";
    entries.push({ path, content: isFile ? content : target, is });
  }
}

const tooLarge = (limit: number, cause?: unknown): Error =>
  new Error(`it unpacks to more than ${limit} bytes`, { cause });

function unzip(bytes: Buffer, largest: number): Buffer {
  try {
    return gunzipSync(bytes, { maxOutputLength: largest });
  } catch (cause) {
    const isLarge = cause instanceof RangeError || /larger than/.test(String(cause));
    throw isLarge ? tooLarge(largest, cause) : new Error("its gzip is damaged", { cause });
  }
}

interface Header {
  readonly path: string;
  readonly linkTo: string;
  readonly size: number;
  readonly type: string;
}

type Names = Partial<Pick<Header, "path" | "linkTo">>;

function parseHeader(block: Buffer): Header {
  const text = (start: number, length: number): string =>
    block.toString("utf8", start, start + length).replace(/\0.*$/s, "");
  const octal = (start: number, length: number): number => {
    const digits = text(start, length).trim();
    if (!/^[0-7]+$/.test(digits)) throw new Error("it is no tar archive, or damaged");
    return Number.parseInt(digits, 8);
  };
  const magic = block.toString("latin1", 257, 263);
  if (!magic.startsWith("ustar") || octal(148, 8) !== sumOf(block)) {
    throw new Error("it is no tar archive, or damaged");
  }
  // Only POSIX has a prefix there; GNU keeps times in these bytes.
  const prefix = magic === "ustar\0" ? text(345, 155) : "";
  const path = prefix === "" ? text(0, 100) : `${prefix}/${text(0, 100)}`;
  const type = block.toString("latin1", 156, 157);
  return { path, linkTo: text(157, 100), size: octal(124, 12), type };
}

/**
 * The names that an extended header gives to the entry behind it, by GNU or POSIX.1-2001 (pax); undefined: it is none.
 * @throws {Error} it changes more than names, or is damaged
 */
function extendedNames({ type, size }: Header, content: Buffer): Names | undefined {
  if (!["L", "K", "x", "g"].includes(type)) return undefined;
  if (size > LONGEST) throw new Error("it has an extended header that is too large");
  const text = content.toString("utf8").replace(/\0.*$/s, "");
  if (type === "L") return { path: text };
  if (type === "K") return { linkTo: text };
  const records = paxRecords(content);
  const odd = [...records.keys()].find((key) => /^(size|GNU\.sparse.*)$/.test(key));
  const path = records.get("path");
  const linkTo = records.get("linkpath");
  if (odd !== undefined || (type === "g" && (path ?? linkTo) !== undefined)) {
    throw new Error("it has an extended header that changes more than a name");
  }
  return { ...(path !== undefined && { path }), ...(linkTo !== undefined && { linkTo }) };
}

/** "30 mtime=1795230439.123456789\n", the length of all of it first; values may be binary. */
function paxRecords(content: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  for (let rest = content; rest.length > 0;) {
    const [start = "", digits] = /^(\d{1,7}) /.exec(rest.toString("latin1", 0, 8)) ?? [];
    const record = rest.subarray(start.length, Number(digits));
    const equals = record.indexOf("=");
    if (start === "" || equals < 1 || record.at(-1) !== 0x0a || Number(digits) > rest.length) {
      throw new Error("its extended header is damaged");
    }
    records.set(
      record.toString("utf8", 0, equals),
      record.toString("utf8", equals + 1, record.length - 1),
    );
    rest = rest.subarray(Number(digits));
  }
  return records;
}

/** A name that somebody else chose, for a terminal. */
export const shown = (name: string): string => `"${oneLine(name.slice(0, 100))}"`;
