// Reading the audit trail back: the newest events first, from the end of the file; and every new one as it is written. The
// files are read as they are: a line that cannot be read is passed over, and nothing is changed.
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "../errors.ts";
import type { AuditEvent } from "../audit.ts";
import type { Level } from "../values.ts";
import { factsOf, isAtLeast, type Kind } from "./events.ts";

/** The trail's files, the newest first. */
const FILES = ["audit.jsonl", "audit.jsonl.1"];
const BLOCK = 256 * 1024;

export interface TrailQuery {
  /** Most events of the answer; those of its last millisecond are all there. */
  readonly limit: number;
  /** Only events before this time, ISO 8601. */
  readonly before?: string;
  /** Looks no further back than this, ISO 8601. */
  readonly since?: string;
  readonly level?: Level;
  readonly kind?: Kind;
  readonly event?: string;
  /** Any of these. */
  readonly events?: ReadonlySet<string>;
  /** Text that stands in any field, in any case. */
  readonly about?: string;
}

export interface TrailPage {
  /** The newest first. */
  readonly events: readonly AuditEvent[];
  /** There are more; they are before the last of these. */
  readonly more: boolean;
}

/** @param end where the newest file ends for this reader, in bytes */
export async function readTrail(
  folder: string,
  query: TrailQuery,
  end = Number.POSITIVE_INFINITY,
): Promise<TrailPage> {
  const events: AuditEvent[] = [];
  const matches = matcher(query);
  for (const [index, name] of FILES.entries()) {
    const until = index === 0 ? end : Number.POSITIVE_INFINITY;
    for await (const line of linesBackwards(join(folder, name), until)) {
      const event = parseEvent(line);
      if (!event || (query.before !== undefined && event.at >= query.before)) continue;
      if (query.since !== undefined && event.at < query.since) return { events, more: false };
      if (!matches(event)) continue;
      if (events.length >= query.limit && event.at !== events.at(-1)?.at)
        return { events, more: true };
      events.push(event);
    }
  }
  return { events, more: false };
}

export function matcher({ level, kind, event: name, events, about }: Omit<TrailQuery, "limit">) {
  const text = about?.toLowerCase();
  return (event: AuditEvent): boolean =>
    (level === undefined || isAtLeast(event.event, level)) &&
    (kind === undefined || factsOf(event.event)?.kind === kind) &&
    (name === undefined || event.event === name) &&
    (events === undefined || events.has(event.event)) &&
    (text === undefined ||
      Object.values(event).some((value) => String(value).toLowerCase().includes(text)));
}

const isScalar = (value: unknown): boolean =>
  ["string", "number", "boolean"].includes(typeof value);

function parseEvent(line: string): AuditEvent | undefined {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== "object" || value === null) return undefined;
    const { at, event } = value as Partial<AuditEvent>;
    if (typeof at !== "string" || typeof event !== "string") return undefined;
    const isTold = !Number.isNaN(Date.parse(at)) && Object.values(value).every(isScalar);
    return isTold ? (value as AuditEvent) : undefined;
  } catch {
    return undefined;
  }
}

async function openFile(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, "r");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** The whole lines of a file, the last first; a file that is not there has none. */
async function* linesBackwards(path: string, until: number): AsyncGenerator<string> {
  const file = await openFile(path);
  if (!file) return;
  try {
    let end = Math.min((await file.stat()).size, until);
    let rest = Buffer.alloc(0);
    while (end > 0) {
      const length = Math.min(BLOCK, end);
      end -= length;
      const block = Buffer.concat([await readAt(file, end, length), rest]);
      const first = end === 0 ? 0 : block.indexOf("\n") + 1;
      // A line longer than a block is none of ours.
      rest = first === 0 && end > 0 ? Buffer.alloc(0) : block.subarray(0, first);
      yield* block.subarray(first).toString("utf8").split("\n").filter(Boolean).toReversed();
    }
  } finally {
    await file.close();
  }
}

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
  return buffer.subarray(0, bytesRead);
}

/** Milliseconds between two looks at the file. */
const INTERVAL = 250;

/**
 * Every event that is written from now on, over rotations and restarts of the server, until `stop`.
 * @param started told where that begins, in bytes of the newest file; nothing is told before it has resolved
 */
export async function followTrail(
  folder: string,
  tell: (event: AuditEvent) => void,
  stop: AbortSignal,
  started: (end: number) => Promise<void>,
): Promise<void> {
  const path = join(folder, FILES[0] ?? "");
  let file = await openFile(path);
  let position = file ? (await file.stat()).size : 0;
  await started(position);
  const readOn = async (from: FileHandle): Promise<void> => {
    // Emptied by hand.
    if ((await from.stat()).size < position) position = 0;
    for (;;) {
      const bytes = await readAt(from, position, BLOCK);
      // A line that is not whole yet is read when it is.
      const whole = bytes.lastIndexOf("\n") + 1;
      if (whole === 0) return;
      position += whole;
      const lines = bytes.subarray(0, whole).toString("utf8").split("\n");
      for (const event of lines.map(parseEvent)) if (event) tell(event);
    }
  };
  try {
    while (!stop.aborted) {
      if (file) await readOn(file);
      const next = await openFile(path);
      if (next && (!file || (await isOther(file, next)))) {
        // What was written between the last look and the turn of the file.
        if (file) await readOn(file);
        await file?.close();
        file = next;
        position = 0;
        continue;
      }
      await next?.close();
      await pause(stop);
    }
  } finally {
    await file?.close();
  }
}

async function isOther(file: FileHandle, next: FileHandle): Promise<boolean> {
  const [a, b] = await Promise.all([file.stat(), next.stat()]);
  return a.ino !== b.ino || a.dev !== b.dev;
}

async function pause(stop: AbortSignal): Promise<void> {
  const end = Promise.withResolvers<void>();
  const resolve = (): void => end.resolve();
  const timer = setTimeout(resolve, INTERVAL);
  stop.addEventListener("abort", resolve, { once: true });
  await end.promise;
  clearTimeout(timer);
  stop.removeEventListener("abort", resolve);
}
