// One child process that reads and writes lines: starting it, both pipes within bounds, ending it. What the lines say is
// link.ts's.
import { reason } from "../errors.ts";
import { lineSplitter } from "./lines.ts";
import { processTree, signalGroup } from "./process_tree.ts";

export interface ChildOptions {
  readonly command: readonly string[];
  /** Working folder; undefined: Postern's own. */
  readonly folder: string | undefined;
  /** The whole environment: nothing is inherited. */
  readonly environment: Readonly<Record<string, string>>;
  readonly bounds: ChildBounds;
  readonly onLine: (line: string) => void;
  /** What to wait for before more is read from it: its pipe fills, and it waits as well. */
  readonly room: () => Promise<unknown> | undefined;
  /** A line of its standard error, cut at a few thousand bytes. */
  readonly onLog: (line: string) => void;
  /** Once, after its last line. Nothing of its process group is left then. */
  readonly onEnd: (ending: string) => void;
}

export interface ChildBounds {
  /** Bytes of the longest line that it may write. */
  readonly line: number;
  /** Bytes that wait to be read by it. */
  readonly backlog: number;
  /** Milliseconds to end by itself after its input was closed, and again after SIGTERM. */
  readonly patience: number;
}

export interface Child {
  readonly pid: number;
  /** False when it is gone, or so far behind that the line cannot wait. */
  send(line: string): boolean;
  /** Resolves when it is gone. MCP 2025-11-25 "Shutdown": closed input, then SIGTERM, then SIGKILL. */
  stop(): Promise<void>;
  /** At once, without waiting for anything. */
  kill(): void;
}

/** Bytes of a line of standard error that are kept. */
const LOG_LINE = 4096;
/** Milliseconds for what a process that is gone has still written: others may hold its pipes open for ever. */
const LAST_WORDS = 500;

type Process = Bun.Subprocess<"pipe", "pipe", "pipe">;

/** @throws {Error} when there is no such program or folder */
export function startChild(options: ChildOptions): Child {
  const { command, folder, environment, bounds } = options;
  const process = Bun.spawn([...command], {
    ...(folder !== undefined && { cwd: folder }),
    env: { ...environment },
    stdio: ["pipe", "pipe", "pipe"],
    // A group of its own: it is ended as a whole, and Ctrl-C in our terminal is ours to hand on.
    detached: true,
  });
  let broken: string | undefined;
  const kill = (): void => processTree(process.pid).signal("SIGKILL");
  const breakOff = (why: string): void => {
    broken ??= why;
    kill();
  };
  const writing = startWriting(process, bounds.backlog);
  const reading = Promise.all([
    readLines(process.stdout, bounds.line, options).then(async (whole) => {
      if (!whole) return breakOff(`wrote a message of more than ${bounds.line} bytes`);
      // MCP 2026-07-28 "stdio", "Shutdown": so it may say that it is about to end.
      await Promise.race([process.exited, Bun.sleep(bounds.patience)]);
      if (process.exitCode === null && process.signalCode === null) breakOff("closed its output");
    }),
    readLogs(process.stderr, options.onLog),
  ]);
  const ended = process.exited.then(async () => {
    // What is left of the group goes too.
    signalGroup(process.pid, "SIGKILL");
    await Promise.race([reading, Bun.sleep(LAST_WORDS)]);
    options.onEnd(broken ?? endingOf(process));
  });
  return {
    pid: process.pid,
    send: writing.send,
    stop: () => stop(process, writing.close, bounds.patience, ended),
    kill,
  };
}

const endingOf = ({ signalCode, exitCode }: Process): string =>
  signalCode === null ? `ended with exit code ${exitCode}` : `was ended by ${signalCode}`;

async function stop(
  process: Process,
  closeInput: () => void,
  patience: number,
  ended: Promise<void>,
): Promise<void> {
  const tree = processTree(process.pid);
  closeInput();
  for (const signal of ["SIGTERM", "SIGKILL"] as const) {
    const timeout = Promise.withResolvers<"late">();
    const timer = setTimeout(() => timeout.resolve("late"), patience);
    const late = (await Promise.race([process.exited, timeout.promise])) === "late";
    clearTimeout(timer);
    if (!late) break;
    tree.signal(signal);
  }
  // What it started may have outlived it.
  tree.signal("SIGKILL");
  await ended;
}

interface Writing {
  send(line: string): boolean;
  close(): void;
}

/** One write at a time: a child that does not read keeps what it has not read with us, within bounds. */
function startWriting({ stdin }: Process, backlog: number): Writing {
  const waiting: string[] = [];
  let size = 0;
  let state: "idle" | "busy" | "closed" = "idle";
  const drain = async (): Promise<void> => {
    state = "busy";
    try {
      for (let line = waiting.shift(); line !== undefined; line = waiting.shift()) {
        stdin.write(`${line}\n`);
        await stdin.flush();
        size -= line.length;
      }
      if (state === "busy") state = "idle";
    } catch {
      // EPIPE: it reads no more. That it ends is seen elsewhere.
      state = "closed";
    }
  };
  return {
    send: (line) => {
      if (state === "closed" || (size > 0 && size + line.length > backlog)) return false;
      waiting.push(line);
      size += line.length;
      if (state === "idle") void drain();
      return true;
    },
    close: () => {
      state = "closed";
      waiting.length = 0;
      void (async () => stdin.end())().catch(() => undefined);
    },
  };
}

/** Resolves to false at a line that is too long; nothing is read after it. */
async function readLines(
  stream: ReadableStream<Uint8Array>,
  longest: number,
  { onLine, room }: ChildOptions,
): Promise<boolean> {
  const splitter = lineSplitter(longest);
  try {
    for await (const chunk of stream) {
      for (const line of splitter.lines(chunk)) onLine(line);
      if (splitter.overflown()) return false;
      await room();
    }
  } catch {
    // The pipe broke: the end of the process tells the rest.
  }
  return true;
}

async function readLogs(
  stream: ReadableStream<Uint8Array>,
  onLog: (line: string) => void,
): Promise<void> {
  const splitter = lineSplitter(LOG_LINE, "cut");
  try {
    for await (const chunk of stream) for (const line of splitter.lines(chunk)) onLog(line);
    const rest = splitter.rest();
    if (rest !== "") onLog(rest);
  } catch (error) {
    onLog(reason(error));
  }
}
