// The guarded endpoint on the real socket, with an upstream that records what reaches it (P45, P82 to P90).
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { admin } from "../../src/admin.ts";
import { changePassword } from "../../src/admin/owner.ts";
import { withConfig } from "../../src/cli/open.ts";
import { readConfig } from "../../src/config.ts";
import { guard } from "../../src/gateway/guard.ts";
import type { GivenSettings } from "../../src/settings.ts";
import { sendRaw, startUpstream, closeStages } from "../gateway/stage.ts";
import { type Login, type TestServer, callMcp, logIn, startServer } from "../server.ts";
import { type Listening, startListening } from "./stand.ts";

afterAll(closeStages);

const upstream = startUpstream();
let stand: Listening;
beforeAll(async () => {
  stand = await startListening({ upstream: upstream.url });
});
afterAll(() => stand.close());

interface Seen {
  readonly status: number;
  readonly text: string;
  /** What the upstream was asked. */
  readonly reached: string[];
}

async function send(
  line: string,
  headers: readonly string[] = [],
  host = stand.host,
): Promise<Seen> {
  const before = upstream.requests.length;
  const lines = [line, host, ...headers, "Connection: close", "", ""];
  const { text } = await sendRaw(stand.port, lines.join("\r\n"));
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0);
  const reached = upstream.requests
    .slice(before)
    .map(({ method, target }) => `${method} ${target}`);
  return { status, text, reached };
}

const bearer = (): string => `Authorization: Bearer ${stand.victim.tokens.access_token}`;

describe("P87: paths", () => {
  // The same for everybody: with a token, and what of it reaches the upstream.
  test.each<[string, number, string[]]>([
    ["/mcp", 200, ["GET /mcp"]],
    ["/mcp/", 200, ["GET /mcp/"]],
    ["/mcp/a/b", 200, ["GET /mcp/a/b"]],
    ["/mcp/a%20b%C3%A9", 200, ["GET /mcp/a%20b%C3%A9"]],
    ["/mcp/a%3Fb%23c", 200, ["GET /mcp/a%3Fb%23c"]],
    ["/%6dcp", 200, ["GET /mcp"]],
    ["/mcp/%61", 200, ["GET /mcp/a"]],
    ["/mcp?a=/../b&c=%2f..%2f", 200, ["GET /mcp?a=/../b&c=%2f..%2f"]],
    ["/mcp#/../healthz", 200, ["GET /mcp"]],
    ["/healthz/../mcp", 200, ["GET /mcp"]],
    ["/.well-known/../mcp", 200, ["GET /mcp"]],
    ["/mcp/x/../y", 200, ["GET /mcp/y"]],
    ["/mcp/\\..\\x", 200, ["GET /mcp/x"]],
    ["/mcp/../admin", 404, []],
    ["/mcp/%2e%2e/admin", 404, []],
    ["/mcp/.%2e/admin", 404, []],
    ["/mcp/..%2fadmin", 400, []],
    ["/mcp/%2e%2e%2fadmin", 400, []],
    ["/mcp/..%5cadmin", 400, []],
    ["/mcp/%252e%252e/admin", 400, []],
    ["/mcp/%00", 400, []],
    ["/mcp/%0d%0aX:y", 400, []],
    ["/mcp/%09", 400, []],
    ["/mcp/a;b", 400, []],
    ["/mcp;a", 400, []],
    ["/mcp/..;/admin", 400, []],
    ["/mcp//x", 400, []],
    ["//mcp", 400, []],
    ["/mcp%2fx", 400, []],
    ["/MCP", 404, []],
    ["/mcpx", 404, []],
    ["/mcp.", 404, []],
    ["/mcp%20", 404, []],
    ["/admin/api/grants", 403, []],
    ["/.well-known/oauth-protected-resource/../../admin", 404, []],
  ])(
    "%s is %d, and %p reaches the upstream; nothing without a token",
    async (path, status, reached) => {
      await stand.attempt(async () => {
        const known = await send(`GET ${path} HTTP/1.1`, [bearer()]);
        expect([known.status, known.reached]).toEqual([status, reached]);
        const stranger = await send(`GET ${path} HTTP/1.1`);
        expect([401, status === 200 ? 401 : status]).toContain(stranger.status);
        expect(stranger.reached).toEqual([]);
      });
    },
  );
});

