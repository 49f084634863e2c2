// What is known of a server's tools: learned from its lists as they pass, and asked for when an owner or a leash wants to
// know. Only the server's own word; nothing here decides.
import type { Server } from "../config.ts";
import type { AuthContext, Call, Deps } from "../deps.ts";
import { seconds } from "../primitives.ts";
import { behind } from "./behind.ts";
import { clientInfo } from "./bridge.ts";
import { type Fields, isFields, lineOf } from "./jsonrpc.ts";
import { messagesIn } from "./narrowing.ts";
import { envelope } from "./pool.ts";
import { readsOnly } from "./policy.ts";
import { STATELESS, sessionRevisions } from "./revision.ts";

export interface KnownTool {
  readonly name: string;
  readonly title?: string;
  readonly description?: string;
  /** MCP "Tool Annotations": the server says that it changes nothing. */
  readonly readOnly: boolean;
}

export interface Tools {
  /** Remembers what a list of the server says. */
  learn(server: Server, message: Fields): void;
  /** Those that are known by now, without asking; undefined: none. */
  known(server: Server): readonly KnownTool[] | undefined;
  /** Whether a tool only reads; one that the server does not have does not. */
  isReadOnly(server: Server, name: string, deps: Deps): Promise<boolean>;
  /** Asks the server. undefined: it does not tell. */
  list(server: Server, deps: Deps): Promise<KnownTool[] | undefined>;
}

interface Book {
  tools: ReadonlyMap<string, KnownTool>;
  /** Monotonic milliseconds. */
  askedAt: number | undefined;
  asking: Promise<KnownTool[] | undefined> | undefined;
}

/** Milliseconds that an answer counts. */
const LIFE = 600_000;
/** Tools of one server that are remembered. */
const MOST = 5000;

export function createTools(monotonic: () => number): Tools {
  const books = new Map<string, Book>();
  const bookOf = ({ path, upstream, command }: Server): Book => {
    // Another server under the same path has other tools.
    const key = lineOf([path, upstream, command]);
    const book = books.get(key) ?? { tools: new Map(), askedAt: undefined, asking: undefined };
    books.set(key, book);
    return book;
  };
  const remember = (book: Book, tools: readonly KnownTool[]): void => {
    const all = [...book.tools, ...tools.map((tool) => [tool.name, tool] as const)];
    book.tools = new Map(all.slice(-MOST));
  };
  const list = async (server: Server, deps: Deps): Promise<KnownTool[] | undefined> => {
    const book = bookOf(server);
    book.asking ??= askTools(server, deps).finally(() => (book.asking = undefined));
    const tools = await book.asking;
    book.askedAt = monotonic();
    if (tools) book.tools = new Map(tools.map((tool) => [tool.name, tool]));
    return tools;
  };
  return {
    learn: (server, message) => {
      const tools = toolsIn(message);
      if (tools.length > 0) remember(bookOf(server), tools);
    },
    known: (server) => {
      const { tools } = bookOf(server);
      return tools.size === 0 ? undefined : [...tools.values()];
    },
    isReadOnly: async (server, name, deps) => {
      const book = bookOf(server);
      const isOld = book.askedAt === undefined || monotonic() - book.askedAt > LIFE;
      if (!book.tools.has(name) && isOld) await list(server, deps);
      return book.tools.get(name)?.readOnly ?? false;
    },
    list,
  };
}

function toolsIn({ result }: Fields): KnownTool[] {
  const tools = isFields(result) && Array.isArray(result["tools"]) ? result["tools"] : [];
  return tools.flatMap((tool: unknown): KnownTool[] => {
    if (!isFields(tool) || typeof tool["name"] !== "string") return [];
    const { name, title, description } = tool;
    return [
      {
        name,
        ...(typeof title === "string" && { title }),
        ...(typeof description === "string" && { description }),
        readOnly: readsOnly(tool),
      },
    ];
  });
}

/** Milliseconds for all of it: somebody waits for a page or a tool. */
const PATIENCE = 15_000;
/** Pages of a list that are read. */
const PAGES = 20;

/** Asks as a client does, in the owner's name. undefined: there is no answer, or none of that kind. */
async function askTools(server: Server, deps: Deps): Promise<KnownTool[] | undefined> {
  const post = poster(server, deps);
  try {
    const opened = await post("initialize", {
      protocolVersion: sessionRevisions[3],
      capabilities: {},
      clientInfo,
    });
    if (isFields(opened["result"])) {
      await post("notifications/initialized");
      return await allPages((cursor) => post("tools/list", cursor));
    }
    return await allPages((cursor) => post("tools/list", { ...cursor, _meta: envelope }));
  } catch {
    // Not there, too slow, cut off in the middle: whoever wants to know is told that nobody knows.
    return undefined;
  } finally {
    await post("", undefined, "DELETE").catch(() => undefined);
  }
}

async function allPages(
  page: (cursor: Fields) => Promise<Fields>,
): Promise<KnownTool[] | undefined> {
  const found: KnownTool[] = [];
  let cursor: Fields = {};
  for (let count = 0; count < PAGES; count++) {
    const answer = await page(cursor);
    const { result } = answer;
    if (!isFields(result) || !Array.isArray(result["tools"])) return undefined;
    found.push(...toolsIn(answer));
    if (typeof result["nextCursor"] !== "string") break;
    cursor = { cursor: result["nextCursor"] };
  }
  return found;
}

type Post = (method: string, params?: Fields, verb?: "POST" | "DELETE") => Promise<Fields>;

/** Speaks to a server in one session, if it gives one. Resolves to the answer, {} where there is none. */
function poster(server: Server, deps: Deps): Post {
  const signal = AbortSignal.timeout(PATIENCE);
  const context: AuthContext = {
    subject: "owner",
    clientId: "postern",
    clientName: "Postern",
    scopes: server.scopes,
    family: "postern",
    server,
    issuedAt: seconds(deps.now()),
    stillGood: async () => true,
  };
  const nothing = (): void => undefined;
  const call: Call = {
    path: server.path,
    address: "unknown",
    requestId: "postern",
    keepOpen: nothing,
    letIdle: nothing,
  };
  let session: Record<string, string> = {};
  let id = 0;
  return async (method, params, verb = "POST") => {
    const isNotification = method.startsWith("notifications/");
    const isStateless = params !== undefined && "_meta" in params;
    const own = isNotification ? undefined : ++id;
    const message = { jsonrpc: "2.0", ...(own !== undefined && { id: own }), method, params };
    const headers = {
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": isStateless ? STATELESS : sessionRevisions[3],
      ...(isStateless ? { "mcp-method": method } : session),
    };
    if (verb === "DELETE" && session["mcp-session-id"] === undefined) return {};
    const body = verb === "POST" ? lineOf(message) : null;
    const request = new Request(server.resource, { method: verb, headers, body, signal });
    const answer = await behind(request, context, deps, call);
    const given = answer.headers.get("mcp-session-id");
    if (given !== null) session = { "mcp-session-id": given };
    return await answerTo(own, answer);
  };
}

async function answerTo(id: number | undefined, answer: Response): Promise<Fields> {
  if (id !== undefined) {
    for await (const message of messagesIn(answer)) if (message["id"] === id) return message;
  }
  await answer.body?.cancel().catch(() => undefined);
  return {};
}
