// Open-ended answers: what arrives when, what ends whom, what is put between events (requirements RS-15, RS-16, RS-18, fault F41).
import { afterAll, describe, expect, test } from "bun:test";
import { type Socket, connect } from "node:net";
import { eventBoundary, relay } from "../../src/gateway/stream.ts";
import {
  sendRaw,
  startRawUpstream,
  startStage,
  startUpstream,
  until,
  closeStages,
} from "./stage.ts";

afterAll(closeStages);

const comment = ": keep-alive\n\n";
const eventStream =
  "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
const get = "GET /mcp HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";

/** WHATWG HTML §9.2.6, for texts without ids and retries. */
function parseEvents(text: string): string[] {
  const events: string[] = [];
  let lines: string[] = [];
  for (const line of text.split(/\r\n|\n|\r/)) {
    if (line !== "") {
      if (!line.startsWith(":")) lines.push(line);
      continue;
    }
    if (lines.some((field) => field.startsWith("data"))) events.push(lines.join("|"));
    lines = [];
  }
  return events;
}

const withEnds = (end: string): string =>
  [
    "event: message",
    "data: one",
    "data: two",
    "",
    ": note",
    "data:",
    "",
    "data: three",
    "",
    "",
  ].join(end);
const texts = {
  LF: withEnds("\n"),
  CRLF: withEnds("\r\n"),
  CR: withEnds("\r"),
  mixed: "data: a\r\n\ndata: b\n\r\ndata: c\r\r\ndata: d\n\n",
};

describe("a comment fits between two events and nowhere else", () => {
  test.each(Object.entries(texts))("line ends %s, seen byte by byte", (_name, text) => {
    const boundary = eventBoundary();
    const bytes = Buffer.from(text);
    const places: number[] = [];
    for (let at = 0; at <= bytes.length; at++) {
      if (boundary.between()) places.push(at);
      boundary.see(bytes.subarray(at, at + 1));
    }
    const events = parseEvents(text);
    for (const at of places) {
      expect(parseEvents(text.slice(0, at) + comment + text.slice(at))).toEqual(events);
      expect(parseEvents(text.slice(0, at)).length).toBe(
        parseEvents(`${text.slice(0, at)}\n\n`).length,
      );
    }
    expect(places.length).toBeGreaterThanOrEqual(events.length + 1);
    expect(places).toContain(0);
    expect(places.at(-1)).toBe(text.length);
  });

  test.each(Object.entries(texts))("line ends %s, in one chunk or in two", (_name, text) => {
    for (let cut = 0; cut <= text.length; cut++) {
      const boundary = eventBoundary();
      boundary.see(Buffer.from(text.slice(0, cut)));
      boundary.see(Buffer.from(text.slice(cut)));
      expect(boundary.between()).toBe(true);
      boundary.see(Buffer.from("x"));
      expect(boundary.between()).toBe(false);
    }
  });
});

/** What the client gets of `text` when the upstream falls silent after `cut` bytes. */
async function receive(text: string, cut: number, silence: number): Promise<string> {
  const upstream = await startRawUpstream((socket) => {
    socket.write(eventStream + text.slice(0, cut));
    setTimeout(() => socket.end(text.slice(cut)), silence * 6);
  });
  const stage = startStage(upstream.url, { timing: { opening: 1, silence } });
  return (await fetch(stage.url)).text();
}

