// Notices that one of a few small files has another content, by looking again and again: unlike notifications of the
// file system that holds for editors that replace a file, for links that are turned and for mounts of another machine.
import { readFileSync, statSync } from "node:fs";
import { errorCode } from "../errors.ts";
import { sha256 } from "../primitives.ts";

export interface WatchOptions {
  /** Asked at every look. */
  readonly paths: () => readonly string[];
  /** A content is new, and the same at two looks in a row: nobody is in the middle of writing it. */
  readonly changed: () => void;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Milliseconds between two looks. */
  readonly every?: number;
}

export interface Watch {
  /** What the files hold now is known: no need to tell. */
  know(): void;
  stop(): void;
}

/** Milliseconds in which two contents may have one time of change: clocks of file systems tick slowly. */
const YOUNG = 2_000;
/** Bytes of a larger file are not read: its size and times must do. */
const LARGE = 1024 * 1024;

interface Seen {
  readonly identity: string;
  readonly content: string;
}

export function watchFiles({ paths, changed, now, every = 500 }: WatchOptions): Watch {
  const seen = new Map<string, Seen>();
  const look = (): string =>
    paths()
      .map((path) => {
        const found = contentOf(path, seen.get(path), now());
        seen.set(path, found);
        return `${path}\0${found.content}`;
      })
      .join("\0");
  let known = look();
  let last = known;
  const timer = setInterval(() => {
    const current = look();
    const isSettled = current === last;
    last = current;
    if (current === known || !isSettled) return;
    known = current;
    changed();
  }, every);
  timer.unref();
  return {
    know: () => {
      known = look();
      last = known;
    },
    stop: () => clearInterval(timer),
  };
}

function contentOf(path: string, before: Seen | undefined, now: number): Seen {
  try {
    const found = statSync(path);
    // A pipe would be read for good, and waited for.
    if (!found.isFile()) return { identity: "", content: "no file" };
    const { dev, ino, size, mtimeMs, ctimeMs } = found;
    const identity = [dev, ino, size, mtimeMs, ctimeMs].join(" ");
    const isOld = now - Math.max(mtimeMs, ctimeMs) > YOUNG;
    if (before?.identity === identity && (isOld || size > LARGE)) return before;
    return { identity, content: size > LARGE ? identity : sha256(readFileSync(path, "latin1")) };
  } catch (error) {
    return { identity: "", content: `unreadable ${errorCode(error)}` };
  }
}
