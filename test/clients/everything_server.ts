// The conformance runner's counterpart: everything.ts, served by the official SDK as its makers would do it, for clients
// with sessions and for those without. Run as a program with its port, or with "stdio".
import {
  CLIENT_CAPABILITIES_META_KEY,
  type CallToolResult,
  type EventStore,
  type GetPromptResult,
  type JSONRPCMessage,
  McpServer,
  ResourceTemplate,
  type ServerContext,
  WebStandardStreamableHTTPServerTransport,
  createMcpHandler,
  createRequestStateCodec,
  fromJsonSchema,
  hostHeaderValidationResponse,
  isLegacyRequest,
  localhostAllowedHostnames,
  localhostAllowedOrigins,
  originValidationResponse,
} from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { prompts, resources, template, tools } from "./everything.ts";
import type { Caller } from "./everything_tools.ts";

const states = createRequestStateCodec({ key: crypto.getRandomValues(new Uint8Array(32)) });

type Announce = Caller["announce"];

function callerOf({ mcpReq, http }: ServerContext, announce: Announce): Caller {
  const progressToken = mcpReq._meta?.progressToken;
  const declared: { [CLIENT_CAPABILITIES_META_KEY]?: Record<string, unknown> } =
    mcpReq.envelope ?? {};
  return {
    responses: mcpReq.inputResponses ?? {},
    state: mcpReq.requestState(),
    capabilities: declared[CLIENT_CAPABILITIES_META_KEY] ?? {},
    progressToken,
    log: (message) => mcpReq.log("info", message),
    progress: async (progress) => {
      if (progressToken === undefined) return;
      const params = { progressToken, progress, total: 100 };
      await mcpReq.notify({ method: "notifications/progress", params });
    },
    elicit: (message, requestedSchema) =>
      mcpReq.elicitInput({ message, requestedSchema } as Parameters<typeof mcpReq.elicitInput>[0]),
    sample: async (prompt) => {
      const message = { role: "user", content: { type: "text", text: prompt } } as const;
      const { content } = await mcpReq.requestSampling({ messages: [message], maxTokens: 100 });
      return JSON.stringify(content);
    },
    hangUp: () => http?.closeSSE?.(),
    seal: (state) => states.mint(state),
    announce,
  };
}

function newServer(era: "legacy" | "modern", announce?: Announce): McpServer {
  const server = new McpServer(
    { name: "everything", version: "1.0.0" },
    {
      capabilities: {
        completions: {},
        ...(era === "legacy" && { logging: {}, resources: { subscribe: true } }),
      },
      requestState: { verify: states.verify },
    },
  );
  const told: Announce =
    announce ??
    ((list) => (list === "tools" ? server.sendToolListChanged() : server.sendPromptListChanged()));
  for (const { name, description, schema, call } of tools) {
    const inputSchema = fromJsonSchema<Record<string, unknown>>(
      schema ?? { type: "object", properties: {} },
    );
    server.registerTool(
      name,
      { description, inputSchema },
      async (parameters, context) =>
        (await call(parameters, callerOf(context, told))) as CallToolResult,
    );
  }
  for (const { name, description, parameters, get } of prompts) {
    const properties = Object.fromEntries(parameters.map((each) => [each, { type: "string" }]));
    const argsSchema = fromJsonSchema<Record<string, unknown>>({
      type: "object",
      properties,
      required: [...parameters],
    });
    server.registerPrompt(
      name,
      { description, argsSchema },
      (given, context) => get(given, callerOf(context, told)) as GetPromptResult,
    );
  }
  for (const { name, uri, mimeType, ...content } of resources) {
    const description = `The resource ${uri}`;
    server.registerResource(name, uri, { mimeType, description }, () => ({
      contents: [{ uri, mimeType, ...content }],
    }));
  }
  server.registerResource(
    template.name,
    new ResourceTemplate(template.uri, { list: undefined }),
    { mimeType: template.mimeType, description: "Data by id" },
    (uri, { id }) => ({
      contents: [{ uri: uri.href, mimeType: template.mimeType, text: template.text(String(id)) }],
    }),
  );
  server.server.setRequestHandler("completion/complete", () => ({
    completion: { values: ["paris", "park", "party"], total: 3, hasMore: false },
  }));
  if (era === "legacy") {
    server.server.setRequestHandler("resources/subscribe", () => ({}));
    server.server.setRequestHandler("resources/unsubscribe", () => ({}));
  }
  return server;
}

const modern = createMcpHandler(() => newServer("modern", announceToAll), { legacy: "reject" });
function announceToAll(list: "tools" | "prompts"): void {
  if (list === "tools") modern.notify.toolsChanged();
  else modern.notify.promptsChanged();
}
const sessions = new Map<string, WebStandardStreamableHTTPServerTransport>();

/** What was sent on streams that a client may come back for. */
function newEventStore(): EventStore {
  const events: { stream: string; message: JSONRPCMessage }[] = [];
  return {
    storeEvent: async (stream, message) => String(events.push({ stream, message })),
    replayEventsAfter: async (last, { send }) => {
      const seen = Number(last);
      const { stream = "" } = events[seen - 1] ?? {};
      for (const [index, event] of events.entries())
        if (index >= seen && event.stream === stream) await send(String(index + 1), event.message);
      return stream;
    },
  };
}

/** Revisions until 2025-11-25: with a session. */
async function serveSession(request: Request): Promise<Response> {
  const id = request.headers.get("mcp-session-id");
  if (id !== null) {
    const known = sessions.get(id);
    return known ? known.handleRequest(request) : new Response(null, { status: 404 });
  }
  const transport = new WebStandardStreamableHTTPServerTransport({
    sessionIdGenerator: () => crypto.randomUUID(),
    onsessioninitialized: (created) => void sessions.set(created, transport),
    onsessionclosed: (ended) => void sessions.delete(ended),
    eventStore: newEventStore(),
    retryInterval: 100,
  });
  await newServer("legacy").connect(transport);
  return transport.handleRequest(request);
}

async function serve(request: Request): Promise<Response> {
  const foreign =
    hostHeaderValidationResponse(request, localhostAllowedHostnames()) ??
    originValidationResponse(request, localhostAllowedOrigins());
  if (foreign) return foreign;
  return (await isLegacyRequest(request.clone())) ? serveSession(request) : modern.fetch(request);
}

const [, , how] = process.argv;
if (how === "stdio") serveStdio(({ era }) => newServer(era));
else Bun.serve({ hostname: "127.0.0.1", port: Number(how), idleTimeout: 0, fetch: serve });
