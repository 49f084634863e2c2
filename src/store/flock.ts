// flock(2) through the C library: a lock that the kernel drops with the process, without files, clocks or pids.
import { type Pointer, dlopen, read } from "bun:ffi";

/** LOCK_EX | LOCK_NB, the same on Linux and macOS. */
const EXCLUSIVE_AT_ONCE = 2 | 4;

/** ENOSYS, EOPNOTSUPP (two numbers on macOS), ENOLCK, EINVAL, EBADF. */
const unsupported: readonly number[] =
  process.platform === "darwin" ? [78, 102, 45, 77, 22, 9] : [38, 95, 37, 22, 9];

interface CLibrary {
  flock(descriptor: number, operation: number): number;
  /** Address of errno. */
  errno(): Pointer | bigint | null;
  close(): void;
}

/** Tries to lock an open descriptor; "missing": the platform or the file system has no flock. */
export function flock(descriptor: number): "locked" | "busy" | "missing" {
  const c = openLibrary();
  if (!c) return "missing";
  try {
    if (c.flock(descriptor, EXCLUSIVE_AT_ONCE) === 0) return "locked";
    const errno = c.errno();
    const code = typeof errno === "number" ? read.i32(errno, 0) : undefined;
    // Whatever else it says, somebody may have it: two owners are worse than none.
    return code !== undefined && unsupported.includes(code) ? "missing" : "busy";
  } finally {
    c.close();
  }
}

function openLibrary(): CLibrary | undefined {
  if (process.platform === "darwin") return darwinLibrary("libSystem.B.dylib");
  if (process.platform !== "linux") return undefined;
  const machine = process.arch === "arm64" ? "aarch64" : "x86_64";
  return linuxLibrary("libc.so.6") ?? linuxLibrary(`libc.musl-${machine}.so.1`);
}

const flockType = { args: ["i32", "i32"], returns: "i32" } as const;
const errnoType = { args: [], returns: "ptr" } as const;

function linuxLibrary(name: string): CLibrary | undefined {
  try {
    const { symbols, close } = dlopen(name, { flock: flockType, __errno_location: errnoType });
    return { flock: symbols.flock, errno: symbols.__errno_location, close };
  } catch {
    return undefined;
  }
}

function darwinLibrary(name: string): CLibrary | undefined {
  try {
    const { symbols, close } = dlopen(name, { flock: flockType, __error: errnoType });
    return { flock: symbols.flock, errno: symbols.__error, close };
  } catch {
    return undefined;
  }
}
