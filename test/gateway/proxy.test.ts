// One exchange: methods, bodies and statuses pass; trouble behind is told as 502 or 504, never as 401 (requirements RS-16,
// RS-20, RS-21, attacks P90, P95, fault F41).
import { afterAll, describe, expect, test } from "bun:test";
import {
  sendRaw,
  startRawUpstream,
  startStage,
  startUpstream,
  until,
  closeStages,
} from "./stage.ts";

afterAll(closeStages);

const message = '{"jsonrpc":"2.0","id":1,"method":"ping"}';

async function exchange(answer: string, init: RequestInit = {}): Promise<Response> {
  const upstream = await startRawUpstream((socket) => socket.end(Buffer.from(answer, "latin1")));
  return fetch(startStage(upstream.url).url, { redirect: "manual", ...init });
}

describe("requests", () => {
  test.each(["GET", "POST", "DELETE", "HEAD", "PUT"])("%s arrives as %s", async (method) => {
    const upstream = startUpstream();
    const stage = startStage(upstream.url);
    const withBody = method !== "GET" && method !== "HEAD";
    const response = await fetch(`${stage.url}/a?b=1`, {
      method,
      ...(withBody && { body: message }),
    });
    expect(response.status).toBe(200);
    expect(upstream.requests).toHaveLength(1);
    expect(upstream.requests[0]).toMatchObject({
      method,
      target: "/mcp/a?b=1",
      body: withBody ? message : "",
    });
  });

  test.each([0, 1, 65_535, 65_536, 65_537, 3_000_000])(
    "a body of %d bytes arrives byte for byte, with its length",
    async (size) => {
      const body = Buffer.alloc(size);
      for (let at = 0; at < size; at++) body[at] = (at * 7 + (at >> 8)) % 256;
      const sums: string[] = [];
      const server = Bun.serve({
        port: 0,
        hostname: "127.0.0.1",
        fetch: async (request) => {
          sums.push(`${request.headers.get("content-length")} ${Bun.hash(await request.bytes())}`);
          return new Response(body);
        },
      });
      const stage = startStage(`http://127.0.0.1:${server.port}/mcp`);
      const response = await fetch(stage.url, { method: "POST", body });
      expect(Buffer.compare(await response.bytes(), body)).toBe(0);
      expect(sums).toEqual([`${size} ${Bun.hash(body)}`]);
      void server.stop(true);
    },
  );

  test("a GET that carries a body is asked without it", async () => {
    const upstream = startUpstream();
    const stage = startStage(upstream.url);
    const { text } = await sendRaw(
      stage.port,
      `GET /mcp HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello`,
    );
    expect(text).toStartWith("HTTP/1.1 200");
    expect(upstream.requests[0]).toMatchObject({ method: "GET", body: "" });
    expect(upstream.requests[0]?.headers.get("content-length")).toBeNull();
  });

  test("P95: of requests sent without waiting for answers none reaches the upstream twice or mixed", async () => {
    const upstream = startUpstream();
    const stage = startStage(upstream.url);
    const one = (body: string): string =>
      `POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    await sendRaw(stage.port, one("first") + one("second") + one("third"), 300);
    // Bun gives the connection up when a request comes before the answer to the last.
    const bodies = upstream.requests.map(({ body }) => body);
    expect(bodies).toEqual(["first", "second", "third"].slice(0, bodies.length));
  });

  test.each([
    ["both lengths", "Content-Length: 4\r\nTransfer-Encoding: chunked"],
    ["two lengths", "Content-Length: 4\r\nContent-Length: 5"],
    ["a coding twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"],
    ["a hidden coding", "Transfer-Encoding: \x0bchunked"],
    ["a signed length", "Content-Length: +4"],
    ["a space before the colon", "Transfer-Encoding : chunked"],
  ])("P95: %s does not smuggle a second request", async (_name, headers) => {
    const upstream = startUpstream();
    const stage = startStage(upstream.url);
    const hidden = "GET /mcp/hidden HTTP/1.1\r\nHost: a\r\n\r\n";
    const { text } = await sendRaw(
      stage.port,
      `POST /mcp HTTP/1.1\r\nHost: a\r\n${headers}\r\n\r\n0\r\n\r\n${hidden}`,
      500,
    );
    expect(text).toStartWith("HTTP/1.1 400");
    expect(upstream.requests).toEqual([]);
  });
});

describe("answers", () => {
  test.each([200, 201, 202, 400, 403, 404, 405, 406, 409, 413, 415, 422, 429, 500, 503])(
    "status %d and its body pass",
    async (status) => {
      const response = await exchange(
        `HTTP/1.1 ${status} X\r\nContent-Type: application/json\r\nAllow: POST\r\nRetry-After: 3\r\nContent-Length: 9\r\n\r\n{"a":"b"}`,
        { method: "POST", body: message },
      );
      expect(response.status).toBe(status);
      expect(response.headers.get("content-type")).toBe("application/json");
      expect(response.headers.get("allow")).toBe("POST");
      expect(response.headers.get("retry-after")).toBe("3");
      expect(await response.text()).toBe('{"a":"b"}');
    },
  );

  test.each([
    ["202", "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"],
    ["202 without a length", "HTTP/1.1 202 Accepted\r\nConnection: close\r\n\r\n"],
    ["204", "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n"],
    ["205", "HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n"],
    ["304", 'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 77\r\n\r\n'],
  ])("%s has no body", async (name, answer) => {
    const upstream = await startRawUpstream((socket) => socket.end(answer));
    const stage = startStage(upstream.url);
    const { text, ending } = await sendRaw(
      stage.port,
      "GET /mcp HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    expect(text).toStartWith(`HTTP/1.1 ${name.slice(0, 3)}`);
    expect(text.slice(text.indexOf("\r\n\r\n"))).toMatch(/^\r\n\r\n(?:0\r\n\r\n)?$/);
    expect(text.includes("Content-Length: 77") || text.includes("content-length: 77")).toBe(
      name === "304",
    );
    expect(ending).toBe("end");
  });

  test("HEAD tells the length and nothing more", async () => {
    const upstream = await startRawUpstream((socket) =>
      socket.end("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nContent-Type: text/plain\r\n\r\n"),
    );
    const stage = startStage(upstream.url);
    const { text } = await sendRaw(
      stage.port,
      "HEAD /mcp HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    );
    expect(text.toLowerCase()).toContain("content-length: 1234\r\n");
    expect(text).toEndWith("\r\n\r\n");
  });

  test.each(["known length", "chunked"])(
    "RS-16: a compressed answer (%s) stays compressed, byte for byte",
    async (kind) => {
      const packed = Bun.gzipSync(Buffer.from(message.repeat(50)));
      const framed =
        kind === "chunked"
          ? Buffer.concat([
              Buffer.from(`${packed.length.toString(16)}\r\n`),
              packed,
              Buffer.from("\r\n0\r\n\r\n"),
            ])
          : packed;
      const framing =
        kind === "chunked" ? "Transfer-Encoding: chunked" : `Content-Length: ${packed.length}`;
      const upstream = await startRawUpstream((socket) => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n${framing}\r\n\r\n`);
        socket.end(framed);
      });
      const response = await fetch(startStage(upstream.url).url, { decompress: false });
      expect(response.headers.get("content-encoding")).toBe("gzip");
      expect(Buffer.compare(await response.bytes(), packed)).toBe(0);
    },
  );

  test("interim answers of the upstream are not taken for the answer", async () => {
    const response = await exchange(
      "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    expect([response.status, await response.text()]).toEqual([200, "ok"]);
  });
});

