// What is under way between one child and those who ask it: which answer, progress or cancellation belongs to which
// request. A link of one client passes everything with the ids that the client chose; one of several clients gives each
// request an id of its own. Streams and sessions are others' business.
import {
  type Fields,
  METHOD_NOT_FOUND,
  type Message,
  type Request,
  errorAnswer,
  idKey,
  isFields,
  lineOf,
  metaOf,
  oneLine,
  paramsOf,
  parseExactly,
  readMessage,
  withParams,
} from "./jsonrpc.ts";

/** MCP 2026-07-28 "Subscriptions": which listen request a notification belongs to. */
const SUBSCRIPTION_ID = "io.modelcontextprotocol/subscriptionId";
/** MCP 2026-07-28: who asks for log messages says so with each request. */
const LOG_LEVEL = "io.modelcontextprotocol/logLevel";
const LISTEN = "subscriptions/listen";

/** Whose ids are one space: a session, or one HTTP request. */
export type Client = object;

/** Where the messages that belong to one request go. */
export interface Sink {
  /** A message on the way to the answer. */
  passes(line: string): void;
  /** The answer. Nothing comes after it. */
  answers(line: string, fields: Fields): void;
  /** No answer will come, and why; undefined: the server ended it, which is how a subscription ends. */
  fails(why: string | undefined): void;
}

export interface Ticket {
  /** Nobody waits any more: the child is told, and what it still says about it is dropped. */
  cancel(): void;
}

export interface LinkOptions {
  /** Whether several clients share it, so that their ids have to be told apart. */
  readonly shared: boolean;
  /** Requests under way at once. */
  readonly most: number;
  /** Milliseconds that a cancelled request may still be answered. */
  readonly grace: number;
  /** False when the child does not take it. */
  readonly send: (line: string) => boolean;
  /** A message that belongs to no request. */
  readonly stray: (message: Message, line: string) => void;
  /** A line that is no message. */
  readonly garbage: (line: string) => void;
}

export interface Link {
  readonly outstanding: () => number;
  /** @throws {Refused} */
  request(message: Request, client: Client, sink: Sink): Ticket;
  /** A notification, or a response to what the server asked. False when the child does not take it. */
  tell(message: Message, client: Client): boolean;
  /** A client is gone for good: the child is told, whatever it asked fails. */
  leave(client: Client, why: string): void;
  /** A line of the child. */
  receive(line: string): void;
  /** The child is gone: whatever was asked fails. */
  end(why: string): void;
}

/** A request that cannot be passed on. */
export class Refused extends Error {
  override readonly name = "Refused";
}

interface Entry {
  readonly client: Client;
  readonly sink: Sink;
  readonly method: string;
  /** As the client gave it. */
  readonly id: unknown;
  readonly token: unknown;
  /** The key of the progress token that the child was given. */
  readonly tokenKey: string | undefined;
  readonly wantsLogs: boolean;
  deadline?: Timer;
}

interface State extends LinkOptions {
  readonly entries: Map<string, Entry>;
  /** Keys of entries by the progress tokens that the child was given. */
  readonly byToken: Map<string, string>;
  count: number;
  /** Why there is no child any more. */
  gone: string | undefined;
}

export function openLink(options: LinkOptions): Link {
  const state: State = {
    ...options,
    entries: new Map(),
    byToken: new Map(),
    count: 0,
    gone: undefined,
  };
  const { entries, shared, send } = state;
  return {
    outstanding: () => entries.size,
    request: (message, client, sink) => request(state, message, client, sink),
    tell: (message, client) =>
      isCalled(message, "notifications/cancelled")
        ? cancelByClient(state, message, client)
        : send(lineOf(message.fields)),
    leave: (client, why) => {
      for (const [key, entry] of entries) {
        if (entry.client !== client) continue;
        drop(state, key);
        send(lineOf({ ...CANCELLED, params: { requestId: shared ? Number(key) : entry.id } }));
        entry.sink.fails(why);
      }
    },
    receive: (line) => {
      if (line === "") return;
      const value = parsed(line, shared);
      // MCP 2025-03-26 knows batches.
      if (Array.isArray(value)) for (const each of value) receive(state, each, lineOf(each));
      else receive(state, value, oneLine(line));
    },
    end: (why) => {
      state.gone = why;
      for (const key of entries.keys()) drop(state, key)?.sink.fails(why);
    },
  };
}

