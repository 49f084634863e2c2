// Both ways to an upstream carry the same, and no number of open streams makes anybody wait.
import { afterAll, describe, expect, test } from "bun:test";
import { type Socket, connect } from "node:net";
import { gzipSync } from "node:zlib";
import { createLines } from "../../src/gateway/dial.ts";
import { startRawUpstream, startStage, startUpstream, until, closeStages } from "./stage.ts";

afterAll(closeStages);

const event = "data: one\n\n";

/** A stream that says one event and stays open. */
const openStream = (): Response =>
  new Response(new ReadableStream({ start: (controller) => controller.enqueue(event) }), {
    headers: { "content-type": "text/event-stream" },
  });

/** A GET whose answer is counted when its first event is there. */
function listen(port: number, heard: () => void): Socket {
  const socket = connect(port, "127.0.0.1");
  let text = "";
  socket.on("data", (chunk) => {
    const before = text.includes(event);
    text += chunk;
    if (!before && text.includes(event)) heard();
  });
  socket.write("GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n");
  return socket;
}

test("300 streams are open at once, and calls are answered beside them", async () => {
  const upstream = startUpstream((request) =>
    request.method === "GET" ? openStream() : Response.json({ ok: true }),
  );
  const stage = startStage(upstream.url);
  let heard = 0;
  const sockets = Array.from({ length: 300 }, () => listen(stage.port, () => heard++));
  await until(() => heard === 300);
  const call = (): Promise<Response> => fetch(stage.url, { method: "POST", body: "{}" });
  expect(await (await call()).json()).toEqual({ ok: true });
  for (const socket of sockets) socket.destroy();
  // Once they are gone there is room again where connections are kept.
  const kept = (): string | null | undefined => upstream.requests.at(-1)?.headers.get("connection");
  expect(kept()).toBe("close");
  for (let tries = 0; tries < 100 && kept() === "close"; tries++) {
    await Bun.sleep(20);
    await call();
  }
  expect(kept()).toBe("keep-alive");
});

describe("the share", () => {
  test("is given back once, however often a line ends", async () => {
    const lines = createLines(1);
    const first = lines.open();
    const crowded = lines.open();
    expect(crowded.ask).not.toBe(first.ask);
    first.end();
    first.end();
    crowded.end();
    expect(lines.open().ask).toBe(first.ask);
    expect(lines.open().ask).toBe(crowded.ask);
  });
});

describe.each([
  ["fetch", undefined],
  ["a socket of its own", 0],
])("through %s", (_way, share) => {
  test.each(["GET", "POST", "DELETE", "HEAD", "PUT", "PATCH"])(
    "%s, with its body",
    async (method) => {
      const upstream = startUpstream();
      const body = method === "GET" || method === "HEAD" ? undefined : "x".repeat(100_000);
      const response = await fetch(startStage(upstream.url, { share }).url, { method, body });
      expect(response.status).toBe(200);
      expect(upstream.requests).toHaveLength(1);
      expect(upstream.requests[0]).toMatchObject({ method, body: body ?? "" });
    },
  );

  test.each([200, 202, 204, 304, 400, 404, 500, 503])("status %d", async (status) => {
    const upstream = startUpstream(() => new Response(null, { status, headers: { "x-own": "1" } }));
    const response = await fetch(startStage(upstream.url, { share }).url);
    expect([response.status, response.headers.get("x-own")]).toEqual([status, "1"]);
  });

  test("a compressed answer, as it is", async () => {
    const text = "hello ".repeat(50);
    const upstream = startUpstream(
      () => new Response(gzipSync(text), { headers: { "content-encoding": "gzip" } }),
    );
    const response = await fetch(startStage(upstream.url, { share }).url);
    expect(response.headers.get("content-encoding")).toBe("gzip");
    expect(await response.text()).toBe(text);
  });

  test("a body in pieces of unknown length", async () => {
    const upstream = startUpstream();
    let left = 20;
    const body = new ReadableStream({
      pull: async (controller) => {
        await Bun.sleep(1);
        if (left-- === 0) controller.close();
        else controller.enqueue(new TextEncoder().encode("piece "));
      },
    });
    const response = await fetch(startStage(upstream.url, { share }).url, { method: "POST", body });
    expect(response.status).toBe(200);
    expect(upstream.requests[0]?.body).toBe("piece ".repeat(20));
  });

  test("a client that leaves ends the request behind", async () => {
    let gone = false;
    const upstream = startUpstream((request) => {
      request.signal.addEventListener("abort", () => (gone = true));
      return openStream();
    });
    const stage = startStage(upstream.url, { share });
    let heard = false;
    const socket = listen(stage.port, () => (heard = true));
    await until(() => heard);
    socket.destroy();
    await until(() => gone);
    expect(stage.refusals).toEqual([]);
  });

  test("an answer that breaks off is no whole one", async () => {
    const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    const upstream = await startRawUpstream((socket) => {
      socket.write(head);
      setTimeout(() => socket.destroy(), 20);
    });
    const response = await fetch(startStage(upstream.url, { share }).url);
    await expect(response.text()).rejects.toThrow();
  });

  test.each([
    ["nobody listens", undefined],
    ["it talks nonsense", "what?\r\n\r\n"],
    ["it says nothing and goes", ""],
    [
      "it switches protocols",
      "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
  ])("%s: 502", async (_name, answer) => {
    const url =
      answer === undefined
        ? "http://127.0.0.1:1/mcp"
        : (await startRawUpstream((socket) => socket.end(answer))).url;
    const response = await fetch(startStage(url, { share }).url, { method: "POST", body: "{}" });
    expect(response.status).toBe(502);
  });

  test("a stream's connection has its idle limit back when the stream is over", async () => {
    const upstream = startUpstream(
      () =>
        new Response(
          new ReadableStream({
            start: async (controller) => {
              controller.enqueue(event);
              await Bun.sleep(50);
              controller.close();
            },
          }),
          { headers: { "content-type": "text/event-stream" } },
        ),
    );
    const stage = startStage(upstream.url, { share, timing: { opening: 5 } });
    expect(await (await fetch(stage.url)).text()).toBe(event);
    expect([stage.lifted(), stage.restored()]).toEqual([1, 1]);
  });
});

test("a late answer's connection has its idle limit back too", async () => {
  const upstream = startUpstream(async () => {
    await Bun.sleep(50);
    return Response.json({ ok: true });
  });
  const stage = startStage(upstream.url, { timing: { lift: 5 } });
  expect((await fetch(stage.url)).status).toBe(200);
  expect([stage.lifted(), stage.restored()]).toEqual([1, 1]);
});
