// The whole way over a real socket: listener, route table, guard, proxy, upstream (requirements RS-9, RS-10, RS-15, RS-16, COR-7).
import { afterAll, beforeAll, expect, test } from "bun:test";
import { connect } from "node:net";
import { type Listener, listen } from "../../src/app.ts";
import { type TestServer, logIn, startServer } from "../server.ts";
import { sendRaw, startRawUpstream, startUpstream, until, closeStages } from "./stage.ts";

afterAll(closeStages);

const eventStream =
  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";

interface Served {
  readonly url: string;
  readonly port: number;
  readonly bearer: string;
  readonly server: TestServer;
}

const started: { server: TestServer; listener: Listener }[] = [];
afterAll(async () => {
  for (const { server, listener } of started) {
    await listener.close(true);
    await server.close();
  }
});

async function serve(upstream: string): Promise<Served> {
  const server = await startServer({ settings: { upstream } });
  const { tokens } = await logIn(server);
  const free = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const port = free.port ?? 0;
  await free.stop(true);
  started.push({ server, listener: listen(server.app, { hostname: "127.0.0.1", port }) });
  const url = `http://127.0.0.1:${port}/mcp`;
  return { url, port, bearer: `Bearer ${tokens.access_token}`, server };
}

let silent: Promise<string>;
let slow: Promise<string>;
beforeAll(async () => {
  const inside = await startRawUpstream((socket) => {
    socket.write(eventStream);
    setTimeout(() => socket.end("data: two\n\n"), 12_000);
  });
  const before = await startRawUpstream((socket) => {
    setTimeout(() => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow"), 12_000);
  });
  const [first, second] = [await serve(inside.url), await serve(before.url)];
  const text = async ({ url, bearer }: Served, method: string): Promise<string> =>
    (await fetch(url, { method, headers: { authorization: bearer } })).text();
  silent = text(first, "GET");
  slow = text(second, "POST");
});

test("RS-9, RS-10: without a good token nothing reaches the upstream, by any method or path", async () => {
  const upstream = startUpstream();
  const { port } = await serve(upstream.url);
  for (const method of ["GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS", "TRACE", "get"]) {
    for (const path of [
      "/mcp",
      "/mcp/",
      "/mcp/sse",
      "/mcp?access_token=pat_x",
      "/sse",
      "/messages",
    ]) {
      for (const header of ["X-None: 1", "Authorization: Bearer pat_x.1.y", "Cookie: postern=x"]) {
        const { text } = await sendRaw(
          port,
          `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n${header}\r\n\r\n`,
          500,
        );
        if (method === "POST" && path.startsWith("/mcp")) expect(text).toStartWith("HTTP/1.1 401");
      }
    }
  }
  expect(upstream.requests).toEqual([]);
}, 60_000);

test("a call arrives without its token, and its answer has our CORS headers once", async () => {
  const upstream = startUpstream((request) =>
    Response.json(
      { method: request.method },
      {
        headers: {
          "access-control-allow-origin": "https://evil.example",
          "www-authenticate": "Bearer",
          "set-cookie": "a=b",
        },
      },
    ),
  );
  const { url, bearer } = await serve(upstream.url);
  const origin = "http://localhost:6274";
  for (const method of ["GET", "POST", "DELETE", "HEAD"]) {
    const headers = { authorization: bearer, origin };
    const response = await fetch(`${url}/a?b=1`, { method, headers });
    expect([method, response.status]).toEqual([method, 200]);
    expect(response.headers.get("access-control-allow-origin")).toBe(origin);
    expect(response.headers.get("x-content-type-options")).toBe("nosniff");
    expect(response.headers.get("www-authenticate")).toBeNull();
    expect(response.headers.getSetCookie()).toEqual([]);
  }
  expect(upstream.requests.map(({ method, target }) => `${method} ${target}`)).toEqual([
    "GET /mcp/a?b=1",
    "POST /mcp/a?b=1",
    "DELETE /mcp/a?b=1",
    "HEAD /mcp/a?b=1",
  ]);
  for (const { headers } of upstream.requests) {
    expect(headers.get("authorization")).toBeNull();
    expect(headers.get("x-postern-user")).toBe("owner");
    expect(headers.get("x-forwarded-for")).toBe("127.0.0.1");
  }
});

test("RS-20: an upstream that is down is a 502 with the public sentence, and nothing of its address", async () => {
  const { url, bearer } = await serve("http://127.0.0.1:1/inner");
  const response = await fetch(url, {
    method: "POST",
    headers: { authorization: bearer, origin: "http://localhost:6274" },
    body: "{}",
  });
  expect(response.status).toBe(502);
  expect(response.headers.get("access-control-allow-origin")).toBe("http://localhost:6274");
  expect(await response.json()).toEqual({
    error: "server_error",
    error_description: "the MCP server behind Postern cannot be reached",
  });
});

test("RS-15: a client that hangs up ends the request behind", async () => {
  let closed = false;
  const upstream = await startRawUpstream((socket) => {
    socket.write(`${eventStream}data: one\n\n`);
    socket.on("close", () => (closed = true));
  });
  const { port, bearer } = await serve(upstream.url);
  const client = connect(port, "127.0.0.1");
  let got = "";
  client.on("data", (chunk) => (got += chunk.toString()));
  client.write(`GET /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${bearer}\r\n\r\n`);
  await until(() => got.includes("data: one"));
  expect(closed).toBe(false);
  client.destroy();
  await until(() => closed);
});

test("RS-16: twelve silent seconds, inside an answer or before it, are outlived", async () => {
  expect((await silent).replaceAll(": keep-alive\n\n", "")).toBe("data: two\n\n");
  expect(await slow).toBe("slow");
}, 30_000);
