// A command behind the gateway, and clients that were all let in: none gets at what is another's, and the command at nothing
// of ours.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { addKey } from "../../src/admin/keys.ts";
import { readConfig } from "../../src/config.ts";
import { type Wire, initialize, messagesOf, odd, request } from "../gateway/stdio_stage.ts";
import { launchIn, ownFolder, freePort, printed, stopProcesses } from "../process.ts";
import { Browser, type TestServer, callMcp, logIn, startServer } from "../server.ts";

afterAll(stopProcesses);

type Headers = Record<string, string>;
const accept = "application/json, text/event-stream";

const send = (
  server: TestServer,
  token: string,
  method: string,
  headers: Headers = {},
  message?: object,
): Promise<Response> =>
  server.fetch("/mcp", {
    method,
    headers: {
      authorization: `Bearer ${token}`,
      accept,
      ...(message && { "content-type": "application/json" }),
      ...headers,
    },
    ...(message && { body: JSON.stringify(message) }),
  });

async function openSession(server: TestServer, token: string): Promise<Headers> {
  const answer = await send(server, token, "POST", {}, initialize("2025-11-25"));
  const id = answer.headers.get("mcp-session-id") ?? "";
  await messagesOf(answer);
  const headers = { "mcp-session-id": id, "mcp-protocol-version": "2025-11-25" };
  await send(server, token, "POST", headers, {
    jsonrpc: "2.0",
    method: "notifications/initialized",
  });
  return headers;
}

describe.each(["per-session", "shared"])("processes %s: a session", (processes) => {
  let server: TestServer;
  let tokens: Map<string, string>;
  beforeAll(async () => {
    server = await startServer({ settings: { command: odd("plain"), processes } });
    const first = await logIn(server, { client_name: "One" });
    const second = await logIn(server, { client_name: "Two" });
    const asked = { id: "", query: new URLSearchParams(), actor: { via: "command" as const } };
    const key = await addKey({ ...asked, body: { name: "A script" } }, server.deps);
    tokens = new Map([
      ["a login", first.tokens.access_token],
      ["another login", second.tokens.access_token],
      ["a key", key.key],
    ]);
  });
  afterAll(() => server.close());

  test("is of no use to any other credential, whatever is done with it", async () => {
    for (const [whose, token] of tokens) {
      const headers = await openSession(server, token);
      for (const [who, other] of tokens) {
        if (who === whose) continue;
        const resumed = { ...headers, "last-event-id": "1-0" };
        const statuses = [
          (await send(server, other, "POST", headers, request(1, "x"))).status,
          (await send(server, other, "POST", headers, { jsonrpc: "2.0", method: "x" })).status,
          (await send(server, other, "GET", headers)).status,
          (await send(server, other, "GET", resumed)).status,
          (await send(server, other, "HEAD", headers)).status,
          (await send(server, other, "DELETE", headers)).status,
        ];
        expect([who, ...statuses]).toEqual([who, ...Array<number>(6).fill(404)]);
      }
      const own = await send(server, token, "POST", headers, request(2, "x"));
      expect([own.status, await messagesOf(own)]).toMatchObject([200, [{ id: 2 }]]);
    }
  });

  test("lets nobody speak for another: not in metadata, a batch, or a handshake", async () => {
    const token = tokens.get("another login") ?? "";
    const _meta = { "postern/user": "root", "Postern/Client": "x", "POSTERN/scope": "admin" };
    const lie = { ...initialize("2025-03-26"), params: { protocolVersion: "2025-03-26", _meta } };
    const answer = await send(server, token, "POST", {}, lie);
    const headers = { "mcp-session-id": answer.headers.get("mcp-session-id") ?? "" };
    await messagesOf(answer);
    const batch = [request("b", "x", { _meta }), request("c", "x", { _meta })];
    for (const { result } of await messagesOf(await send(server, token, "POST", headers, batch))) {
      const { params } = JSON.parse(String(result?.["line"])) as Wire;
      const { "postern/client": client, ...meta } = (params?.["_meta"] ?? {}) as Record<
        string,
        unknown
      >;
      expect(client).not.toBe("x");
      expect(meta).toEqual({ "postern/user": "owner", "postern/scope": "mcp" });
    }
  });

  test("is not listened to by HEAD: the stream that is open goes on", async () => {
    const token = tokens.get("a login") ?? "";
    const headers = await openSession(server, token);
    const listening = await send(server, token, "GET", { ...headers, accept });
    const reader = listening.body?.getReader();
    expect((await reader?.read())?.done).toBe(false);
    const head = await send(server, token, "HEAD", headers);
    expect([head.status, head.headers.get("content-type")]).toEqual([200, "text/event-stream"]);
    const next = await Promise.race([reader?.read(), Bun.sleep(50).then(() => "open")]);
    expect(next).toBe("open");
    await reader?.cancel();
  });

  test("that ends with its server by a change of settings is a clear answer, and no failure", async () => {
    server.deps.stdio.serve(readConfig({ data: server.folder }), new Map());
    const answer = await callMcp(server, tokens.get("a login") ?? "");
    expect([answer.status, answer.headers.get("retry-after")]).toEqual([503, "1"]);
    server.deps.stdio.serve(server.config, server.deps.credentials);
  });
});

test("a command gets nothing of ours: no variable and no open file", async () => {
  const [data, port] = [ownFolder(), await freePort()];
  const script = `import { readdirSync, readlinkSync } from "node:fs";
    const files = readdirSync("/proc/self/fd").flatMap((name) => { try { return [readlinkSync("/proc/self/fd/" + name)]; } catch { return []; } });
    console.error("SEEN " + JSON.stringify({ variables: Object.keys(process.env), files }));
    process.stdin.resume();`;
  const command = JSON.stringify([process.execPath, "-e", script]);
  const ours = {
    PATH: process.env["PATH"] ?? "",
    POSTERN_ALERT_NTFY: "https://ntfy.test/secret-topic",
    AWS_SECRET_ACCESS_KEY: "secret",
    NODE_OPTIONS: "",
    HTTPS_PROXY: "",
  };
  const child = launchIn(ours, { data, port: String(port), command });
  const link = await printed(child, /\S+\/setup\?token=\S+/);
  const config = readConfig({ data, port: String(port) });
  const server = {
    config,
    fetch: (path: string, init: RequestInit = {}) =>
      fetch(new URL(path, config.origin), { redirect: "manual", ...init }),
  };
  const owner = new Browser(server);
  await owner.setUp(link);
  const { tokens } = await logIn(server, {}, owner);
  void server
    .fetch("/mcp", {
      method: "POST",
      headers: {
        authorization: `Bearer ${tokens.access_token}`,
        "content-type": "application/json",
        accept,
      },
      body: JSON.stringify(initialize("2025-11-25")),
    })
    .catch(() => undefined);
  const seen = JSON.parse((await printed(child, /SEEN (\{.*\})/)).slice(5)) as {
    variables: string[];
    files: string[];
  };
  const allowed = ["PATH", "POSTERN_USER", "POSTERN_CLIENT"];
  expect(seen.variables.filter((name) => !allowed.includes(name))).toEqual([]);
  expect(seen.files.filter((file) => file.includes(data))).toEqual([]);
  await child.end("SIGTERM");
}, 30_000);
