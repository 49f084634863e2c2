// Malformed, oversized and slow requests on the real socket (P91, P92, P96, P97, P102), and documents that nothing varies (P93).
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Socket, connect } from "node:net";
import { sendRaw, closeStages } from "../gateway/stage.ts";
import { REDIRECT, refreshWith } from "../server.ts";
import { type Listening, startListening } from "./stand.ts";

afterAll(closeStages);

let stand: Listening;
beforeAll(async () => {
  stand = await startListening();
});
afterAll(() => stand.close());

/** What no answer to a stranger may have: stacks, paths, versions, names of what is inside. */
const inside =
  /\bat [\w.<]+ ?\(|node_modules|\/src\/|\.m?[jt]s\b|h3|srvx|Bun\b|bun\/|TypeError|cwd/;

const request = (line: string, headers: readonly string[], body = ""): string =>
  [line, ...headers, `Content-Length: ${body.length}`, "Connection: close", "", body].join("\r\n");

const status = (text: string): number => Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0);

describe("P102: what cannot be understood is refused without a word about the inside", () => {
  const hosts = [
    "localhost:99999",
    "localhost:65536",
    "[::1",
    "[::1]:x",
    "a b",
    "a/../evil",
    "a@evil.test:80",
    "%zz",
    "",
    "evil.test\tx",
    "a,b",
    "::1",
    "a\\b",
    "a#b",
    "a?b",
    "\u00e9",
  ];
  const targets = [
    "/%",
    "/%zz",
    "/%ff",
    "/mcp/%ff",
    "/%c0%ae%c0%ae/",
    "/token%",
    "/.well-known/%e0%a4%a",
    "/authorize?%",
    "/authorize?client_id=%ff%fe",
    "/setup?token=%",
    "*",
    "token",
    "http://[::1/token",
    "//",
    "///",
    "/\u00e9",
    "/a\tb",
    "/a b",
    `/${"a".repeat(15_000)}`,
  ];
  const lines = [
    "GET / HTTP/9.9",
    "GET / HTTP/2.0",
    "GET /",
    "GET",
    "get / HTTP/1.1",
    "G\u00cbT / HTTP/1.1",
    `${"A".repeat(9000)} / HTTP/1.1`,
    "PRI * HTTP/2.0",
    "\u0016\u0003\u0001\u0002\u0000\u0001",
  ];
  const cases: [string, () => string][] = [
    ...hosts.map((host): [string, () => string] => [
      `Host ${JSON.stringify(host)}`,
      () => request("GET /token HTTP/1.1", [`Host: ${host}`]),
    ]),
    ...targets.map((target): [string, () => string] => [
      `target ${JSON.stringify(target.slice(0, 40))}`,
      () => request(`GET ${target} HTTP/1.1`, [stand.host]),
    ]),
    ...lines.map((line): [string, () => string] => [
      `line ${JSON.stringify(line.slice(0, 40))}`,
      () => `${line}\r\n${stand.host}\r\nConnection: close\r\n\r\n`,
    ]),
    ["header without a name", () => request("GET / HTTP/1.1", [stand.host, ": x"])],
    ["header without a colon", () => request("GET / HTTP/1.1", [stand.host, "x"])],
    ["folded header", () => request("GET / HTTP/1.1", [stand.host, "X: a", " b"])],
    ["NUL in a header", () => request("GET / HTTP/1.1", [stand.host, "X: a\u0000b"])],
    ["500 headers", () => request("GET / HTTP/1.1", [stand.host, ...Array(500).fill("X: y")])],
    [
      "a header of 64 KB",
      () => request("GET / HTTP/1.1", [stand.host, `X: ${"y".repeat(65_536)}`]),
    ],
    [
      "two lengths",
      () => request("POST /token HTTP/1.1", [stand.host, "Content-Length: 5"], "abcdefg"),
    ],
    [
      "length and chunks",
      () =>
        request("POST /token HTTP/1.1", [stand.host, "Transfer-Encoding: chunked"], "0\r\n\r\n"),
    ],
  ];

  test.each(cases)("%s", async (_name, bytes) => {
    await stand.attempt(async () => {
      const { text, ending } = await sendRaw(stand.port, bytes());
      expect(ending).not.toBe("open");
      // No answer at all is one: the connection is closed.
      if (text !== "") expect([400, 403, 404, 405, 410, 414, 431, 505]).toContain(status(text));
      expect(text).not.toMatch(inside);
      const body = text.slice(text.indexOf("\r\n\r\n") + 4);
      // Refused by us in our words, or before us without any.
      if (body !== "")
        expect(body).toMatch(/^\{"error":"\w+","error_description":"|^<!doctype html>/);
      expect(text).not.toMatch(/^(?:server|x-powered-by|location):/im);
    });
  });
});

describe("P97, P98: bodies", () => {
  const form = "Content-Type: application/x-www-form-urlencoded";
  const json = "Content-Type: application/json";
  const chunked = (path: string, type: string, body: string): string =>
    `POST ${path} HTTP/1.1\r\n${stand.host}\r\n${type}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n` +
    `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
  const post = (path: string, type: string, body: string, ...more: string[]): string =>
    request(`POST ${path} HTTP/1.1`, [stand.host, type, ...more], body);
  const many = Array.from({ length: 100_000 }, (_, index) => `p${index}=1`).join("&");
  const gzip = Buffer.from(Bun.gzipSync(Buffer.from("grant_type=x&".repeat(100_000)))).toString(
    "latin1",
  );
  const multipart = "Content-Type: multipart/form-data; boundary=x";

  test.each<[string, () => string, number[]]>([
    ["10 MB to /token", () => post("/token", form, "a".repeat(10_000_000)), [413]],
    ["10 MB in chunks to /token", () => chunked("/token", form, "a".repeat(10_000_000)), [413]],
    ["17 KB in chunks to /revoke", () => chunked("/revoke", form, "a".repeat(17_000)), [413]],
    ["1 MB to /register", () => post("/register", json, "[".repeat(1_000_000)), [413]],
    ["1 MB in chunks to /register", () => chunked("/register", json, "a".repeat(1_000_000)), [413]],
    [
      "a password of 1 MB",
      () => post("/login", form, `password=${"a".repeat(1_000_000)}`),
      [403, 413],
    ],
    ["100,000 parameters", () => post("/token", form, many), [413]],
    ["16 KB of ampersands", () => post("/token", form, "&".repeat(16_000)), [400]],
    ["16 KB of percent signs", () => post("/token", form, "%".repeat(16_000)), [400]],
    ["gzip", () => post("/token", form, gzip, "Content-Encoding: gzip"), [400]],
    ["multipart", () => post("/token", multipart, "--x--"), [400]],
    ["JSON at /token", () => post("/token", json, "{}"), [400]],
    ["JSON at /revoke", () => post("/revoke", json, '{"token":"x"}'), [400]],
    ["a form at /register", () => post("/register", form, `redirect_uris=${REDIRECT}`), [400]],
    [
      "text at /consent",
      () => post("/consent", "Content-Type: text/plain", "decision=allow"),
      [403],
    ],
    ["no type at /token", () => post("/token", "X: y", "grant_type=x"), [400]],
    ["a length that lies", () => post("/token", form, "").replace("h: 0", "h: 99"), [0, 400, 408]],
  ])(
    "%s",
    async (_name, bytes, expected) => {
      await stand.attempt(async () => {
        const { text } = await sendRaw(stand.port, bytes(), 15_000);
        expect(expected).toContain(status(text));
        expect(text).not.toMatch(inside);
      });
    },
    30_000,
  );
});

describe("P91, P92: names that are not ours", () => {
  const rebound = ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "0x7f.1.evil.test"];
  test.each(rebound)("Host %s gets nothing but 403, whatever it asks for", async (host) => {
    await stand.attempt(async () => {
      for (const path of ["/", "/mcp", "/token", "/login", "/authorize", "/.well-known/x"]) {
        const { text } = await sendRaw(
          stand.port,
          request(`GET ${path} HTTP/1.1`, [`Host: ${host}`]),
        );
        expect([path, status(text)]).toEqual([path, 403]);
        expect(text).not.toContain(host);
      }
    });
  });

  const poison = [
    "X-Forwarded-Host: evil.test",
    "X-Forwarded-Proto: gopher",
    "X-Forwarded-Port: 99666",
    "X-Forwarded-Prefix: /evil.test",
    "X-Original-Host: evil.test",
    "X-Host: evil.test",
    "X-Original-URL: /evil.test",
    "X-Rewrite-URL: /evil.test",
    "Forwarded: host=evil.test;proto=gopher",
    "Front-End-Https: on",
    "Origin: https://evil.test",
    "Referer: https://evil.test/",
  ];
  const paths = [
    "/",
    "/login",
    "/mcp",
    "/connect",
    "/authorize?client_id=x",
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-protected-resource/mcp",
  ];
  test.each(paths)("nothing of them is in the answer to %s", async (path) => {
    const { text } = await sendRaw(
      stand.port,
      request(`GET ${path} HTTP/1.1`, [stand.host, ...poison]),
    );
    expect(text).not.toMatch(/evil|gopher|99666/);
  });

  test("the absolute form of another server changes no URL", async () => {
    const { text } = await sendRaw(
      stand.port,
      request("GET http://evil.test/mcp HTTP/1.1", [stand.host]),
    );
    expect(status(text)).toBe(401);
    expect(text).not.toContain("evil");
  });
});

test("P93: nothing in a request varies the documents", async () => {
  const variations: RequestInit[] = [
    {},
    { headers: { accept: "text/html" } },
    { headers: { accept: "application/jwt", "accept-language": "de" } },
    { headers: { cookie: "a=b", authorization: "Bearer x" } },
    { headers: { "x-forwarded-host": "evil.test", "x-forwarded-proto": "https" } },
    { headers: { "user-agent": "GoogleHC/1.0", origin: "https://evil.test" } },
    { headers: { "if-none-match": "*", range: "bytes=0-3" } },
  ];
  for (const path of [
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-protected-resource/mcp",
  ]) {
    const answers = new Set<string>();
    for (const query of ["", "?", "?resource=https://evil.test", "?issuer=x&callback=y"]) {
      for (const variation of variations) {
        const response = await stand.server.fetch(path + query, variation);
        answers.add(
          JSON.stringify([
            response.status,
            await response.text(),
            response.headers.get("cache-control"),
            response.headers.get("content-type"),
          ]),
        );
      }
    }
    expect(answers.size).toBe(1);
    expect([...answers][0]).toStartWith("[200,");
  }
});

test("P96: 450 slow and silent connections keep nobody out and are ended", async () => {
  const half = `POST /token HTTP/1.1\r\n${stand.host}\r\nContent-Ty`;
  const stalled = `POST /token HTTP/1.1\r\n${stand.host}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ngrant`;
  const idle = `GET /healthz HTTP/1.1\r\n${stand.host}\r\n\r\n`;
  const sockets: Socket[] = [];
  let closed = 0;
  for (const bytes of [half, stalled, idle]) {
    for (let count = 0; count < 150; count++) {
      const socket = connect(stand.port, "127.0.0.1");
      socket.on("error", () => undefined).on("close", () => closed++);
      socket.on("data", () => undefined).write(bytes);
      sockets.push(socket);
    }
  }
  // What drips never finishes either.
  const drip = setInterval(() => sockets.slice(0, 20).forEach((socket) => socket.write("x")), 2000);
  await stand.attempt(async () => {
    const { clientId, tokens } = stand.victim;
    const answer = await fetch(`http://127.0.0.1:${stand.port}/healthz`);
    expect(answer.status).toBe(200);
    expect((await refreshWith(stand.server, clientId, `${tokens.refresh_token}x`)).status).toBe(
      400,
    );
  });
  const deadline = performance.now() + 40_000;
  while (closed < sockets.length && performance.now() < deadline) await Bun.sleep(100);
  clearInterval(drip);
  expect(closed).toBe(sockets.length);
}, 60_000);
