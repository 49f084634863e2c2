// Streamable HTTP for MCP servers that speak stdio: which message goes to which session or child. Every message passes as it
// is, known or unknown; processes are supervisor.ts's, revisions revision.ts's.
import type { Fields } from "../audit.ts";
import type { Config, Server } from "../config.ts";
import type { AuthContext, Call } from "../deps.ts";
import { OAuthError } from "../errors.ts";
import { mediaType } from "../form.ts";
import { acceptedBy } from "./answer.ts";
import type { Bounds, Bridge } from "./bridge.ts";
import type { Credentials, ServerCredentials } from "./credentials.ts";
import { childEnvironment } from "./environment.ts";
import { STANDALONE, readEventId } from "./outbox.ts";
import { type Exchange, RpcError, errorResponse, readText, responseTo } from "./exchange.ts";
import {
  INVALID_REQUEST,
  type Message,
  PARSE_ERROR,
  parseExactly,
  readMessage,
} from "./jsonrpc.ts";
import { logWithin } from "./log.ts";
import { type Delivery, initialize, postOthers, postRequests } from "./post.ts";
import { eraOf, sessionRevisions } from "./revision.ts";
import { type Session, endSession, findSession, newSession } from "./session.ts";
import { postStateless } from "./stateless.ts";
import { type ChildrenState, type SupervisorOptions, openSupervisor } from "./supervisor.ts";

const KB = 1024;
const MB = 1024 * KB;
const SECOND = 1000;
const MINUTE = 60 * SECOND;

const usual: Bounds = {
  children: 16,
  sessions: 1000,
  requests: 256,
  message: 4 * MB,
  batch: 100,
  line: 16 * MB,
  backlog: 8 * MB,
  waiting: 4 * MB,
  stall: 30 * SECOND,
  kept: MB,
  opening: SECOND,
  idle: 15 * MINUTE,
  forgotten: 24 * 60 * MINUTE,
  sweep: 30 * SECOND,
  orphan: 5 * MINUTE,
  grace: 5 * SECOND,
  steady: 10 * SECOND,
  backOff: SECOND,
  longestBackOff: MINUTE,
  shortWait: 2 * SECOND,
  patience: 1500,
  handshake: MINUTE,
  probe: 10 * SECOND,
  silence: 25 * SECOND,
  recheck: 30 * SECOND,
};

type ToldEvent = Parameters<SupervisorOptions["tell"]>[0] | "server_error";

export interface StdioOptions {
  /** Of Postern itself; a child gets little of it. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Milliseconds that no clock change moves. */
  readonly monotonic: () => number;
  /** Epoch milliseconds. */
  readonly now: () => number;
  /** Whether a login or a key still is. */
  readonly isAlive: (family: string) => Promise<boolean>;
  /** A line for the operator, with the server's name. */
  readonly log: (server: Server, line: string) => void;
  /** What happened to its processes, for the audit trail. */
  readonly tell: (event: ToldEvent, server: Server, facts: Fields) => void;
  readonly bounds?: Partial<Bounds>;
}

export interface StdioState extends ChildrenState {
  readonly sessions: number;
}

export interface Stdio {
  /** From now on these are the servers. Those that stay as they were keep their sessions and children. */
  serve(config: Config, credentials: ServerCredentials): void;
  /** Answers a request that the guard let in. */
  handle(request: Request, context: AuthContext, call: Call): Promise<Response>;
  /** undefined: the server has no command. */
  state(server: Server): StdioState | undefined;
  /** Ends all streams, sessions and children. */
  close(): Promise<void>;
  kill(): void;
}

