// Commands behind the gateway on a real socket, without the rest of Postern: everybody is let in.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Config, readConfig } from "../../src/config.ts";
import type { AuthContext } from "../../src/deps.ts";
import type { Bounds } from "../../src/gateway/bridge.ts";
import { readCredentials } from "../../src/gateway/credentials.ts";
import { type Stdio, openStdio } from "../../src/gateway/stdio.ts";
import type { GivenSettings } from "../../src/settings.ts";
import { contextOf } from "./stage.ts";

const closers: (() => Promise<unknown>)[] = [];

/** Ends all of them. The caller's file calls `afterAll(closeStdioStages)`. */
export async function closeStdioStages(): Promise<void> {
  await Promise.all(closers.splice(0).map((close) => close()));
}

/** The command line of odd_server.ts. */
export const odd = (manner: string): string =>
  JSON.stringify([process.execPath, join(import.meta.dir, "odd_server.ts"), manner]);

export interface StdioStage {
  readonly url: string;
  readonly port: number;
  readonly config: Config;
  readonly stdio: Stdio;
  /** Lines that the children wrote for people. */
  readonly log: string[];
  /** The process that was started last. */
  pid(): number;
  /** "child_ended ended with exit code 3" */
  readonly events: string[];
  /** What requests are made with from now on. */
  context: AuthContext;
  /** Whether the login of every session lives. */
  isAlive: boolean;
  state(): NonNullable<ReturnType<Stdio["state"]>>;
  /** A message posted with the usual headers. */
  post(message: unknown, headers?: Record<string, string>, signal?: AbortSignal): Promise<Response>;
  /** `initialize` and what follows it. Resolves to the headers of the session. */
  open(revision?: string): Promise<Record<string, string>>;
}

export interface StdioStageOptions {
  readonly settings?: GivenSettings;
  readonly bounds?: Partial<Bounds>;
  readonly context?: Partial<AuthContext>;
  readonly environment?: Record<string, string>;
}

/** However slow the machine is, an answer that is all there is does not become a stream. */
export const patient: Partial<Bounds> = { opening: 60_000 };

/** Short where the usual bounds are long, so that nobody waits. */
const brisk: Partial<Bounds> = { patience: 400, opening: 200, sweep: 20, orphan: 200, grace: 50 };

/** The caller's file calls `afterAll(closeStages)`. */
export function startStdioStage(command: string, options: StdioStageOptions = {}): StdioStage {
  const config = readConfig({ data: "/nonexistent", command, ...options.settings });
  const { PATH = "", HOME = "" } = process.env;
  const environment = { PATH, HOME, POSTERN_SECRET: "ours", ...options.environment };
  const log: string[] = [];
  const events: string[] = [];
  let pid = 0;
  const stdio = openStdio({
    environment,
    monotonic: () => performance.now(),
    now: () => Date.now(),
    isAlive: async () => stage.isAlive,
    log: (_server, line) => void log.push(line),
    tell: (event, _server, facts) => {
      if (event === "child_started") pid = Number(facts["process"]);
      events.push([event, facts["reason"] ?? facts["error"]].filter(Boolean).join(" "));
    },
    bounds: { ...brisk, ...options.bounds },
  });
  stdio.serve(config, readCredentials(config, environment));
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: (request, bun) =>
      stdio.handle(request, stage.context, {
        path: decodeURIComponent(new URL(request.url).pathname),
        address: "203.0.113.7",
        requestId: "request-1",
        keepOpen: () => bun.timeout(request, 0),
        letIdle: () => bun.timeout(request, 10),
      }),
  });
  closers.push(async () => {
    await stdio.close();
    await server.stop(true);
  });
  const [first] = config.servers;
  const url = `http://127.0.0.1:${server.port}${first.path}`;
  const stage: StdioStage = {
    url,
    port: server.port ?? 0,
    config,
    stdio,
    log,
    events,
    pid: () => pid,
    context: contextOf(config, options.context),
    isAlive: true,
    state: () => stdio.state(first) ?? { running: 0, started: 0, crashed: 0, sessions: 0 },
    post: (message, headers = {}, signal) =>
      fetch(url, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          accept: "application/json, text/event-stream",
          ...headers,
        },
        body:
          typeof message === "string" || message instanceof Uint8Array
            ? Buffer.from(message)
            : JSON.stringify(message),
        ...(signal && { signal }),
      }),
    open: async (revision = "2025-11-25") => {
      const answer = await stage.post(initialize(revision));
      const session = answer.headers.get("mcp-session-id");
      if (session === null) throw new Error(`no session: ${answer.status} ${await answer.text()}`);
      await messagesOf(answer);
      const headers = { "mcp-session-id": session, "mcp-protocol-version": revision };
      await stage.post({ jsonrpc: "2.0", method: "notifications/initialized" }, headers);
      return headers;
    },
  };
  return stage;
}

