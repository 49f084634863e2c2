import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type Login,
  type TestServer,
  type Tokens,
  callMcp,
  logIn,
  refreshWith,
  startServer,
  temporaryFolder,
} from "../server.ts";

let server: TestServer;
let login: Login;
beforeEach(async () => {
  server = await startServer();
  login = await logIn(server);
});
afterEach(() => server.close());

const metadataUrl = "http://localhost:7676/.well-known/oauth-protected-resource/mcp";
const bearer = (): Record<string, string> => ({
  authorization: `Bearer ${login.tokens.access_token}`,
});
const send = (headers: Record<string, string>, path = "/mcp", method = "POST"): Promise<Response> =>
  server.fetch(path, { method, headers });

describe("RFC 6750 §3: challenges", () => {
  test("without a token: a bare challenge with scope and resource_metadata, no error", async () => {
    const response = await send({ origin: "http://localhost:6274" });
    expect(response.status).toBe(401);
    expect(response.headers.get("www-authenticate")).toBe(
      `Bearer scope="mcp", resource_metadata="${metadataUrl}"`,
    );
    expect(response.headers.get("access-control-expose-headers")).toContain("WWW-Authenticate");
  });

  test.each<[string, string]>([
    ["junk", "Bearer junk"],
    ["an empty token", "Bearer "],
    ["two tokens", "Bearer a, Bearer b"],
    ["64 KB", `Bearer ${"a".repeat(65_536)}`],
    ["__proto__", "Bearer __proto__"],
    ["a well-formed stranger", `Bearer pat_${"A".repeat(22)}.1.${"A".repeat(43)}`],
  ])("%s: invalid_token", async (_name, authorization) => {
    const response = await send({ authorization });
    expect(response.status).toBe(401);
    const challenge = response.headers.get("www-authenticate") ?? "";
    expect(challenge).toStartWith('Bearer error="invalid_token", error_description="');
    expect(challenge).toContain(`resource_metadata="${metadataUrl}"`);
  });

  test.each(["Basic dXNlcjpwYXNz", "DPoP x", "Digest username=x", "Bearerx y", "   "])(
    "RFC 6750 §3.1: %p is no authentication: the same bare challenge",
    async (authorization) => {
      const response = await send({ authorization });
      expect([response.status, response.headers.get("www-authenticate")]).toEqual([
        401,
        `Bearer scope="mcp", resource_metadata="${metadataUrl}"`,
      ]);
    },
  );

  test("what clients read challenges with finds every parameter, and each once", async () => {
    server = await server.restart({ scopes: "read:notes write:notes" });
    const cases: Record<string, string>[] = [{}, { authorization: "Bearer x" }, bearer()];
    for (const headers of cases) {
      const challenge = (await send(headers)).headers.get("www-authenticate") ?? "";
      expect(challenge).toStartWith("Bearer ");
      const pieces = challenge.slice("Bearer ".length).split(", ");
      const names = pieces.map((piece) => /^([a-z_]+)="[^",=\\]+"$/.exec(piece)?.[1]);
      const errors = "authorization" in headers ? ["error", "error_description"] : [];
      expect(names).toEqual([...errors, "scope", "resource_metadata"]);
    }
  });

  test.each(["bearer", "BEARER", "bEaReR", "Bearer  "])("the scheme %p is read", async (scheme) => {
    const response = await server.fetch("/mcp", {
      method: "POST",
      headers: {
        authorization: `${scheme} ${login.tokens.access_token}`,
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
      },
      body: JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list", params: {} }),
    });
    expect(response.status).toBe(200);
  });

  test.each(["GET", "POST", "DELETE", "HEAD"])(
    "%s needs a token, below the mount too",
    async (method) => {
      for (const path of ["/mcp", "/mcp/", "/mcp/sse", "/mcp/a/b?access_token=x"]) {
        expect([path, (await send({}, path, method)).status]).toEqual([path, 401]);
      }
    },
  );

  test("a refresh token, a code and a client id are no access tokens", async () => {
    for (const token of [login.tokens.refresh_token, `pac_${"a".repeat(43)}`, login.clientId]) {
      expect((await callMcp(server, token)).status).toBe(401);
    }
  });

  test("a token in the query or in the body is not read", async () => {
    const token = login.tokens.access_token;
    expect((await send({}, `/mcp?access_token=${token}`)).status).toBe(401);
    const form = await server.fetch("/mcp", {
      method: "POST",
      body: new URLSearchParams({ access_token: token }),
    });
    expect(form.status).toBe(401);
  });

  test("cookies never authorize", async () => {
    const { Browser } = await import("../server.ts");
    const browser = new Browser(server);
    await browser.signIn();
    expect((await browser.send("/mcp", { method: "POST" })).status).toBe(401);
  });
});