describe("silence", () => {
  test.each([
    ["LF", texts.LF],
    ["CRLF", texts.CRLF],
  ])(
    "%s: comments come while the upstream is silent between events, for every place of the silence",
    async (_name, text) => {
      const boundary = eventBoundary();
      const places = Array.from({ length: text.length + 1 }, (_, at) => {
        const between = boundary.between();
        boundary.see(Buffer.from(text.slice(at, at + 1)));
        return between;
      });
      const received = await Promise.all(places.map((_, cut) => receive(text, cut, 40)));
      received.forEach((got, cut) => {
        expect(got.replaceAll(comment, "")).toBe(text);
        // On a slow machine a comment may have opened the stream before its first byte.
        const opened = cut === 0 ? got : got.replace(/^(?:: keep-alive\n\n)+/, "");
        const commented = opened.startsWith(text.slice(0, cut) + comment);
        expect([cut, commented]).toEqual([cut, places[cut] === true]);
      });
    },
  );

  test("no comment comes while events come", async () => {
    let sent = 0;
    const upstream = await startRawUpstream((socket) => {
      socket.write(eventStream);
      const timer = setInterval(() => {
        socket.write("data: one\n\n");
        if (++sent < 60) return;
        clearInterval(timer);
        socket.end();
      }, 20);
    });
    const stage = startStage(upstream.url, { timing: { opening: 1, silence: 500 } });
    const text = await (await fetch(stage.url)).text();
    expect(text.replace(/^: keep-alive\n\n/, "")).toBe("data: one\n\n".repeat(60));
  });

  test("comments do not pile up for a client that takes nothing", async () => {
    const stream = relay(new ReadableStream(), {
      events: true,
      stillGood: async () => true,
      stop: () => undefined,
      ended: () => undefined,
      keepOpen: () => undefined,
      letIdle: () => undefined,
      opening: 1,
      silence: 1,
      recheck: 1_000,
    });
    await Bun.sleep(100);
    const reader = stream.getReader();
    const chunks: number[] = [];
    const listening = (async () => {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        chunks.push(value.length);
      }
    })();
    await Bun.sleep(0);
    // One was waiting, and one or two may be new; a hundred milliseconds would have made dozens.
    expect(chunks.length).toBeLessThan(10);
    await until(() => chunks.length > 3);
    await reader.cancel();
    await listening;
  });

  test("no comment enters an answer that is no event stream, or a compressed one", async () => {
    const heads = [
      "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n",
    ];
    for (const head of heads) {
      const upstream = await startRawUpstream((socket) => {
        socket.write(head);
        setTimeout(() => socket.end("body"), 60);
      });
      const stage = startStage(upstream.url, { timing: { opening: 1, silence: 5 } });
      const { text } = await sendRaw(stage.port, get, 300);
      expect(text.slice(text.indexOf("\r\n\r\n"))).toMatch(/^\r\n\r\n(?:4\r\n)?body/);
      expect(text).not.toContain("keep-alive\n");
    }
  });

  test("the idle limit of a connection is lifted for slow answers and lasting streams only", async () => {
    const answers: Record<string, string> = {
      "/mcp/json": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
      "/mcp/events": `${eventStream}data: one\n\n`,
    };
    const upstream = await startRawUpstream((socket, head) => {
      const [path = "", wait] = (head.split(" ")[1] ?? "").split("?");
      const answer = answers[path] ?? "";
      const begun = wait === "inside" ? answer.length - 2 : 0;
      socket.write(answer.slice(0, begun));
      setTimeout(() => socket.end(answer.slice(begun)), wait === undefined ? 0 : 1000);
    });
    const rows: [string, number][] = [
      ["/json", 0],
      ["/json?before", 1],
      ["/events", 0],
      ["/events?inside", 1],
    ];
    for (const [path, lifted] of rows) {
      const stage = startStage(upstream.url, { timing: { lift: 500, opening: 500 } });
      await (await fetch(stage.url + path)).text();
      expect([path, stage.lifted()]).toEqual([path, lifted]);
    }
  });
});

test("a client that stalls inside a short request keeps its idle limit, and the upstream hears nothing", async () => {
  const upstream = startUpstream();
  const stage = startStage(upstream.url, { timing: { lift: 5, firstByte: 10 } });
  const half = "POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf";
  expect(await sendRaw(stage.port, half, 150)).toEqual({ text: "", ending: "open" });
  expect(stage.lifted()).toBe(0);
  expect(upstream.requests).toEqual([]);
});

