// The real program as a child process on real sockets: from source, or the executable that TEST_EXECUTABLE names. It gets a
// folder and a port of its own and nothing of this environment. What a person does with it is the Browser's (server.ts).
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { ADMIN_PATH } from "../src/admin.ts";
import { type Config, readConfig } from "../src/config.ts";
import { type GivenSettings, settingKeys, settings } from "../src/settings.ts";
import { Browser, temporaryFolder } from "./server.ts";

const EXECUTABLE = "TEST_EXECUTABLE";
/** Milliseconds until a start that has not answered is a failed one. */
const START = 20_000;

/** Runs with the executable at this path as the program under test. */
export async function withExecutable<T>(path: string, run: () => Promise<T>): Promise<T> {
  const before = process.env[EXECUTABLE];
  process.env[EXECUTABLE] = path;
  try {
    return await run();
  } finally {
    if (before === undefined) delete process.env[EXECUTABLE];
    else process.env[EXECUTABLE] = before;
  }
}

/** What starts the program under test. */
export const programCommand = (): string[] => {
  const executable = process.env[EXECUTABLE];
  return executable === undefined
    ? [process.execPath, resolve(import.meta.dir, "../src/main.ts")]
    : [resolve(executable)];
};

export interface ProcessOptions {
  /** `data` and `port` are chosen when absent. */
  readonly settings?: GivenSettings;
  /** With this path in the public URL: "/base". */
  readonly base?: string;
  /** Without an owner when false. */
  readonly owner?: boolean;
}

/** What a command printed and how it ended. */
export interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Postern {
  /** URL that people paste into a client. */
  readonly url: string;
  /** Of the first start. */
  readonly config: Config;
  /** The data folder. */
  readonly folder: string;
  /** Of the process that runs now. */
  readonly pid: number;
  /** Signed in from the moment it is needed. */
  readonly browser: Browser;
  /** Over the socket; a path is one of the public origin. Redirects come back as they are. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** What the process that runs now has printed so far. */
  stdout(): string;
  stderr(): string;
  /** The link that lets the first owner in, once it is printed. */
  setupLink(): Promise<string>;
  /** Resolves to the exit code; 128 and the number of the signal when that ended it. */
  kill(signal?: NodeJS.Signals): Promise<number>;
  /** Ends the process if it still runs, and starts a new one on the same folder and port. */
  restart(options?: { signal?: NodeJS.Signals; settings?: GivenSettings }): Promise<void>;
  /** Everything that the folder held is gone; the next start begins anew. */
  wipe(): void;
  /** A command of the owner's shell on this folder: `run("grants", "revoke", id)`. */
  run(...words: string[]): Promise<Outcome>;
  /** A verb of the owner's socket: `admin("GET", "/clients")`. */
  admin(method: string, path: string, body?: object): Promise<Response>;
}

/** Starts the program and resolves when /healthz answers, with an owner. The caller's file calls `afterAll(stopProcesses)`. */
export async function startPostern(options: ProcessOptions = {}): Promise<Postern> {
  const folder = options.settings?.data ?? ownFolder();
  const port = options.settings?.port ?? String(await freePort());
  const base = options.base === undefined ? {} : { url: `http://localhost:${port}${options.base}` };
  let given: GivenSettings = { ...base, ...options.settings, data: folder, port };
  const config = readConfig(given);
  let child = launch(given);
  await untilReady(child, config);
  const server = {
    config,
    fetch: (path: string, init: RequestInit = {}) =>
      fetch(socketUrl(path, config), { redirect: "manual", ...init }),
  };
  const postern: Postern = {
    ...server,
    url: config.servers[0].resource,
    folder,
    get pid() {
      return child.pid;
    },
    browser: new Browser(server),
    stdout: () => child.stdout(),
    stderr: () => child.stderr(),
    setupLink: () => printed(child, /\S+\/setup\?token=\S+/),
    kill: (signal = "SIGTERM") => child.end(signal),
    restart: async (changes = {}) => {
      await child.end(changes.signal ?? "SIGTERM");
      given = { ...given, ...changes.settings };
      child = launch(given);
      await untilReady(child, config);
    },
    wipe: () => rmSync(folder, { recursive: true, force: true }),
    run: (...words) => finish([...words, "--data", folder]),
    admin: (method, path, body) =>
      fetch(`http://postern${ADMIN_PATH}${path}`, {
        unix: join(folder, "admin.sock"),
        method,
        ...(body && {
          body: JSON.stringify(body),
          headers: { "content-type": "application/json" },
        }),
      }),
  };
  if (options.owner !== false) await postern.browser.setUp(await postern.setupLink());
  return postern;
}