export function openStdio(options: StdioOptions): Stdio {
  const bounds = { ...usual, ...options.bounds };
  const bridges = new Map<string, Bridge>();
  const sweep = setInterval(() => {
    for (const bridge of bridges.values()) {
      forget(bridge, options.isAlive).catch(bridge.report);
    }
  }, bounds.sweep);
  sweep.unref();
  return {
    serve: ({ servers }, credentials) => {
      const isSame = ({ server, variables }: Bridge): boolean =>
        servers.some((each) => Bun.deepEquals(each, server)) &&
        Bun.deepEquals(credentials.get(server.path)?.variables, variables);
      for (const [path, bridge] of bridges) {
        if (isSame(bridge)) continue;
        bridges.delete(path);
        void close(bridge);
      }
      for (const server of servers) {
        if (!server.command || bridges.has(server.path)) continue;
        bridges.set(server.path, openBridge(server, credentials.get(server.path), bounds, options));
      }
    },
    handle: async (request, context, call) => {
      const bridge = bridges.get(context.server.path);
      // The settings changed while the request was on its way here.
      if (!bridge) throw replaced();
      const timing = { silence: bounds.silence, recheck: bounds.recheck };
      return answer(bridge, { request, context, call, timing });
    },
    state: ({ path }) => {
      const bridge = bridges.get(path);
      return bridge && { ...bridge.supervisor.state(), sessions: bridge.sessions.size };
    },
    close: async () => {
      clearInterval(sweep);
      await Promise.all([...bridges.values()].map(close));
    },
    kill: () => {
      for (const { supervisor } of bridges.values()) supervisor.kill();
    },
  };
}

const replaced = (): OAuthError =>
  new OAuthError("temporarily_unavailable", "this MCP server was just changed, try again", {
    headers: { "retry-after": "1" },
  });

async function close({ sessions, supervisor }: Bridge): Promise<void> {
  for (const { outbox } of sessions.values()) outbox.close();
  sessions.clear();
  await supervisor.close();
}

function openBridge(
  server: Server,
  { variables = {}, secrets = [] }: Partial<Credentials> = {},
  bounds: Bounds,
  { environment, monotonic, now, log, tell }: StdioOptions,
): Bridge {
  return {
    server,
    variables,
    bounds,
    monotonic,
    shared: server.processes === "shared",
    supervisor: openSupervisor({
      name: server.name,
      command: server.command ?? [],
      folder: server.workingFolder,
      environment: { ...childEnvironment(environment), ...variables },
      bounds,
      monotonic,
      now,
      log: logWithin((line) => log(server, line), secrets, monotonic),
      tell: (event, facts) => tell(event, server, { ...facts }),
    }),
    report: (error) => tell("server_error", server, { error: String(error) }),
    sessions: new Map(),
    pool: new Map(),
    sessionsOnlyUntil: 0,
  };
}

/** Sessions that nobody came back to, and those of logins that ended. */
async function forget(bridge: Bridge, isAlive: StdioOptions["isAlive"]): Promise<void> {
  const { sessions, bounds, monotonic } = bridge;
  for (const session of sessions.values()) {
    const isUnused = !session.outbox.isHeard() && session.speakers.size === 0;
    const isOld = isUnused && monotonic() - session.usedAt >= bounds.forgotten;
    if (isOld || !(await isAlive(session.family))) endSession(bridge, session);
  }
}

async function answer(bridge: Bridge, exchange: Exchange): Promise<Response> {
  const { request, context, call } = exchange;
  let id: unknown;
  try {
    if (call.path !== context.server.path) {
      throw new RpcError(404, INVALID_REQUEST, "there is nothing here");
    }
    if (request.method !== "POST") return sessionRequest(bridge, exchange);
    const parsed = await readBody(bridge, request);
    // A child may take its time, and what it says comes when it comes.
    call.keepOpen();
    const messages = messagesIn(bridge, parsed);
    const [first] = messages;
    id = first?.kind === "request" && !Array.isArray(parsed) ? first.fields["id"] : undefined;
    return await post(bridge, messages, Array.isArray(parsed), exchange);
  } catch (error) {
    if (error instanceof RpcError) return errorResponse(error, id);
    throw error;
  } finally {
    // An answer that is a stream lifts it again.
    call.letIdle();
  }
}

async function readBody({ bounds }: Bridge, request: Request): Promise<unknown> {
  if (mediaType(request) !== "application/json") {
    throw new RpcError(415, INVALID_REQUEST, "the body must be application/json");
  }
  let text: string | undefined;
  try {
    text = await readText(request, bounds.message);
    if (text !== undefined) return parseExactly(text);
  } catch {
    throw new RpcError(400, PARSE_ERROR, "the body is not valid JSON");
  }
  throw new RpcError(413, INVALID_REQUEST, `the body has more than ${bounds.message} bytes`);
}

function messagesIn({ bounds }: Bridge, parsed: unknown): Message[] {
  const values = Array.isArray(parsed) ? parsed : [parsed];
  if (values.length === 0 || values.length > bounds.batch) {
    throw new RpcError(400, INVALID_REQUEST, `a batch has 1 to ${bounds.batch} messages`);
  }
  return values.map((value) => {
    const message = readMessage(value);
    if (message) return message;
    throw new RpcError(400, INVALID_REQUEST, "the body is no JSON-RPC message");
  });
}