function request(state: State, message: Request, client: Client, sink: Sink): Ticket {
  const { entries, shared, send } = state;
  const { id: own } = message.fields;
  if (state.gone !== undefined) throw new Refused(state.gone);
  if (entries.size >= state.most) throw new Refused("too many requests are under way");
  if (find(state, client, own)) throw new Refused("a request with this id is under way");
  const meta = metaOf(message);
  const { progressToken: token } = meta;
  const id = shared ? ++state.count : own;
  const key = shared ? String(id) : message.key;
  const given = shared && token !== undefined ? id : token;
  const entry: Entry = {
    client,
    sink,
    method: message.method,
    id: own,
    token,
    tokenKey: idKey(given),
    wantsLogs: LOG_LEVEL in meta,
  };
  if (!send(lineOf(shared ? renumbered(message, id, given) : message.fields))) {
    throw new Refused("the MCP server does not read what it is sent");
  }
  entries.set(key, entry);
  if (entry.tokenKey !== undefined) state.byToken.set(entry.tokenKey, key);
  return {
    cancel: () => {
      if (entries.get(key) !== entry) return;
      drop(state, key);
      send(lineOf({ ...CANCELLED, params: { requestId: id } }));
    },
  };
}

function drop({ entries, byToken }: State, key: string): Entry | undefined {
  const entry = entries.get(key);
  if (!entry) return undefined;
  clearTimeout(entry.deadline);
  entries.delete(key);
  if (entry.tokenKey !== undefined) byToken.delete(entry.tokenKey);
  return entry;
}

function find({ entries }: State, client: Client, id: unknown): [string, Entry] | undefined {
  const wanted = idKey(id);
  return [...entries].find(([, entry]) => entry.client === client && idKey(entry.id) === wanted);
}

/** The child may still answer, and owes nothing: the request ends here either way. */
function cancelByClient(state: State, message: Message, client: Client): boolean {
  const { shared, send } = state;
  const params = paramsOf(message);
  const [key, entry] = find(state, client, params["requestId"]) ?? [];
  if (key === undefined || !entry) return shared || send(lineOf(message.fields));
  const give = (): void => drop(state, key)?.sink.fails("the request was cancelled");
  entry.deadline ??= setTimeout(give, state.grace).unref();
  const requestId = shared ? Number(key) : entry.id;
  return send(lineOf(withParams(message, { ...params, requestId })));
}

/** What the child says: an answer, something on the way to one, or neither. */
function receive(state: State, value: unknown, line: string): void {
  const { entries, shared } = state;
  const message = readMessage(value);
  if (!message) return state.garbage(line);
  if (message.kind === "response") {
    const entry = drop(state, message.key);
    const { fields } = message;
    return entry?.sink.answers(shared ? lineOf({ ...fields, id: entry.id }) : line, fields);
  }
  const found = message.kind === "notification" ? related(state, message) : undefined;
  if (found) return found[0].sink.passes(shared ? lineOf(found[1]) : line);
  const key = idKey(paramsOf(message)["requestId"]) ?? "";
  // MCP 2026-07-28 "Subscriptions": so a server ends what a client listens to.
  if (isCalled(message, "notifications/cancelled") && entries.get(key)?.method === LISTEN) {
    return drop(state, key)?.sink.fails(undefined);
  }
  state.stray(message, line);
}

/** The request that a notification belongs to, and the notification as its client knows it. */
function related({ entries, byToken }: State, message: Message): [Entry, Fields] | undefined {
  const params = paramsOf(message);
  const meta = metaOf(message);
  const subscription = entries.get(idKey(meta[SUBSCRIPTION_ID]) ?? "");
  if (subscription?.method === LISTEN) {
    const own = { ...meta, [SUBSCRIPTION_ID]: subscription.id };
    return [subscription, withParams(message, { ...params, _meta: own })];
  }
  if (isCalled(message, "notifications/message")) {
    // Nothing says whose they are: the newest request that asked for them is the best guess.
    const listener = [...entries.values()].findLast(({ wantsLogs }) => wantsLogs);
    return listener && [listener, message.fields];
  }
  if (!isCalled(message, "notifications/progress")) return undefined;
  const entry = entries.get(byToken.get(idKey(params["progressToken"]) ?? "") ?? "");
  return entry && [entry, withParams(message, { ...params, progressToken: entry.token })];
}

const CANCELLED = { jsonrpc: "2.0", method: "notifications/cancelled" };

const isCalled = (message: Message, method: string): boolean =>
  message.kind === "notification" && message.method === method;

/** Written anew only where ids change: what passes whole is passed as it came. */
function parsed(line: string, exactly: boolean): unknown {
  try {
    return exactly || line.startsWith("[") ? parseExactly(line) : JSON.parse(line);
  } catch {
    return undefined;
  }
}

function renumbered(message: Request, id: unknown, token: unknown): Fields {
  const { fields } = message;
  if (token === undefined || !isFields(fields["params"])) return { ...fields, id };
  const meta = { ...metaOf(message), progressToken: token };
  return withParams(message, { ...paramsOf(message), _meta: meta }, id);
}

/** The answer to what a server may not ask where nobody can be asked. */
export function refuseQuestion(message: Message): string | undefined {
  if (message.kind !== "request") return undefined;
  const { id } = message.fields;
  return lineOf(
    message.method === "ping"
      ? { jsonrpc: "2.0", id, result: {} }
      : errorAnswer(id, METHOD_NOT_FOUND, "this client answers no questions"),
  );
}
