// What a connection may call: scopes by server, capability, prefix and name, over raw HTTP and whichever way the server behind
// is reached.
import { afterAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { scopesFor } from "../../src/gateway/policy.ts";
import {
  type TestServer,
  type Tokens,
  obtainCode,
  redeemCode,
  registerClient,
  startServer,
  temporaryFolder,
} from "../server.ts";
import { type Recorded, startUpstream } from "./stage.ts";
import { initialize, messageOf, odd, request, stateless } from "./stdio_stage.ts";

const servers: TestServer[] = [];
afterAll(() => Promise.all(servers.map((server) => server.close())));

const policy = {
  "*": "use",
  tools: "read",
  "tools/delete_*": "write",
  "tools/delete_all": "write admin",
  "tools/delete_draft": "read",
  prompts: "prompt",
  "resources/secret:*": "admin",
};
const scopes = ["use", "read", "write", "admin", "prompt"];

const lists: Record<string, object> = {
  "tools/list": {
    tools: ["read_note", "delete_note", "delete_all", "delete_draft"].map((name) => ({ name })),
    nextCursor: "more",
  },
  "prompts/list": { prompts: [{ name: "greet" }] },
  "resources/list": { resources: [{ uri: "note:1" }, { uri: "secret:1" }] },
};

interface World {
  readonly server: TestServer;
  readonly asked: readonly Recorded[];
  /** Posts with a token of these scopes. */
  post(scope: string, message: unknown, headers?: Record<string, string>): Promise<Response>;
  get(scope: string): Promise<Response>;
}

type Answer = (request: Request, body: string) => Response;

const json: Answer = (_request, body) => {
  const message = JSON.parse(body) as { id?: unknown; method: string };
  return Response.json({ jsonrpc: "2.0", id: message.id, result: lists[message.method] ?? {} });
};

async function start(answer: Answer = json, entry: object = {}): Promise<World> {
  const upstream = startUpstream(answer);
  const folder = temporaryFolder();
  const own = { path: "/mcp", upstream: upstream.url, scopes, policy, ...entry };
  writeFileSync(join(folder, "config.json"), JSON.stringify({ servers: [own] }));
  const server = await startServer({ folder });
  servers.push(server);
  const tokens = new Map<string, Promise<string>>();
  const tokenFor = async (scope: string): Promise<string> => {
    const { client_id: id } = await registerClient(server);
    const code = await obtainCode(server, id, { scope });
    return ((await (await redeemCode(server, id, code)).json()) as Tokens).access_token;
  };
  const send = async (scope: string, init: RequestInit): Promise<Response> => {
    const token = tokens.get(scope) ?? tokenFor(scope);
    tokens.set(scope, token);
    const headers = new Headers(init.headers);
    headers.set("authorization", `Bearer ${await token}`);
    return server.fetch("/mcp", { ...init, headers });
  };
  return {
    server,
    asked: upstream.requests,
    post: (scope, message, headers = {}) =>
      send(scope, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          accept: "application/json, text/event-stream",
          ...headers,
        },
        body: typeof message === "string" ? message : JSON.stringify(message),
      }),
    get: (scope) => send(scope, { headers: { accept: "text/event-stream" } }),
  };
}

const call = (name: string, id = 1): object => request(id, "tools/call", { name });
const challenge = (answer: Response): string => answer.headers.get("www-authenticate") ?? "";
const scopeOf = (answer: Response): string[] =>
  (/scope="([^"]*)"/.exec(challenge(answer))?.[1] ?? "").split(" ").toSorted();

describe("the most exact entry counts, alone", () => {
  test.each<[string, string | undefined, string[]]>([
    ["tools", "read_note", ["read"]],
    ["tools", "delete_note", ["write"]],
    ["tools", "delete_all", ["write", "admin"]],
    ["tools", "delete_draft", ["read"]],
    ["tools", undefined, ["read"]],
    ["prompts", "any", ["prompt"]],
    ["resources", "note:1", ["use"]],
    ["resources", "secret:x", ["admin"]],
    ["tools", "constructor", ["read"]],
    ["tools", "__proto__", ["read"]],
  ])("%s %p needs %p", (capability, name, needed) => {
    const words = Object.fromEntries(
      Object.entries(policy).map(([key, value]) => [key, value.split(" ")]),
    );
    const wanted = { capability: capability as "tools", name };
    expect(scopesFor(words, wanted)).toEqual(needed);
  });

  test("a longer prefix before a shorter one, and nothing without entries", () => {
    const words = { "tools/a*": ["a"], "tools/ab*": ["ab"], "tools/*": ["all"] };
    const of = (name: string): readonly string[] => scopesFor(words, { capability: "tools", name });
    expect([of("abc"), of("ac"), of("x")]).toEqual([["ab"], ["a"], ["all"]]);
    expect(scopesFor(words, { capability: "prompts", name: "x" })).toEqual([]);
    expect(scopesFor({}, { capability: "tools", name: "x" })).toEqual([]);
  });
});

