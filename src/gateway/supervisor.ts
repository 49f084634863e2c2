// The child processes of one server: starting them with back-off, within bounds, ending those that nobody uses, saying what
// happened. Who talks to which child is session.ts's and stateless.ts's.
import { reason } from "../errors.ts";
import { seconds } from "../primitives.ts";
import { type Child, type ChildBounds, startChild } from "./child.ts";
import { type Link, openLink } from "./link.ts";
import type { Message } from "./jsonrpc.ts";

export interface SupervisorBounds extends ChildBounds {
  /** Children at once. */
  readonly children: number;
  /** Requests under way at one child. */
  readonly requests: number;
  /** Milliseconds after which a child that nobody uses is ended. */
  readonly idle: number;
  /** Milliseconds between two looks for such children. */
  readonly sweep: number;
  /** Milliseconds that a cancelled request may still be answered. */
  readonly grace: number;
  /** Milliseconds that a child has to live for its end to be no failed start. */
  readonly steady: number;
  /** Milliseconds from the first failed start to the next try; doubled with each one after it. */
  readonly backOff: number;
  /** The longest that it becomes. */
  readonly longestBackOff: number;
  /** A wait up to this is waited; a request that comes earlier is refused. */
  readonly shortWait: number;
}

/** What a child is started for. */
export interface Role {
  /** Whether several clients share it. */
  readonly shared: boolean;
  /** Variables that tell it for whom it runs. */
  readonly identity: Readonly<Record<string, string>>;
  /** A message that belongs to no request. */
  readonly stray: (message: Message, line: string) => void;
  /** What it has to wait for before it may say more. */
  readonly room: () => Promise<unknown> | undefined;
  /** It is gone, wanted or not. */
  readonly onEnd: () => void;
  /** Whether somebody listens to it without asking. */
  readonly isHeard: () => boolean;
}

export interface Running {
  readonly link: Link;
  readonly isGone: () => boolean;
  /** A line of our own to the child. */
  readonly send: (line: string) => boolean;
  /** Somebody uses it now. */
  readonly touch: () => void;
  readonly stop: () => Promise<void>;
}

export interface SupervisorOptions {
  readonly name: string;
  readonly command: readonly string[];
  readonly folder: string | undefined;
  readonly environment: Readonly<Record<string, string>>;
  readonly bounds: SupervisorBounds;
  /** Milliseconds that no clock change moves. */
  readonly monotonic: () => number;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** A line that a child wrote for people. */
  readonly log: (line: string) => void;
  /** What happened to a child. */
  readonly tell: (
    event: "child_started" | "child_ended" | "child_crashed" | "child_failed",
    facts: { readonly process?: number; readonly reason?: string },
  ) => void;
}

export interface ChildrenState {
  readonly running: number;
  readonly started: number;
  /** Ends that nobody asked for. */
  readonly crashed: number;
  /** Of the last such end or failed start; epoch seconds. */
  readonly failed_at?: number;
  readonly last_error?: string;
}

export interface Supervisor {
  /** @throws {Unavailable} */
  start(role: Role): Promise<Running>;
  state(): ChildrenState;
  close(): Promise<void>;
  /** Without waiting, at the end of the process. */
  kill(): void;
}

/** There is no child to ask; the sentence says why. */
export class Unavailable extends Error {
  override readonly name = "Unavailable";
}

interface Ward extends Running {
  readonly child: Child;
  readonly role: Role;
  readonly startedAt: number;
  usedAt: number;
  spoke: boolean;
  stopping: boolean;
  gone: boolean;
}

interface State extends SupervisorOptions {
  readonly wards: Set<Ward>;
  closed: boolean;
  started: number;
  crashed: number;
  failure: { readonly failed_at: number; readonly last_error: string } | undefined;
  failures: number;
  retryAt: number;
}

export function openSupervisor(options: SupervisorOptions): Supervisor {
  const state: State = {
    ...options,
    wards: new Set(),
    closed: false,
    started: 0,
    crashed: 0,
    failure: undefined,
    failures: 0,
    retryAt: 0,
  };
  const sweep = setInterval(() => endIdle(state), options.bounds.sweep);
  sweep.unref();
  return {
    start: (role) => start(state, role),
    state: () => ({
      running: state.wards.size,
      started: state.started,
      crashed: state.crashed,
      ...state.failure,
    }),
    close: async () => {
      state.closed = true;
      clearInterval(sweep);
      await Promise.all([...state.wards].map((ward) => ward.stop()));
    },
    kill: () => {
      for (const ward of state.wards) ward.child.kill();
    },
  };
}

