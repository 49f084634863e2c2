// A bound on the memory or the processor of one process and of all that it keeps in the kernel for it: a control group, where
// this machine lets us make one.
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface ControlGroup {
  /** Starts the program within. */
  readonly prefix: readonly string[];
  /** How often it was held back for its share of a processor. */
  throttled(): number;
  /** When nothing runs in it any more. */
  remove(): void;
}

/** Where groups are made, the file that bounds one, and what to write there. */
type Bound = readonly [parent: string, file: string, value: string];

/** undefined: this machine does not let us. */
export function memoryLimit(mib: number): ControlGroup | undefined {
  const bytes = String(mib * 1024 * 1024);
  return makeGroup([
    ["/sys/fs/cgroup/memory", "memory.limit_in_bytes", bytes],
    ["/sys/fs/cgroup", "memory.max", bytes],
  ]);
}

/** @param percent of one processor, in turns of a tenth of a second. undefined: this machine does not let us */
export function processorLimit(percent: number): ControlGroup | undefined {
  const microseconds = String(percent * 1_000);
  return makeGroup([
    ["/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", microseconds],
    ["/sys/fs/cgroup", "cpu.max", `${microseconds} 100000`],
  ]);
}

let made = 0;

/** In the first hierarchy that there is: version 1, then 2. */
function makeGroup(bounds: readonly Bound[]): ControlGroup | undefined {
  for (const [parent, file, value] of bounds) {
    const path = join(parent, `postern-test-${process.pid}-${made++}`);
    try {
      mkdirSync(path);
    } catch {
      continue;
    }
    const remove = (): void => rmdirSync(path);
    const limit = join(path, file);
    if (existsSync(limit)) {
      writeFileSync(limit, value);
      const enter = `echo $$ >"$0" && exec "$@"`;
      const prefix = ["sh", "-c", enter, join(path, "cgroup.procs")];
      return { prefix, throttled: () => timesThrottled(join(path, "cpu.stat")), remove };
    }
    remove();
  }
  return undefined;
}

const timesThrottled = (path: string): number =>
  Number(/^nr_throttled (\d+)$/m.exec(readFileSync(path, "utf8"))?.[1]);

/** Whether this machine lets us bound a processor. */
export function canLimitProcessor(): boolean {
  const group = processorLimit(100);
  group?.remove();
  return group !== undefined;
}

/** The most that a process has had in memory, in MiB. */
export function peakMemory(pid: number): number {
  const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kib) / 1024;
}