export const initialize = (protocolVersion: string): object => ({
  jsonrpc: "2.0",
  id: 0,
  method: "initialize",
  params: { protocolVersion, capabilities: {}, clientInfo: { name: "test", version: "1" } },
});

export const request = (id: string | number, method: string, params?: object): object => ({
  jsonrpc: "2.0",
  id,
  method,
  ...(params && { params }),
});

/** A request of the stateless revision, and the headers that go with it. */
export function stateless(
  id: string | number,
  method: string,
  params: Record<string, unknown> = {},
  version = "2026-07-28",
): [object, Record<string, string>] {
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": version,
    "io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
    "io.modelcontextprotocol/clientCapabilities": {},
    ...(params["_meta"] as object | undefined),
  };
  const { name } = params;
  return [
    request(id, method, { ...params, _meta }),
    {
      "mcp-protocol-version": version,
      "mcp-method": method,
      ...(typeof name === "string" && { "mcp-name": name }),
    },
  ];
}

export interface Wire {
  readonly id?: unknown;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown };
}

/** All messages of an answer, whichever form it has. */
export async function messagesOf(answer: Response): Promise<Wire[]> {
  const text = await answer.text();
  if (!answer.headers.get("content-type")?.startsWith("text/event-stream")) {
    const value = text === "" ? [] : JSON.parse(text);
    return Array.isArray(value) ? value : [value];
  }
  return eventsIn(text).flatMap(({ data }) => (data === "" ? [] : [JSON.parse(data) as Wire]));
}

/** The one message of an answer. */
export async function messageOf(answer: Response): Promise<Wire> {
  const [only, ...others] = await messagesOf(answer);
  if (!only || others.length > 0) throw new Error(`not one message: ${JSON.stringify(others)}`);
  return only;
}

export interface SeenEvent {
  readonly id: string | undefined;
  readonly data: string;
}

/** The events of a stream's text; comments left out. */
export const eventsIn = (text: string): SeenEvent[] =>
  text
    .split("\n\n")
    .filter((block) => /^(?:id|data|event):/m.test(block))
    .map((block) => ({
      id: /^id: (.*)$/m.exec(block)?.[1],
      data: /^data: (.*)$/m.exec(block)?.[1] ?? "",
    }));

/** An open stream, read as it comes. */
export interface Listening {
  readonly status: number;
  events(): SeenEvent[];
  messages(): Wire[];
  /** Resolves when the server has ended it. */
  readonly ended: Promise<"end" | "cut">;
  hangUp(): void;
}

export async function listen(
  stage: StdioStage,
  headers: Record<string, string>,
  message?: object,
): Promise<Listening> {
  const abort = new AbortController();
  const answer = await (message
    ? stage.post(message, headers, abort.signal)
    : fetch(stage.url, {
        headers: { accept: "text/event-stream", ...headers },
        signal: abort.signal,
      }));
  let text = "";
  const read = async (): Promise<"end" | "cut"> => {
    try {
      const decoder = new TextDecoder();
      for await (const chunk of answer.body ?? []) text += decoder.decode(chunk, { stream: true });
      return "end";
    } catch {
      return "cut";
    }
  };
  const ended = read();
  return {
    status: answer.status,
    events: () => eventsIn(text),
    messages: () =>
      eventsIn(text).flatMap(({ data }) => (data === "" ? [] : [JSON.parse(data) as Wire])),
    ended,
    hangUp: () => abort.abort(),
  };
}

/** Whether a process runs; one that has ended and that nobody has asked about does not. */
export function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^\d+ \(.*\) Z/s.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch (error) {
    return error instanceof Error && "syscall" in error && error.syscall !== "kill";
  }
}