describe("RFC 6750 §3.1 insufficient_scope", () => {
  test.each<[string, object, number]>([
    ["use read", call("read_note"), 200],
    ["use read", call("delete_draft"), 200],
    ["use read", call("delete_note"), 403],
    ["use write", call("delete_note"), 200],
    ["use write", call("delete_all"), 403],
    ["use", request(1, "prompts/get", { name: "greet" }), 403],
    ["use prompt", request(1, "prompts/get", { name: "greet" }), 200],
    ["use", request(1, "resources/read", { uri: "note:1" }), 200],
    ["use", request(1, "resources/read", { uri: "secret:1" }), 403],
    ["use", request(1, "resources/subscribe", { uri: "secret:1" }), 403],
    ["use", request(1, "completion/complete", { ref: { type: "ref/prompt", name: "x" } }), 403],
    [
      "use",
      request(1, "completion/complete", { ref: { type: "ref/resource", uri: "secret:1" } }),
      403,
    ],
    [
      "use",
      request(1, "subscriptions/listen", {
        notifications: { resourceSubscriptions: ["secret:1"] },
      }),
      403,
    ],
    ["use", request(1, "tools/call", {}), 403],
    ["use", request(1, "tools/list"), 200],
    ["read", request(1, "ping"), 403],
    ["use", initialize("2025-11-25"), 200],
  ])("with %p: %p is %d", async (scope, message, status) => {
    const { post, asked } = await start();
    const answer = await post(scope, message);
    expect(answer.status).toBe(status);
    expect(asked).toHaveLength(status === 200 ? 1 : 0);
    if (status === 403) expect(challenge(answer)).toContain('error="insufficient_scope"');
  });

  test("one challenge names all that is needed, and what the client has", async () => {
    const { post } = await start();
    const one = await post("use", call("delete_all"));
    expect(scopeOf(one)).toEqual(["admin", "use", "write"]);
    expect(challenge(one)).toContain("resource_metadata=");
    const batch = [
      call("read_note"),
      call("delete_note", 2),
      request(3, "prompts/get", { name: "x" }),
    ];
    const several = await post("use", batch);
    expect(several.status).toBe(403);
    expect(scopeOf(several)).toEqual(["prompt", "read", "use", "write"]);
  });

  test("a stream is not opened either, without the scopes of the server", async () => {
    const { get, asked } = await start(() => Response.json({}));
    expect((await get("read")).status).toBe(403);
    expect((await get("use")).status).toBe(200);
    expect(asked).toHaveLength(1);
  });

  test("a client that asks again with what the challenge names gets through", async () => {
    const { post } = await start();
    const refused = await post("use read", call("delete_all"));
    expect((await post(scopeOf(refused).join(" "), call("delete_all"))).status).toBe(200);
  });
});

describe("lists leave out what may not be used", () => {
  test.each<[string, string[]]>([
    ["use", []],
    ["use read", ["read_note", "delete_draft"]],
    ["use read write", ["read_note", "delete_note", "delete_draft"]],
    ["use read write admin", ["read_note", "delete_note", "delete_all", "delete_draft"]],
  ])("tools with %p", async (scope, names) => {
    const { post } = await start();
    const { result } = await messageOf(await post(scope, request(1, "tools/list")));
    const tools = result?.["tools"] as { name: string }[];
    expect(tools.map(({ name }) => name)).toEqual(names);
    expect(result?.["nextCursor"]).toBe("more");
  });

  test("prompts and resources", async () => {
    const { post } = await start();
    const listed = async (method: string): Promise<unknown> =>
      (await messageOf(await post("use", request(1, method)))).result;
    expect(await listed("prompts/list")).toEqual({ prompts: [] });
    expect(await listed("resources/list")).toEqual({ resources: [{ uri: "note:1" }] });
  });

  test.each(["\n", "\r\n", "\r"])(
    "on event streams with lines ending in %j, however they come",
    async (end) => {
      const message = JSON.stringify({
        jsonrpc: "2.0",
        id: 1,
        result: lists["tools/list"],
        n: 1.0,
      });
      const progress = '{"jsonrpc":"2.0","method":"notifications/progress","params":{"x":1.0}}';
      // One message may be spread over several lines of data.
      const halves = `id: 8\ndata: ${message.slice(0, 1)}\ndata:${message.slice(1)}\n\n`;
      const first = `: hello\n\nevent: message\nid: 7\ndata: ${progress}\n\n`;
      const text = (first + halves).replaceAll("\n", end);
      for (const size of [1, 7, text.length]) {
        const chunks = text.match(new RegExp(`[^]{1,${size}}`, "g")) ?? [];
        const { post } = await start(
          () =>
            new Response(
              new ReadableStream({
                start: async (controller) => {
                  for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk));
                  controller.close();
                },
              }),
              { headers: { "content-type": "text/event-stream" } },
            ),
        );
        const answer = await post("use read", request(1, "tools/list"));
        const body = await answer.text();
        expect(body).toContain(`data: ${progress}`);
        expect(body).toContain("id: 8");
        const line = /^data: (\{.*"result".*)$/m.exec(body.replaceAll("\r", "\n"))?.[1] ?? "{}";
        const { result } = JSON.parse(line) as { result: { tools: { name: string }[] } };
        expect(result.tools.map(({ name }) => name)).toEqual(["read_note", "delete_draft"]);
        expect(body).not.toContain("delete_all");
      }
    },
  );

  test("an answer that cannot be looked through is none", async () => {
    const packed = Bun.gzipSync(
      JSON.stringify({ jsonrpc: "2.0", id: 1, result: lists["tools/list"] }),
    );
    const headers = { "content-type": "application/json", "content-encoding": "gzip" };
    const { post } = await start(() => new Response(packed, { headers }));
    expect((await post("use", request(1, "tools/list"))).status).toBe(502);
  });

  test("everything else passes as it is, to the byte", async () => {
    const text = `{ "jsonrpc":"2.0", "id":1,\n "result":{"n":1.0,"big":12345678901234567890} }`;
    const headers = { "content-type": "application/json" };
    const { post } = await start(() => new Response(text, { headers }));
    expect(await (await post("use read", call("read_note"))).text()).toBe(text);
  });
});

