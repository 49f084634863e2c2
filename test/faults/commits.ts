// Every kind of change that the program makes durable, each with the folder that it begins from: what the kill points and
// the failing calls are tried on.
import { readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { Browser } from "../server.ts";
import {
  type World,
  admit,
  changePassword,
  refresh,
  register,
  revoke,
  setupLink,
} from "./model.ts";
import { type Program, launch, start, untilReady } from "./program.ts";
import { type Injection, type Point, attach, pointsOf, straced } from "./strace.ts";
import {
  type Prepare,
  type Template,
  copyTemplate,
  damaged,
  edited,
  expired,
  halfRestored,
  inUse,
  inUseForLong,
  nearlyFull,
  nothing,
} from "./templates.ts";

/** Milliseconds that a step may take under strace. */
const PATIENCE = 10_000;

/** Milliseconds that a program goes on after the last answer. */
const AFTER = 40;

export interface Commit {
  readonly name: string;
  readonly prepare: Prepare;
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
export async function outgrow(program: Program, { clients }: World): Promise<void> {
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

/** Milliseconds until a start under strace serves: where flock fails, a lock that a kill left is one for ten seconds. */
const STARTED = 25_000;

/** A whole life: it starts, and it is told to stop. */
async function startAndStop(program: Program): Promise<void> {
  await untilReady(program, STARTED).catch(unanswered);
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
    name: "start over a state edited by hand",
    prepare: edited,
    from: "start",
    stops: true,
    act: startAndStop,
  },
  {
    name: "start over half a restore",
    prepare: halfRestored,
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
  const { what, paths } = injected(folder, disturbance);
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

/** Calls on one file are counted best; and what strace does not look at does not fail either. */
function injected(
  folder: string,
  disturbance: Disturbance | undefined,
): { what: Injection[]; paths: string[] } {
  if (!disturbance) return { what: [], paths: [] };
  const { point, what, forGood = false } = disturbance;
  const { name, file, onFile, onAny, failed } = point;
  const files = file === undefined ? [] : [file, ...failed];
  const when = `${file === undefined ? onAny : onFile}${forGood ? "+" : ""}`;
  const paths = files.map((each) => join(folder, each));
  return { what: [`${name}:${what}:when=${when}`], paths };
}

/** The program, with each status that it answers noted. */
export function watched(program: Program, statuses: number[]): Program {
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
