// The SDK clients through `--upstream` to a server built with the official SDK, each in a process of its own.
import { afterAll, describe, expect, test } from "bun:test";
import { type Postern, startPostern, stopProcesses } from "../process.ts";
import { type Connection, type Sdk, connect } from "./connection.ts";
import { failure } from "./failure.ts";
import { type Program, createProgram } from "./program.ts";
import { sdk1 } from "./sdk1.ts";
import { sdk2, sdk2Stateless } from "./sdk2.ts";
import { type Upstream, startUpstream, stopUpstreams } from "./upstreams.ts";

afterAll(async () => {
  await stopProcesses();
  await stopUpstreams();
});

interface Scene {
  readonly upstream: Upstream;
  readonly postern: Postern;
  readonly program: Program;
  readonly connection: Connection;
}

async function logIn(sdk: Sdk, headers?: Record<string, string>): Promise<Scene> {
  const upstream = await startUpstream("reference_server.ts");
  const postern = await startPostern({ settings: { upstream: upstream.url } });
  const program = createProgram(postern.browser);
  const connection = await connect(sdk, postern.url, program, headers);
  return { upstream, postern, program, connection };
}

const tokenRequests = ({ requests }: Program): string[] =>
  requests.filter((line) => line.includes("/token"));

const forged = {
  "X-Postern-User": "mallory",
  "x-postern-client": "mallory",
  "X-Postern-Scope": "admin",
  X_Postern_User: "mallory",
  "X-Forwarded-User": "mallory",
  "X-Forwarded-For": "203.0.113.66",
  "Remote-User": "mallory",
  Cookie: "session=mallory",
};

describe.each([sdk1, sdk2, sdk2Stateless])("$name", (sdk) => {
  test("the server learns who asks from us alone, and never sees a credential", async () => {
    const { postern, program, connection } = await logIn(sdk, { ...forged, "X-Custom": "kept" });
    const { headers } = await connection.call("headers");
    const told = Object.entries(headers as Record<string, string>).filter(([name]) =>
      /^(x|remote)[-_]|authorization|cookie|forwarded/i.test(name),
    );
    expect(Object.fromEntries(told)).toEqual({
      "x-postern-user": "owner",
      "x-postern-client": program.memory.client?.client_id ?? "",
      "x-postern-scope": "mcp",
      "x-forwarded-for": expect.stringMatching(/^(127\.0\.0\.1|::1)$/),
      "x-forwarded-host": new URL(postern.url).host,
      "x-forwarded-proto": "http",
      "x-custom": "kept",
    });
    expect(JSON.stringify(headers)).not.toMatch(/mallory|admin|203\.0\.113\.66|pat_/);
  });

  test("a session is the server's own: made, kept over our crash, ended, unknown", async () => {
    const { upstream, postern, program, connection } = await logIn(sdk);
    const id = connection.sessionId();
    expect(id).toMatch(/^[\da-f-]{36}$/);
    await postern.restart({ signal: "SIGKILL" });
    expect(await connection.tools()).toContain("headers");
    expect(connection.sessionId()).toBe(id ?? "");

    const other = await connect(sdk, postern.url, program);
    await connection.endSession();
    expect(await statusWithSession(postern, program, id)).toBe(404);
    expect(await other.tools()).toContain("headers");

    await upstream.kill();
    await upstream.start();
    expect(sdk.statusOf(await failure(other.tools()))).toBe(404);
    const fresh = await connect(sdk, postern.url, program);
    expect(await fresh.tools()).toContain("headers");
    expect(tokenRequests(program)).toEqual(["POST /token authorization_code 200"]);
  });

  test("what a tool tells on the way arrives before its end", async () => {
    const { postern, program, connection } = await logIn(sdk);
    const releasing = await connect(sdk, postern.url, program);
    const seen: number[] = [];
    // It ends only because the first message came: a held-back one would wait for ever.
    const answer = await connection.call("wait", {}, ({ progress }) => {
      seen.push(progress);
      if (progress === 1) void releasing.call("release");
    });
    expect(answer).toEqual({ steps: 2 });
    expect(seen).toEqual([1, 2]);
  });

  test("what the server says by itself arrives on the session's own stream", async () => {
    const { connection } = await logIn(sdk);
    // The SDKs open the stream when they get to it; what was said before is lost.
    for (let tries = 0; tries < 500 && connection.messages.length === 0; tries++) {
      await connection.call("announce");
      await Bun.sleep(10);
    }
    expect(connection.messages[0]).toBe("hear, hear");
  });

  test("a killed server is an error that is no login, and coming back costs none", async () => {
    const { upstream, postern, program, connection } = await logIn(sdk);
    const { tokens } = program.memory;
    await upstream.kill();
    const error = await failure(connection.call("headers"));
    expect(sdk.statusOf(error)).toBe(502);
    expect(sdk.asksForLogin(error)).toBe(false);
    expect(sdk.asksForLogin(await failure(connect(sdk, postern.url, program)))).toBe(false);
    await upstream.start();
    const again = await connect(sdk, postern.url, program);
    expect(await again.call("headers")).toBeObject();
    expect(program.memory.tokens).toEqual(tokens);
    expect(program.logins).toHaveLength(1);
    expect(tokenRequests(program)).toEqual(["POST /token authorization_code 200"]);
  });
});