describe("trouble behind", () => {
  const refused = async (response: Response, status: number, sentence: string): Promise<void> => {
    expect(response.status).toBe(status);
    expect(response.headers.get("www-authenticate")).toBeNull();
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(await response.json()).toEqual({
      error: "server_error",
      error_description: `the MCP server behind Postern ${sentence}`,
    });
  };

  test.each([401, 407])(
    "RS-21: its own %d is a 502, so nobody logs in again because of it",
    async (status) => {
      const response = await exchange(
        `HTTP/1.1 ${status} X\r\nWWW-Authenticate: Bearer resource_metadata="http://inner"\r\nContent-Length: 6\r\n\r\nsecret`,
      );
      await refused(response, 502, "refused Postern's request");
    },
  );

  test("RS-20: nobody listens", async () => {
    const upstream = startUpstream();
    const stage = startStage("http://127.0.0.1:1/mcp");
    await refused(
      await fetch(stage.url, { method: "POST", body: message }),
      502,
      "cannot be reached",
    );
    expect(stage.refusals).toHaveLength(1);
    expect(stage.refusals[0]?.detail).not.toBe("");
    expect(upstream.requests).toEqual([]);
  });

  test("a name that does not resolve", async () => {
    const stage = startStage("http://upstream.invalid/mcp");
    await refused(await fetch(stage.url), 502, "cannot be reached");
  });

  test.each([
    ["closes at once", ""],
    ["closes inside the head", "HTTP/1.1 200 OK\r\nContent-Le"],
    ["closes inside a short body", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"],
    ["speaks no HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n"],
    ["has an impossible status", "HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n"],
    ["switches protocols", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"],
  ])("an upstream that %s: 502", async (_name, answer) => {
    const response = await exchange(answer, { method: "POST", body: message });
    expect(response.status).toBe(502);
    expect(await response.text()).toContain("the MCP server behind Postern");
  });

  test("an upstream that never answers: 504 after the time, and it is let go", async () => {
    for (const body of [message, "x".repeat(100_000)]) {
      let closed = false;
      const upstream = await startRawUpstream((socket) => {
        socket.resume();
        socket.on("close", () => (closed = true));
      });
      const stage = startStage(upstream.url, { timing: { lift: 20, firstByte: 60 } });
      const response = await fetch(stage.url, { method: "POST", body });
      await refused(response, 504, "did not answer in time");
      await until(() => closed);
    }
  });

  test("no deadline holds once the answer has begun", async () => {
    const upstream = await startRawUpstream((socket) => {
      socket.write(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n",
      );
      socket.write("data: one\n\n");
      setTimeout(() => socket.end("data: two\n\n"), 200);
    });
    const stage = startStage(upstream.url, { timing: { lift: 20, firstByte: 60 } });
    expect(await (await fetch(stage.url)).text()).toBe("data: one\n\ndata: two\n\n");
  });

  test("answers never say where the upstream is", async () => {
    for (const path of ["http://127.0.0.1:1/mcp", "http://inner.invalid:9/secret?key=value"]) {
      const stage = startStage(path);
      const response = await fetch(stage.url);
      const text = JSON.stringify([...response.headers]) + (await response.text());
      expect(text).not.toMatch(/127\.0\.0\.1:1\/|inner|secret|value/);
    }
  });

  test("an upstream that comes back is used at once", async () => {
    const first = startUpstream();
    const stage = startStage(first.url);
    expect((await fetch(stage.url)).status).toBe(200);
    const { port } = first;
    await first.stop();
    expect((await fetch(stage.url)).status).toBe(502);
    const again = Bun.serve({ port, hostname: "127.0.0.1", fetch: () => new Response("back") });
    expect(await (await fetch(stage.url)).text()).toBe("back");
    void again.stop(true);
  });
});