describe("what ends a token", () => {
  test("its hour", async () => {
    server.clock.advance(3599);
    expect((await callMcp(server, login.tokens.access_token)).status).toBe(200);
    server.clock.advance(1);
    expect((await callMcp(server, login.tokens.access_token)).status).toBe(401);
  });

  test("a changed byte of it, anywhere", async () => {
    const token = login.tokens.access_token;
    for (let index = 4; index < token.length; index++) {
      const swapped = token[index] === "A" ? "B" : "A";
      const changed = token.slice(0, index) + swapped + token.slice(index + 1);
      if (changed === token) continue;
      expect([index, (await callMcp(server, changed)).status]).toEqual([index, 401]);
    }
  });

  test("the end of its client", async () => {
    const { admin, ADMIN_PATH } = await import("../../src/admin.ts");
    const url = `http://postern${ADMIN_PATH}/clients/${login.clientId}`;
    expect((await admin(new Request(url, { method: "DELETE" }), server.deps)).status).toBe(200);
    expect((await callMcp(server, login.tokens.access_token)).status).toBe(401);
    expect((await refreshWith(server, login.clientId, login.tokens.refresh_token)).status).toBe(
      401,
    );
  });

  test("not a restart: good after it, dead at once when its grant ends", async () => {
    server = await server.restart();
    expect((await callMcp(server, login.tokens.access_token)).status).toBe(200);
    await server.fetch("/revoke", {
      method: "POST",
      body: new URLSearchParams({ client_id: login.clientId, token: login.tokens.refresh_token }),
    });
    expect((await callMcp(server, login.tokens.access_token)).status).toBe(401);
  });
});

describe.each(["http://localhost:7676", "https://host.test/base"])("public URL %s", (url) => {
  test.each(["/mcp", "/mcp/"])(
    "RFC 9728 §3.3: whoever uses %s is led to metadata whose resource is that very URL",
    async (spelling) => {
      await server.close();
      server = await startServer({ settings: { url } });
      const { tokens } = await logIn(server);
      server = await server.restart({ scopes: "other" });
      const credentials: Record<string, string>[] = [
        {},
        { authorization: "Bearer wrong" },
        { authorization: `Bearer ${tokens.access_token}` },
      ];
      for (const headers of credentials) {
        const response = await send(headers, url + spelling);
        const challenge = response.headers.get("www-authenticate") ?? "";
        const metadata = /resource_metadata="([^"]+)"/.exec(challenge)?.[1] ?? "";
        const document = await (await server.fetch(metadata)).json();
        expect(document).toMatchObject({ resource: url + spelling });
      }
    },
  );

  test("a path below is told of the server above it", async () => {
    await server.close();
    server = await startServer({ settings: { url } });
    const above = `${new URL(url).pathname.replace(/\/$/, "")}/mcp`;
    for (const path of ["/mcp/sse", "/mcp/a/", "/mcp/mcp/"]) {
      const challenge = (await send({}, url + path)).headers.get("www-authenticate") ?? "";
      expect(challenge).toEndWith(`/.well-known/oauth-protected-resource${above}"`);
    }
  });
});

describe("scopes that the owner renamed or removed", () => {
  test("RFC 6750 §3.1: a token with none left is 403 insufficient_scope, whose challenge says what to ask for", async () => {
    server = await server.restart({ scopes: "read write" });
    const response = await callMcp(server, login.tokens.access_token);
    expect([response.status, await response.json()]).toMatchObject([
      403,
      { error: "insufficient_scope" },
    ]);
    const challenge = response.headers.get("www-authenticate") ?? "";
    expect(challenge).toStartWith('Bearer error="insufficient_scope", error_description="');
    expect(challenge).toEndWith(`, scope="read write", resource_metadata="${metadataUrl}"`);
  });

  test("a token with one left goes on with that one", async () => {
    await server.close();
    server = await startServer({ settings: { scopes: "read write" } });
    login = await logIn(server);
    server = await server.restart({ scopes: "write admin" });
    const response = await server.fetch("/mcp", {
      method: "POST",
      headers: {
        authorization: `Bearer ${login.tokens.access_token}`,
        accept: "application/json, text/event-stream",
        "content-type": "application/json",
      },
      body: JSON.stringify({
        jsonrpc: "2.0",
        id: 1,
        method: "tools/call",
        params: { name: "whoami", arguments: {} },
      }),
    });
    expect(response.status).toBe(200);
    const text = await response.text();
    expect(text).toContain("write");
    expect(text).not.toMatch(/read|admin/);
  });

  test("is no wrong token: it is not counted as one", async () => {
    server = await server.restart({ scopes: "other", rateLimits: "on" });
    for (let count = 0; count < 70; count++) {
      expect((await callMcp(server, login.tokens.access_token)).status).toBe(403);
    }
  });
});

describe("RFC 8707: one token, one resource", () => {
  test("a token of one server is refused at the other; each has its own metadata", async () => {
    const folder = temporaryFolder();
    const servers = [
      { path: "/notes", scopes: "mcp" },
      { path: "/home", scopes: "mcp" },
    ];
    writeFileSync(join(folder, "config.json"), JSON.stringify({ servers }));
    const two = await startServer({ folder });
    const { tokens } = await logIn(two);
    const call = (path: string): Promise<Response> =>
      two.fetch(path, {
        method: "GET",
        headers: { authorization: `Bearer ${tokens.access_token}` },
      });
    expect((await call("/notes")).status).toBe(405);
    const refused = await call("/home");
    expect(refused.status).toBe(401);
    expect(refused.headers.get("www-authenticate")).toContain(
      "/.well-known/oauth-protected-resource/home",
    );
    for (const path of ["/notes", "/home"]) {
      const metadata = await (
        await two.fetch(`/.well-known/oauth-protected-resource${path}`)
      ).json();
      expect(metadata).toMatchObject({ resource: `http://localhost:7676${path}` });
    }
    await two.close();
  });
});

