// Streamable HTTP for a stdio server: sessions, streams, what comes back of what went in.
import { afterAll, describe, expect, test } from "bun:test";
import { until } from "./stage.ts";
import {
  type Wire,
  initialize,
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

const lineIn = ({ result }: Wire): Record<string, unknown> =>
  JSON.parse(String(result?.["line"])) as Record<string, unknown>;

describe("MCP 2025-11-25 Session Management", () => {
  test.each(["2025-03-26", "2025-06-18", "2025-11-25"])(
    "%s: initialize begins a session, its id opens everything else",
    async (revision) => {
      const stage = startStdioStage(odd("plain"));
      const answer = await stage.post(initialize(revision));
      expect(answer.status).toBe(200);
      const session = answer.headers.get("mcp-session-id") ?? "";
      expect(session).toMatch(/^[\x21-\x7e]{32,}$/);
      expect((await messageOf(answer)).result).toMatchObject({ protocolVersion: revision });
      const headers = { "mcp-session-id": session };
      const ready = { jsonrpc: "2.0", method: "notifications/initialized" };
      const accepted = await stage.post(ready, headers);
      expect([accepted.status, await accepted.text()]).toEqual([202, ""]);
      const listed = await stage.post(request(1, "tools/list"), headers);
      expect(listed.headers.get("mcp-session-id")).toBe(session);
      expect(await messageOf(listed)).toMatchObject({ id: 1 });
      expect(stage.state()).toMatchObject({ sessions: 1, running: 1, started: 1 });
    },
  );

  test("an unknown session is 404, a missing one 400, another login's 404", async () => {
    const stage = startStdioStage(odd("plain"));
    const headers = await stage.open();
    const status = async (given: Record<string, string>): Promise<number> =>
      (await stage.post(request(1, "tools/list"), given)).status;
    expect(await status({})).toBe(400);
    const unknown = await stage.post(request(7, "tools/list"), { "mcp-session-id": "unknown" });
    expect(unknown.status).toBe(404);
    expect(await messageOf(unknown)).toMatchObject({ id: 7, error: { code: -32_001 } });
    expect(await status(headers)).toBe(200);
    stage.context = { ...stage.context, family: "family-2" };
    expect(await status(headers)).toBe(404);
    expect((await fetch(stage.url, { method: "DELETE", headers })).status).toBe(404);
    stage.context = { ...stage.context, family: "family-1" };
    expect(await status(headers)).toBe(200);
  });

  test("DELETE ends the session and its process", async () => {
    const stage = startStdioStage(odd("plain"));
    const headers = await stage.open();
    expect((await fetch(stage.url, { method: "DELETE", headers })).status).toBe(200);
    expect((await stage.post(request(1, "tools/list"), headers)).status).toBe(404);
    await until(() => stage.state().running === 0);
    expect(stage.state()).toMatchObject({ sessions: 0, crashed: 0 });
  });

  test.each(["per-session", "shared"])(
    "what an ended session still asked is answered by an error, processes %s",
    async (processes) => {
      const stage = startStdioStage(odd("told"), { settings: { processes } });
      const [headers, others] = [await stage.open(), await stage.open()];
      const wait = (id: number): object => request(id, "tell", { wait: true });
      const call = stage.post(wait(1), { ...headers, accept: "application/json" });
      const stream = await listen(stage, headers, wait(2));
      await fetch(stage.url, { method: "DELETE", headers });
      expect(await messageOf(await call)).toMatchObject({ id: 1, error: { code: -32_603 } });
      expect(await stream.ended).toBe("end");
      const error = { message: "the session was ended" };
      expect(stream.messages().at(-1)).toMatchObject({ id: 2, error });
      expect(await messageOf(await stage.post(request(3, "tell"), others))).toMatchObject({
        id: 3,
      });
    },
  );

  test("initialize with the id of a session that is gone begins a new one", async () => {
    const stage = startStdioStage(odd("plain"));
    const answer = await stage.post(initialize("2025-11-25"), { "mcp-session-id": "of old" });
    expect(answer.status).toBe(200);
    expect(answer.headers.get("mcp-session-id")).not.toBe("of old");
  });

  test("an initialize that the server refuses leaves no session", async () => {
    const stage = startStdioStage(odd("stateless"), { bounds: patient });
    const answer = await stage.post(initialize("2025-11-25"));
    // What the odd server answers has no revision in it.
    expect(answer.headers.has("mcp-session-id")).toBe(false);
    expect(stage.state().sessions).toBe(0);
  });

  test("each session has a process of its own", async () => {
    const stage = startStdioStage(odd("plain"));
    const pids = await Promise.all(
      [1, 2].map(async () => {
        const answer = await stage.post(request(1, "x"), await stage.open());
        return (await messageOf(answer)).result?.["pid"];
      }),
    );
    expect(new Set(pids).size).toBe(2);
  });

  test.each([
    ["GET", {}, 405],
    ["DELETE", {}, 405],
    ["GET", { "mcp-session-id": "unknown" }, 404],
    ["DELETE", { "mcp-session-id": "unknown" }, 404],
  ])("%s with %p is %d", async (method, headers, status) => {
    const stage = startStdioStage(odd("plain"));
    const answer = await fetch(stage.url, { method, headers });
    expect(answer.status).toBe(status);
    expect(stage.state().started).toBe(0);
  });

  test("a session is forgotten when nobody comes back, or its login ends", async () => {
    const stage = startStdioStage(odd("plain"), { bounds: { forgotten: 150 } });
    await stage.open();
    await until(() => stage.state().sessions === 0 && stage.state().running === 0);
    const lasting = startStdioStage(odd("plain"));
    await lasting.open();
    lasting.isAlive = false;
    await until(() => lasting.state().sessions === 0 && lasting.state().running === 0);
  });
});

describe("every message passes as it is", () => {
  const strange = {
    unknown: { member: [null, true, "ä\u2028\u0000 \ud83d\ude00"] },
    __proto__: null,
    empty: {},
  };

  test("methods, members and numbers that nobody knows", async () => {
    const stage = startStdioStage(odd("plain"));
    const headers = await stage.open();
    const text = `{"jsonrpc":"2.0",\r\n "id":"a/b","method":"x/y","extra":[1],\t"params":{"big":12345678901234567890,
      "one":1.0,"huge":1e400,"minus":-0,"deep":${JSON.stringify(strange)},"__proto__":{"x":1}}}`;
    const message = await messageOf(await stage.post(text, headers));
    expect(message.id).toBe("a/b");
    const line = String(message.result?.["line"]);
    expect(line).toContain(`"big":12345678901234567890,"one":1.0,"huge":1e400,"minus":-0`);
    const sent = JSON.parse(line) as { params: object; extra: unknown; method: string };
    expect(sent).toMatchObject({ method: "x/y", extra: [1], params: { deep: strange } });
    expect(Object.keys(sent.params)).toContain("__proto__");
  });

  test("a member that is there twice reaches the server once", async () => {
    const stage = startStdioStage(odd("plain"));
    const text = `{"jsonrpc":"2.0","id":1,"method":"a","method":"b","params":{}}`;
    const message = await messageOf(await stage.post(text, await stage.open()));
    expect(String(message.result?.["line"]).match(/"method"/g)).toHaveLength(1);
    expect(lineIn(message)).toMatchObject({ method: "b" });
  });

  test("notifications and responses", async () => {
    const stage = startStdioStage(odd("ask"));
    const headers = await stage.open();
    const stream = await listen(stage, headers, request(5, "tools/call", { name: "x" }));
    await until(() => stream.messages().length === 1);
    expect(stream.messages()).toEqual([
      { jsonrpc: "2.0", id: "q1", method: "sampling/createMessage", params: {} } as Wire,
    ]);
    const told = { jsonrpc: "2.0", id: "q1", result: { model: "m", odd: 1 } };
    expect((await stage.post(told, headers)).status).toBe(202);
    expect(await stream.ended).toBe("end");
    expect(stream.messages().at(-1)).toMatchObject({ id: 5, result: { told } });
    const notification = { jsonrpc: "2.0", method: "notifications/odd", params: { a: [1] } };
    expect((await stage.post(notification, headers)).status).toBe(202);
    await until(() => stage.log.some((line) => line.includes("notifications/odd")));
    expect(stage.log.at(-1)).toBe(`notified ${JSON.stringify(notification)}`);
  });

  test("MCP 2025-03-26: batches, posted and answered", async () => {
    const stage = startStdioStage(odd("plain"));
    const headers = await stage.open("2025-03-26");
    const ready = { jsonrpc: "2.0", method: "notifications/x" };
    const answer = await stage.post([request(1, "a"), ready, request("1", "b")], headers);
    const messages = await messagesOf(answer);
    expect(messages.map(({ id }) => id)).toEqual([1, "1"]);
    expect(messages.map((each) => lineIn(each)["method"])).toEqual(["a", "b"]);
    expect((await stage.post([ready, ready], headers)).status).toBe(202);
    expect((await stage.post([], headers)).status).toBe(400);
    expect((await stage.post(Array(101).fill(ready), headers)).status).toBe(400);
  });

  test("batches of the server are taken apart", async () => {
    const stage = startStdioStage(odd("batch"));
    const call = request(3, "x", { _meta: { progressToken: 3 } });
    const messages = await messagesOf(await stage.post(call, await stage.open()));
    expect(messages.map(({ id, method }) => id ?? method)).toEqual(["notifications/progress", 3]);
  });
});

describe("who asks", () => {
  test("stands in the metadata of every request, and nobody else can say so", async () => {
    const stage = startStdioStage(odd("plain"));
    const headers = await stage.open();
    const forged = { "postern/user": "mallory", "Postern/Client": "m", "postern/x": 1, own: 2 };
    const called = await messageOf(
      await stage.post(request(1, "tools/call", { _meta: forged, name: "n" }), headers),
    );
    expect(lineIn(called)["params"]).toEqual({
      name: "n",
      _meta: {
        own: 2,
        "postern/user": "owner",
        "postern/client": "client-1",
        "postern/scope": "mcp files",
      },
    });
    const bare = await messageOf(await stage.post(request(2, "tools/list"), headers));
    expect(lineIn(bare)).toMatchObject({ params: { _meta: { "postern/user": "owner" } } });
    const notification = { jsonrpc: "2.0", method: "notifications/x", params: { _meta: forged } };
    await stage.post(notification, headers);
    await until(() => stage.log.some((line) => line.includes("notifications/x")));
    expect(stage.log.at(-1)).toContain(`"params":{"_meta":{"own":2}}`);
  });

  test("stands in the environment of a process of one client; of ours there is little else", async () => {
    const environment = { LANG: "C", SECRET: "s3cret", AWS_TOKEN: "t", CHOSEN: "c" };
    const settings = { env: "MODE=fast,CHOSEN,OTHER=env:SECRET", workingFolder: "/tmp" };
    const stage = startStdioStage(odd("plain"), { environment, settings });
    const { result } = await messageOf(await stage.post(request(1, "x"), await stage.open()));
    expect(result).toMatchObject({ folder: "/tmp" });
    expect(result?.["environment"]).toEqual({
      PATH: process.env["PATH"],
      HOME: process.env["HOME"],
      LANG: "C",
      MODE: "fast",
      CHOSEN: "c",
      OTHER: "s3cret",
      POSTERN_USER: "owner",
      POSTERN_CLIENT: "client-1",
    } as Record<string, unknown>);
  });
});

describe("what a client may not post", () => {
  test.each<[string, string | Uint8Array<ArrayBuffer>, Record<string, string>, number]>([
    ["no JSON", "{", {}, 400],
    [
      "no UTF-8",
      Uint8Array.from(Buffer.from('{"jsonrpc":"2.0","id":1,"method":"\xff"}', "latin1")),
      {},
      400,
    ],
    ["no message", "{}", {}, 400],
    ["another JSON-RPC", `{"jsonrpc":"1.0","id":1,"method":"x"}`, {}, 400],
    ["an id of null", `{"jsonrpc":"2.0","id":null,"method":"x"}`, {}, 400],
    ["a text", `"x"`, {}, 400],
    ["another media type", "{}", { "content-type": "text/plain" }, 415],
    [
      "an Accept that nothing fits",
      `{"jsonrpc":"2.0","id":1,"method":"initialize"}`,
      { accept: "text/html" },
      406,
    ],
    [
      "a revision that nobody knows",
      `{"jsonrpc":"2.0","id":1,"method":"x"}`,
      { "mcp-protocol-version": "1.0" },
      400,
    ],
    ["more than the bound", `{"jsonrpc":"2.0","id":1,"method":"${"x".repeat(2000)}"}`, {}, 413],
  ])("%s", async (_name, body, headers, status) => {
    const stage = startStdioStage(odd("plain"), { bounds: { message: 1500 } });
    const session = await stage.open();
    const answer = await stage.post(body, { ...session, ...headers });
    expect(answer.status).toBe(status);
    expect(await messageOf(answer)).toMatchObject({
      jsonrpc: "2.0",
      error: { message: expect.any(String) },
    });
  });

  test("a body without a length is bounded too", async () => {
    const stage = startStdioStage(odd("plain"), { bounds: { message: 1500 } });
    const chunk = new TextEncoder().encode("x".repeat(400));
    let sent = 0;
    const body = new ReadableStream({
      pull: (controller) => (++sent > 100 ? controller.close() : controller.enqueue(chunk)),
    });
    const headers = { "content-type": "application/json" };
    const answer = await fetch(stage.url, { method: "POST", headers, body });
    expect(answer.status).toBe(413);
  });

  test("a request id that is under way", async () => {
    const stage = startStdioStage(odd("ask"));
    const headers = await stage.open();
    const open = await listen(stage, headers, request(1, "x"));
    await until(() => open.messages().length === 1);
    const answer = await messageOf(await stage.post(request(1, "y"), headers));
    expect(answer).toMatchObject({
      id: 1,
      error: { message: expect.stringContaining("under way") },
    });
    expect(open.messages()).toHaveLength(1);
  });

  test("requests under way are bounded", async () => {
    const stage = startStdioStage(odd("ask"), { bounds: { requests: 2 } });
    const headers = await stage.open();
    await listen(stage, headers, request(1, "x"));
    await listen(stage, headers, request(2, "x"));
    const answer = await messageOf(await stage.post(request(3, "x"), headers));
    expect(answer.error?.message).toContain("too many requests");
  });
});

describe("MCP 2026-07-28: stateless requests", () => {
  test("need no session and share the process of their login", async () => {
    const stage = startStdioStage(odd("stateless"));
    const answers = await Promise.all(
      [1, 1, "x"].map(async (id) => {
        const answer = await stage.post(...stateless(id, "tools/list", { n: 1.5 }));
        expect(answer.headers.has("mcp-session-id")).toBe(false);
        return messageOf(answer);
      }),
    );
    expect(answers.map(({ id }) => id)).toEqual([1, 1, "x"]);
    expect(answers.map((each) => lineIn(each)["id"])).toEqual([2, 3, 4]);
    expect(stage.state()).toMatchObject({ started: 1, sessions: 0 });
    stage.context = { ...stage.context, family: "family-2", clientId: "client-2" };
    const other = await messageOf(await stage.post(...stateless(1, "x")));
    expect(other.result?.["environment"]).toMatchObject({ POSTERN_CLIENT: "client-2" });
    expect(stage.state().started).toBe(2);
  });

  test.each<[string, object, number, number]>([
    ["a header of another revision", { "mcp-protocol-version": "2025-11-25" }, 400, -32_020],
    ["another method in the header", { "mcp-method": "tools/list" }, 400, -32_020],
    ["another name in the header", { "mcp-name": "other" }, 400, -32_020],
    ["a name that is no Base64", { "mcp-name": "=?base64?!!?=" }, 400, -32_020],
  ])("%s is refused", async (_name, headers, status, code) => {
    const stage = startStdioStage(odd("stateless"));
    const [message, usual] = stateless(4, "tools/call", { name: "tool" });
    const answer = await stage.post(message, { ...usual, ...headers });
    expect(answer.status).toBe(status);
    expect(await messageOf(answer)).toMatchObject({ id: 4, error: { code } });
    expect(stage.state().started).toBe(0);
  });

  test.each(["mcp-protocol-version", "mcp-method", "mcp-name"])(
    "without %s it is refused",
    async (name) => {
      const stage = startStdioStage(odd("stateless"));
      const [message, headers] = stateless(4, "tools/call", { name: "tool" });
      delete headers[name];
      const answer = await stage.post(message, headers);
      expect(answer.status).toBe(400);
      expect(await messageOf(answer)).toMatchObject({ id: 4, error: { code: -32_020 } });
    },
  );

  test("a name beyond ASCII comes as Base64", async () => {
    const stage = startStdioStage(odd("stateless"));
    const [message, headers] = stateless(4, "prompts/get", { name: "grüße" });
    const encoded = `=?base64?${Buffer.from("grüße").toString("base64")}?=`;
    const answer = await stage.post(message, { ...headers, "mcp-name": encoded });
    expect(answer.status).toBe(200);
  });

  test("a revision that the server does not speak is refused with those that it does", async () => {
    const stage = startStdioStage(odd("stateless"));
    const answer = await stage.post(...stateless(1, "x", {}, "2099-01-01"));
    expect(answer.status).toBe(400);
    expect((await messageOf(answer)).error).toMatchObject({
      code: -32_022,
      data: { supported: ["2026-07-28"], requested: "2099-01-01" },
    });
  });

  test("a server of older revisions is asked once, and its clients begin with initialize", async () => {
    const stage = startStdioStage(odd("late-exit"), { bounds: { backOff: 10 } });
    for (let tries = 0; tries < 3; tries++) {
      const answer = await stage.post(...stateless(1, "server/discover"));
      expect(answer.status).toBe(400);
      // None of the codes by which a client knows a newer server.
      expect((await messageOf(answer)).error).toMatchObject({ code: -32_600 });
    }
    expect(stage.state().started).toBe(1);
    expect(await stage.open()).toBeObject();
  });

  test("a server that does not answer the question is an older one", async () => {
    const stage = startStdioStage(odd("silent"), { bounds: { probe: 100 } });
    const answer = await stage.post(...stateless(1, "tools/list"));
    expect(answer.status).toBe(400);
    expect((await messageOf(answer)).error?.code).toBe(-32_600);
  });
});
