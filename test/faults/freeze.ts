// A process that stands still, as in a suspended machine: SIGSTOP, and proof that every thread obeyed.
import { readFileSync, readdirSync } from "node:fs";
import type { Program } from "./program.ts";

/** Resolves when no thread of the program runs any more. */
export async function freeze(program: Program): Promise<void> {
  program.signal("SIGSTOP");
  const tasks = `/proc/${program.pid()}/task`;
  while (!readdirSync(tasks).every((thread) => isStopped(`${tasks}/${thread}`))) {
    await Bun.sleep(1);
  }
}

export const thaw = (program: Program): void => program.signal("SIGCONT");

function isStopped(thread: string): boolean {
  const stat = readFileSync(`${thread}/stat`, "utf8");
  return stat.slice(stat.lastIndexOf(")") + 2).startsWith("T");
}
