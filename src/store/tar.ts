// Archives: ustar (POSIX.1-1988) in gzip, regular files only. Knows nothing of what the files are. Bun.Archive writes mode
// 0644 and passes over links and devices in silence; a copy of the data folder needs 0600, and to be told.
import { gunzipSync, gzipSync } from "node:zlib";
import { oneLine } from "../audit.ts";

export interface ArchiveEntry {
  /** As it stands in the archive. */
  readonly path: string;
  readonly content: Buffer;
}

const BLOCK = 512;
/** Bytes that an archive may unpack to. */
const LARGEST = 1024 ** 3;
const MODE = 0o600;
const kinds: Readonly<Record<string, string>> = {
  "1": "a hard link",
  "2": "a symbolic link",
  "3": "a device",
  "4": "a device",
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
 * The regular files of an archive, packed by gzip or not.
 * @throws {Error} whose message says what is wrong with it: damaged, too large, or anything in it but files and folders
 */
export function unpackArchive(bytes: Buffer, largest = LARGEST): ArchiveEntry[] {
  const tar = bytes[0] === 0x1f && bytes[1] === 0x8b ? unzip(bytes, largest) : bytes;
  const entries: ArchiveEntry[] = [];
  for (let position = 0; ;) {
    const block = tar.subarray(position, position + BLOCK);
    if (block.length < BLOCK) throw new Error("it ends early");
    if (block.every((byte) => byte === 0)) return entries;
    const header = parseHeader(block);
    position += BLOCK;
    const content = tar.subarray(position, position + header.size);
    if (content.length < header.size) throw new Error("it ends early");
    position += header.size + padding(header.size);
    if (header.type === "0" || header.type === "\0") entries.push({ path: header.path, content });
    else assertHarmless(header, content);
  }
}

function unzip(bytes: Buffer, largest: number): Buffer {
  try {
    return gunzipSync(bytes, { maxOutputLength: largest });
  } catch (cause) {
    const isLarge = cause instanceof RangeError || /larger than/.test(String(cause));
    const message = isLarge ? `it unpacks to more than ${largest} bytes` : "its gzip is damaged";
    throw new Error(message, { cause });
  }
}

interface Header {
  readonly path: string;
  readonly size: number;
  readonly type: string;
}

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
  return { path, size: octal(124, 12), type: block.toString("latin1", 156, 157) };
}

/** Folders hold nothing, and extended headers may speak of times and attributes; what changes a name or size is refused. */
function assertHarmless({ path, type }: Header, content: Buffer): void {
  if (type === "5") return;
  if (type === "x" || type === "g") {
    if (!/^\d+ (path|linkpath|size|GNU\.)/m.test(content.toString("utf8"))) return;
    throw new Error("it has extended names");
  }
  throw new Error(`${shown(path)} in it is ${kinds[type] ?? "of an unknown kind"}`);
}

/** A name that somebody else chose, for a terminal. */
export const shown = (name: string): string => `"${oneLine(name.slice(0, 100))}"`;
