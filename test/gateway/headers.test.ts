// Which headers reach the upstream and which reach the client (requirements RS-11, RS-12, RS-14, attacks P84-P86, P90).
import { afterAll, describe, expect, test } from "bun:test";
import { sendRaw, startRawUpstream, startStage, startUpstream, closeStages } from "./stage.ts";

afterAll(closeStages);

const head = (lines: string[]): string =>
  ["POST /mcp HTTP/1.1", "Host: mcp.example.com", ...lines, "Content-Length: 2", "", "{}"].join(
    "\r\n",
  );

/** What reached the upstream of a request with exactly these header lines. */
async function forwarded(lines: string[], address?: string): Promise<Headers> {
  const upstream = startUpstream();
  const stage = startStage(upstream.url, {
    settings: { url: "https://mcp.example.com" },
    ...(address !== undefined && { address }),
  });
  const { text } = await sendRaw(stage.port, head([...lines, "Connection: close"]));
  expect(text).toStartWith("HTTP/1.1 200");
  expect(upstream.requests).toHaveLength(1);
  return upstream.requests[0]?.headers ?? new Headers();
}

describe("credentials stay here", () => {
  test("MCP authorization: neither token nor cookie reaches the upstream", async () => {
    const headers = await forwarded([
      "Authorization: Bearer pat_secret",
      "aUTHORIZATION: Basic b3duZXI6cGFzcw==",
      "Cookie: __Host-postern=abc; theme=dark",
      "Proxy-Authorization: Basic eA==",
    ]);
    expect(JSON.stringify(headers)).not.toMatch(/pat_secret|b3duZXI6|abc|theme|eA==/);
    expect(headers.has("authorization")).toBe(false);
    expect(headers.has("cookie")).toBe(false);
  });

  test("a token in the query does not either", async () => {
    const upstream = startUpstream();
    const stage = startStage(upstream.url);
    for (const name of ["access_token", "access%5Ftoken", "%61ccess_token"]) {
      await fetch(`${stage.url}?a=%20&${name}=pat_x&b=2&${name}`, { method: "POST" });
    }
    expect(upstream.requests.map((request) => request.target)).toEqual(
      Array<string>(3).fill("/mcp?a=%20&b=2"),
    );
  });
});