describe("used_generation", () => {
  const grant = async () => (await server.deps.store.refresh_tokens.list())[0]?.[1];

  test("the first accepted use is remembered, over a restart, and written once", async () => {
    expect((await grant())?.used_generation).toBe(0);
    await Promise.all(Array.from({ length: 50 }, () => callMcp(server, login.tokens.access_token)));
    await server.deps.store.update((draft) => draft.get("owner", "owner"));
    expect((await grant())?.used_generation).toBe(1);
    server = await server.restart();
    expect((await grant())?.used_generation).toBe(1);
  });

  test("an old access token does not mark the new generation", async () => {
    const tokens = (await (
      await refreshWith(server, login.clientId, login.tokens.refresh_token)
    ).json()) as Tokens;
    await callMcp(server, login.tokens.access_token);
    await server.deps.store.update((draft) => draft.get("owner", "owner"));
    expect((await grant())?.used_generation).toBe(1);
    await callMcp(server, tokens.access_token);
    await server.deps.store.update((draft) => draft.get("owner", "owner"));
    expect((await grant())?.used_generation).toBe(2);
  });
});

describe("MCP 2026-07-28: Origin and CORS", () => {
  const preflight = (value: string): Promise<Response> =>
    send({ origin: value, "access-control-request-method": "POST" }, "/mcp", "OPTIONS");
  const origin = (value: string): Promise<Response> =>
    server.fetch("/mcp", {
      method: "POST",
      headers: { origin: value, authorization: `Bearer ${login.tokens.access_token}` },
    });

  test.each(["https://evil.test", "null", "http://localhost.evil.test", "file://"])(
    "%s is 403 for call and preflight, and nothing for its pages to read",
    async (value) => {
      for (const response of [await origin(value), await preflight(value)]) {
        expect(response.status).toBe(403);
        expect(response.headers.get("access-control-allow-origin")).toBeNull();
        expect(response.headers.get("access-control-allow-methods")).toBeNull();
      }
    },
  );

  test.each([
    "http://localhost:6274",
    "http://127.0.0.1:1",
    "http://localhost:7676",
    "http://[::1]:8080",
  ])("%s passes, and may read what it gets", async (value) => {
    for (const response of [await origin(value), await preflight(value)]) {
      expect(response.status).not.toBe(403);
      expect(response.headers.get("access-control-allow-origin")).toBe(value);
      expect(response.headers.get("vary")).toContain("Origin");
    }
  });

  test("who is no page needs no leave", async () => {
    const response = await send({ authorization: `Bearer ${login.tokens.access_token}` });
    expect(response.headers.get("access-control-allow-origin")).toBeNull();
  });

  test("a configured origin passes", async () => {
    server = await server.restart({ allowedOrigins: "https://inspector.example.com" });
    expect((await origin("https://inspector.example.com")).status).not.toBe(403);
  });

  test("a preflight needs no token and names every header", async () => {
    const response = await server.fetch("/mcp", {
      method: "OPTIONS",
      headers: {
        origin: "http://localhost:6274",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,mcp-param-region,x-odd",
      },
    });
    expect(response.status).toBe(204);
    const allowed = response.headers.get("access-control-allow-headers") ?? "";
    for (const name of [
      "Authorization",
      "Content-Type",
      "Accept",
      "MCP-Protocol-Version",
      "Mcp-Session-Id",
      "Last-Event-ID",
      "Mcp-Method",
      "Mcp-Name",
      "mcp-param-region",
    ]) {
      expect(allowed).toContain(name);
    }
    expect(allowed).not.toContain("x-odd");
    expect(response.headers.get("access-control-allow-methods")).toBe("GET, POST, DELETE, OPTIONS");
    expect(response.headers.get("access-control-allow-credentials")).toBeNull();
  });

  test.each(["/authorize", "/login", "/setup", "/connect", "/"])("%s has no CORS", async (path) => {
    for (const method of ["GET", "OPTIONS"]) {
      const response = await server.fetch(path, {
        method,
        headers: { origin: "https://web.test" },
      });
      expect(response.headers.get("access-control-allow-origin")).toBeNull();
    }
  });
});

test("60 wrong tokens a minute, then 429; a good token passes all the while", async () => {
  server = await server.restart({ rateLimits: "on" });
  for (let count = 0; count < 70; count++) await send({ authorization: "Basic dXNlcjpwYXNz" });
  for (let count = 0; count < 60; count++) {
    expect((await callMcp(server, "wrong")).status).toBe(401);
  }
  expect((await callMcp(server, "wrong")).status).toBe(429);
  expect((await callMcp(server, login.tokens.access_token)).status).toBe(200);
  expect((await send({})).status).toBe(401);
});
