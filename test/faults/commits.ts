// Every kind of change that the program makes durable, each with the folder that it begins from: what the kill points and
// the failing calls are tried on.
import {
  appendFileSync,
  cpSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
} from "node:fs";
import { join } from "node:path";
import { openStore } from "../../src/store/folder.ts";
import {
  Browser,
  PASSWORD,
  logIn as logInAt,
  refreshWith,
  startServer,
  temporaryFolder,
  testClock,
} from "../server.ts";
import {
  type World,
  admit,
  changePassword,
  createWorld,
  newClient,
  refresh,
  register,
  revoke,
  setupLink,
  tokensOf,
} from "./model.ts";
import { ISSUER, type Program, launch, start, untilReady } from "./program.ts";
import { type Injection, type Point, attach, pointsOf, straced } from "./strace.ts";

/** Where the program makes a new state.json, in bytes of journal. */
const JOURNAL_LIMIT = 4 * 1024 * 1024;
/** Milliseconds that a step may take under strace. */
const PATIENCE = 10_000;

/** Milliseconds that a program goes on after the last answer. */
const AFTER = 40;

/** A folder and what the clients know of it. */
export interface Template {
  readonly folder: string;
  readonly world: World;
}

export interface Commit {
  readonly name: string;
  prepare(): Promise<Template>;
  /** From its first call on, or only once it runs. */
  readonly from: "start" | "running";
  /** What goes before, undisturbed. */
  readonly first?: (program: Program, world: World) => Promise<unknown>;
  /** The program is told to stop. */
  readonly stops?: boolean;
  /** Resolves when the change was answered, or never will be. */
  act(program: Program, world: World): Promise<unknown>;
  /** What else goes wrong meanwhile. */
  readonly injections?: readonly Injection[];
  /** After the next start, before anybody is judged. */
  readonly settle?: (program: Program, world: World) => Promise<unknown>;
}

