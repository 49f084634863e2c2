// Event streams of a stdio server: what goes on which, who may come back to one, cancellation, slow and absent clients.
import { afterAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { until } from "./stage.ts";
import {
  eventsIn,
  listen,
  messageOf,
  messagesOf,
  odd,
  patient,
  request,
  startStdioStage,
  stateless,
  closeStdioStages,
} from "./stdio_stage.ts";

afterAll(closeStdioStages);

const tell = (name: string, params: object): object => request(name, "tell", params);
const changed = { jsonrpc: "2.0", method: "notifications/tools/list_changed" };
const updated = {
  jsonrpc: "2.0",
  method: "notifications/resources/updated",
  params: { uri: "x:" },
};
const log = (data: string): object => ({
  jsonrpc: "2.0",
  method: "notifications/message",
  params: { level: "info", data },
});
const progress = (progressToken: unknown, done: number): object => ({
  jsonrpc: "2.0",
  method: "notifications/progress",
  params: { progressToken, progress: done },
});

describe("MCP 2025-11-25: an answer is JSON when it is all there is, a stream when there is more", () => {
  test("an answer alone is JSON", async () => {
    const stage = startStdioStage(odd("told"), { bounds: patient });
    const answer = await stage.post(tell("a", {}), await stage.open());
    expect(answer.headers.get("content-type")).toBe("application/json");
    expect(answer.headers.get("cache-control")).toBe("no-store");
  });

  test("what comes on the way makes it a stream, with the answer at its end", async () => {
    const stage = startStdioStage(odd("told"));
    const call = tell("a", { say: [progress("t", 1), log("x")], _meta: { progressToken: "t" } });
    const answer = await stage.post(call, await stage.open());
    expect(answer.headers.get("content-type")).toBe("text/event-stream");
    expect(answer.headers.get("x-accel-buffering")).toBe("no");
    const messages = await messagesOf(answer);
    expect(messages.map(({ id, method }) => id ?? method)).toEqual([
      "notifications/progress",
      "notifications/message",
      "a",
    ]);
  });

  test("what takes long is a stream that begins with an event to come back from", async () => {
    const stage = startStdioStage(odd("told"));
    const headers = await stage.open();
    const stream = await listen(stage, headers, tell("a", { wait: true }));
    await until(() => stream.events().length === 1);
    expect(stream.events()[0]).toEqual({ id: expect.stringMatching(/^\d+-0$/), data: "" });
    await stage.post({ jsonrpc: "2.0", method: "notifications/go" }, headers);
    expect(await stream.ended).toBe("end");
    expect(stream.messages().at(-1)).toMatchObject({ id: "a" });
  });

  test.each(["2025-03-26", "2025-06-18"])(
    "%s: but not for clients that would stumble over it",
    async (revision) => {
      const stage = startStdioStage(odd("told"));
      const call = tell("a", { say: [log("x")] });
      const answer = await stage.post(call, await stage.open(revision));
      const events = eventsIn(await answer.text());
      expect(events.map(({ data }) => data === "")).toEqual([false, false]);
      expect(events.every(({ id }) => id !== undefined)).toBe(true);
    },
  );

  test("a client that takes JSON alone gets it, however long it takes", async () => {
    const stage = startStdioStage(odd("told"));
    const headers = { ...(await stage.open()), accept: "application/json" };
    const answer = await stage.post(tell("a", { say: [log("x")], after: 300 }), headers);
    expect(await messageOf(answer)).toMatchObject({ id: "a" });
  });

  test("a client that takes streams alone gets one", async () => {
    const stage = startStdioStage(odd("told"));
    const headers = { ...(await stage.open()), accept: "text/event-stream" };
    const answer = await stage.post(tell("a", {}), headers);
    expect(answer.headers.get("content-type")).toBe("text/event-stream");
    expect(await messageOf(answer)).toMatchObject({ id: "a" });
  });
});

describe("MCP 2025-11-25: each message goes on one stream", () => {
  test("progress goes with its request, changes to the standalone stream, the rest with the newest request", async () => {
    const stage = startStdioStage(odd("told"));
    const headers = await stage.open();
    const alone = await listen(stage, headers);
    const first = await listen(
      stage,
      headers,
      tell("a", { wait: true, _meta: { progressToken: 1 } }),
    );
    const say = [progress(1, 1), changed, updated, log("x")];
    const second = await listen(stage, headers, tell("b", { wait: true, say }));
    await until(() => alone.messages().length === 2 && second.messages().length === 1);
    expect(alone.messages().map(({ method }) => method)).toEqual([changed.method, updated.method]);
    expect(second.messages()).toMatchObject([log("x")]);
    expect(first.messages()).toMatchObject([progress(1, 1)]);
    await stage.post({ jsonrpc: "2.0", method: "notifications/go" }, headers);
    expect(await Promise.all([first.ended, second.ended])).toEqual(["end", "end"]);
    expect(first.messages().at(-1)).toMatchObject({ id: "a" });
    expect(second.messages().at(-1)).toMatchObject({ id: "b" });
  });

  test("what was said before anybody listened is not lost, nor said twice", async () => {
    const stage = startStdioStage(odd("told"));
    const headers = await stage.open();
    await messagesOf(await stage.post(tell("a", { say: [changed] }), headers));
    const stream = await listen(stage, headers);
    await until(() => stream.messages().length === 1);
    stream.hangUp();
    await stream.ended;
    await messagesOf(await stage.post(tell("b", { say: [updated] }), headers));
    const other = await listen(stage, headers);
    await until(() => other.messages().length === 1);
    expect(other.messages()).toMatchObject([updated]);
  });

  test("the newest standalone stream takes over from one that is left open", async () => {
    const stage = startStdioStage(odd("told"));
    const headers = await stage.open();
    const first = await listen(stage, headers);
    const second = await listen(stage, headers);
    expect(await first.ended).toBe("end");
    await messagesOf(await stage.post(tell("a", { say: [changed] }), headers));
    await until(() => second.messages().length === 1);
  });
});

describe("MCP 2025-11-25 Resumability and Redelivery", () => {
  test("a cut-off answer is had from the last event seen", async () => {
    const stage = startStdioStage(odd("told"));
    const headers = await stage.open();
    const call = tell("a", { wait: true, say: [log("1"), log("2")] });
    const stream = await listen(stage, headers, call);
    await until(() => stream.messages().length === 2);
    const [, first] = stream.events();
    stream.hangUp();
    await stream.ended;
    const back = await listen(stage, { ...headers, "last-event-id": first?.id ?? "" });
    await until(() => back.messages().length === 1);
    await stage.post({ jsonrpc: "2.0", method: "notifications/go" }, headers);
    expect(await back.ended).toBe("end");
    expect(back.messages()).toMatchObject([log("2"), { id: "a" }]);
  });

  test("an answer that came while the client was away waits for it", async () => {
    const stage = startStdioStage(odd("told"));
    const headers = await stage.open();
    const stream = await listen(stage, headers, tell("a", { wait: true, say: [log("1")] }));
    await until(() => stream.messages().length === 1);
    const seen = stream.events().at(-1)?.id ?? "";
    stream.hangUp();
    await stream.ended;
    await stage.post({ jsonrpc: "2.0", method: "notifications/go" }, headers);
    await messagesOf(await stage.post(tell("b", { say: [log("other")] }), headers));
    const back = await listen(stage, { ...headers, "last-event-id": seen });
    expect(await back.ended).toBe("end");
    expect(back.messages()).toMatchObject([{ id: "a" }]);
  });

  test("a client that does not come back gives its request up", async () => {
    const stage = startStdioStage(odd("told"), { bounds: { orphan: 50 } });
    const headers = await stage.open();
    const stream = await listen(stage, headers, tell("a", { wait: true, say: [log("1")] }));
    await until(() => stream.messages().length === 1);
    stream.hangUp();
    await until(() => stage.log.some((line) => line.includes("notifications/cancelled")));
    expect(stage.log.at(-1)).toContain(`"requestId":"a"`);
  });

  test("one that comes back in time keeps it", async () => {
    const stage = startStdioStage(odd("told"), { bounds: { orphan: 300 } });
    const headers = await stage.open();
    const stream = await listen(stage, headers, tell("a", { wait: true, say: [log("1")] }));
    await until(() => stream.messages().length === 1);
    const seen = stream.events().at(-1)?.id ?? "";
    stream.hangUp();
    const back = await listen(stage, { ...headers, "last-event-id": seen });
    await Bun.sleep(500);
    await stage.post({ jsonrpc: "2.0", method: "notifications/go" }, headers);
    expect(await back.ended).toBe("end");
    expect(back.messages()).toMatchObject([{ id: "a" }]);
  });

  test.each(["", "x", "99-1", "0-999", "1-1-1"])("an event id of %p does no harm", async (id) => {
    const stage = startStdioStage(odd("told"));
    const headers = await stage.open();
    const stream = await listen(stage, { ...headers, "last-event-id": id });
    expect(stream.status).toBe(200);
    await messagesOf(await stage.post(tell("a", { say: [changed] }), headers));
    expect((await stage.post(tell("b", {}), headers)).status).toBe(200);
    stream.hangUp();
  });
});

describe("cancellation", () => {
  test("MCP 2025-11-25: the client's reaches the server, and the request ends although nothing comes", async () => {
    const stage = startStdioStage(odd("told"));
    const headers = await stage.open();
    const stream = await listen(stage, headers, tell("a", { wait: true, say: [log("1")] }));
    await until(() => stream.messages().length === 1);
    const params = { requestId: "a", reason: "enough" };
    const cancel = { jsonrpc: "2.0", method: "notifications/cancelled", params };
    expect((await stage.post(cancel, headers)).status).toBe(202);
    expect(await stream.ended).toBe("end");
    expect(stream.messages().at(-1)).toMatchObject({
      id: "a",
      error: { message: "the request was cancelled" },
    });
    expect(stage.log.at(-1)).toBe(`notified ${JSON.stringify(cancel)}`);
  });

  test("MCP 2025-11-25: the server's reaches the client, also where ids are the same", async () => {
    const stage = startStdioStage(odd("told"));
    const headers = await stage.open();
    const own = { jsonrpc: "2.0", method: "notifications/cancelled", params: { requestId: "a" } };
    const stream = await listen(stage, headers, tell("a", { say: [own] }));
    expect(await stream.ended).toBe("end");
    expect(stream.messages()).toMatchObject([own, { id: "a" }]);
  });

  test("MCP 2026-07-28: closing the stream is cancelling", async () => {
    const stage = startStdioStage(odd("stateless-told"));
    const [message, headers] = stateless(9, "tell", { wait: true, say: [log("1")] });
    const stream = await listen(stage, headers, message);
    stream.hangUp();
    await until(() => stage.log.some((line) => line.includes("notifications/cancelled")));
    // The id that the server knows.
    expect(stage.log.at(-1)).toContain(`"requestId":2`);
    expect((await stage.post(...stateless(9, "tell"))).status).toBe(200);
  });

  test("MCP 2026-07-28: so is going away before the first byte", async () => {
    const stage = startStdioStage(odd("stateless-told"), { bounds: { opening: 60_000 } });
    const abort = new AbortController();
    const [message, headers] = stateless(9, "tell", { wait: true });
    const gone = stage.post(message, headers, abort.signal).catch(() => "gone");
    await until(() => stage.state().running === 1);
    await Bun.sleep(100);
    abort.abort();
    expect(await gone).toBe("gone");
    await until(() => stage.log.some((line) => line.includes("notifications/cancelled")));
  });
});

describe("MCP 2026-07-28: what belongs to which request", () => {
  const subscription = (id: unknown): object => ({
    jsonrpc: "2.0",
    method: "notifications/tools/list_changed",
    params: { _meta: { "io.modelcontextprotocol/subscriptionId": id } },
  });

  test("ids that clients chose alike are told apart, and come back as they were", async () => {
    const stage = startStdioStage(odd("stateless-told"));
    const call = (): [object, Record<string, string>] =>
      stateless(1, "tell", { wait: true, say: ["progress"], _meta: { progressToken: "same" } });
    const open = async () => {
      const [message, headers] = call();
      return listen(stage, headers, message);
    };
    const streams = [await open(), await open()];
    await until(() => streams.every((stream) => stream.messages().length === 1));
    for (const stream of streams) expect(stream.messages()).toMatchObject([progress("same", 1)]);
    await stage.post(...stateless(1, "go"));
    for (const stream of streams) {
      expect(await stream.ended).toBe("end");
      expect(stream.messages().at(-1)).toMatchObject({ id: 1, result: expect.any(Object) });
    }
  });

  test("subscriptions get their own notifications, until the server ends them", async () => {
    const stage = startStdioStage(odd("stateless-told"));
    const open = async (id: string) => {
      const [message, headers] = stateless(id, "subscriptions/listen", {
        wait: true,
        say: ["listen"],
      });
      return listen(stage, headers, message);
    };
    const streams = [await open("s"), await open("t")];
    await until(() => streams.every((stream) => stream.messages().length === 1));
    expect(streams.map((stream) => stream.messages()[0])).toMatchObject([
      subscription("s"),
      subscription("t"),
    ]);
    await stage.post(...stateless(1, "end-subscriptions"));
    expect(await Promise.all(streams.map(({ ended }) => ended))).toEqual(["end", "end"]);
  });

  test("log messages go to who asked for them", async () => {
    const stage = startStdioStage(odd("stateless-told"));
    const _meta = { "io.modelcontextprotocol/logLevel": "info" };
    const asked = await messagesOf(
      await stage.post(...stateless(1, "tell", { say: [log("x")], _meta })),
    );
    expect(asked).toMatchObject([log("x"), { id: 1 }]);
    const other = await messagesOf(await stage.post(...stateless(1, "tell", { say: [log("x")] })));
    expect(other).toMatchObject([{ id: 1 }]);
  });

  test.each([
    [-32_601, 404],
    [-32_022, 400],
    [-32_021, 400],
    [-32_020, 400],
    [-32_602, 200],
    [-32_603, 200],
    [1, 200],
  ])("an error %d is HTTP %d", async (code, status) => {
    const stage = startStdioStage(odd("stateless-told"), { bounds: patient });
    const answer = await stage.post(...stateless(1, "tell", { error: { code, message: "m" } }));
    expect(answer.status).toBe(status);
    expect(await messageOf(answer)).toMatchObject({ id: 1, error: { code, message: "m" } });
  });

  test("headers that repeat parameters agree with them", async () => {
    const stage = startStdioStage(odd("stateless-told"));
    const call = (region: unknown, headers: Record<string, string>): Promise<Response> => {
      const [message, usual] = stateless(1, "tools/call", {
        name: "query",
        arguments: { at: { region } },
      });
      return stage.post(message, { ...usual, ...headers });
    };
    expect((await call("eu", { "mcp-param-region": "eu" })).status).toBe(200);
    expect((await call("ä", { "mcp-param-region": "=?base64?w6Q=?=" })).status).toBe(200);
    expect((await call(42, { "mcp-param-region": "42.0" })).status).toBe(200);
    expect((await call(null, {})).status).toBe(200);
    for (const region of [undefined, "us", "=?base64?x?="]) {
      const answer = await call("eu", region === undefined ? {} : { "mcp-param-region": region });
      expect(answer.status).toBe(400);
      expect((await messageOf(answer)).error?.code).toBe(-32_020);
    }
  });
});

describe("bounds", () => {
  test("a client that does not read holds its own server up, for a while, and nobody else", async () => {
    const bounds = { waiting: 100_000, kept: 10_000, stall: 300 };
    const stage = startStdioStage(odd("flood"), { bounds });
    const headers = await stage.open();
    const socket = connect(stage.port, "127.0.0.1");
    socket.on("error", () => undefined);
    const head = Object.entries({ host: "127.0.0.1", accept: "text/event-stream", ...headers });
    socket.write(
      `GET /mcp HTTP/1.1\r\n${head.map((pair) => pair.join(": ")).join("\r\n")}\r\n\r\n`,
    );
    socket.pause();
    const other = await stage.open();
    expect((await messagesOf(await stage.post(request(1, "x"), other))).at(-1)?.id).toBe(1);
    const own = stage.post(request(2, "x"), headers);
    expect((await messagesOf(await own)).at(-1)?.id).toBe(2);
    const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
    socket.resume();
    await closed;
  });

  test("a client that reads gets everything, however much it is", async () => {
    const stage = startStdioStage(odd("told"), { bounds: { waiting: 1_000, stall: 60_000 } });
    const say = Array.from({ length: 500 }, (_each, index) => log(`${index} ${"x".repeat(1_000)}`));
    const answer = await stage.post(tell("a", { say }), await stage.open());
    await Bun.sleep(100);
    expect(await messagesOf(answer)).toHaveLength(501);
  });

  test("what is kept for absent clients is bounded", async () => {
    const stage = startStdioStage(odd("told"), { bounds: { kept: 2_000 } });
    const headers = await stage.open();
    const say = Array.from({ length: 100 }, () => ({ ...changed, params: { x: "x".repeat(100) } }));
    await messagesOf(await stage.post(tell("a", { say }), headers));
    const stream = await listen(stage, headers);
    await until(() => stream.messages().length > 0);
    expect(stream.messages().length).toBeLessThan(20);
  });
});
