// The built-in MCP server: one tool that tells the caller who it is to this Postern, so that a client can be connected
// before there is a server to guard. Stateless, for every protocol revision that the SDK speaks.
import { version } from "../../package.json";
import type { AuthContext, Call, Deps } from "../deps.ts";
import { OAuthError } from "../errors.ts";

/** Bytes of the largest message taken. */
const MESSAGE = 1024 * 1024;

/** What the tool answers. */
interface Identity extends Record<string, unknown> {
  readonly subject: string;
  readonly client: { readonly id: string; readonly name?: string };
  readonly scopes: readonly string[];
  readonly server: string;
  /** When this login was made, ISO 8601. */
  readonly since: string;
}

function identityOf(context: AuthContext): Identity {
  const { subject, clientId, clientName, scopes, server, issuedAt } = context;
  return {
    subject,
    client: { id: clientId, ...(clientName !== undefined && { name: clientName }) },
    scopes,
    server: server.resource,
    since: new Date(issuedAt * 1000).toISOString(),
  };
}

/**
 * Answers one MCP message. What is wrong with a message is said as JSON-RPC error.
 *
 * @throws {OAuthError} 405 for everything but POST: there is no stream to open and no session to end
 */
export async function whoami(
  request: Request,
  context: AuthContext,
  _deps: Deps,
  _call: Call,
): Promise<Response> {
  // MCP 2025-11-25 "Listening for Messages from the Server", 2026-07-28 "Earlier Streamable HTTP Revisions".
  if (request.method !== "POST") {
    throw new OAuthError("invalid_request", "this MCP server is called by POST", {
      status: 405,
      headers: { allow: "POST" },
    });
  }
  // Loaded here: most Postern never need it, and it doubles the memory of those that do.
  const { McpServer, createMcpHandler } = await import("@modelcontextprotocol/server");
  const identity = identityOf(context);
  const handler = createMcpHandler(
    () => {
      const server = new McpServer(
        { name: "postern", title: "Postern", version },
        // The tools never change: a subscription to changes ends at once instead of staying open for nothing.
        { capabilities: { tools: { listChanged: false } } },
      );
      server.registerTool(
        "whoami",
        {
          title: "Who am I",
          description:
            "Tells who you are to this Postern: user, client, scopes, server and since when.",
          annotations: { readOnlyHint: true, openWorldHint: false },
        },
        () => ({
          content: [{ type: "text", text: JSON.stringify(identity, null, 2) }],
          structuredContent: identity,
        }),
      );
      return server;
    },
    { maxRequestBodySize: MESSAGE },
  );
  const answer = await handler.fetch(request);
  // RFC 9110 §7.6.1: for the hop that Bun speaks, not for the SDK to say.
  answer.headers.delete("connection");
  return answer;
}