async function start(state: State, role: Role): Promise<Running> {
  const { bounds, name } = state;
  const wait = state.retryAt - state.monotonic();
  if (wait > bounds.shortWait) {
    const seconds = Math.ceil(wait / 1000);
    const why = state.failure?.last_error ?? "it did not start";
    throw new Unavailable(`${why}; Postern tries again in ${seconds} s`);
  }
  if (wait > 0) await Bun.sleep(wait);
  for (let rounds = 0; state.wards.size >= bounds.children; rounds++) {
    const unused = [...state.wards].filter(isUnused).toSorted((a, b) => a.usedAt - b.usedAt)[0];
    if (!unused || rounds === bounds.children) {
      throw new Unavailable(`all ${bounds.children} processes of ${name} are busy; try again soon`);
    }
    await unused.stop();
  }
  if (state.closed) throw new Unavailable("Postern is stopping");
  try {
    return begin(state, role);
  } catch (error) {
    const words = `${name} cannot be started: ${reason(error)}`;
    fail(state, words, false);
    state.tell("child_failed", { reason: reason(error) });
    throw new Unavailable(words);
  }
}

const isUnused = ({ link, role }: Ward): boolean => link.outstanding() === 0 && !role.isHeard();

function begin(state: State, role: Role): Running {
  const { bounds, command, folder, environment, monotonic } = state;
  let garbage = 0;
  const link = openLink({
    shared: role.shared,
    most: bounds.requests,
    grace: bounds.grace,
    send: (line) => child.send(line),
    stray: role.stray,
    garbage: (line) => {
      garbage++;
      if (garbage <= 3) state.log(`wrote a line that is no message: ${line.slice(0, 200)}`);
      if (garbage === 4) state.log("wrote more lines that are no messages; they are left out");
    },
  });
  const child = startChild({
    command,
    folder,
    environment: { ...environment, ...role.identity },
    bounds,
    onLine: (line) => {
      const before = garbage;
      link.receive(line);
      ward.spoke ||= garbage === before;
    },
    room: role.room,
    onLog: state.log,
    onEnd: (ending) => end(state, ward, ending),
  });
  const ward: Ward = {
    link,
    child,
    role,
    startedAt: monotonic(),
    usedAt: monotonic(),
    spoke: false,
    stopping: false,
    gone: false,
    isGone: () => ward.gone || ward.stopping,
    send: child.send,
    touch: () => void (ward.usedAt = monotonic()),
    stop: async () => {
      ward.stopping = true;
      await child.stop();
    },
  };
  state.wards.add(ward);
  state.started++;
  state.tell("child_started", { process: child.pid });
  return ward;
}

function end(state: State, ward: Ward, ending: string): void {
  ward.gone = true;
  state.wards.delete(ward);
  const words = `${state.name} ${ending}`;
  // Whose requests fail may want it stopped.
  const isWanted = ward.stopping;
  ward.role.onEnd();
  ward.link.end(isWanted ? `${state.name} was stopped` : words);
  const event = isWanted ? "child_ended" : "child_crashed";
  state.tell(event, { process: ward.child.pid, reason: ending });
  if (isWanted) return;
  state.crashed++;
  if (state.monotonic() - ward.startedAt >= state.bounds.steady) state.failures = 0;
  fail(state, words, ward.spoke);
}

/** @param spoke whether it had worked: then the first new start comes at once */
function fail(state: State, words: string, spoke: boolean): void {
  const { bounds } = state;
  state.failure = { failed_at: seconds(state.now()), last_error: words };
  state.failures++;
  const steps = spoke ? state.failures - 2 : state.failures - 1;
  const wait = steps < 0 ? 0 : Math.min(bounds.longestBackOff, bounds.backOff * 2 ** steps);
  state.retryAt = state.monotonic() + wait;
}

function endIdle(state: State): void {
  const { bounds, monotonic } = state;
  for (const ward of state.wards) {
    if (isUnused(ward) && monotonic() - ward.usedAt >= bounds.idle) void ward.stop();
    if (ward.spoke && monotonic() - ward.startedAt >= bounds.steady) state.failures = 0;
  }
}