describe("P88: nothing but the token opens the door", () => {
  test.each([
    "X-Forwarded-Uri: /healthz",
    "X-Original-URL: /healthz",
    "X-Original-URI: /healthz",
    "X-Rewrite-URL: /.well-known/oauth-authorization-server",
    "X-HTTP-Method-Override: OPTIONS",
    "X-HTTP-Method: OPTIONS",
    "X-Forwarded-For: 127.0.0.1",
    "X-Real-IP: 127.0.0.1",
    "X-Forwarded-User: owner",
    "X-Postern-User: owner",
    "X_Postern_User: owner",
    "User-Agent: GoogleHC/1.0",
    "User-Agent: kube-probe/1.29",
    "Proxy-Authorization: Bearer TOKEN",
    "X-Authorization: Bearer TOKEN",
    "X-Access-Token: TOKEN",
    "X-API-Key: TOKEN",
    "Cookie: access_token=TOKEN",
    "Sec-WebSocket-Protocol: TOKEN",
    "Upgrade: websocket",
    "Connection: Upgrade, Authorization",
    "Content-Type: application/x-www-form-urlencoded",
  ])("%s", async (header) => {
    await stand.attempt(async () => {
      const line = header.replace("TOKEN", stand.victim.tokens.access_token);
      const { status, reached } = await send("GET /mcp?/healthz HTTP/1.1", [line]);
      expect([status, reached]).toEqual([401, []]);
    });
  });

  test.each([
    ["first the good one", (good: string) => [good, "Authorization: Bearer x"]],
    ["last the good one", (good: string) => ["Authorization: Basic eDp5", good]],
    ["the good one twice", (good: string) => [good, good]],
    ["folded", (good: string) => [good.replace(" Bearer ", "\r\n Bearer ")]],
    ["with a comma", (good: string) => [`${good},`]],
    ["with a quote", (good: string) => [good.replace("Bearer ", 'Bearer "')]],
    ["with a tab", (good: string) => [good.replace("Bearer ", "Bearer\t")]],
    ["with a NUL", (good: string) => [`${good}\u0000`]],
    ["in UTF-8", (good: string) => [`${good}\u00c2\u00a0`]],
  ])("P82: two tokens or a strange one, %s: refused, not guessed", async (_name, headers) => {
    await stand.attempt(async () => {
      const { status, reached } = await send("GET /mcp HTTP/1.1", headers(bearer()));
      expect([400, 401]).toContain(status);
      expect(reached).toEqual([]);
    });
  });
});

describe("P89: methods", () => {
  test.each(["TRACE", "CONNECT", "PUT", "PATCH", "PROPFIND", "QUERY"])(
    "%s is 405 with and without a token",
    async (method) => {
      await stand.attempt(async () => {
        for (const headers of [[], [bearer()]]) {
          const { status, text, reached } = await send(`${method} /mcp HTTP/1.1`, headers);
          expect([status, reached]).toEqual([405, []]);
          expect(text).toContain("GET, POST, DELETE");
          expect(text).not.toContain(stand.victim.tokens.access_token);
        }
      });
    },
  );

  test.each(["get", "post", "Get", "gET", "DEBUG"])(
    "%s is no method, and reaches nothing",
    async (method) => {
      const { status, reached } = await send(`${method} /mcp HTTP/1.1`, [bearer()]);
      expect([0, 400, 405]).toContain(status);
      expect(reached).toEqual([]);
    },
  );

  test("OPTIONS is answered here, HEAD needs a token", async () => {
    expect(await send("OPTIONS /mcp HTTP/1.1", [bearer()])).toMatchObject({
      status: 204,
      reached: [],
    });
    expect(await send("HEAD /mcp HTTP/1.1")).toMatchObject({ status: 401, reached: [] });
    expect(await send("HEAD /mcp HTTP/1.1", [bearer()])).toMatchObject({ reached: ["HEAD /mcp"] });
  });
});

