// The built-in MCP server: every protocol revision, both official clients, and messages made to hurt.
import { afterAll, describe, expect, test } from "bun:test";
import { Client as Client2, StreamableHTTPClientTransport as Transport2 } from "mcp-client-2";
import { Client as Client1 } from "mcp-sdk-1/client/index.js";
import { StreamableHTTPClientTransport as Transport1 } from "mcp-sdk-1/client/streamableHttp.js";
import { whoami } from "../../src/gateway/whoami.ts";
import { sendRaw, startStage, closeStages } from "./stage.ts";

afterAll(closeStages);

const identity = {
  subject: "owner",
  client: { id: "client-1", name: "Test client" },
  scopes: ["mcp", "files"],
  server: "http://localhost:7676/mcp",
  since: "2026-11-21T03:00:00.000Z",
};

const stage = startStage("", {
  handler: whoami,
  context: { issuedAt: Date.UTC(2026, 10, 21, 3) / 1000 },
});

const types = {
  "content-type": "application/json",
  accept: "application/json, text/event-stream",
};

async function post(
  body: string | Uint8Array<ArrayBuffer> | object,
  headers: Record<string, string> = {},
): Promise<Response> {
  const raw = typeof body === "string" || body instanceof Uint8Array;
  return fetch(stage.url, {
    method: "POST",
    headers: { ...types, ...headers },
    body: raw ? body : JSON.stringify(body),
  });
}

/** The one message in an answer, be it JSON or an event. */
async function messageOf(response: Response): Promise<Record<string, unknown>> {
  const text = await response.text();
  return JSON.parse(/^data: (.*)$/m.exec(text)?.[1] ?? text);
}

const info = { name: "test", version: "1" };
const envelope = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientInfo": info,
  "io.modelcontextprotocol/clientCapabilities": {},
};
const modern = (method: string, params: object = {}): [object, Record<string, string>] => [
  { jsonrpc: "2.0", id: 1, method, params: { ...params, _meta: envelope } },
  { "mcp-protocol-version": "2026-07-28", "mcp-method": method },
];

describe("official clients", () => {
  test("SDK 1.32 connects, lists and calls", async () => {
    const client = new Client1(info);
    await client.connect(new Transport1(new URL(stage.url)));
    expect(client.getServerVersion()?.name).toBe("postern");
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(["whoami"]);
    const result = await client.callTool({ name: "whoami" });
    expect(result.structuredContent).toEqual(identity);
    expect(JSON.parse((result.content as { text: string }[])[0]?.text ?? "")).toEqual(identity);
    await client.close();
  });

  test.each([
    ["legacy", "2025-11-25"],
    ["auto", "2026-07-28"],
  ] as const)("client 2.4, negotiation %s, speaks %s", async (mode, revision) => {
    const client = new Client2(info, { versionNegotiation: { mode } });
    await client.connect(new Transport2(new URL(stage.url)));
    expect(client.getNegotiatedProtocolVersion()).toBe(revision);
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(["whoami"]);
    const result = await client.callTool({ name: "whoami", arguments: {} });
    expect(result.structuredContent).toEqual(identity);
    await client.close();
  });

  test("forty calls at once get forty answers", async () => {
    const client = new Client2(info);
    await client.connect(new Transport2(new URL(stage.url)));
    const results = await Promise.all(
      Array.from({ length: 40 }, () => client.callTool({ name: "whoami", arguments: {} })),
    );
    for (const { structuredContent } of results) expect(structuredContent).toEqual(identity);
    await client.close();
  });
});

