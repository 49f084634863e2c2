// Which URL of the upstream a request reaches, and what clients learn of it (attacks P87, P90; a POST lost by a redirect).
import { afterAll, describe, expect, test } from "bun:test";
import { readConfig } from "../../src/config.ts";
import { OAuthError } from "../../src/errors.ts";
import { targetUrl, upstreamOf } from "../../src/gateway/target.ts";
import type { GivenSettings } from "../../src/settings.ts";
import { sendRaw, startRawUpstream, startStage, startUpstream, closeStages } from "./stage.ts";

afterAll(closeStages);

const target = (
  upstream: string,
  path: string,
  query = "",
  settings: GivenSettings = {},
): string => {
  const [server] = readConfig({ data: "/nonexistent", upstream, ...settings }).servers;
  return targetUrl(upstreamOf(server, server.upstream ?? ""), path, `http://localhost${query}`);
};

describe("the URL behind", () => {
  test.each([
    ["http://h:1/mcp", "/mcp", "", "http://h:1/mcp"],
    ["http://h:1/mcp", "/mcp/", "", "http://h:1/mcp/"],
    ["http://h:1/mcp/", "/mcp", "", "http://h:1/mcp/"],
    ["http://h:1/mcp/", "/mcp/", "", "http://h:1/mcp/"],
    ["http://h:1/mcp/", "/mcp/a", "", "http://h:1/mcp/a"],
    ["http://h:1", "/mcp", "", "http://h:1/"],
    ["http://h:1", "/mcp/a/b", "", "http://h:1/a/b"],
    ["https://h/deep/er", "/mcp/messages/", "", "https://h/deep/er/messages/"],
    ["http://h/mcp", "/mcp/a b?c#d%é", "", "http://h/mcp/a%20b%3Fc%23d%25%C3%A9"],
    ["http://h/mcp", "/mcp/@scope:1,2!", "", "http://h/mcp/@scope:1,2!"],
    ["http://h/mcp", "/mcp", "?a=1&b=%zz#frag", "http://h/mcp?a=1&b=%zz"],
    ["http://h/mcp", "/mcp", "?", "http://h/mcp"],
    ["http://h/mcp", "/mcp", "?x=http://evil/?y", "http://h/mcp?x=http://evil/?y"],
    ["http://h/mcp?key=1", "/mcp", "", "http://h/mcp?key=1"],
    ["http://h/mcp?key=1", "/mcp/a", "?b=2", "http://h/mcp/a?key=1&b=2"],
    ["http://h/mcp?key=1&z", "/mcp", "?key=2&b=2&%6Bey=3&z=", "http://h/mcp?key=1&z&b=2"],
  ])("%s and a request for %s%s: %s", (upstream, path, query, expected) => {
    expect(target(upstream, path, query)).toBe(expected);
  });

  test("the public URL's own path is not part of what is forwarded", () => {
    const settings = { url: "https://example.com/gate", path: "/files" };
    expect(target("http://h/mcp", "/gate/files/x", "?q", settings)).toBe("http://h/mcp/x?q");
  });

  test.each([
    "/",
    "/mc",
    "/mcpx",
    "/MCP",
    "/other",
    "/mcp/..",
    "/mcp/../admin",
    "/mcp/a/../../admin",
    "/mcp/.",
    "/mcp/./a",
    "/mcp//evil.example/",
    "/mcp/a//b",
    "/mcp/a\\..\\b",
    "/mcp/a;b",
    "/mcp/\u0000",
    "/mcp/a\r\nX: y",
    "/mcp/%2e%2e/admin",
    "/mcp/%2E%2E%2Fadmin",
    "/mcp/%5c",
    "/mcp/%00",
    "/mcp/%252e",
    "/mcp/\ud800",
  ])("%j is refused", (path) => {
    expect(() => target("http://h:1/mcp", path)).toThrow(OAuthError);
  });
});

test("paths that try to leave the prefix reach nothing outside it, whatever their spelling", async () => {
  const upstream = startUpstream();
  const stage = startStage(upstream.url);
  const paths = [
    "/mcp/%2e%2e/admin",
    "/mcp/..%2fadmin",
    "/mcp/%2e%2e%2fadmin",
    "/mcp/..%5cadmin",
    "/mcp/..\\admin",
    "/mcp/\\..\\admin",
    "/mcp//admin",
    "/mcp/;/../admin",
    "/mcp/a;x=1/..;/admin",
    "/mcp/%252e%252e/admin",
    "/mcp/%00/admin",
    "/mcp/a%0d%0aX:%20y",
    "/mcp/%c0%ae%c0%ae/admin",
    "/mcp/.%2e/admin",
    "/mcp%2f..%2fadmin",
    "/mcp/../mcp/../admin",
    "//evil.example/mcp",
    "/mcp@evil.example/",
    "/admin?/mcp",
    "/admin#/mcp",
    "/healthz/../admin",
    "http://evil.example/mcp/../admin",
  ];
  for (const path of paths) {
    await sendRaw(
      stage.port,
      `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`,
    );
  }
  const reached = upstream.requests.map((request) => request.target);
  expect(reached.filter((path) => !/^\/mcp(?:[/?]|$)/.test(path))).toEqual([]);
  // Resolved before anybody looked at it, so it means the same to all.
  expect(new Set(reached)).toEqual(new Set(["/mcp/admin"]));
});