/** A message as the SDKs send it, with the program's token. */
function post(
  postern: Postern,
  program: Program,
  session: string | undefined,
  message: Record<string, unknown>,
): Promise<Response> {
  return postern.fetch(postern.url, {
    method: "POST",
    headers: {
      authorization: `Bearer ${program.memory.tokens?.access_token}`,
      "content-type": "application/json",
      accept: "application/json, text/event-stream",
      "mcp-protocol-version": "2025-11-25",
      ...(session !== undefined && { "mcp-session-id": session }),
    },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, ...message }),
  });
}

async function statusWithSession(
  postern: Postern,
  program: Program,
  session: string | undefined,
): Promise<number> {
  const answer = await post(postern, program, session, { method: "tools/list", params: {} });
  await answer.text();
  return answer.status;
}

describe("on the wire", () => {
  test("an answer that a killed server was giving breaks off; it does not look complete", async () => {
    const { upstream, postern, program, connection } = await logIn(sdk1);
    const answer = await post(postern, program, connection.sessionId(), {
      method: "tools/call",
      params: { name: "wait", arguments: {}, _meta: { progressToken: 1 } },
    });
    expect(answer.headers.get("content-type")).toBe("text/event-stream");
    const reader = (answer.body ?? new ReadableStream<Uint8Array>()).getReader();
    let text = "";
    while (!text.includes("notifications/progress")) {
      const { value } = await reader.read();
      text += new TextDecoder().decode(value);
    }
    await upstream.kill();
    const rest = async (): Promise<void> => {
      while (!(await reader.read()).done);
    };
    expect(await failure(rest())).toBeInstanceOf(Error);
  });

  test("the error for a killed server has no challenge, and says whose fault it is", async () => {
    const { upstream, postern, program, connection } = await logIn(sdk1);
    await upstream.kill();
    const answer = await post(postern, program, connection.sessionId(), { method: "ping" });
    expect(answer.status).toBe(502);
    expect(answer.headers.has("www-authenticate")).toBe(false);
    expect(await answer.json()).toEqual({
      error: "server_error",
      error_description: expect.stringContaining("MCP server behind"),
    });
  });

  test("without a token nothing reaches the server, whatever session is named", async () => {
    const { upstream, postern, program, connection } = await logIn(sdk1);
    await upstream.kill();
    program.memory.tokens = undefined;
    const answer = await post(postern, program, connection.sessionId(), { method: "ping" });
    // Not the 502 that reaching for the server would give.
    expect(answer.status).toBe(401);
    expect(answer.headers.get("www-authenticate")).toStartWith("Bearer ");
  });
});
