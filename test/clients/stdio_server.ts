// An MCP server as many write it for stdio, with the official SDK, for clients with sessions and without. Run as a program;
// it knows no Postern.
import { McpServer } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";

let release = Promise.withResolvers<void>();

function answer(structuredContent: Record<string, unknown>) {
  return { content: [], structuredContent };
}

function newServer(): McpServer {
  const server = new McpServer(
    { name: "stdio", version: "1.0.0" },
    { capabilities: { logging: {} } },
  );
  const add = server.registerTool.bind(server);
  add("facts", { description: "What this process and this call know." }, ({ mcpReq }) =>
    answer({
      environment: process.env,
      meta: mcpReq._meta ?? {},
      folder: process.cwd(),
      pid: process.pid,
    }),
  );
  add("wait", { description: "Tells of its progress, ends at release." }, async ({ mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken;
    const step = async (progress: number): Promise<void> => {
      if (progressToken === undefined) return;
      const params = { progressToken, progress };
      await mcpReq.notify({ method: "notifications/progress", params });
    };
    await step(1);
    await release.promise;
    await step(2);
    return answer({ steps: 2 });
  });
  add("release", { description: "Lets those that wait go on." }, () => {
    release.resolve();
    release = Promise.withResolvers();
    return answer({});
  });
  add("announce", { description: "A message that nobody asked for." }, async () => {
    await server.server.sendLoggingMessage({ level: "info", data: "hear, hear" });
    return answer({});
  });
  add("grow", { description: "One tool more." }, () => {
    add("more", { description: "New." }, () => answer({}));
    return answer({});
  });
  return server;
}

serveStdio(newServer);
