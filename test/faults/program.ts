// The program under a fault: started on a given folder, under a given command (strace, prlimit, unshare ...), killed, started
// again. What its clients do and how it is judged is model.ts.
import { AsyncLocalStorage } from "node:async_hooks";
import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { type Config, readConfig } from "../../src/config.ts";
import { type GivenSettings, settingKeys, settings } from "../../src/settings.ts";
import { programCommand } from "../process.ts";
import { temporaryFolder } from "../server.ts";
import { forgetFakeTime } from "./faketime.ts";

/** Every folder of these tests knows this public URL, so that any copy of it can be served on any port. */
export const ISSUER = "http://localhost:7676";
/** Milliseconds within which a start must answer; or how many times an undisturbed one, on a machine that is slow now. */
export const READY = 2_000;
const SLOWNESS = 8;
/** Milliseconds after which a start will never answer. */
const HOPELESS = 60_000;
/** Milliseconds after an end until what it printed counts as read. */
const LAST_WORDS = 1_000;
/** Milliseconds until a request without an answer counts as one without an answer. */
const PATIENCE = 15_000;

export interface ProgramOptions {
  readonly folder: string;
  /** A free one when absent. */
  readonly port?: number;
  readonly settings?: GivenSettings;
  /** Starts the program in its turn, as the same process: `prlimit --nofile=64`, `strace -D -f`, `setpriv`. */
  readonly prefix?: readonly string[];
  /** The whole environment. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Where the program prints, instead of into the pipes of `stdout()` and `stderr()`. */
  readonly output?: { readonly stdout: number; readonly stderr: number };
}

export interface Program {
  readonly options: ProgramOptions & { readonly port: number };
  readonly config: Config;
  readonly folder: string;
  /** @throws {Error} it has ended, and the number may be another process's by now */
  pid(): number;
  /** Resolves to the exit code; 128 and the number of the signal when that ended it. */
  readonly exited: Promise<number>;
  /** undefined while it runs. */
  exitCode(): number | undefined;
  stdout(): string;
  stderr(): string;
  /**
   * Over a new connection, to a path of the public origin; redirects come back as they are.
   * @param from address of the client, believed from X-Forwarded-For
   * @throws {Error} no answer
   */
  fetch(path: string, init?: RequestInit, from?: string): Promise<Response>;
  /** The owner's verbs on admin.sock: `admin("GET", "/grants")`. */
  admin(method: string, path: string, body?: unknown): Promise<Response>;
  /** Sends a signal, unless it has ended. */
  signal(signal: NodeJS.Signals): void;
  /** SIGKILL unless said otherwise. Resolves to the exit code. */
  kill(signal?: NodeJS.Signals): Promise<number>;
}

/** The next start needed a hand, or took too long. */
export class FailedStart extends Error {}

/** What was started within, and whether anything may be started there still. */
interface Scope {
  readonly programs: Set<Program>;
  isOver: boolean;
}
const newScope = (): Scope => ({ programs: new Set(), isOver: false });

const outside = newScope();
const scopes = new AsyncLocalStorage<Scope>();
const all = new Set<Program>();
process.on("exit", () => {
  for (const program of all) program.signal("SIGKILL");
});

/** What is started within ends with it, whatever else runs beside it; what goes on nevertheless starts nothing more. */
export function withPrograms<T>(run: () => Promise<T>): Promise<T> {
  const scope = newScope();
  return scopes.run(scope, () =>
    run().finally(() => {
      scope.isOver = true;
      return stopPrograms();
    }),
  );
}

/** Ends what was started here and still runs. */
export async function stopPrograms(): Promise<void> {
  const { programs } = scopes.getStore() ?? outside;
  await Promise.all([...programs].map((program) => program.kill()));
}

/** Milliseconds that each start took, for people: the promise is about a machine that does nothing else. */
export const starts: number[] = [];

let upstream: Bun.Server<undefined> | undefined;
/** One MCP server for all programs, so that none has to load the built-in one. */
const upstreamUrl = (): string => {
  upstream ??= Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: () => Response.json({ jsonrpc: "2.0", id: 1, result: {} }),
  });
  upstream.unref();
  return `http://127.0.0.1:${upstream.port}/mcp`;
};

/** Starts the program and resolves when it answers. @throws {FailedStart} with what it printed */
export async function start(options: ProgramOptions): Promise<Program> {
  const from = performance.now();
  const program = await launch(options);
  await untilReady(program, HOPELESS);
  const taken = performance.now() - from;
  starts.push(taken);
  if (taken <= READY) return program;
  // Whether the start was slow or the machine is.
  const usual = await undisturbed();
  if (taken <= SLOWNESS * usual) return program;
  await program.kill();
  throw new FailedStart(`ready after ${taken} ms, where an undisturbed start takes ${usual} ms`);
}

/** The same program on the same folder and port once more, without what disturbed it unless `changes` says so. */
export function startAgain(
  { options: { folder, port, settings } }: Program,
  changes: Partial<ProgramOptions> = {},
): Promise<Program> {
  return start({ folder, port, ...(settings && { settings }), ...changes });
}

/** Below those that the system gives to outgoing connections. */
const PORTS = { from: 12_000, count: 8_000 };
let port = Math.floor(Math.random() * PORTS.count);

/** One that nobody else here ever gets: a program that is started again finds its port free, and answers there itself. */
function ownPort(): number {
  for (;;) {
    const next = PORTS.from + (port++ % PORTS.count);
    try {
      Bun.listen({ hostname: "127.0.0.1", port: next, socket: { data: () => undefined } }).stop();
      return next;
    } catch {
      // Somebody else's.
    }
  }
}

