// Ending a child process with everything that it started: its process group, and on Linux also what left that group.
import { readFileSync, readdirSync } from "node:fs";

interface Process {
  readonly pid: number;
  readonly parent: number;
  /** Start in clock ticks since boot: with the pid, what tells a process from a later one of the same number. */
  readonly start: string;
}

/** proc_pid_stat(5): the name is in parentheses and may hold anything; parent is field 4, start field 22. */
function readProcess(pid: number): Process | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { pid, parent: Number(fields[1]), start: fields[19] ?? "" };
  } catch {
    // Gone meanwhile.
    return undefined;
  }
}

function allProcesses(): Process[] {
  try {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .flatMap((name) => readProcess(Number(name)) ?? []);
  } catch {
    // Not Linux.
    return [];
  }
}

function descendantsOf(root: number): Process[] {
  const byParent = Map.groupBy(allProcesses(), ({ parent }) => parent);
  const found: Process[] = [];
  const visit = (pid: number): void => {
    for (const child of byParent.get(pid) ?? []) {
      found.push(child);
      visit(child.pid);
    }
  };
  visit(root);
  return found;
}

export interface ProcessTree {
  /** To the group and to all that was ever seen below its leader, what init has adopted since included. */
  signal(signal: "SIGTERM" | "SIGKILL"): void;
}

/** The tree of a process that leads its own group (`detached`), and runs. */
export function processTree(pid: number): ProcessTree {
  const known = new Map<number, Process>();
  const look = (): void => {
    for (const process of descendantsOf(pid)) known.set(process.pid, process);
  };
  look();
  return {
    signal: (signal) => {
      // Of a leader that is gone nothing new can be learned.
      if (readProcess(pid)) look();
      signalGroup(pid, signal);
      for (const { pid: each, start } of known.values()) {
        if (readProcess(each)?.start === start) send(each, signal);
      }
    },
  };
}

/** The kernel gives the number of a group to nobody else while one of it runs. */
export function signalGroup(pid: number, signal: "SIGTERM" | "SIGKILL"): void {
  if (process.platform !== "win32") send(-pid, signal);
  // There are no groups and no signals: the tool of the system ends a tree.
  else if (signal === "SIGKILL") Bun.spawnSync(["taskkill", "/PID", `${pid}`, "/T", "/F"]);
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already.
  }
}
