// The compiled executable as a child process: built once, started in a folder of its own, with nothing from this environment.
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;
/** Starts what follows without privileges: as nobody under root, else as whoever runs the tests. */
const unprivileged = isRoot
  ? ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", "--"]
  : [];

/** A folder that the executable's user owns. */
export function ownFolder(path: string): string {
  mkdirSync(path, { recursive: true });
  if (isRoot) chownSync(path, NOBODY, NOBODY);
  return path;
}

/** A file that the executable's user owns. */
export function ownFile(path: string, text: string): void {
  writeFileSync(path, text, { mode: 0o600 });
  if (isRoot) chownSync(path, NOBODY, NOBODY);
}

/** A temporary folder that other users may enter, with the executable in it. */
export function buildExecutable(): { folder: string; path: string; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), "postern-binary-"));
  chmodSync(folder, 0o755);
  const script = resolve(import.meta.dir, "../../.ci/build.ts");
  const built = Bun.spawnSync([process.execPath, script, "--out", folder]);
  if (!built.success) throw new Error(`the build failed: ${built.stderr}`);
  const remove = (): void => rmSync(folder, { recursive: true });
  return { folder, path: join(folder, "postern"), remove };
}

export function freePort(): number {
  const probe = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const { port } = probe;
  void probe.stop(true);
  if (port === undefined) throw new Error("no free port");
  return port;
}

export interface Launch {
  /** Working directory. */
  readonly folder: string;
  readonly flags: readonly string[];
  /** The whole environment. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Commands that start the executable in their turn. */
  readonly prefix?: readonly string[];
}

/** Runs a command to its end. */
export function runExecutable(path: string, { folder, flags, environment, prefix }: Launch) {
  const { exitCode, stdout, stderr } = Bun.spawnSync(commandLine(path, flags, prefix), {
    cwd: folder,
    env: { ...environment },
    stdin: "ignore",
  });
  return { exitCode, stdout: stdout.toString(), stderr: stderr.toString() };
}

export interface Running {
  readonly pid: number;
  readonly exited: Promise<number>;
  kill(signal: NodeJS.Signals): void;
  /** What it has printed so far, results and warnings. */
  output(): string;
}

export function startExecutable(path: string, launch: Launch): Running {
  const child = Bun.spawn(commandLine(path, launch.flags, launch.prefix), {
    cwd: launch.folder,
    env: { POSTERN_LOG_FORMAT: "text", ...launch.environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let printed = "";
  for (const stream of [child.stdout, child.stderr]) {
    void (async () => {
      for await (const text of stream.pipeThrough(new TextDecoderStream())) printed += text;
    })();
  }
  return {
    pid: child.pid,
    exited: child.exited,
    kill: (signal) => child.kill(signal),
    output: () => printed,
  };
}

/** Resolves with the first answer of /healthz that is 200. @throws {Error} with the output when the process ends first */
export async function untilReady(running: Running, port: number): Promise<void> {
  let ended = false;
  void running.exited.then(() => (ended = true));
  while (!ended) {
    const answer = await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined);
    if (answer?.status === 200) return;
    await Bun.sleep(2);
  }
  throw new Error(`it ended before it was ready: ${running.output()}`);
}

// setpriv, unshare and sh replace themselves, so the process that is signalled is the executable.
const commandLine = (
  path: string,
  flags: readonly string[],
  prefix: readonly string[] = [],
): string[] => {
  const [command, ...rest] = [...prefix, ...unprivileged, path, ...flags];
  const found = command === undefined ? undefined : (Bun.which(command) ?? command);
  return found === undefined ? rest : [found, ...rest];
};
