// A disk of its own in a file, whose power can be cut: the file system is shut down without writing anything that waits in
// memory, its journal included. Needs root.
import { dlopen } from "bun:ffi";
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  rmdirSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { run } from "./command.ts";

export type DiskKind = "ext4" | "xfs";

export interface LoopDisk {
  /** Where it is mounted. */
  readonly path: string;
  /** From here on nothing reaches the disk, and every access fails. */
  cut(): void;
  /** As after the next boot: mounts it anew. Nothing may have it open. */
  boot(): void;
  remove(): void;
}

/** The smallest that mkfs makes. */
const MIB = { ext4: 32, xfs: 300 };
/** _IOR('X', 125, __u32), and the flag that leaves the log unwritten. */
const FS_IOC_SHUTDOWN = 0x8004587dn;
const NO_LOG_FLUSH = 2;

export function loopDisk(kind: DiskKind): LoopDisk {
  const parent = mkdtempSync(join(tmpdir(), `postern-${kind}-`));
  const image = join(parent, "image");
  const path = join(parent, "disk");
  writeFileSync(image, "");
  truncateSync(image, MIB[kind] * 1024 * 1024);
  run("mkfs", "-t", kind, "-q", image);
  mkdirSync(path);
  const mount = (): void => run("mount", "-t", kind, "-o", "loop", image, path);
  mount();
  return {
    path,
    cut: () => shutDown(path),
    boot: () => {
      run("umount", path);
      mount();
    },
    remove: () => {
      run("umount", path);
      rmdirSync(path);
      rmSync(parent, { recursive: true });
    },
  };
}

function shutDown(path: string): void {
  const c = dlopen("libc.so.6", { ioctl: { args: ["i32", "u64", "ptr"], returns: "i32" } });
  const descriptor = openSync(path, "r");
  const result = c.symbols.ioctl(descriptor, FS_IOC_SHUTDOWN, new Uint32Array([NO_LOG_FLUSH]));
  closeSync(descriptor);
  c.close();
  if (result !== 0) throw new Error(`${path} cannot be shut down`);
}

/** Whether this machine mounts images of that kind. */
export function canLoop(kind: DiskKind): boolean {
  if (Bun.which("mkfs", { PATH }) === null || Bun.which(`mkfs.${kind}`, { PATH }) === null)
    return false;
  try {
    loopDisk(kind).remove();
    return true;
  } catch {
    return false;
  }
}
const PATH = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;