describe("identity", () => {
  const names = [
    "X-Postern-User",
    "X-Postern-Client",
    "X-Postern-Scope",
    "X-Postern-Anything",
    "X-Forwarded-User",
    "X-Forwarded-Email",
    "X-Forwarded-Preferred-Username",
    "X-Forwarded-Groups",
    "X-Forwarded-Access-Token",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Uri",
    "X-Forwarded-Client-Cert",
    "X-Auth-Request-User",
    "X-Auth-Request-Email",
    "X-Auth-User",
    "X-Remote-User",
    "Remote-User",
    "Remote-Groups",
    "X-User",
    "X-User-Id",
    "X-Username",
    "X-Authenticated-User",
    "X-Authentik-Username",
    "X-WebAuth-User",
    "X-Pomerium-Claim-Email",
    "X-Goog-Authenticated-User-Email",
    "X-Amzn-Oidc-Identity",
    "X-MS-Client-Principal-Name",
    "Cf-Access-Authenticated-User-Email",
    "Tailscale-User-Login",
    "Ssl-Client-S-Dn",
    "Client-Cert",
    "Forwarded",
    "X-Real-IP",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Client-IP",
    "X-Original-URL",
    "X-Original-Method",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "X-HTTP-Method",
    "X-Method-Override",
  ];
  const spellings: Record<string, (name: string) => string> = {
    "as documented": (name) => name,
    "lower case": (name) => name.toLowerCase(),
    "upper case": (name) => name.toUpperCase(),
    underscores: (name) => name.replaceAll("-", "_"),
    "upper case with underscores": (name) => name.toUpperCase().replaceAll("-", "_"),
    "first dash only": (name) => name.replaceAll("-", "_").replace("_", "-"),
    "last dash only": (name) => name.replaceAll("-", "_").replace(/_([^_]*)$/, "-$1"),
    dots: (name) => name.replaceAll("-", "."),
    "odd signs": (name) => name.toLowerCase().replaceAll("-", "~"),
  };

  test.each(Object.entries(spellings))("no forged name arrives: %s", async (_spelling, spell) => {
    const headers = await forwarded(names.map((name) => `${spell(name)}: forged`));
    expect([...headers].filter(([, value]) => value.includes("forged"))).toEqual([]);
    expect(headers.get("x-postern-user")).toBe("owner");
    expect(headers.get("x-postern-client")).toBe("client-1");
    expect(headers.get("x-postern-scope")).toBe("mcp files");
  });

  test("all spellings of one name at once leave our value alone", async () => {
    const lines = Object.values(spellings).map((spell) => `${spell("X-Postern-User")}: forged`);
    const headers = await forwarded(lines);
    expect(JSON.stringify([...headers])).not.toContain("forged");
    expect(headers.get("x-postern-user")).toBe("owner");
  });

  test("who asks and through which public URL is told, from what we know", async () => {
    const headers = await forwarded([
      "X-Forwarded-For: 10.0.0.1",
      "X-Forwarded-Host: evil.example",
      "X-Forwarded-Proto: http",
    ]);
    expect(headers.get("x-forwarded-for")).toBe("203.0.113.7");
    expect(headers.get("x-forwarded-host")).toBe("mcp.example.com");
    expect(headers.get("x-forwarded-proto")).toBe("https");
    expect((await forwarded([], "unknown")).has("x-forwarded-for")).toBe(false);
  });

  test("values are made safe for a header", async () => {
    const upstream = startUpstream();
    const stage = startStage(upstream.url, {
      context: {
        subject: "Zoë\r\nX-Postern-Scope: all",
        clientId: "https://client.example/é?x=%20\u0000",
        scopes: ["a", "ü\ud800"],
      },
    });
    expect((await fetch(stage.url)).status).toBe(200);
    const headers = upstream.requests[0]?.headers;
    expect(headers?.get("x-postern-user")).toBe("Zo%C3%AB%0D%0AX-Postern-Scope: all");
    expect(headers?.get("x-postern-client")).toBe("https://client.example/%C3%A9?x=%20%00");
    expect(headers?.get("x-postern-scope")).toBe("a %C3%BC%EF%BF%BD");
  });
});

describe("RFC 9110 §7.6.1 hop by hop", () => {
  test("connection headers end here, and so do those that Connection names", async () => {
    const headers = await forwarded([
      "Connection: keep-alive, X-Hop, mcp-method",
      "X-Hop: 1",
      "Mcp-Method: tools/call",
      "Keep-Alive: timeout=5",
      "TE: trailers",
      "Trailer: Expires",
      "Upgrade: h2c",
      "HTTP2-Settings: AAMAAABkAAQAAP__",
      "Proxy-Connection: keep-alive",
    ]);
    for (const name of ["x-hop", "mcp-method", "keep-alive", "te", "trailer", "upgrade"]) {
      expect([name, headers.get(name)]).toEqual([name, null]);
    }
    expect(headers.get("proxy-connection")).toBeNull();
    expect(headers.get("http2-settings")).toBeNull();
    expect(headers.get("connection")).toBe("keep-alive");
  });

  test("Connection cannot take our own headers away", async () => {
    const named = "X-Postern-User, x_postern_client, X-Postern-Scope, X-Forwarded-For, close";
    const headers = await forwarded([`Connection: ${named}`]);
    expect(headers.get("x-postern-user")).toBe("owner");
    expect(headers.get("x-postern-client")).toBe("client-1");
    expect(headers.get("x-postern-scope")).toBe("mcp files");
    expect(headers.get("x-forwarded-for")).toBe("203.0.113.7");
  });
});

