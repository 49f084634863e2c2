// The journal's text: a header, then one checksummed, chained line per group commit. Writes and reads text only; the
// file of the running process is append.ts, what the lines mean together is recovery.ts.
import { checksum } from "../primitives.ts";

export const SCHEMA = 1;
/** The chain before the first change of a folder. */
export const GENESIS = "0000000000000000";

const BASE_DIGITS = 12;
const NAME = /^journal\.(\d{12,})\.jsonl$/;
const HEADER = /^\{"journal":\d+,"schema":(\d+),"base":(\d+),"chain":"([0-9a-f]{16})"/;
const LINE_START = '{"rev":';
const LINE = /^\{"rev":(\d+),"prev":"([0-9a-f]{16})","at":(\d+),"ops":/;
const SUM = /^,"sum":"([0-9a-f]{16})"\}$/;
const SUM_LENGTH = `,"sum":"${GENESIS}"}`.length;

export const journalName = (base: number): string =>
  `journal.${String(base).padStart(BASE_DIGITS, "0")}.jsonl`;

/** The rev after which a journal begins, from its name; undefined for other names. */
export function journalBase(name: string): number | undefined {
  const digits = NAME.exec(name)?.[1];
  return digits === undefined ? undefined : Number(digits);
}

/** A line of text and its sum. */
export interface Written {
  readonly text: string;
  readonly sum: string;
}

export interface GroupLine {
  readonly rev: number;
  /** Sum of the line of rev - 1, in whatever journal that is. */
  readonly prev: string;
  /** Epoch milliseconds. */
  readonly at: number;
  /** Each `["table","id",record]`, where null is a deletion. */
  readonly changes: readonly string[];
}

export function headerLine(base: number, chain: string): Written {
  return sealed("", `{"journal":1,"schema":${SCHEMA},"base":${base},"chain":"${chain}"`);
}

/**
 * Whether a journal without a readable header may be one that was never finished: each byte of its header is right, or not
 * written yet.
 * @param chain undefined: not known, so only what stands before it is looked at
 */
export function isBeingMade(content: Buffer, base: number, chain?: string): boolean {
  const { text } = headerLine(base, chain ?? GENESIS);
  const expected = Buffer.from(chain === undefined ? text.slice(0, text.indexOf(GENESIS)) : text);
  return content
    .subarray(0, expected.length)
    .every((byte, index) => byte === 0 || byte === expected[index]);
}

/** @param previousSum of the line above in the same file: the header's for the first */
export function groupLine({ rev, prev, at, changes }: GroupLine, previousSum: string): Written {
  const body = `{"rev":${rev},"prev":"${prev}","at":${at},"ops":[${changes.join(",")}]`;
  return sealed(previousSum, body);
}

function sealed(previousSum: string, body: string): Written {
  const sum = checksum().add(previousSum).add(body).end();
  return { text: `${body},"sum":"${sum}"}\n`, sum };
}

export interface JournalHeader {
  readonly schema: number;
  readonly base: number;
  readonly chain: string;
  readonly sum: string;
}

/** The header, from the start of a journal; undefined when it cannot be read. */
export function readHeader(start: Buffer): JournalHeader | undefined {
  return parseHeader(lineAt(start.toString("utf8"), 0));
}

function parseHeader(line: string): JournalHeader | undefined {
  const [head, schema, base, chain = ""] = HEADER.exec(line) ?? [];
  const sum = sumOf(line);
  if (head === undefined || sum === undefined || !isSealed("", line, sum)) return undefined;
  return { schema: Number(schema), base: Number(base), chain, sum };
}

export interface JournalLine {
  readonly rev: number;
  readonly prev: string;
  readonly at: number;
  readonly sum: string;
  /** Characters of the line and its end. */
  readonly length: number;
  /** The text of `ops`. */
  changes(): string;
}

export interface JournalText {
  /** The lines up to the first bad one. */
  readonly lines: readonly JournalLine[];
  /** Bytes from the first bad line on. */
  readonly badBytes: number;
  /** Good lines behind a bad one, behind a bad header, or in its place. */
  readonly behind: readonly JournalLine[];
}

/** Reads a whole journal. Without a good header no line counts, but good lines behind it are still seen. */
export function readJournal(bytes: Buffer): JournalText {
  // Bytes that are no UTF-8 become other characters, which no checksum survives.
  const text = bytes.toString("utf8");
  const lines: JournalLine[] = [];
  const first = lineAt(text, 0);
  let above = sumOf(first);
  const header = parseHeader(first);
  let badFrom = header ? undefined : 0;
  const instead = header ? undefined : lineInside(first);
  const behind = instead ? [instead] : [];
  for (let start = first.length + 1; start < text.length;) {
    const raw = lineAt(text, start);
    const line = parseLine(raw);
    const isGood = line !== undefined && above !== undefined && isSealed(above, raw, line.sum);
    if (isGood && badFrom === undefined) lines.push(line);
    else badFrom ??= start;
    const found = isGood ? line : lineInside(raw);
    if (badFrom !== undefined && found) behind.push(found);
    above = line?.sum ?? sumOf(raw);
    start += raw.length + 1;
  }
  // Good lines are as long as they were read; what is no UTF-8 is not.
  const badBytes =
    badFrom === undefined ? 0 : bytes.length - Buffer.byteLength(text.slice(0, badFrom));
  return { lines, badBytes, behind };
}

/**
 * A good line in a damaged place. The sum above it may be damaged too, but its own `prev` is the same sum, or tells that of
 * the header; where a newline was lost it begins inside another line; and an editor may have put its own line ends there.
 */
function lineInside(raw: string): JournalLine | undefined {
  const inside = raw.slice(Math.max(0, raw.lastIndexOf(LINE_START))).replace(/\r$/, "");
  const line = parseLine(inside);
  if (!line) return undefined;
  const header = headerLine(line.rev - 1, line.prev);
  const isGood = [line.prev, header.sum].some((above) => isSealed(above, inside, line.sum));
  return isGood ? line : undefined;
}

function lineAt(text: string, start: number): string {
  const end = text.indexOf("\n", start);
  return text.slice(start, end === -1 ? text.length : end);
}

function parseLine(raw: string): JournalLine | undefined {
  const [head, rev, prev = "", at] = LINE.exec(raw) ?? [];
  const sum = sumOf(raw);
  if (head === undefined || sum === undefined) return undefined;
  const changes = (): string => raw.slice(head.length, -SUM_LENGTH);
  return { rev: Number(rev), prev, at: Number(at), sum, length: raw.length + 1, changes };
}

/** The sum that a line claims. */
function sumOf(raw: string): string | undefined {
  return SUM.exec(raw.slice(-SUM_LENGTH))?.[1];
}

/** Whether a line's sum is right below a line of the sum `above`. */
function isSealed(above: string, raw: string, sum: string): boolean {
  return checksum().add(above).add(raw.slice(0, -SUM_LENGTH)).end() === sum;
}