test("method overrides and original-URL headers change neither method nor target", async () => {
  const upstream = startUpstream();
  const stage = startStage(upstream.url);
  await fetch(`${stage.url}?/healthz`, {
    method: "POST",
    headers: {
      "x-http-method-override": "DELETE",
      "x-original-url": "/healthz",
      "x-forwarded-uri": "/healthz",
      "x-rewrite-url": "/healthz",
      "user-agent": "GoogleHC/1.0",
    },
  });
  expect(upstream.requests[0]).toMatchObject({ method: "POST", target: "/mcp?/healthz" });
});

describe("redirects inside the upstream", () => {
  const slashed = (status: number): ReturnType<typeof startUpstream> =>
    startUpstream((request) => {
      const { pathname, search, origin } = new URL(request.url);
      if (pathname !== "/mcp") return Response.json({ ok: true });
      return new Response(null, { status, headers: { location: `${origin}/mcp/${search}` } });
    });

  test.each([307, 308])("%d is followed with method and body", async (status) => {
    const upstream = slashed(status);
    const stage = startStage(upstream.url);
    const response = await fetch(`${stage.url}?a=1`, {
      method: "POST",
      body: '{"jsonrpc":"2.0"}',
      headers: { "mcp-session-id": "s1" },
      redirect: "manual",
    });
    expect(response.status).toBe(200);
    expect(upstream.requests.map(({ method, target: path, body }) => [method, path, body])).toEqual(
      [
        ["POST", "/mcp?a=1", '{"jsonrpc":"2.0"}'],
        ["POST", "/mcp/?a=1", '{"jsonrpc":"2.0"}'],
      ],
    );
    expect(upstream.requests[1]?.headers.get("mcp-session-id")).toBe("s1");
    expect(upstream.requests[1]?.headers.get("x-postern-user")).toBe("owner");
  });

  test("a body too large to keep is not sent again: the client gets the public URL to send it to", async () => {
    const upstream = slashed(307);
    const stage = startStage(upstream.url);
    const response = await fetch(stage.url, {
      method: "POST",
      body: "x".repeat(200_000),
      redirect: "manual",
    });
    expect(response.status).toBe(307);
    expect(response.headers.get("location")).toBe("http://localhost:7676/mcp/");
  });

  test("a circle ends with the client, not here", async () => {
    const upstream = startUpstream(
      () => new Response(null, { status: 307, headers: { location: "/mcp" } }),
    );
    const stage = startStage(upstream.url);
    const response = await fetch(stage.url, { method: "POST", body: "{}", redirect: "manual" });
    expect(response.status).toBe(307);
    expect(response.headers.get("location")).toBe("http://localhost:7676/mcp");
    expect(upstream.requests).toHaveLength(4);
  });

  test.each([301, 302, 303])("%d goes to the client under the public URL", async (status) => {
    const upstream = startUpstream(
      () => new Response(null, { status, headers: { location: "/mcp/a/../b?key=1&c=2#d" } }),
    );
    const stage = startStage(`${upstream.url}?key=1`, {
      settings: { url: "https://mcp.example.com" },
    });
    const response = await fetch(stage.url, { redirect: "manual" });
    expect(response.status).toBe(status);
    expect(response.headers.get("location")).toBe("https://mcp.example.com/mcp/b?c=2#d");
  });

  test("the Location of something made is mapped, or left out when it lies outside", async () => {
    const upstream = startUpstream((request) => {
      const location = request.url.endsWith("/in") ? "in/1" : "/outside";
      return new Response("{}", { status: 201, headers: { location } });
    });
    const stage = startStage(upstream.url);
    const inside = await fetch(`${stage.url}/in`, { method: "POST" });
    expect(inside.headers.get("location")).toBe("http://localhost:7676/mcp/in/1");
    const outside = await fetch(`${stage.url}/out`, { method: "POST" });
    expect([outside.status, outside.headers.get("location")]).toEqual([201, null]);
  });
});

describe("redirects elsewhere", () => {
  test.each([
    "/login",
    "/mcpx",
    "/mcp/../admin",
    "/mcp/%2e%2e/admin",
    "//evil.example/mcp",
    "https://evil.example/mcp",
    "http://user@HOST/mcp",
    "https://HOST/mcp",
    "http://127.0.0.1:1/mcp",
    "file:///etc/passwd",
    "http://",
  ])("to %s: 502, and nobody is sent there", async (location) => {
    for (const status of [302, 307]) {
      const upstream = startUpstream((request) => {
        const host = request.headers.get("host") ?? "";
        return new Response("moved", {
          status,
          headers: { location: location.replace("HOST", host) },
        });
      });
      const stage = startStage(upstream.url);
      const response = await fetch(stage.url, { method: "POST", body: "{}", redirect: "manual" });
      expect(response.status).toBe(502);
      expect(response.headers.get("location")).toBeNull();
      expect(await response.json()).toEqual({
        error: "server_error",
        error_description:
          "the MCP server behind Postern redirected to somewhere outside its own URL",
      });
      expect(upstream.requests).toHaveLength(1);
    }
  });

  test("an upstream at the root of its host may redirect anywhere on it", async () => {
    const upstream = await startRawUpstream((socket, head) => {
      const first = head.startsWith("POST / ");
      socket.end(
        first
          ? "HTTP/1.1 307 Moved\r\nLocation: /v2/mcp\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
          : `HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok`,
      );
    });
    const stage = startStage(upstream.url.replace(/\/mcp$/, ""));
    const response = await fetch(stage.url, { method: "POST", body: "{}" });
    expect(await response.text()).toBe("ok");
  });
});
