// strace as the hand that kills or disturbs the program at a chosen system call, and as the record of those that it made.
import { readFileSync, readdirSync } from "node:fs";
import type { Program } from "./program.ts";

/** Calls after which the folder, or what somebody was told, may be different. */
const CHANGING = [
  ..."openat write pwrite64 pwritev writev sendto sendmsg fsync fdatasync ftruncate fallocate".split(
    " ",
  ),
  ..."rename renameat renameat2 link linkat unlink unlinkat symlink mkdir mkdirat rmdir".split(" "),
  ..."chmod fchmod fchmodat chown fchown fchownat utimensat flock close".split(" "),
];

/** A call on a file of the folder, or an answer, that strace can be told to disturb. */
export interface Point {
  /** `fsync journal.000000000015.jsonl #2`. */
  readonly label: string;
  /** Of the call. */
  readonly name: string;
  /** Name in the folder, "." for the folder; undefined: a name that nobody knows before. */
  readonly file: string | undefined;
  /** The how many-eth call of this name it is, on this file and on any: counted per thread, as strace does. */
  readonly onFile: number;
  readonly onAny: number;
  /** Names of the files on which calls were made to fail in that record. */
  readonly failed: readonly string[];
}

/**
 * The points of a log, in the order in which the calls began. Which thread of the pool makes a call differs from run to run,
 * so what was hit at a point is to be read from the log of that run.
 */
export function pointsOf(log: string, folder: string): Point[] {
  const seen = new Map<string, number>();
  const count = (...key: string[]): number => {
    const next = (seen.get(key.join(" ")) ?? 0) + 1;
    seen.set(key.join(" "), next);
    return next;
  };
  const lines = log.split("\n");
  const failed = lines
    .filter((line) => line.includes("(INJECTED)"))
    .flatMap((line) => fileOf(line, folder) ?? []);
  return lines.flatMap((line): Point[] => {
    const [, thread = "", name = "", rest = ""] = /^(\d+) +(\w+)\((.*)/.exec(line) ?? [];
    if (name === "") return [];
    const onAny = count(thread, name);
    const file = fileOf(rest, folder) ?? (isAnswer(name, rest) ? "answer" : undefined);
    if (file === undefined || /O_RDONLY|O_PATH/.test(rest)) return [];
    const label = `${name} ${file} #${count(name, file)}`;
    // Names that nobody knows before.
    if (/^state\.json\.\d+$|^answer$/.test(file)) {
      return [
        {
          label: label.replace(/\.\d+ /, ".temporary "),
          name,
          file: undefined,
          onFile: 0,
          onAny,
          failed,
        },
      ];
    }
    return [{ label, name, file, onFile: count(thread, name, file), onAny, failed }];
  });
}

/** The first name in the folder that a call is about. */
function fileOf(call: string, folder: string): string | undefined {
  const at = call.indexOf(folder);
  if (at === -1) return undefined;
  return /^\/?([^"<>]*)/.exec(call.slice(at + folder.length))?.[1] || ".";
}

const isAnswer = (name: string, call: string): boolean =>
  name.startsWith("send") && /^\d+<socket:/.test(call);

/** What happens at a call: `fsync:signal=KILL:when=2`, `pwrite64:error=EIO`. */
export type Injection = string;

/** Milliseconds that strace has to let go. */
const PATIENCE = 500;

/** Milliseconds from the hold on a thread to its first recorded call. */
const SETTLED = 10;

export interface Tracer {
  /** Lets go of the program, which runs on. */
  detach(): Promise<void>;
  /** Resolves when the program has ended, or was let go. */
  readonly ended: Promise<void>;
}

const tracing = (
  log: string,
  injections: readonly Injection[],
  paths: readonly string[],
): string[] => [
  ..."-f -y -qq -s 0 -o".split(" "),
  log,
  `--trace=${CHANGING.join(",")}`,
  ...injections.flatMap((injection) => ["-e", `inject=${injection}`]),
  ...paths.flatMap((path) => ["-P", path]),
];

/** What a program is started under so that it is disturbed from its first call on. */
export const straced = (
  log: string,
  injections: readonly Injection[],
  paths: readonly string[] = [],
): string[] => ["strace", "-D", ...tracing(log, injections, paths)];

/** Takes hold of a running program. */
export async function attach(
  program: Program,
  log: string,
  injections: readonly Injection[],
  paths: readonly string[] = [],
): Promise<Tracer> {
  const flags = tracing(log, injections, paths).filter((flag) => flag !== "-qq");
  const pid = program.pid();
  const child = Bun.spawn(["strace", "-p", String(pid), ...flags], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const said = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; !text.includes(" attached");) {
    const { value, done } = await said.read();
    if (done) throw new Error(`strace: ${text}`);
    text += value;
  }
  while (!isHeld(program.pid())) await Bun.sleep(1);
  await Bun.sleep(SETTLED);
  const ended = (async () => {
    while (!(await said.read()).done);
    await child.exited;
  })();
  return {
    ended,
    detach: async () => {
      child.kill("SIGTERM");
      // It can wait for a program that is dying, and that one for it.
      const insist = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
      await ended;
      clearTimeout(insist);
    },
  };
}

/** Whether each thread of a process is traced; one that ends meanwhile is not asked. */
function isHeld(pid: number): boolean {
  const tasks = `/proc/${pid}/task`;
  return readdirSync(tasks).every((thread) => {
    try {
      return !readFileSync(`${tasks}/${thread}/status`, "utf8").includes("TracerPid:\t0\n");
    } catch {
      return true;
    }
  });
}