/** Kills what still runs and removes the folders that were made for it. */
export async function stopProcesses(): Promise<void> {
  await Promise.all([...running].map((child) => child.end("SIGKILL")));
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  folders.clear();
}

export interface Child {
  readonly pid: number;
  /** Resolves to the exit code, when all that it printed has come. */
  readonly exited: Promise<number>;
  stdout(): string;
  stderr(): string;
  end(signal: NodeJS.Signals): Promise<number>;
}

const running = new Set<Child>();
const folders = new Set<string>();
// What no afterAll reached: a test run that ends in the middle leaves nothing behind.
process.on("exit", () => {
  for (const child of running) void child.end("SIGKILL");
});

export function ownFolder(): string {
  const folder = temporaryFolder();
  folders.add(folder);
  return folder;
}

/** Where a path or public URL is reached from here, whatever the public URL is. */
const socketUrl = (path: string, { origin, port }: Config): string =>
  new URL(path, origin).href.replace(origin, `http://localhost:${port}`);

/** Starts it and does not wait. The caller's file calls `afterAll(stopProcesses)`. */
export const launch = (given: GivenSettings, ...words: readonly string[]): Child =>
  launchIn({}, given, ...words);

/** The same with these variables. */
export function launchIn(
  environment: Readonly<Record<string, string>>,
  given: GivenSettings,
  ...words: readonly string[]
): Child {
  const flags = settingKeys.flatMap((key) => {
    const { flag, placeholder } = settings[key];
    const value = given[key];
    if (value === undefined) return [];
    return placeholder === undefined ? [`--${flag}`] : [`--${flag}`, value];
  });
  const spawned = spawn([...words, ...flags], environment);
  const stdout = collect(spawned.stdout);
  const stderr = collect(spawned.stderr);
  const exited = Promise.all([spawned.exited, stdout.whole, stderr.whole]).then(([code]) => code);
  const child: Child = {
    pid: spawned.pid,
    exited,
    stdout: stdout.soFar,
    stderr: stderr.soFar,
    end: (signal) => {
      if (spawned.exitCode === null) spawned.kill(signal);
      return exited;
    },
  };
  running.add(child);
  void exited.then(() => running.delete(child));
  return child;
}

/** Without the variables of this process: CI, TEST and NODE_ENV change what packages do. */
function spawn(
  words: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): Bun.Subprocess<"ignore", "pipe", "pipe"> {
  return Bun.spawn([...programCommand(), ...words], {
    cwd: tmpdir(),
    // What people read; what programs read has tests of its own.
    env: { POSTERN_LOG_FORMAT: "text", ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

function collect(stream: ReadableStream<Uint8Array>): {
  soFar: () => string;
  whole: Promise<string>;
} {
  let text = "";
  const whole = (async () => {
    const decoder = new TextDecoder();
    for await (const chunk of stream) text += decoder.decode(chunk, { stream: true });
    return text;
  })();
  return { soFar: () => text, whole };
}

async function finish(words: readonly string[]): Promise<Outcome> {
  const spawned = spawn(words);
  const [exitCode, stdout, stderr] = await Promise.all([
    spawned.exited,
    collect(spawned.stdout).whole,
    collect(spawned.stderr).whole,
  ]);
  return { exitCode, stdout, stderr };
}

/** @throws {Error} with what it printed, when it ends first or takes too long */
async function poll<T>(child: Child, what: string, look: () => Promise<T | undefined>): Promise<T> {
  let exitCode: number | undefined;
  void child.exited.then((code) => (exitCode = code));
  for (const deadline = performance.now() + START; performance.now() < deadline;) {
    const found = await look();
    if (found !== undefined) return found;
    if (exitCode !== undefined) break;
    await Bun.sleep(5);
  }
  const how = exitCode === undefined ? "still runs" : `ended with ${exitCode}`;
  throw new Error(`no ${what}, the program ${how}: ${child.stdout()}${child.stderr()}`);
}

const untilReady = (child: Child, config: Config): Promise<Response> =>
  poll(child, "answer of /healthz", async () => {
    const url = socketUrl(`${config.basePath}/healthz`, config);
    const answer = await fetch(url).catch(() => undefined);
    return answer?.ok ? answer : undefined;
  });

/** What it printed that looks so, once it is there. */
export const printed = (child: Child, pattern: RegExp): Promise<string> =>
  poll(child, `${pattern}`, async () => pattern.exec(child.stdout() + child.stderr())?.[0]);

/** Below the ports that outgoing connections take, so that it is still free at a restart. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    try {
      await Bun.serve({ hostname: "127.0.0.1", port, fetch: () => new Response() }).stop(true);
      return port;
    } catch {
      // Taken: another one.
    }
  }
}