/** Starts the program and does not wait for its answer. @throws {Error} the case that starts it is over */
export async function launch(given: ProgramOptions): Promise<Program> {
  const scope = scopes.getStore() ?? outside;
  if (scope.isOver) throw new Error("a program is started after the end of its case");
  const options = { ...given, port: given.port ?? ownPort() };
  const flags = flagsOf(options);
  const config = readConfig(flags);
  const { folder, prefix = [], environment = {}, output } = options;
  const child = Bun.spawn([...prefix, ...programCommand(), ...commandLine(flags)], {
    cwd: tmpdir(),
    env: { POSTERN_LOG_FORMAT: "text", ...environment },
    stdio: ["ignore", output?.stdout ?? "pipe", output?.stderr ?? "pipe"],
  });
  const hasEnded = (): boolean => child.exitCode !== null || child.signalCode !== null;
  let exitCode: number | undefined;
  const printed = [collect(child.stdout), collect(child.stderr)] as const;
  // Its last words too, unless somebody else keeps the pipes open.
  const words = (): Promise<unknown> => Promise.all(printed.map(({ ended }) => ended));
  const exited = child.exited.then(async (code) => {
    await Promise.race([words(), Bun.sleep(LAST_WORDS)]);
    return code;
  });
  const program: Program = {
    options,
    config,
    folder,
    pid: () => {
      if (hasEnded()) throw new Error(`the program has ended: ${printed[1].text()}`);
      return child.pid;
    },
    exited,
    exitCode: () => exitCode,
    stdout: printed[0].text,
    stderr: printed[1].text,
    ...requestsTo(config, options),
    signal: (signal) => {
      if (!hasEnded()) child.kill(signal);
    },
    kill: (signal = "SIGKILL") => {
      program.signal(signal);
      return exited;
    },
  };
  register(program, scope);
  void child.exited.then((code) => {
    exitCode = code;
    if ("FAKETIME_TIMESTAMP_FILE" in environment) forgetFakeTime(child.pid);
  });
  return program;
}

const flagsOf = ({ folder, port, settings }: Program["options"]): GivenSettings => ({
  data: folder,
  url: ISSUER,
  host: "127.0.0.1",
  port: String(port),
  trustedProxies: "127.0.0.1",
  rateLimits: "off",
  upstream: upstreamUrl(),
  ...settings,
});

/** How clients and the owner's verbs reach it. */
function requestsTo(
  { origin }: Config,
  { folder, port }: Program["options"],
): Pick<Program, "fetch" | "admin"> {
  return {
    fetch(path, init = {}, from = "203.0.113.7") {
      const url = new URL(path, origin).href.replace(origin, `http://127.0.0.1:${port}`);
      const headers = new Headers(init.headers);
      headers.set("x-forwarded-for", from);
      const signal = AbortSignal.timeout(PATIENCE);
      return fetch(url, { redirect: "manual", signal, ...init, headers, keepalive: false });
    },
    admin: (method, path, body) =>
      fetch(`http://localhost/admin/api${path}`, {
        unix: `${folder}/admin.sock`,
        method,
        signal: AbortSignal.timeout(PATIENCE),
        ...(body !== undefined && {
          body: JSON.stringify(body),
          headers: { "content-type": "application/json" },
        }),
      }),
  };
}

/** Known to those who end it, for as long as it runs. */
function register(program: Program, { programs }: Scope): void {
  for (const each of [programs, all]) each.add(program);
  const forget = (): void => {
    for (const each of [programs, all]) each.delete(program);
  };
  void program.exited.then(forget);
}

function commandLine(flags: GivenSettings): string[] {
  return settingKeys.flatMap((key) => {
    const { flag, placeholder } = settings[key];
    const value = flags[key];
    if (value === undefined) return [];
    return placeholder === undefined ? [`--${flag}`] : [`--${flag}`, value];
  });
}

/** What a pipe gives, and when it has given all. */
interface Printed {
  text(): string;
  readonly ended: Promise<void>;
}

function collect(stream: ReadableStream<Uint8Array> | number | undefined): Printed {
  let text = "";
  const read = async (): Promise<void> => {
    if (!(stream instanceof ReadableStream)) return;
    const decoder = new TextDecoder();
    for await (const chunk of stream) text += decoder.decode(chunk, { stream: true });
  };
  return { text: () => text, ended: read() };
}

/** Resolves when /healthz answers. @throws {FailedStart} when it ends first, or takes longer than `limit` milliseconds */
export async function untilReady(program: Program, limit: number): Promise<void> {
  const from = performance.now();
  while (program.exitCode() === undefined && performance.now() - from < limit) {
    const answer = await program.fetch("/healthz").catch(() => undefined);
    if (answer?.ok) return;
    await Bun.sleep(5);
  }
  const exitCode = program.exitCode();
  const how = exitCode === undefined ? `no answer in ${limit} ms` : `ended with ${exitCode}`;
  await program.kill();
  throw new FailedStart(`the start failed: ${how}: ${program.stdout()}${program.stderr()}`);
}

/** Milliseconds that the start of a new folder takes at this moment. */
async function undisturbed(): Promise<number> {
  const folder = temporaryFolder();
  const from = performance.now();
  const program = await launch({ folder });
  await untilReady(program, HOPELESS);
  const taken = performance.now() - from;
  await program.kill();
  rmSync(folder, { recursive: true });
  return taken;
}