describe("both ways at once", () => {
  test("a client learns that an event stream is open although it has no event yet", async () => {
    const upstream = await startRawUpstream((socket) => socket.write(eventStream));
    const response = await fetch(startStage(upstream.url, { timing: { opening: 5 } }).url);
    expect(response.status).toBe(200);
    const first = await response.body?.getReader().read();
    expect(new TextDecoder().decode(first?.value)).toBe(comment);
  });

  test("the first event arrives while the upstream still has the second", async () => {
    let send = (_text: string): void => undefined;
    const upstream = await startRawUpstream((socket) => {
      socket.write(`${eventStream}data: one\n\n`);
      send = (text) => void socket.end(text);
    });
    const response = await fetch(startStage(upstream.url).url);
    expect(response.headers.get("x-accel-buffering")).toBe("no");
    const reader = response.body?.getReader();
    const first = await reader?.read();
    expect(new TextDecoder().decode(first?.value)).toBe("data: one\n\n");
    send("data: two\n\n");
    const second = await reader?.read();
    expect(new TextDecoder().decode(second?.value)).toBe("data: two\n\n");
    expect((await reader?.read())?.done).toBe(true);
  });

  test.each([
    ["chunked", "Transfer-Encoding: chunked", "5\r\nfirst\r\n", "4\r\nlast\r\n0\r\n\r\n"],
    ["of a known length", "Content-Length: 100000", "first", "x".repeat(99_991) + "last"],
  ])(
    "a large body %s reaches the upstream while the client is still sending",
    async (_n, header, first, last) => {
      let received = "";
      const upstream = await startRawUpstream((socket, head) => {
        received = head;
        socket.on("data", (chunk) => {
          received += chunk.toString("latin1");
          if (/last(?:\r\n0\r\n\r\n)?$/.test(received)) {
            socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
          }
        });
      });
      const stage = startStage(upstream.url);
      const client = connect(stage.port, "127.0.0.1");
      let answer = "";
      client.on("data", (chunk) => (answer += chunk.toString()));
      client.write(`POST /mcp HTTP/1.1\r\nHost: a\r\n${header}\r\n\r\n${first}`);
      await until(() => received.includes("first"));
      client.write(last);
      await until(() => answer.endsWith("ok"));
      client.destroy();
      expect(received.toLowerCase()).toContain(header.toLowerCase());
    },
  );

  test("no more is read from the upstream than the client takes, and 256 MB pass in bounded memory", async () => {
    const chunk = Buffer.alloc(1 << 20, 97);
    const total = 256;
    let sent = 0;
    const upstream = await startRawUpstream((socket) => {
      socket.write(eventStream);
      const write = (): void => {
        while (sent < total) {
          sent++;
          if (!socket.write(chunk)) return void socket.once("drain", write);
        }
        socket.end();
      };
      write();
    });
    const stage = startStage(upstream.url);
    const client = connect(stage.port, "127.0.0.1");
    let taken = 0;
    client.on("data", (part: Buffer) => (taken += part.length));
    client.write(get);
    await until(() => taken > 0);
    client.pause();
    const memory = process.memoryUsage.rss();
    await Bun.sleep(300);
    expect(sent).toBeLessThan(total / 2);
    client.resume();
    await until(() => taken >= total << 20);
    client.destroy();
    expect(process.memoryUsage.rss() - memory).toBeLessThan(128 << 20);
  });
});