describe("what was checked is what the server gets", () => {
  test.each<[string, string, number]>([
    [
      "a method that is there twice",
      `{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call","params":{"name":"delete_all"}}`,
      403,
    ],
    [
      "a name that is there twice",
      `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_note","name":"delete_all"}}`,
      403,
    ],
    [
      "an escaped name",
      `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_\\u0061ll"}}`,
      403,
    ],
    ["no JSON", `{"jsonrpc":"2.0",}`, 400],
    ["no message", `{"method":"tools/call"}`, 400],
    ["one that is none in a batch", `[{"jsonrpc":"2.0","id":1,"method":"ping"},1]`, 400],
    [
      "more than a mebibyte",
      `{"jsonrpc":"2.0","id":1,"method":"x","params":"${"x".repeat(1 << 20)}"}`,
      413,
    ],
  ])("%s is %d", async (_name, body, status) => {
    const { post, asked } = await start();
    expect((await post("use read", body)).status).toBe(status);
    expect(asked).toHaveLength(0);
  });

  test("the body is handed on as it was understood", async () => {
    const { post, asked } = await start();
    const body = `{"jsonrpc":"2.0", "id":1,\r\n"method":"x","method":"ping","params":{"n":1.0,"big":12345678901234567890}}`;
    expect((await post("use", body)).status).toBe(200);
    expect(asked[0]?.body).toBe(
      `{"jsonrpc":"2.0","id":1,"method":"ping","params":{"n":1.0,"big":12345678901234567890}}`,
    );
    expect(asked[0]?.headers.get("content-length")).toBe(String(asked[0]?.body.length));
  });

  test("another media type is refused", async () => {
    const { post, asked } = await start();
    const answer = await post("use", "x", { "content-type": "text/plain" });
    expect([answer.status, asked.length]).toEqual([415, 0]);
  });

  test.each([
    ["Mcp-Method", { "mcp-method": "tools/list" }],
    ["Mcp-Name", { "mcp-name": "read_note" }],
    ["Mcp-Name in Base64", { "mcp-name": "=?base64?cmVhZF9ub3Rl?=" }],
  ])("MCP 2026-07-28: %s that says otherwise is 400, in every revision", async (_name, headers) => {
    const { post, asked } = await start();
    const [message, usual] = stateless(1, "tools/call", { name: "delete_note" });
    for (const given of [usual, {}]) {
      const answer = await post("use write", message, { ...given, ...headers });
      expect(answer.status).toBe(400);
      expect((await messageOf(answer)).error?.code).toBe(-32_020);
    }
    expect(asked).toHaveLength(0);
    expect((await post("use write", message, usual)).status).toBe(200);
  });
});

test("a server without a policy is neither read nor changed", async () => {
  const everything = { jsonrpc: "2.0", id: 1, result: lists["tools/list"] };
  const { post, asked } = await start(() => Response.json(everything), { policy: {} });
  const bodies = [`{"jsonrpc":"2.0","id":1,"method":"a","method":"tools/list"}`, "not json"];
  for (const body of bodies) {
    const answer = await post("use", body, { "content-type": "text/plain" });
    expect(await answer.json()).toEqual(everything);
  }
  expect(asked.map(({ body }) => body)).toEqual(bodies);
});

test("a command is governed in the same way", async () => {
  const { post } = await start(json, {
    upstream: undefined,
    command: JSON.parse(odd("told")),
    policy: { "tools/query": "admin" },
  });
  const opened = await post("use", initialize("2025-11-25"));
  const session = { "mcp-session-id": opened.headers.get("mcp-session-id") ?? "" };
  const { result } = await messageOf(await post("use", request(1, "tools/list"), session));
  expect(result).toEqual({ tools: [] });
  expect((await post("use", call("query"), session)).status).toBe(403);
  const other = await messageOf(await post("use", call("other"), session));
  expect(other.result).toEqual({ method: "tools/call" });
});
