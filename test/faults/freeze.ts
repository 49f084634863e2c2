// A process that stands still, as in a suspended machine: SIGSTOP, and proof that every thread obeyed.
import { readFileSync, readdirSync } from "node:fs";

/** Resolves when no thread of the process runs any more. */
export async function freeze(pid: number): Promise<void> {
  process.kill(pid, "SIGSTOP");
  while (!readdirSync(`/proc/${pid}/task`).every((thread) => isStopped(pid, thread))) {
    await Bun.sleep(1);
  }
}

export const thaw = (pid: number): void => void process.kill(pid, "SIGCONT");

function isStopped(pid: number, thread: string): boolean {
  const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).startsWith("T");
}
