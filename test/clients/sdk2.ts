// The official TypeScript client, version 2: the only file that knows it.
import {
  Client,
  IssuerMismatchError,
  type OAuthClientProvider,
  type OAuthDiscoveryState,
  SdkHttpError,
  StreamableHTTPClientTransport,
  UnauthorizedError,
} from "mcp-client-2";
import type { Connection, Sdk } from "./connection.ts";
import { CLIENT_NAME, type Program } from "./program.ts";

function open(
  mode: "legacy" | "auto",
  url: string,
  { provider, memory, fetch }: Program,
  headers?: Record<string, string>,
): Connection {
  const authProvider: OAuthClientProvider = {
    ...provider,
    saveDiscoveryState: (state) => void (memory.discovery = state),
    discoveryState: () => memory.discovery as OAuthDiscoveryState | undefined,
  };
  const transport = new StreamableHTTPClientTransport(new URL(url), {
    authProvider,
    fetch,
    ...(headers && { requestInit: { headers } }),
  });
  const client = new Client(
    { name: CLIENT_NAME, version: "1.0.0" },
    { versionNegotiation: { mode } },
  );
  const messages: unknown[] = [];
  client.setNotificationHandler("notifications/message", ({ params }) => {
    messages.push(params.data);
  });
  return {
    messages,
    connect: () => client.connect(transport),
    finishLogin: (answer) => transport.finishAuth(answer),
    call: async (name, parameters = {}, onProgress) => {
      const answer = await client.callTool(
        { name, arguments: parameters },
        { ...(onProgress && { onprogress: onProgress }) },
      );
      if (answer.isError || !answer.structuredContent) throw new Error(JSON.stringify(answer));
      return answer.structuredContent as Record<string, unknown>;
    },
    tools: async () => (await client.listTools()).tools.map((tool) => tool.name),
    sessionId: () => transport.sessionId,
    revision: () => client.getNegotiatedProtocolVersion(),
    endSession: () => transport.terminateSession(),
    close: () => client.close(),
  };
}

const errors: Pick<Sdk, "asksForLogin" | "statusOf"> = {
  asksForLogin: (error) => error instanceof UnauthorizedError,
  statusOf: (error) => (error instanceof SdkHttpError ? error.status : undefined),
};

/** As hosts use it that do not ask for more: the revisions with `initialize`. */
export const sdk2: Sdk = {
  name: "client 2",
  revision: "2025-11-25",
  open: (url, program, headers) => open("legacy", url, program, headers),
  ...errors,
};

/** Asks with `server/discover` first: the stateless revision where the server has it. */
export const sdk2Stateless: Sdk = {
  name: "client 2, newest revision",
  revision: "2026-07-28",
  open: (url, program, headers) => open("auto", url, program, headers),
  ...errors,
};

/** Whether the client refused an answer for the issuer that it names. */
export const isForeignIssuer = (error: unknown): boolean =>
  error instanceof IssuerMismatchError && error.kind === "authorization_response";
