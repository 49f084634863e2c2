// Loaded before the tests (bunfig.toml): after the last of them no process that they started may be left. On Linux, where
// /proc tells.
import { afterAll } from "bun:test";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { resolve } from "node:path";

/** Milliseconds that a process which was told to end has for it. */
const PATIENCE = 3000;
const root = resolve(import.meta.dir, "..");

interface Process {
  readonly pid: number;
  readonly parent: number;
  readonly session: number;
  readonly command: string;
}

function readProcess(pid: number): Process | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in brackets may hold anything.
    const [state, parent, , session] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
    if (state === "Z" || command === "") return undefined;
    return { pid, parent: Number(parent), session: Number(session), command };
  } catch {
    return undefined;
  }
}

/** Children of this process and theirs; and whoever lost its parent, runs this project, and is of our session. */
function startedHere(): Process[] {
  const all = readdirSync("/proc").flatMap((name) => {
    const found = /^\d+$/.test(name) ? readProcess(Number(name)) : undefined;
    return found ? [found] : [];
  });
  const session = all.find(({ pid }) => pid === process.pid)?.session;
  const ours = new Set([process.pid]);
  for (let before = 0; before < ours.size;) {
    before = ours.size;
    for (const { pid, parent } of all) if (ours.has(parent)) ours.add(pid);
  }
  const orphaned = (each: Process): boolean =>
    each.parent === 1 && each.session === session && each.command.includes(root);
  return all.filter((each) => each.pid !== process.pid && (ours.has(each.pid) || orphaned(each)));
}

afterAll(async () => {
  if (!existsSync("/proc/self/stat")) return;
  let left = startedHere();
  for (let waited = 0; left.length > 0 && waited < PATIENCE; waited += 50) {
    await Bun.sleep(50);
    left = startedHere();
  }
  for (const { pid } of left) process.kill(pid, "SIGKILL");
  const lines = left.map(({ pid, command }) => `${pid} ${command}`).join("\n");
  if (lines !== "") throw new Error(`processes that the tests left behind:\n${lines}`);
});
