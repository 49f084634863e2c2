// Requirements on discovery documents and CORS that no other test names: each test begins with the id of its row.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type TestServer, startServer } from "../server.ts";

const RESOURCE = "/.well-known/oauth-protected-resource";
const SERVER = "/.well-known/oauth-authorization-server";
const ORIGIN = "http://localhost:6274";
let server: TestServer;
beforeAll(async () => {
  server = await startServer({ settings: { url: "https://host.test/base", rateLimits: "on" } });
});
afterAll(() => server.close());

const documents = [
  SERVER,
  `${SERVER}/base`,
  RESOURCE,
  `${RESOURCE}/base/mcp`,
  `${RESOURCE}/base/mcp/`,
];
const read = async (path: string): Promise<Record<string, unknown>> =>
  (await (await server.fetch(path)).json()) as Record<string, unknown>;

test("PRM-7: a resource says its name and that tokens come in the header", async () => {
  expect(await read(`${RESOURCE}/base/mcp`)).toMatchObject({
    bearer_methods_supported: ["header"],
    resource_name: "host.test/base/mcp",
  });
});

test.each(documents)("PRM-9: %s is for everybody, in every way of asking", async (path) => {
  const get = await server.fetch(path, { headers: { origin: ORIGIN } });
  expect([get.status, get.headers.get("access-control-allow-origin")]).toEqual([200, "*"]);
  const maxAge = Number(/max-age=(\d+)/.exec(get.headers.get("cache-control") ?? "")?.[1]);
  expect(maxAge).toBeGreaterThan(0);
  expect(maxAge).toBeLessThanOrEqual(3600);
  const head = await server.fetch(path, { method: "HEAD" });
  expect([head.status, head.headers.get("content-type"), await head.text()]).toEqual([
    200,
    "application/json",
    "",
  ]);
  const options = await server.fetch(path, { method: "OPTIONS", headers: { origin: ORIGIN } });
  expect([options.status, await options.text()]).toEqual([204, ""]);
});

test.each([
  "/.well-known/openid-configuration",
  "/.well-known/openid-configuration/base",
  "/base/.well-known/openid-configuration",
])("ASM-3: %s is 404 JSON: without id tokens there is no such document", async (path) => {
  const response = await server.fetch(path);
  expect([response.status, response.headers.get("content-type")]).toMatchObject([
    404,
    expect.stringMatching(/^application\/json/),
  ]);
});

test.each(documents)("ASM-16: nothing in %s is null or empty", async (path) => {
  const empty = (value: unknown): boolean =>
    value === null ||
    value === "" ||
    (typeof value === "object" &&
      (Object.keys(value).length === 0 || Object.values(value).some(empty)));
  expect(empty(await read(path))).toBe(false);
});

describe("COR-1, COR-4, COR-5", () => {
  interface Case {
    readonly path: string;
    readonly init?: RequestInit;
    readonly status: number;
  }
  const json = { "content-type": "application/json" };
  const form = (text: string): RequestInit => ({ method: "POST", body: new URLSearchParams(text) });
  const cases: Case[] = [
    { path: SERVER, status: 200 },
    { path: "/.well-known/nothing", status: 404 },
    { path: "/base/token", init: form("grant_type=refresh_token"), status: 401 },
    { path: "/base/token", init: form("grant_type=password"), status: 400 },
    { path: "/base/token", status: 405 },
    { path: "/base/token", init: form(`x=${"y".repeat(20_000)}`), status: 413 },
    { path: "/base/register", init: { method: "POST", headers: json, body: "{}" }, status: 400 },
    { path: "/base/register", init: form("a=b"), status: 400 },
    { path: "/base/revoke", init: form("token=x"), status: 401 },
    { path: "/base/introspect", init: form("token=x"), status: 401 },
    { path: "/base/mcp", init: { method: "POST" }, status: 401 },
    { path: "/base/mcp/deeper", status: 401 },
    { path: "/base/mcp", init: { method: "PUT" }, status: 405 },
    { path: "/base/nothing", status: 404 },
    { path: "/base/healthz", status: 200 },
  ];

  test.each(cases.map((each) => [`${each.init?.method ?? "GET"} ${each.path}`, each] as const))(
    "a page may read the answer to %s, and its cookies count for nothing",
    async (_name, { path, init = {}, status }) => {
      const headers = { origin: ORIGIN, cookie: "__Host-postern=x", ...init.headers };
      const response = await server.fetch(path, { ...init, headers });
      expect(response.status).toBe(status);
      // At the MCP endpoint the origins that may call alone (COR-7).
      const leave = path.startsWith("/base/mcp") ? ORIGIN : "*";
      expect(response.headers.get("access-control-allow-origin")).toBe(leave);
      expect(response.headers.get("access-control-allow-credentials")).toBeNull();
      const exposed = response.headers.get("access-control-expose-headers") ?? "";
      for (const name of [
        "WWW-Authenticate",
        "Mcp-Session-Id",
        "MCP-Protocol-Version",
        "Retry-After",
      ])
        expect(exposed).toContain(name);
    },
  );

  test("of 429 too", async () => {
    const statuses = [];
    for (let tries = 0; tries < 30; tries++) {
      const response = await server.fetch("/base/token", form("grant_type=x"), "198.51.100.7");
      expect(response.headers.get("access-control-allow-origin")).toBe("*");
      statuses.push(response.status);
    }
    expect(statuses).toContain(429);
  });
});

test("COR-2, COR-8: preflights are answered without a token, once a day, with the methods there are", async () => {
  for (const [path, methods] of [
    ["/base/mcp", "GET, POST, DELETE, OPTIONS"],
    ["/base/token", "POST, OPTIONS"],
    ["/base/register", "POST, OPTIONS"],
    ["/base/revoke", "POST, OPTIONS"],
    [SERVER, "GET, OPTIONS"],
  ]) {
    const headers = { origin: ORIGIN, "access-control-request-method": "POST" };
    const response = await server.fetch(path ?? "", { method: "OPTIONS", headers });
    expect([response.status, response.headers.get("access-control-allow-methods")]).toEqual([
      204,
      methods ?? "",
    ]);
    expect(Number(response.headers.get("access-control-max-age"))).toBeGreaterThan(0);
  }
});