describe("one side ends", () => {
  test("a client that goes away ends the request behind: while waiting, in the stream, with a body half sent", async () => {
    const requests = {
      waiting: get.replace("/mcp", "/mcp/waiting"),
      streaming: get,
      sending:
        "POST /mcp/waiting HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
    };
    for (const request of Object.values(requests)) {
      let behind: Socket | undefined;
      let closed = false;
      const upstream = await startRawUpstream((socket, head) => {
        behind = socket;
        socket.on("close", () => (closed = true));
        if (!head.includes("/waiting")) socket.write(`${eventStream}data: one\n\n`);
      });
      const stage = startStage(upstream.url);
      const client = connect(stage.port, "127.0.0.1");
      let got = "";
      client.on("data", (chunk) => (got += chunk.toString()));
      client.write(request);
      await until(() => behind !== undefined && (request !== get || got.includes("one")));
      expect(closed).toBe(false);
      client.destroy();
      await until(() => closed);
      expect(stage.refusals).toEqual([]);
    }
  });

  test("an upstream that ends, ends the client; one that is cut off does not look like an end", async () => {
    const length = "HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n";
    const chunked =
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    const rows = [
      { head: `${chunked}b\r\ndata: one\n\n\r\n`, last: "0\r\n\r\n", whole: true },
      { head: `${chunked}b\r\ndata: one\n\n\r\n`, last: "", whole: false },
      { head: `${length}data: one\n\n`, last: "", whole: false },
    ];
    for (const { head, last, whole } of rows) {
      const upstream = await startRawUpstream((socket) => {
        socket.write(head);
        setTimeout(() => (last === "" ? socket.destroy() : socket.end(last)), 50);
      });
      const stage = startStage(upstream.url);
      const { text, ending } = await sendRaw(stage.port, get, 500);
      expect(text).toContain("data: one\n\n");
      expect(text.endsWith("\r\n0\r\n\r\n")).toBe(whole);
      expect(ending).toBe(whole ? "open" : "cut");
    }
  });

  test("RS-18: a stream ends when its credential ends, and so does the request behind", async () => {
    const plain = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";
    for (const head of [eventStream, plain]) {
      let good = true;
      let asked = 0;
      let closed = false;
      const upstream = await startRawUpstream((socket) => {
        socket.write(`${head}data: one\n\n`);
        socket.on("close", () => (closed = true));
      });
      const stage = startStage(upstream.url, {
        timing: { opening: 1, recheck: 10 },
        context: {
          stillGood: async () => {
            asked++;
            return good;
          },
        },
      });
      const answer = sendRaw(stage.port, get, 1_000);
      await until(() => asked >= 3);
      expect(closed).toBe(false);
      good = false;
      await until(() => closed);
      const { text, ending } = await answer;
      // An event stream may end at any time; any other body must not look complete.
      expect(text.endsWith("\r\n0\r\n\r\n")).toBe(head === eventStream);
      expect(ending).toBe(head === eventStream ? "open" : "cut");
      const before = asked;
      await Bun.sleep(50);
      expect(asked).toBe(before);
    }
  });

  test("a credential that cannot be checked counts as ended", async () => {
    const upstream = await startRawUpstream((socket) => {
      socket.write(`${eventStream}data: one\n\n`);
    });
    const stage = startStage(upstream.url, {
      timing: { opening: 1, recheck: 10 },
      context: { stillGood: () => Promise.reject(new Error("store closed")) },
    });
    const text = await (await fetch(stage.url)).text();
    expect(text.replaceAll(comment, "")).toBe("data: one\n\n");
  });

  test("nothing is asked or sent any more when a stream is over", async () => {
    let asked = 0;
    const upstream = await startRawUpstream((socket) => {
      socket.write(eventStream);
      setTimeout(() => socket.end("data: one\n\n"), 60);
    });
    const stage = startStage(upstream.url, {
      timing: { opening: 1, recheck: 5, silence: 5 },
      context: {
        stillGood: async () => {
          asked++;
          return true;
        },
      },
    });
    const text = await (await fetch(stage.url)).text();
    expect(text.replaceAll(comment, "")).toBe("data: one\n\n");
    const before = asked;
    expect(before).toBeGreaterThan(0);
    await Bun.sleep(50);
    expect(asked).toBe(before);
  });
});
