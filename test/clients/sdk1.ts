// The official TypeScript SDK, version 1: the only file that knows its client.
import { Client } from "mcp-sdk-1/client/index.js";
import { UnauthorizedError } from "mcp-sdk-1/client/auth.js";
import {
  StreamableHTTPClientTransport,
  StreamableHTTPError,
} from "mcp-sdk-1/client/streamableHttp.js";
import { LoggingMessageNotificationSchema } from "mcp-sdk-1/types.js";
import type { Sdk } from "./connection.ts";
import { CLIENT_NAME } from "./program.ts";

export const sdk1: Sdk = {
  name: "SDK 1",
  revision: "2025-11-25",
  open: (url, { provider, fetch }, headers) => {
    const transport = new StreamableHTTPClientTransport(new URL(url), {
      authProvider: provider,
      fetch,
      ...(headers && { requestInit: { headers } }),
    });
    const client = new Client({ name: CLIENT_NAME, version: "1.0.0" });
    const messages: unknown[] = [];
    client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => {
      messages.push(params.data);
    });
    return {
      messages,
      connect: () => client.connect(transport),
      // This SDK takes the code alone: `state` and `iss` are its host's to check.
      finishLogin: async (answer) => {
        const code = answer.get("code");
        if (code === null) throw new Error(`refused: ${answer.get("error")}`);
        return transport.finishAuth(code);
      },
      call: async (name, parameters = {}, onProgress) => {
        const answer = await client.callTool({ name, arguments: parameters }, undefined, {
          ...(onProgress && { onprogress: onProgress }),
        });
        if (answer.isError || !answer.structuredContent) throw new Error(JSON.stringify(answer));
        return answer.structuredContent as Record<string, unknown>;
      },
      tools: async () => (await client.listTools()).tools.map((tool) => tool.name),
      sessionId: () => transport.sessionId,
      revision: () => transport.protocolVersion,
      endSession: () => transport.terminateSession(),
      close: () => client.close(),
    };
  },
  asksForLogin: (error) => error instanceof UnauthorizedError,
  statusOf: (error) => (error instanceof StreamableHTTPError ? error.code : undefined),
};