test("P84, P85: through everything, the upstream learns who asks from us alone", async () => {
  const forged = ["User", "Client", "Scope"].flatMap((name) => [
    `X-Postern-${name}: mallory`,
    `x_postern_${name.toLowerCase()}: mallory`,
  ]);
  const cookies = [...stand.owner.cookies].map(([name, value]) => `${name}=${value}`).join("; ");
  await send("GET /mcp HTTP/1.1", [bearer(), `Cookie: ${cookies}`, ...forged]);
  const headers = Object.fromEntries(upstream.requests.at(-1)?.headers ?? []);
  expect(headers).toMatchObject({
    "x-postern-user": "owner",
    "x-postern-client": stand.victim.clientId,
    "x-postern-scope": "mcp",
  });
  expect(JSON.stringify(headers)).not.toMatch(/mallory|pat_|postern_\d+=/);
});

test("whoever guesses from a client's network does not keep it from hearing that its token expired", async () => {
  const server = await startServer({ settings: { rateLimits: "on" } });
  const { tokens } = await logIn(server);
  const stranger = `pat_${"A".repeat(22)}.1.${"A".repeat(43)}`;
  for (let count = 0; count < 70; count++) await callMcp(server, stranger);
  server.clock.advance(3600 - 10);
  for (let count = 0; count < 70; count++) await callMcp(server, stranger);
  expect((await callMcp(server, stranger)).status).toBe(429);
  expect((await callMcp(server, tokens.access_token)).status).toBe(200);
  server.clock.advance(10);
  for (let count = 0; count < 70; count++) {
    const response = await callMcp(server, tokens.access_token);
    expect(response.status).toBe(401);
    expect(response.headers.get("www-authenticate")).toContain('error="invalid_token"');
  }
  await server.close();
});

describe("P45: an open stream asks again whether its token is good", () => {
  let server: TestServer;
  let login: Login;
  const opened = async (): Promise<() => Promise<boolean>> => {
    server = await startServer();
    login = await logIn(server);
    const request = new Request("http://localhost:7676/mcp", {
      headers: { authorization: `Bearer ${login.tokens.access_token}` },
    });
    const call = {
      path: "/mcp",
      address: "203.0.113.7",
      requestId: "1",
      keepOpen: () => undefined,
      letIdle: () => undefined,
    };
    const { stillGood } = await guard(request, server.config.servers[0], server.deps, call);
    expect(await stillGood()).toBe(true);
    return stillGood;
  };
  const reload = (changes: GivenSettings): Promise<unknown> =>
    withConfig(server.deps, readConfig({ data: server.folder, ...changes }));
  const asClient = (token: string): Promise<Response> =>
    server.fetch("/revoke", {
      method: "POST",
      body: new URLSearchParams({ client_id: login.clientId, token }),
    });
  const asOwner = (method: string, path: string): Promise<Response> =>
    admin(new Request(`http://postern/admin/api${path}`, { method }), server.deps);

  test.each<[string, () => unknown]>([
    ["it expires", () => server.clock.advance(3600)],
    ["it is revoked", () => asClient(login.tokens.access_token)],
    ["its login is revoked by the client", () => asClient(login.tokens.refresh_token)],
    [
      "its login is revoked by the owner",
      () => asOwner("DELETE", `/grants/${login.tokens.refresh_token.slice(4, 26)}`),
    ],
    ["its client is deleted", () => asOwner("DELETE", `/clients/${login.clientId}`)],
    ["everything is revoked", () => asOwner("POST", "/revoke-all")],
    ["the password is changed", () => changePassword("another long password", server.deps)],
    ["its server is taken out of the settings", () => reload({ path: "/other" })],
    ["its server leads elsewhere", () => reload({ upstream: "http://127.0.0.1:9/mcp" })],
    ["its server offers other scopes", () => reload({ scopes: "read" })],
  ])("no more when %s", async (_name, end) => {
    const stillGood = await opened();
    await end();
    expect(await stillGood()).toBe(false);
    await server.close();
  });

  test("settings that leave its server alone leave it alone", async () => {
    const stillGood = await opened();
    await reload({ allowedOrigins: "https://app.test" });
    expect(await stillGood()).toBe(true);
    await server.close();
  });
});