async function post(
  bridge: Bridge,
  messages: readonly Message[],
  batch: boolean,
  exchange: Exchange,
): Promise<Response> {
  const { request, context } = exchange;
  const { headers } = request;
  const [first] = messages;
  if (!first) throw new RpcError(400, INVALID_REQUEST, "the body is no JSON-RPC message");
  const takes = acceptedBy(headers);
  if (!takes.json && !takes.events) {
    throw new RpcError(406, INVALID_REQUEST, "answers are application/json or text/event-stream");
  }
  if (messages.some((message) => eraOf(message, headers) === "stateless")) {
    if (!batch) return postStateless(bridge, first, exchange, takes);
    throw new RpcError(400, INVALID_REQUEST, "this revision knows no batches");
  }
  const delivery: Delivery = { messages, batch, takes, context };
  if (first.kind === "request" && first.method === "initialize" && !batch) {
    const session = newSession(bridge, first, context);
    const posted = initialize(bridge, session, delivery);
    return sessionResponse(session, exchange, posted);
  }
  const session = sessionOf(bridge, exchange);
  if (messages.some(({ kind }) => kind === "request")) {
    return sessionResponse(session, exchange, postRequests(bridge, session, delivery));
  }
  await postOthers(bridge, session, delivery);
  return new Response(null, { status: 202 });
}

async function sessionResponse(
  session: Session,
  exchange: Exchange,
  { answered, abandon }: ReturnType<typeof postRequests>,
): Promise<Response> {
  const { signal } = exchange.request;
  signal.addEventListener("abort", abandon, { once: true });
  if (signal.aborted) abandon();
  const given = await answered;
  signal.removeEventListener("abort", abandon);
  const failed = given.kind === "json" && session.revision === undefined;
  return responseTo(given, exchange, {
    headers: failed ? {} : { "mcp-session-id": session.id },
    statusOf: () => 200,
  });
}

/** @throws {RpcError} 400: no session is named; 404: it is none of this login */
function sessionOf(bridge: Bridge, { request, context }: Exchange): Session {
  const id = request.headers.get("mcp-session-id");
  if (id === null) {
    throw new RpcError(400, INVALID_REQUEST, "begin with initialize, then send Mcp-Session-Id");
  }
  const session = findSession(bridge, id, context);
  // MCP 2025-11-25 "Session Management": at a 404 the client begins a new session. Clients look for this code, too.
  if (!session) throw new RpcError(404, -32_001, "Session not found");
  const version = request.headers.get("mcp-protocol-version");
  const known: readonly (string | undefined)[] = [session.revision, ...sessionRevisions];
  // MCP 2025-11-25 "Protocol Version Header"
  if (version !== null && !known.includes(version)) {
    throw new RpcError(400, INVALID_REQUEST, "this MCP-Protocol-Version is unknown here");
  }
  return session;
}

/** GET opens or resumes a stream of a session, DELETE ends it. */
function sessionRequest(bridge: Bridge, exchange: Exchange): Response {
  const { request } = exchange;
  if (!request.headers.has("mcp-session-id")) {
    // Revisions without sessions, and clients that look for the transport before 2025-03-26.
    throw new RpcError(405, INVALID_REQUEST, "without a session there is POST only", {
      headers: { allow: "POST" },
    });
  }
  const session = sessionOf(bridge, exchange);
  if (request.method === "DELETE") {
    endSession(bridge, session);
    return new Response(null, { status: 200 });
  }
  if (!acceptedBy(request.headers).events) {
    throw new RpcError(406, INVALID_REQUEST, "the answer is a text/event-stream");
  }
  const headers = { "mcp-session-id": session.id };
  if (request.method === "HEAD") {
    // A stream that nobody reads would take the place of the one that the client listens to.
    return new Response(null, { headers: { ...headers, "content-type": "text/event-stream" } });
  }
  const seen = request.headers.get("last-event-id") ?? undefined;
  const stream = session.outbox.attach(readEventId(seen ?? "")?.stream ?? STANDALONE, seen);
  return responseTo({ kind: "events", stream }, exchange, { headers, statusOf: () => 200 });
}
