// A bound on the memory of one process and of all that it keeps in the kernel for it: a control group, where this machine lets us
// make one.
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface MemoryLimit {
  /** Starts the program within. */
  readonly prefix: readonly string[];
  remove(): void;
}

/** Where groups are made, and the file that bounds one: version 1, then 2. */
const hierarchies = [
  ["/sys/fs/cgroup/memory", "memory.limit_in_bytes"],
  ["/sys/fs/cgroup", "memory.max"],
] as const;

let made = 0;

/** undefined: this machine does not let us. */
export function memoryLimit(mib: number): MemoryLimit | undefined {
  for (const [parent, file] of hierarchies) {
    const path = join(parent, `postern-test-${process.pid}-${made++}`);
    try {
      mkdirSync(path);
    } catch {
      continue;
    }
    const remove = (): void => rmdirSync(path);
    const limit = join(path, file);
    if (existsSync(limit)) {
      writeFileSync(limit, String(mib * 1024 * 1024));
      const enter = `echo $$ >"$0" && exec "$@"`;
      return { prefix: ["sh", "-c", enter, join(path, "cgroup.procs")], remove };
    }
    remove();
  }
  return undefined;
}

/** The most that a process has had in memory, in MiB. */
export function peakMemory(pid: number): number {
  const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kib) / 1024;
}
