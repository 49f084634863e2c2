// Older versions of the official TypeScript SDK, as they are out in the field: the only file that knows them. What the
// story cannot ask of one of them, and what it does instead, stands here.
import { AsyncLocalStorage } from "node:async_hooks";
import { Client as Client8 } from "mcp-sdk-1-8/client/index.js";
import { UnauthorizedError as Unauthorized8 } from "mcp-sdk-1-8/client/auth.js";
import { SSEClientTransport as Transport8 } from "mcp-sdk-1-8/client/sse.js";
import { Client as Client11 } from "mcp-sdk-1-11/client/index.js";
import { UnauthorizedError as Unauthorized11 } from "mcp-sdk-1-11/client/auth.js";
import { StreamableHTTPClientTransport as Transport11 } from "mcp-sdk-1-11/client/streamableHttp.js";
import { Client as Client17 } from "mcp-sdk-1-17/client/index.js";
import { UnauthorizedError as Unauthorized17 } from "mcp-sdk-1-17/client/auth.js";
import { StreamableHTTPClientTransport as Transport17 } from "mcp-sdk-1-17/client/streamableHttp.js";
import { Client as Client25 } from "mcp-sdk-1-25/client/index.js";
import { UnauthorizedError as Unauthorized25 } from "mcp-sdk-1-25/client/auth.js";
import { StreamableHTTPClientTransport as Transport25 } from "mcp-sdk-1-25/client/streamableHttp.js";
import type { Connection, Sdk } from "./connection.ts";
import { CLIENT_NAME, type Program } from "./program.ts";
import { startUpstream } from "./upstreams.ts";

/** What their clients have in common. */
interface Client {
  connect(transport: object): Promise<void>;
  callTool(call: { name: string; arguments: Record<string, unknown> }): Promise<object>;
  listTools(): Promise<{ tools: { name: string }[] }>;
  close(): Promise<void>;
}
interface Transport {
  finishAuth(code: string): Promise<void>;
  readonly sessionId?: string | undefined;
  readonly protocolVersion?: string | undefined;
  terminateSession?(): Promise<void>;
}
interface Version {
  readonly transport: (url: URL, program: Program) => Transport;
  readonly client: (self: { name: string; version: string }) => Client;
  /** Whether it asks with the global `fetch` alone. */
  readonly globalFetch: boolean;
}

function open(
  { transport, client, globalFetch }: Version,
  url: string,
  program: Program,
): Connection {
  const during = <T>(act: () => Promise<T>): Promise<T> =>
    globalFetch ? recorder.run(program, act) : act();
  const way = transport(new URL(url), program);
  const self = client({ name: CLIENT_NAME, version: "1.0.0" });
  return {
    messages: [],
    connect: () => during(() => self.connect(way)),
    finishLogin: async (answer) => {
      const code = answer.get("code");
      if (code === null) throw new Error(`refused: ${answer.get("error")}`);
      return during(() => way.finishAuth(code));
    },
    call: async (name, parameters = {}) => {
      const answer = await during(() => self.callTool({ name, arguments: parameters }));
      return readAnswer(answer);
    },
    tools: async () => (await during(() => self.listTools())).tools.map(({ name }) => name),
    sessionId: () => way.sessionId,
    revision: () => way.protocolVersion,
    endSession: async () => way.terminateSession?.(),
    close: () => self.close(),
  };
}

/** Structured content came with 2025-06-18; before, tools answered in text. */
function readAnswer(answer: object): Record<string, unknown> {
  const { isError, content } = answer as { isError?: boolean; content?: { text?: string }[] };
  if (isError || content?.[0]?.text === undefined) throw new Error(JSON.stringify(answer));
  return JSON.parse(content[0].text) as Record<string, unknown>;
}

const recorder = new AsyncLocalStorage<Program>();

/**
 * Versions that take no `fetch` of their host use the global one; this stands in for it and tells the program that asks.
 * Returns what takes it away again.
 */
export function recordGlobalFetch(): () => void {
  const direct = globalThis.fetch;
  const recorded = (url: string | URL | Request, init?: RequestInit): Promise<Response> => {
    const program = recorder.getStore();
    return program && !(url instanceof Request)
      ? recorder.exit(() => program.fetch(url, init))
      : direct(url, init);
  };
  globalThis.fetch = Object.assign(recorded, { preconnect: direct.preconnect });
  return () => void (globalThis.fetch = direct);
}

const errors = (kind: new (message?: string) => Error): Pick<Sdk, "asksForLogin" | "statusOf"> => ({
  asksForLogin: (error) => error instanceof kind,
  statusOf: () => undefined,
});

const forgetsNothing =
  "it has no invalidateCredentials, so it sends its person away with the dead client_id";

const v8: Version = {
  transport: (url, { provider }) => new Transport8(url, { authProvider: provider }),
  client: (self) => new Client8(self),
  globalFetch: true,
};
const v11: Version = {
  transport: (url, { provider }) => new Transport11(url, { authProvider: provider }),
  client: (self) => new Client11(self),
  globalFetch: true,
};
const v17: Version = {
  transport: (url, { provider, fetch }) => new Transport17(url, { authProvider: provider, fetch }),
  client: (self) => new Client17(self),
  globalFetch: false,
};
const v25: Version = {
  transport: (url, { provider, fetch }) => new Transport25(url, { authProvider: provider, fetch }),
  client: (self) => new Client25(self),
  globalFetch: false,
};

export const oldSdks: readonly Sdk[] = [
  {
    name: "SDK 1.8",
    revision: undefined,
    endpoint: "/sse",
    startUpstream: async (base) => (await startUpstream("sse_server.ts", base)).url,
    lacks: {
      lastingSession: "it speaks HTTP+SSE alone, where the session is the open stream",
      recovery: forgetsNothing,
    },
    open: (url, program) => open(v8, url, program),
    ...errors(Unauthorized8),
  },
  {
    name: "SDK 1.11",
    revision: undefined,
    lacks: { recovery: forgetsNothing },
    open: (url, program) => open(v11, url, program),
    ...errors(Unauthorized11),
  },
  {
    name: "SDK 1.17",
    revision: "2025-06-18",
    open: (url, program) => open(v17, url, program),
    ...errors(Unauthorized17),
  },
  {
    name: "SDK 1.25",
    revision: "2025-11-25",
    open: (url, program) => open(v25, url, program),
    ...errors(Unauthorized25),
  },
];
