// An MCP server as many write it: the official SDK, Streamable HTTP with sessions, no authorization of its own. Run as a
// program with its port; the only file that knows the SDK's server.
import { McpServer } from "mcp-sdk-1/server/mcp.js";
import { WebStandardStreamableHTTPServerTransport } from "mcp-sdk-1/server/webStandardStreamableHttp.js";

const sessions = new Map<string, WebStandardStreamableHTTPServerTransport>();
let release = Promise.withResolvers<void>();

function newServer(): McpServer {
  const server = new McpServer(
    { name: "reference", version: "1.0.0" },
    { capabilities: { logging: {} } },
  );
  server.registerTool("headers", { description: "What reached this server." }, (extra) =>
    answer({ headers: extra.requestInfo?.headers ?? {} }),
  );
  server.registerTool(
    "wait",
    { description: "Tells of its progress, ends at release." },
    async (extra) => {
      const { progressToken } = extra._meta ?? {};
      if (progressToken === undefined) return answer({ steps: 0 });
      const step = (progress: number): Promise<void> =>
        extra.sendNotification({
          method: "notifications/progress",
          params: { progressToken, progress },
        });
      await step(1);
      await release.promise;
      await step(2);
      return answer({ steps: 2 });
    },
  );
  server.registerTool("release", { description: "Lets those that wait go on." }, () => {
    release.resolve();
    release = Promise.withResolvers();
    return answer({});
  });
  server.registerTool(
    "announce",
    { description: "A message on the session's own stream." },
    async () => {
      await server.server.sendLoggingMessage({ level: "info", data: "hear, hear" });
      return answer({});
    },
  );
  return server;
}

function answer(structuredContent: Record<string, unknown>) {
  return { content: [], structuredContent };
}

async function serve(request: Request): Promise<Response> {
  const id = request.headers.get("mcp-session-id");
  if (id !== null) {
    const known = sessions.get(id);
    return known ? known.handleRequest(request) : sessionNotFound();
  }
  const transport = new WebStandardStreamableHTTPServerTransport({
    sessionIdGenerator: () => crypto.randomUUID(),
    onsessioninitialized: (created) => void sessions.set(created, transport),
    onsessionclosed: (ended) => void sessions.delete(ended),
  });
  await newServer().connect(transport);
  return transport.handleRequest(request);
}

// MCP 2025-11-25 "Session Management": 404 makes a client initialize anew.
function sessionNotFound(): Response {
  const error = { code: -32_001, message: "Session not found" };
  return Response.json({ jsonrpc: "2.0", error, id: null }, { status: 404 });
}

Bun.serve({ hostname: "127.0.0.1", port: Number(process.argv[2]), idleTimeout: 0, fetch: serve });