const templates = new Map<Commit["prepare"], Promise<Template>>();
process.on("exit", () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
const folders: string[] = [];

/** What a commit begins from: made once, and the same for all that begin there. */
export function templateOf({ prepare }: Commit): Promise<Template> {
  const known = templates.get(prepare);
  if (known) return known;
  const made = prepare().then((template) => {
    folders.push(template.folder);
    return template;
  });
  templates.set(prepare, made);
  return made;
}

export const copyTemplate = ({ folder, world }: Template): Template => ({
  folder: copyFolder(folder),
  world: structuredClone(world),
});

/** Files with their times; a socket is nothing without its process. */
function copyFolder(folder: string): string {
  const copy = temporaryFolder();
  const filter = (path: string): boolean => !path.endsWith(".sock");
  cpSync(folder, copy, { recursive: true, preserveTimestamps: true, filter });
  return copy;
}

const nothing = async (): Promise<Template> => ({
  folder: temporaryFolder(),
  world: { passwords: [PASSWORD], clients: [], registered: [] },
});

/** An owner, a client that is only registered, and three that are in, some for longer. */
async function inUse(): Promise<Template> {
  return lived("SIGKILL");
}

async function lived(end: NodeJS.Signals): Promise<Template> {
  const folder = temporaryFolder();
  const program = await start({ folder });
  const world = await createWorld(program, 3);
  await register(program, world);
  for (const client of world.clients.slice(1)) {
    for (let turn = 0; turn < 3; turn++) await refresh(program, client);
  }
  await program.kill(end);
  return { folder, world };
}

/** As above, with two generations of state.json, and journals that the next one lets go. */
async function inUseForLong(): Promise<Template> {
  const { folder, world } = await lived("SIGTERM");
  const program = await start({ folder });
  for (const client of world.clients) await refresh(program, client);
  await program.kill("SIGTERM");
  const before = Date.now() / 1000 - 7200;
  const journals = readdirSync(folder).filter((name) => name.startsWith("journal."));
  for (const name of journals) utimesSync(join(folder, name), before, before);
  return { folder, world };
}

async function damaged(): Promise<Template> {
  const template = await inUseForLong();
  appendFileSync(join(template.folder, "state.json"), "damage");
  return template;
}

/** The journals lack a few refreshes until they are long enough for a new state.json. */
async function nearlyFull(): Promise<Template> {
  const template = await inUseForLong();
  const { folder } = template;
  const store = await openStore({
    path: folder,
    issuer: ISSUER,
    now: Date.now,
    monotonic: () => performance.now(),
    notice: () => undefined,
    fatal: () => undefined,
  });
  // A new record each time: one that is there already is no change.
  const fill = (length: number): Promise<void> =>
    store.folder.put("filler", { client_id_key: "x".repeat(length), issuer: "" });
  while (store.counters.bytes < JOURNAL_LIMIT - 65_000) await fill(60_000);
  await store.folder.delete("filler");
  await fill(Math.max(0, JOURNAL_LIMIT - store.counters.bytes - 1_500));
  // As kill -9 would leave it: a clean end would write the state.json.
  const copy = copyFolder(folder);
  await store.close();
  rmSync(folder, { recursive: true });
  return { ...template, folder: copy };
}

/** Two logins of which one ended 20 days ago. */
async function expired(): Promise<Template> {
  const folder = temporaryFolder();
  const clock = testClock(Date.now() - 20 * 86_400_000);
  const settings = { url: ISSUER, refreshAbsoluteTtl: "1h" };
  const brief = await startServer({ folder, clock, settings });
  const over = await logInAt(brief);
  const server = await brief.restart({ refreshAbsoluteTtl: "365d" });
  const { clientId, tokens } = await logInAt(server);
  clock.at = Date.now();
  const response = await refreshWith(server, clientId, tokens.refresh_token);
  const client = newClient(clientId, await tokensOf(response), "203.0.113.7");
  await server.close();
  const ended = { ...newClient(over.clientId, over.tokens, "203.0.113.7"), ended: "yes" as const };
  return { folder, world: { passwords: [PASSWORD], clients: [client, ended], registered: [] } };
}

/** Without an answer nobody is let in; whoever asked asks again. */
const unanswered = (): undefined => undefined;

async function setUp(program: Program): Promise<unknown> {
  return new Browser(program).setUp(await setupLink(program)).catch(unanswered);
}

/** Who was not told that the setup was done can do it again, or it was done. */
async function setUpAgain(program: Program): Promise<void> {
  // It answers a moment before it says where.
  while (program.stdout() === "") await Bun.sleep(5);
  if (program.stdout().includes("/setup?token=")) await setUp(program);
}

/** Everybody refreshes until there is a new state.json, and a little longer. */
async function outgrow(program: Program, { clients }: World): Promise<void> {
  const path = join(program.folder, "state.json");
  const inode = (): number | undefined => statSync(path, { throwIfNoEntry: false })?.ino;
  const before = inode();
  for (let turn = 0, after = 0; turn < 30 && after < 2; turn++) {
    const statuses = await Promise.all(clients.map((client) => refresh(program, client)));
    if (statuses.includes(0)) return;
    if (inode() !== before) after++;
    await Bun.sleep(5);
  }
}

const stop = (program: Program): Promise<unknown> =>
  Promise.race([program.kill("SIGTERM"), Bun.sleep(PATIENCE)]);

/** A whole life: it starts, and it is told to stop. */
async function startAndStop(program: Program): Promise<void> {
  await untilReady(program, PATIENCE).catch(unanswered);
  await stop(program);
}

const refreshOne = (program: Program, { clients }: World, index = 0): Promise<unknown> => {
  const client = clients[index];
  if (!client) throw new Error("there is no such client");
  return refresh(program, client);
};
const refreshTwo = async (program: Program, world: World): Promise<void> => {
  await refreshOne(program, world, 1);
  await refreshOne(program, world, 2);
};

async function letIn(program: Program, world: World): Promise<void> {
  const [id] = world.registered;
  if (id !== undefined) await admit(program, world, id).catch(unanswered);
}

async function revokeOne(program: Program, { clients: [client] }: World): Promise<void> {
  if (client) await revoke(program, client);
}

export const commits: readonly Commit[] = [
  {
    name: "first start",
    prepare: nothing,
    from: "start",
    stops: true,
    act: startAndStop,
    settle: setUpAgain,
  },
  { name: "setup", prepare: nothing, from: "running", act: setUp, settle: setUpAgain },
  { name: "registration", prepare: inUse, from: "running", act: register },
  { name: "consent and code", prepare: inUse, from: "running", act: letIn },
  {
    name: "refresh",
    prepare: inUse,
    from: "running",
    first: refreshTwo,
    act: (program, world) => refreshOne(program, world),
  },
  {
    name: "first refresh of a process",
    prepare: inUse,
    from: "running",
    act: (program, world) => refreshOne(program, world),
  },
  { name: "revocation", prepare: inUse, from: "running", act: revokeOne },
  {
    name: "new password",
    prepare: inUse,
    from: "running",
    act: (program, world) => changePassword(program, world, "another horse battery"),
  },
  {
    name: "new journal after a failed sync",
    prepare: inUse,
    from: "running",
    first: refreshOne,
    act: refreshTwo,
    injections: ["fdatasync:error=EIO:when=1"],
  },
  {
    name: "new journal after a failed one",
    prepare: inUse,
    from: "running",
    act: refreshTwo,
    injections: ["fsync:error=EIO:when=1"],
  },
  { name: "start and stop", prepare: inUse, from: "start", stops: true, act: startAndStop },
  {
    name: "start over expired logins",
    prepare: expired,
    from: "start",
    stops: true,
    act: startAndStop,
  },
  {
    name: "start over a damaged state",
    prepare: damaged,
    from: "start",
    stops: true,
    act: startAndStop,
  },
  {
    name: "snapshot at a clean stop",
    prepare: inUseForLong,
    from: "running",
    first: refreshTwo,
    stops: true,
    act: stop,
  },
  { name: "snapshot by size", prepare: nearlyFull, from: "running", act: outgrow },
];

/** The calls of an undisturbed commit. */
export async function findPoints(
  commit: Commit,
  template: Template,
  log: string,
): Promise<Point[]> {
  const copy = copyTemplate(template);
  const program = await disturb(commit, copy, log);
  await program.kill();
  const failing = (commit.injections ?? []).map((injection) => injection.split(":")[0]);
  // One call has one fate.
  const points = pointsOf(readFileSync(log, "utf8"), copy.folder).filter(
    ({ name, file }) =>
      // Of a start only calls on known files can be told from those of the loader.
      !failing.includes(name) && (commit.from === "running" || file !== undefined),
  );
  rmSync(copy.folder, { recursive: true });
  if (points.length === 0) throw new Error(`${commit.name} makes no system call`);
  return points;
}

export interface Disturbance {
  readonly point: Point;
  /** `signal=KILL`, `error=EIO`. */
  readonly what: string;
  /** Not only there but from there on. */
  readonly forGood?: boolean;
}

/**
 * Runs the commit with something going wrong. The program may have ended by then; otherwise it runs on, undisturbed.
 * @param log file that strace writes its record to
 * @param statuses takes those of all answers
 */
export async function disturb(
  { from, first, act, injections = [] }: Commit,
  { folder, world }: Template,
  log: string,
  disturbance?: Disturbance,
  statuses: number[] = [],
): Promise<Program> {
  const { what, paths } = injected(folder, disturbance, injections.length === 0);
  if (from === "start") {
    const program = await launch({ folder, prefix: straced(log, what, paths) });
    await act(watched(program, statuses), world);
    return program;
  }
  const program = await start({ folder });
  await first?.(program, world);
  const tracer = await attach(program, log, [...injections, ...what], paths);
  await act(watched(program, statuses), world);
  const dead = await Promise.race([program.exited, Bun.sleep(AFTER)]);
  await (dead === undefined ? tracer.detach() : tracer.ended);
  return program;
}

/** Calls on one file are counted best; but what strace does not look at does not fail either. */
function injected(
  folder: string,
  disturbance: Disturbance | undefined,
  alone: boolean,
): { what: Injection[]; paths: string[] } {
  if (!disturbance) return { what: [], paths: [] };
  const { point, what, forGood = false } = disturbance;
  const { name, file, onFile, onAny } = point;
  const byFile = alone && file !== undefined;
  const when = `${byFile ? onFile : onAny}${forGood ? "+" : ""}`;
  return { what: [`${name}:${what}:when=${when}`], paths: byFile ? [join(folder, file)] : [] };
}

/** The program, with each status that it answers noted. */
function watched(program: Program, statuses: number[]): Program {
  const note = async (answer: Promise<Response>): Promise<Response> => {
    const response = await answer;
    statuses.push(response.status);
    return response;
  };
  return {
    ...program,
    fetch: (path, init, from) => note(program.fetch(path, init, from)),
    admin: (method, path, body) => note(program.admin(method, path, body)),
  };
}
