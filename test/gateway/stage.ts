// What the tests of the gateway share: a Postern that lets everybody in, upstreams that record or misbehave, raw sockets.
import {
  type AddressInfo,
  type Server as NetServer,
  type Socket,
  connect,
  createServer,
} from "node:net";
import { type Config, readConfig } from "../../src/config.ts";
import type { AuthContext, Call, Deps } from "../../src/deps.ts";
import { OAuthError, errorResponse } from "../../src/errors.ts";
import { createLines } from "../../src/gateway/dial.ts";
import { readCredentials } from "../../src/gateway/credentials.ts";
import { type Timing, forward } from "../../src/gateway/proxy.ts";
import type { GivenSettings } from "../../src/settings.ts";

const closers: (() => void)[] = [];

/** Ends all of them. The caller's file calls `afterAll(closeStages)`. */
export function closeStages(): void {
  for (const close of closers.splice(0)) close();
}

export interface Refusal {
  readonly status: number;
  readonly detail: string | undefined;
}

export interface Stage {
  /** URL of the MCP endpoint. */
  readonly url: string;
  readonly port: number;
  readonly config: Config;
  /** Errors that the gateway threw. */
  readonly refusals: Refusal[];
  /** How often the idle limit was lifted. */
  readonly lifted: () => number;
  /** How often it was put back. */
  readonly restored: () => number;
}

export interface StageOptions {
  readonly settings?: GivenSettings;
  readonly context?: Partial<AuthContext>;
  readonly timing?: Partial<Timing>;
  readonly address?: string;
  /** Requests that fetch may have under way; the rest goes through sockets of its own. */
  readonly share?: number;
  /** Instead of the proxy. */
  readonly handler?: typeof forward;
}

const calm: Timing = {
  lift: 4_000,
  firstByte: 20_000,
  opening: 20_000,
  silence: 25_000,
  recheck: 30_000,
};

export function contextOf(config: Config, over: Partial<AuthContext> = {}): AuthContext {
  return {
    subject: "owner",
    clientId: "client-1",
    clientName: "Test client",
    scopes: ["mcp", "files"],
    family: "family-1",
    issuedAt: 1_795_230_000,
    server: config.servers[0],
    stillGood: async () => true,
    ...over,
  };
}

/** A real socket with nothing but the gateway behind it. */
export function startStage(upstream: string, options: StageOptions = {}): Stage {
  const config = readConfig({ data: "/nonexistent", upstream, ...options.settings });
  const context = contextOf(config, options.context);
  const timing = { ...calm, ...options.timing };
  const refusals: Refusal[] = [];
  // The gateway knows no state: configuration is all that it reads.
  const deps = {
    config,
    lines: createLines(options.share),
    credentials: readCredentials(config, {}),
  } as Deps;
  let lifted = 0;
  let restored = 0;
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: async (request, bun) => {
      const path = decoded(new URL(request.url).pathname);
      if (path === undefined) return new Response(null, { status: 400 });
      const call: Call = {
        path,
        address: options.address ?? "203.0.113.7",
        requestId: "request-1",
        keepOpen: () => {
          lifted++;
          bun.timeout(request, 0);
        },
        letIdle: () => {
          restored++;
          bun.timeout(request, 10);
        },
      };
      try {
        return await (options.handler ?? forward)(request, context, deps, call, timing);
      } catch (error) {
        if (!(error instanceof OAuthError)) throw error;
        refusals.push({ status: error.status, detail: error.detail });
        return errorResponse(error);
      }
    },
  });
  closers.push(() => void server.stop(true));
  const port = server.port ?? 0;
  const { path } = config.servers[0];
  return {
    url: `http://127.0.0.1:${port}${path}`,
    port,
    config,
    refusals,
    lifted: () => lifted,
    restored: () => restored,
  };
}

function decoded(path: string): string | undefined {
  try {
    return decodeURIComponent(path);
  } catch {
    return undefined;
  }
}

export interface Recorded {
  readonly method: string;
  /** Path and query. */
  readonly target: string;
  readonly headers: Headers;
  readonly body: string;
}

/** An upstream that remembers what reached it and answers with `answer`. */
export function startUpstream(
  answer: (request: Request, body: string) => Response | Promise<Response> = () =>
    Response.json({ ok: true }),
): { url: string; port: number; requests: Recorded[]; stop: () => Promise<void> } {
  const requests: Recorded[] = [];
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    fetch: async (request) => {
      const { pathname, search } = new URL(request.url);
      const body = await request.text();
      requests.push({
        method: request.method,
        target: pathname + search,
        headers: request.headers,
        body,
      });
      return await answer(request, body);
    },
  });
  closers.push(() => void server.stop(true));
  const stop = (): Promise<void> => server.stop(true);
  return { url: `http://127.0.0.1:${server.port}/mcp`, port: server.port ?? 0, requests, stop };
}

/** An upstream on a bare socket; `talk` gets each connection with the head of its first request. */
export async function startRawUpstream(
  talk: (socket: Socket, head: string) => void,
): Promise<{ url: string; server: NetServer }> {
  const server = createServer((socket) => {
    let head = "";
    const read = (chunk: Buffer): void => {
      head += chunk.toString("latin1");
      if (!head.includes("\r\n\r\n")) return;
      socket.off("data", read);
      talk(socket, head);
    };
    socket.on("data", read);
    socket.on("error", () => undefined);
    closers.push(() => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(() => void server.close());
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}/mcp`, server };
}

export interface RawAnswer {
  readonly text: string;
  /** "end": closed in an orderly way; "cut": reset; "open": neither within the time. */
  readonly ending: "end" | "cut" | "open";
}

/** Sends bytes as they are and collects what comes until the connection ends or `wait` ms have passed. */
export async function sendRaw(port: number, bytes: string, wait = 3_000): Promise<RawAnswer> {
  const socket = connect(port, "127.0.0.1");
  let text = "";
  return await new Promise((resolve) => {
    let ending: RawAnswer["ending"] = "open";
    const timer = setTimeout(() => {
      resolve({ text, ending: "open" });
      socket.destroy();
    }, wait);
    socket.on("data", (chunk) => (text += chunk.toString("latin1")));
    socket.on("end", () => (ending = "end"));
    socket.on("error", () => (ending = "cut"));
    socket.on("close", () => {
      clearTimeout(timer);
      resolve({ text, ending });
    });
    socket.write(Buffer.from(bytes, "latin1"));
  });
}

/** Resolves when `condition` holds; rejects after five seconds. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`never came true: ${condition.toString()}`);
    await Bun.sleep(2);
  }
}