describe("everything else passes", () => {
  test("MCP headers and unknown ones arrive as they were", async () => {
    const sent = {
      "mcp-protocol-version": "2026-07-28",
      "mcp-session-id": "0123",
      "mcp-method": "tools/call",
      "mcp-name": "=?base64?SGVsbG8=?=",
      "mcp-param-region": "us-west1",
      "last-event-id": "42",
      "x-api-key": "of the upstream",
      traceparent: "00-1-2-01",
      accept: "application/json, text/event-stream",
      "content-type": "application/json; charset=utf-8",
      "user-agent": "client/1",
      origin: "http://localhost:6274",
      "if-none-match": '"x"',
    };
    const headers = await forwarded(
      Object.entries(sent).map(([name, value]) => `${name}: ${value}`),
    );
    expect(Object.fromEntries([...headers].filter(([name]) => name in sent))).toEqual(sent);
  });

  test("bytes of a value above ASCII are not changed, repeated ones are joined in order", async () => {
    const headers = await forwarded(["X-Latin: caf\xe9", "X-Many: 1", "X-Many: 2"]);
    expect(headers.get("x-latin")).toBe("caf\xe9");
    expect(headers.get("x-many")).toBe("1, 2");
  });

  test("Host is the upstream's own, compression is not asked for", async () => {
    const upstream = startUpstream();
    const stage = startStage(upstream.url);
    await fetch(stage.url, { headers: { "accept-encoding": "gzip, br" } });
    expect(upstream.requests[0]?.headers.get("host")).toBe(`127.0.0.1:${upstream.port}`);
    expect(upstream.requests[0]?.headers.get("accept-encoding")).toBe("identity");
  });
});

describe("what comes back", () => {
  const answered = async (
    headers: Record<string, string>,
    init?: RequestInit,
  ): Promise<Headers> => {
    const upstream = startUpstream(() => new Response("{}", { headers }));
    const stage = startStage(upstream.url);
    const response = await fetch(stage.url, init);
    expect(await response.text()).toBe("{}");
    return response.headers;
  };

  test("cookies, challenges, CORS and orders to the browser are the upstream's no more", async () => {
    const dropped = {
      "set-cookie": "__Host-postern=stolen",
      "www-authenticate": "Bearer resource_metadata=x",
      "proxy-authenticate": "Basic",
      "authentication-info": "x",
      "access-control-allow-origin": "https://evil.example",
      "access-control-allow-credentials": "true",
      "access-control-expose-headers": "x",
      "strict-transport-security": "max-age=0",
      "clear-site-data": "*",
      "alt-svc": 'h3=":443"',
      "x-accel-redirect": "/internal",
      "x-sendfile": "/etc/passwd",
      "keep-alive": "timeout=5",
      "x-hop": "1",
      connection: "x-hop",
    };
    const headers = await answered({ ...dropped, "mcp-session-id": "s1", "x-other": "kept" });
    expect([...headers.keys()].filter((name) => name in dropped)).toEqual([]);
    expect(headers.get("mcp-session-id")).toBe("s1");
    expect(headers.get("x-other")).toBe("kept");
  });

  test("a header that names the upstream's address is left out", async () => {
    const upstream = await startRawUpstream((socket, request) => {
      const host = /\nhost: (\S+)/i.exec(request)?.[1];
      socket.end(
        `HTTP/1.1 200 OK\r\nContent-Location: http://${host}/mcp\r\nLink: <http://${host}/x>; rel=next\r\n` +
          `Refresh: 0; url=//${host}\r\nX-Fine: http://${host}0/\r\nContent-Length: 2\r\n\r\n{}`,
      );
    });
    const { headers } = await fetch(startStage(upstream.url).url);
    expect(headers.get("content-location")).toBeNull();
    expect(headers.get("link")).toBeNull();
    expect(headers.get("refresh")).toBeNull();
    expect(headers.get("x-fine")).not.toBeNull();
  });

  test("RFC 9111 §3.5: what GET reads is not cached, unless the upstream says how", async () => {
    expect((await answered({})).get("cache-control")).toBe("private, no-store");
    expect((await answered({ "cache-control": "private, max-age=9" })).get("cache-control")).toBe(
      "private, max-age=9",
    );
    expect((await answered({}, { method: "POST" })).get("cache-control")).toBeNull();
  });
});
