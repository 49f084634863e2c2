// One process owns the data folder: flock is the guard, proper-lockfile the visible sign beside it, and the guard where
// flock is missing. While flock is there nobody is judged by pid or clock.
import fs, { readFileSync, rmSync, rmdirSync, writeFileSync } from "node:fs";
import { lockSync } from "proper-lockfile";
import { FatalError, errorCode, reason } from "../errors.ts";
import { type DataFolder, LOCK, LOCK_OWNER, type Notice } from "./files.ts";
import { flock } from "./flock.ts";

export interface LockOptions {
  /** Milliseconds to wait for the process that holds the folder. */
  readonly wait: number;
  readonly now: () => number;
  readonly notice: (notice: Notice) => void;
  /** Ends the wait. */
  readonly stop?: AbortSignal | undefined;
}

export interface FolderLock {
  /** Whether the folder is still ours. Always true while flock guards it. */
  held(): boolean;
  release(): void;
}

/** Milliseconds: between two tries, until a sign is stale, between two touches of it. */
const POLL = 100;
const STALE = 10_000;
const UPDATE = 5_000;
/** What file times may be off by. */
const FILE_TIME = 2_000;

/**
 * Takes the folder; waits when another process has it, as in an overlapping deploy.
 * @throws {FatalError} exit code 75 when the other process keeps it
 * @throws the reason of `stop`
 */
export async function lockFolder(folder: DataFolder, options: LockOptions): Promise<FolderLock> {
  outliveSizeLimits();
  let lock = takeFolder(folder, options);
  if (!lock) options.notice({ kind: "waiting", message: `waiting for ${holder(folder)}` });
  // Counted in sleeps, because the wait must end whatever the clock does. Without flock it must outlast a lock that
  // kill -9 left behind.
  const wait = options.wait + (folder.descriptor === undefined ? FILE_TIME : 0);
  for (let waited = 0; !lock && waited < wait; waited += POLL) {
    await Bun.sleep(Math.min(POLL, wait - waited));
    options.stop?.throwIfAborted();
    lock = takeFolder(folder, options);
  }
  if (lock) return lock;
  throw new FatalError(`the data folder ${folder.path} is in use by ${holder(folder)}`, {
    exitCode: 75,
    hint: "stop that process first: one process owns a data folder at a time",
  });
}

function takeFolder(folder: DataFolder, options: LockOptions): FolderLock | undefined {
  const taken = folder.descriptor === undefined ? "missing" : flock(folder.descriptor);
  if (taken === "busy") return undefined;
  return taken === "locked" ? signFolder(folder, options) : guardBySign(folder, options);
}

/** With flock held: a leftover sign is nobody's, and a sign that cannot be made is only a pity. */
function signFolder(folder: DataFolder, { now, notice }: LockOptions): FolderLock {
  let unlock: (() => void) | undefined;
  const sign = (): void => {
    try {
      rmSync(folder.at(LOCK), { recursive: true, force: true });
      unlock = makeSign(folder, sign);
      writeOwner(folder, now());
    } catch (error) {
      notice({ kind: "lock-sign", message: `the lock's sign cannot be made: ${reason(error)}` });
    }
  };
  sign();
  const end = (): void => {
    rmSync(folder.at(LOCK_OWNER), { force: true });
    unlock?.();
  };
  return untilExit(end, () => true);
}

/** Without flock: the sign is the guard, nobody takes it over before it is stale, and ours may be lost. */
function guardBySign(folder: DataFolder, { now }: LockOptions): FolderLock | undefined {
  let owner: string | undefined;
  // Whoever took the sign over while we were frozen has written its own name.
  const held = (): boolean => owner !== undefined && readOwner(folder) === owner;
  const mayRemove = (): boolean => owner === undefined || held();
  try {
    const unlock = makeSign(folder, () => undefined, mayRemove);
    owner = writeOwner(folder, now());
    const end = (): void => {
      owner = undefined;
      // Before the sign: after it somebody else's name may stand there.
      rmSync(folder.at(LOCK_OWNER), { force: true });
      unlock();
    };
    return untilExit(end, held);
  } catch (cause) {
    if (errorCode(cause) === "ELOCKED") return undefined;
    throw new FatalError(`the data folder ${folder.path} cannot be locked: ${reason(cause)}`, {
      exitCode: 77,
      cause,
    });
  }
}

/** @param mayRemove asked before the sign is removed: at the end the package does not look whose it is by then */
function makeSign(
  folder: DataFolder,
  onCompromised: () => void,
  mayRemove: () => boolean = () => true,
): () => void {
  const umask = process.umask(0o077);
  const removeSign = (path: string): void => {
    if (mayRemove()) rmdirSync(path);
  };
  try {
    return lockSync(folder.path, {
      lockfilePath: folder.at(LOCK),
      realpath: false,
      stale: STALE,
      update: UPDATE,
      fs: { ...fs, rmdirSync: removeSign },
      onCompromised,
    });
  } finally {
    process.umask(umask);
  }
}

/** Where proper-lockfile sees none but its own listener it ends the process at SIGXFSZ. */
const goOn = (): void => undefined;

/**
 * A file at its size limit is one more write that fails. For as long as the process lives: the signal arrives some time after
 * the write, which may have been the last one of all.
 */
function outliveSizeLimits(): void {
  if (!process.listeners("SIGXFSZ").includes(goOn)) process.on("SIGXFSZ", goOn);
}

/** proper-lockfile misses three ordinary ways of ending under Bun; the exit event has them all. */
function untilExit(end: () => void, held: () => boolean): FolderLock {
  const release = (): void => {
    process.off("exit", release);
    try {
      if (held()) end();
    } catch {
      // A sign that stays is nobody's, or stale soon; what the process did is saved.
    }
  };
  process.on("exit", release);
  return { held, release };
}

function writeOwner(folder: DataFolder, now: number): string {
  const owner = JSON.stringify({ pid: process.pid, host: folder.host, since: now });
  rmSync(folder.at(LOCK_OWNER), { force: true });
  writeFileSync(folder.at(LOCK_OWNER), owner, { flag: "wx", mode: 0o600 });
  return owner;
}

function readOwner(folder: DataFolder): string | undefined {
  try {
    return readFileSync(folder.at(LOCK_OWNER), "utf8");
  } catch {
    return undefined;
  }
}

const holder = (folder: DataFolder): string =>
  holderIn(readOwner(folder) ?? "") ?? "another process";

/** For people: who has the folder, as far as its `.lock.json` tells. */
export function holderIn(owner: string): string | undefined {
  const [, pid, host] = /^\{"pid":(\d+),"host":"([^"]*)"/.exec(owner) ?? [];
  return pid === undefined ? undefined : `pid ${pid} on host ${host}`;
}
