// MCP 2025-03-26 to 2025-11-25 "Session Management": one client's session with one server, over the child that serves it.
// A session outlives its child: a new one is given the same handshake.
import { randomToken } from "../primitives.ts";
import type { AuthContext } from "../deps.ts";
import { type Bridge, ask, identified, identityVariables, notification } from "./bridge.ts";
import { type Outbox, STANDALONE, openOutbox } from "./outbox.ts";
import { type Message, type Request, isFields, paramsOf } from "./jsonrpc.ts";
import { sharedByRevision } from "./pool.ts";
import { sessionRevisions } from "./revision.ts";
import { type Running, Unavailable } from "./supervisor.ts";

/** An answer under way, to which a message of the server may be added. */
export interface Speaker {
  passes(line: string): void;
  isHeard(): boolean;
}

export interface Session {
  readonly id: string;
  /** The login or key that it belongs to; nobody else may use it. */
  readonly family: string;
  /** `initialize` as the client sent it. */
  readonly handshake: Request;
  readonly identity: Readonly<Record<string, string>>;
  readonly outbox: Outbox;
  /** In the order in which they began. */
  readonly speakers: Set<Speaker>;
  /** The revision that was agreed on; undefined: not yet. */
  revision: string | undefined;
  /** Whether the client has said that it is initialized. */
  initialized: boolean;
  starting: Promise<Running> | undefined;
  running: Running | undefined;
  usedAt: number;
  posts: number;
}

/** The session of an `initialize` request; the server has not seen it yet. */
export function newSession(bridge: Bridge, handshake: Request, context: AuthContext): Session {
  const { sessions, bounds, monotonic } = bridge;
  const [oldest] = sessions.values();
  if (sessions.size >= bounds.sessions && oldest) endSession(bridge, oldest);
  const session: Session = {
    id: randomToken(),
    family: context.family,
    handshake: identified(handshake, context),
    identity: identityVariables(context),
    outbox: openOutbox({
      most: bounds.kept,
      waiting: bounds.waiting,
      stall: bounds.stall,
      // MCP 2025-11-25 brought events without data; older clients read them as broken messages.
      primes: () => (session.revision ?? "") >= "2025-11-25",
    }),
    speakers: new Set(),
    revision: undefined,
    initialized: false,
    starting: undefined,
    running: undefined,
    usedAt: monotonic(),
    posts: 0,
  };
  sessions.set(session.id, session);
  return session;
}

/** The session with this id, if it is this login's. Whoever is used last is the last to be forgotten. */
export function findSession(bridge: Bridge, id: string, context: AuthContext): Session | undefined {
  const session = bridge.sessions.get(id);
  if (!session || session.family !== context.family) return undefined;
  bridge.sessions.delete(id);
  bridge.sessions.set(id, session);
  session.usedAt = bridge.monotonic();
  return session;
}

/** What it still asked fails, and says so. */
export function endSession(bridge: Bridge, session: Session): void {
  bridge.sessions.delete(session.id);
  session.running?.link.leave(session, "the session was ended");
  session.outbox.close();
  if (!bridge.shared) void session.running?.stop();
}

/** The child of a session, started if there is none. @throws {Unavailable} */
export async function runningOf(bridge: Bridge, session: Session): Promise<Running> {
  session.starting ??= begin(bridge, session);
  const { starting } = session;
  // Another request may be first to see that it is gone.
  const release = (): void => {
    if (session.starting !== starting) return;
    session.starting = undefined;
    session.running = undefined;
  };
  const running = await starting.catch((error: unknown) => {
    release();
    throw error;
  });
  if (running.isGone()) {
    release();
    return runningOf(bridge, session);
  }
  session.running = running;
  running.touch();
  return running;
}

async function begin(bridge: Bridge, session: Session): Promise<Running> {
  if (bridge.shared) return (await sharedByRevision(bridge, askedRevision(session))).running;
  const running: Running = await bridge.supervisor.start({
    shared: false,
    identity: session.identity,
    isHeard: () => session.outbox.isHeard() || [...session.speakers].some((each) => each.isHeard()),
    stray: (message, line) => route(session, message, line),
    room: session.outbox.room,
    onEnd: () => {
      if (session.running !== running) return;
      session.running = undefined;
      session.starting = undefined;
    },
  });
  if (session.revision !== undefined) await repeatHandshake(bridge, session, running);
  return running;
}

/** A child that takes over a session must agree to what its client knows. @throws {Unavailable} */
async function repeatHandshake(bridge: Bridge, session: Session, running: Running): Promise<void> {
  const params = paramsOf(session.handshake);
  const { result } = await ask(running, "initialize", params, bridge.bounds.handshake);
  if (!isFields(result) || result["protocolVersion"] !== session.revision) {
    endSession(bridge, session);
    void running.stop();
    throw new Unavailable("the MCP server was replaced by another; connect again");
  }
  if (session.initialized) running.send(notification("notifications/initialized"));
}

/** The revision that a session's client asks for, or the newest with sessions. */
export function askedRevision({ handshake }: Session): string {
  const { protocolVersion: asked } = paramsOf(handshake);
  return sessionRevisions.find((known) => known === asked) ?? sessionRevisions[3];
}

const CHANGED = /^notifications\/(?:.+\/list_changed|resources\/updated)$/;

/**
 * MCP 2025-11-25 "Listening for Messages from the Server": a change goes to the standalone stream. On stdio nothing says
 * what else belongs to which request: a question or a log message goes to the newest one that is heard.
 */
function route(session: Session, message: Message, line: string): void {
  const isChange = message.kind === "notification" && CHANGED.test(message.method);
  const speaker = isChange ? undefined : [...session.speakers].findLast((each) => each.isHeard());
  if (speaker) speaker.passes(line);
  else session.outbox.send(STANDALONE, line);
}