describe("protocol revisions", () => {
  test.each(["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])(
    "initialize with %s is answered in it, without a session",
    async (protocolVersion) => {
      const params = { protocolVersion, capabilities: {}, clientInfo: info };
      const response = await post({ jsonrpc: "2.0", id: 1, method: "initialize", params });
      expect(response.status).toBe(200);
      expect(response.headers.get("mcp-session-id")).toBeNull();
      expect(response.headers.get("connection")).not.toBe("keep-alive");
      expect(await messageOf(response)).toMatchObject({ result: { protocolVersion } });
    },
  );

  test("MCP 2026-07-28: server/discover names the revision, tools are called without a handshake", async () => {
    const discovered = await messageOf(await post(...modern("server/discover")));
    expect(discovered).toMatchObject({ result: { supportedVersions: ["2026-07-28"] } });
    const [body, headers] = modern("tools/call", { name: "whoami", arguments: {} });
    const called = await messageOf(await post(body, { ...headers, "mcp-name": "whoami" }));
    expect(called).toMatchObject({ result: { structuredContent: identity } });
  });

  test("MCP 2026-07-28: header and body that disagree are a header mismatch", async () => {
    const [body, headers] = modern("tools/list");
    const response = await post(body, { ...headers, "mcp-method": "tools/call" });
    expect(response.status).toBe(400);
    expect(await messageOf(response)).toMatchObject({ error: { code: -32_020 } });
  });

  test("MCP 2026-07-28: a subscription to what never changes ends at once", async () => {
    const [body, headers] = modern("subscriptions/listen", {
      notifications: { toolsListChanged: true },
    });
    const text = await (await post(body, headers)).text();
    expect(text).toContain('"resultType":"complete"');
  });

  test("a session id or an event id of another server is ignored", async () => {
    const response = await post(
      { jsonrpc: "2.0", id: 1, method: "tools/list" },
      { "mcp-session-id": "0123", "last-event-id": "7" },
    );
    expect(response.status).toBe(200);
    expect(response.headers.get("mcp-session-id")).toBeNull();
  });

  test("a notification is accepted without a body", async () => {
    const response = await post({ jsonrpc: "2.0", method: "notifications/initialized" });
    expect([response.status, await response.text()]).toEqual([202, ""]);
  });

  test.each(["GET", "DELETE", "HEAD", "PUT"])(
    "%s is 405 and says what is allowed",
    async (method) => {
      const response = await fetch(stage.url, { method, headers: types });
      expect(response.status).toBe(405);
      expect(response.headers.get("allow")).toBe("POST");
    },
  );
});

test("a client without a name has none", async () => {
  const nameless = startStage("", { handler: whoami, context: { clientName: undefined } });
  const response = await fetch(nameless.url, {
    method: "POST",
    headers: types,
    body: '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami"}}',
  });
  expect(await messageOf(response)).toMatchObject({
    result: { structuredContent: { client: { id: "client-1" } } },
  });
});

describe("bad messages get JSON-RPC errors", () => {
  const nested = (depth: number, open: string, close: string): string =>
    open.repeat(depth) + close.repeat(depth);
  const call = (params: string): string =>
    `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":${params}}`;

  test.each([
    ["nothing", ""],
    ["half an object", "{"],
    ["a word", "ping"],
    ["null", "null"],
    ["a number", "1e999"],
    ["a text", '"tools/list"'],
    ["an empty batch", "[]"],
    ["a batch of nonsense", "[1,null,{}]"],
    [
      "a batch of two hundred",
      JSON.stringify(Array(200).fill({ jsonrpc: "2.0", id: 1, method: "ping" })),
    ],
    ["another JSON-RPC", '{"jsonrpc":"1.0","id":1,"method":"ping"}'],
    ["no method", '{"jsonrpc":"2.0","id":1}'],
    ["an id that is an object", '{"jsonrpc":"2.0","id":{},"method":"ping"}'],
    ["brackets in brackets", nested(400_000, "[", "]")],
    [
      "an id in braces",
      `{"jsonrpc":"2.0","id":${nested(90_000, '{"a":', "}").replace("}", "1}")},"method":"ping"}`,
    ],
    ["bytes that are no UTF-8", Buffer.from([0x7b, 0xff, 0xfe, 0x7d])],
    ["compressed JSON", Bun.gzipSync(Buffer.from("{}"))],
  ])("%s: 400", async (_name, body) => {
    const response = await post(body);
    expect(response.status).toBe(400);
    const { jsonrpc, error } = await messageOf(response);
    expect(jsonrpc).toBe("2.0");
    expect(error).toMatchObject({ code: expect.any(Number), message: expect.any(String) });
  });

  test.each([
    ["an unknown method", '{"jsonrpc":"2.0","id":1,"method":"nope"}', -32_601],
    ["a method of every object", '{"jsonrpc":"2.0","id":1,"method":"toString"}', -32_601],
    ["a prototype for a method", '{"jsonrpc":"2.0","id":1,"method":"__proto__"}', -32_601],
    ["an unknown tool", call('{"name":"rm"}'), -32_602],
    ["a tool of every object", call('{"name":"constructor"}'), -32_602],
    ["no tool at all", call("{}"), -32_602],
    ["a tool that is a number", call('{"name":1}'), -32_602],
  ])("%s: an error with its id", async (_name, body, code) => {
    const response = await post(body);
    expect(response.status).toBe(200);
    expect(await messageOf(response)).toMatchObject({ jsonrpc: "2.0", id: 1, error: { code } });
  });

  test.each([
    [
      "deep arguments",
      call(`{"name":"whoami","arguments":${'{"a":'.repeat(90_000)}1${"}".repeat(90_000)}}`),
    ],
    [
      "arguments nobody asked for",
      call('{"name":"whoami","arguments":{"__proto__":{"subject":"evil"},"subject":"evil"}}'),
    ],
  ])("%s change nothing", async (_name, body) => {
    expect(await messageOf(await post(body))).toMatchObject({
      result: { structuredContent: { subject: "owner" } },
    });
  });

  test.each([
    ["with its length", (size: number) => `Content-Length: ${size}\r\n\r\n`],
    ["in chunks", (size: number) => `Transfer-Encoding: chunked\r\n\r\n${size.toString(16)}\r\n`],
  ])("more than a megabyte, sent %s: 413", async (_name, framing) => {
    const size = 1024 * 1024 + 1;
    const headers = `POST /mcp HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nAccept: application/json, text/event-stream\r\n`;
    const end = framing(1).includes("chunked") ? "\r\n0\r\n\r\n" : "";
    const { text } = await sendRaw(
      stage.port,
      `${headers}${framing(size)}"${"a".repeat(size - 2)}"${end}`,
    );
    expect(text).toStartWith("HTTP/1.1 413");
    expect(text).toContain('"jsonrpc":"2.0"');
  });

  test("a megabyte is taken", async () => {
    const filler = "x".repeat(1024 * 1024 - 200);
    const response = await post(call(`{"name":"whoami","arguments":{"filler":"${filler}"}}`));
    expect(await messageOf(response)).toMatchObject({
      result: { structuredContent: { subject: "owner" } },
    });
  });

  test.each(["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"])(
    "content type %p: 415",
    async (type) => {
      const response = await post('{"jsonrpc":"2.0","id":1,"method":"ping"}', {
        "content-type": type,
      });
      expect(response.status).toBe(415);
      expect(await messageOf(response)).toMatchObject({ jsonrpc: "2.0" });
    },
  );

  test("a revision that does not exist: 400", async () => {
    const response = await post(
      { jsonrpc: "2.0", id: 1, method: "tools/list" },
      { "mcp-protocol-version": "1999-01-01" },
    );
    expect(response.status).toBe(400);
    expect(await messageOf(response)).toMatchObject({ error: { code: expect.any(Number) } });
  });
});
