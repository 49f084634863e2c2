// An MCP server of 2024: HTTP+SSE, where a GET opens the session and messages are posted to the address that it names. Run
// as a program with its port and the path in front of /mcp: it names that address by its path, so a proxy has to keep it.
import { createServer } from "node:http";
import { McpServer } from "mcp-sdk-1/server/mcp.js";
import { SSEServerTransport } from "mcp-sdk-1/server/sse.js";

const [, , port, base = ""] = process.argv;
const sessions = new Map<string, SSEServerTransport>();

function newServer(): McpServer {
  const server = new McpServer({ name: "sse", version: "1.0.0" });
  server.registerTool("whoami", { description: "Who asks, as Postern says." }, (extra) => {
    const headers = extra.requestInfo?.headers ?? {};
    const identity = {
      subject: headers["x-postern-user"],
      client: { id: headers["x-postern-client"] },
    };
    return { content: [{ type: "text", text: JSON.stringify(identity) }] };
  });
  return server;
}

const http = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://localhost");
  if (pathname === `${base}/mcp/sse`) {
    const transport = new SSEServerTransport(`${base}/mcp/messages`, response);
    sessions.set(transport.sessionId, transport);
    response.on("close", () => sessions.delete(transport.sessionId));
    await newServer().connect(transport);
    return;
  }
  const session = sessions.get(searchParams.get("sessionId") ?? "");
  if (pathname === `${base}/mcp/messages` && session) {
    await session.handlePostMessage(request, response);
    return;
  }
  response.writeHead(404).end();
});
http.listen(Number(port), "127.0.0.1");
